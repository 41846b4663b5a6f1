"""What a site that only looks on is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.reason import PendingCause
from allocator.slurm.observed import SlurmNode
from allocator.slurm.observing import advise
from allocator.slurm.queued import QueuedJob, queued_of

NODE = SlurmNode("n1", 8, 8000, (), 0, 0, 0, ("all",), (), frozenset(("IDLE",)))
GPU_NODE = replace(NODE, name="g1", gpus=(("a100", 4),), partitions=("all", "gpu"))
JOB = QueuedJob("1", "PENDING", "ann", "vision", ("all",), 1, 4, 2**30, 0, (), (), None, 100.0, "Priority", "x")


def test_what_is_printed_is_read() -> None:
    text = (
        "7_3   |RUNNING |ann|vision|all,gpu |2  |cpu=4,mem=1.50G,node=2,gres/gpu=2,gres/gpu:A100=2|"
        "n[1-2]|1-00:10:00|99|None|a|b \n"
        "8|PENDING|bob|(null)|all|1|cpu=1,mem=300M,node=1|  |UNLIMITED|100|JobHeldUser|held\n"
        "broken line\n"
    )
    first, second = queued_of(text)
    assert (first.id, first.partitions, first.node_count, first.cpus, first.gpus) == ("7_3", ("all", "gpu"), 2, 4, 2)
    assert (first.memory_bytes, first.models, first.nodes) == (1536 * 2**20, ("a100",), ("n1", "n2"))
    assert (first.limit_seconds, first.runs, first.wants, first.name) == (87_000.0, True, False, "a|b")
    assert (second.limit_seconds, second.wants, second.queue("account"), second.queue("user")) == (
        None,
        False,
        "none",
        "bob",
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("10:00", 600.0), ("1:00:00", 3600.0), ("2-00", 172_800.0), ("INVALID", None)]
)
def test_time_limits(text: str, seconds: float | None) -> None:
    (job,) = queued_of(f"1|PENDING|a|b|all|1|cpu=1|  |{text}|1|None|x")
    assert job.limit_seconds == seconds


def test_who_starts_where_and_why_others_wait() -> None:
    running = replace(JOB, id="5", state="RUNNING", nodes=("n1",), cpus=6)
    waiting = [replace(JOB, id=str(number), submit_time=100.0 + number, cpus=2) for number in (10, 11)]
    held = replace(JOB, id="12", reason="JobHeldUser")
    found = advise([NODE], [*waiting, held, running], 1000.0)
    assert [(job, nodes) for job, _, nodes in found.starts] == [("10", ("n1",))]
    ((job, queue, reason),) = found.waits
    assert (job, queue, reason and reason.cause) == ("11", "vision", PendingCause.INSUFFICIENT_CAPACITY)
    assert (found.running, found.passed_over) == (1, ())
    assert found.gap <= 1e-4


def test_what_runs_holds_its_gpus_and_jobs_go_to_nodes_of_their_partition() -> None:
    running = replace(JOB, id="5", state="RUNNING", nodes=("g1",), gpus=3, partitions=("gpu",))
    one, two = (replace(JOB, id=str(gpus), gpus=gpus, partitions=("gpu",), cpus=1) for gpus in (1, 2))
    plain = replace(JOB, id="9", partitions=("all",), cpus=8)
    found = advise([NODE, GPU_NODE], [running, one, two, plain], 1000.0)
    assert sorted((job, nodes) for job, _, nodes in found.starts) == [("1", ("g1",)), ("9", ("n1",))]
    assert [job for job, _, _ in found.waits] == ["2"]


def test_weights_of_queues_decide_who_is_first() -> None:
    mine, yours = (replace(JOB, id=name, account=name, cpus=8) for name in ("mine", "yours"))
    for weights, first in (({"mine": 5.0}, "mine"), ({"yours": 5.0}, "yours")):
        assert [job for job, _, _ in advise([NODE], [mine, yours], 1000.0, weights=weights).starts] == [first]


def test_what_cannot_be_is_passed_over_and_spoils_nothing() -> None:
    strange = replace(JOB, id="s", models=("h200",), gpus=1)
    crowded = [replace(JOB, id=f"r{n}", state="RUNNING", nodes=("n1",), cpus=6) for n in range(2)]
    closed = replace(NODE, name="n2", states=frozenset(("IDLE", "DRAIN")))
    found = advise(
        [NODE, closed, replace(NODE, name="n3", states=frozenset(("DOWN",)))], [strange, *crowded, JOB], 1000.0
    )
    assert {job for job, _ in found.passed_over} == {"s", "r1"}
    assert [job for job, _, _ in found.waits] == ["1"]
    wide = advise([NODE, replace(NODE, name="n2")], [replace(JOB, cpus=16)], 1000.0)
    assert wide.starts == (("1", "vision", ("n1", "n2")),)
