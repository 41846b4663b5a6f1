"""What Slurm's commands print, read as values."""

from __future__ import annotations

import pytest

from allocator.slurm.observed import hosts, jobs_of, nodes_of
from allocator.slurm.translation import flavor_of, node_of

LINE = (
    "NodeName=g1 Arch=x86_64 CoresPerSocket=4  CPUAlloc=6 CPUEfctv=32 CPUTot=32 CPULoad=0.18 AvailableFeatures=ib,big "
    "ActiveFeatures=ib,big Gres=gpu:A100:4(S:0-1),gpu:t4:1,shard:8 NodeAddr=g1 RealMemory=1000 AllocMem=300 FreeMem=9 "
    "State={state} ThreadsPerCore=1 Partitions=all,gpu OS=Linux 6.1 #1 SMP CfgTRES=cpu=32,mem=1000M,gres/gpu=5 "
    "AllocTRES=cpu=6,mem=300M,gres/gpu=2,gres/gpu:a100=2 Reason=none\n"
)


def test_a_node() -> None:
    (node,) = nodes_of(LINE.format(state="MIXED") + "\nnothing that is a node\n")
    assert (node.name, node.cpus, node.memory_mib, node.gpus) == ("g1", 32, 1000, (("a100", 4), ("t4", 1)))
    assert (node.used_cpus, node.used_memory_mib, node.used_gpus) == (6, 300, 2)
    assert (node.partitions, node.features) == (("all", "gpu"), ("big", "ib"))
    assert flavor_of(node) == "a100.t4"


@pytest.mark.parametrize(
    ("state", "answers", "takes"),
    [
        ("IDLE", True, True),
        ("ALLOCATED", True, True),
        ("MIXED+PLANNED", True, False),
        ("IDLE+DRAIN", True, False),
        ("MIXED+DRAIN+MAINTENANCE", True, False),
        ("DOWN*", False, False),
        ("IDLE*", False, False),
        ("DOWN+DRAIN", False, False),
        ("IDLE~", True, True),
    ],
)
def test_states_of_nodes(state: str, answers: bool, takes: bool) -> None:
    (node,) = nodes_of(LINE.format(state=state))
    assert (node.answers, node.takes_new_work) == (answers, takes)


def test_what_slurm_plans_for_us_is_not_closed_to_us() -> None:
    (node,) = nodes_of(LINE.format(state="MIXED+PLANNED"))
    assert node.is_open(frozenset(("g1",)))
    assert not node.is_open(frozenset(("g2",)))
    (drained,) = nodes_of(LINE.format(state="MIXED+DRAIN"))
    assert not drained.is_open(frozenset(("g1",)))


def test_what_others_use_of_a_node_is_not_ours() -> None:
    (seen,) = nodes_of(LINE.format(state="MIXED"))
    ours = node_of(seen, (4, 200, 2))
    assert (ours.capacity.cpu_millicores, ours.capacity.gpu_millis) == (30_000, 5_000)
    assert ours.capacity.memory_bytes == 900 * 2**20
    assert ours.label("slurm/partition/gpu") == "yes"
    assert ours.capabilities == frozenset(), "what Slurm has begun to run keeps what it has"
    assert ours.violations() == ()


def test_a_node_that_others_fill_is_still_a_node() -> None:
    (seen,) = nodes_of(
        LINE.format(state="ALLOCATED").replace("CPUAlloc=6", "CPUAlloc=32").replace("AllocMem=300", "AllocMem=1000")
    )
    found = node_of(seen, (0, 0, 0))
    assert found.capacity.cpu_millicores == 0
    assert found.violations() == ()


def test_jobs() -> None:
    text = (
        "17|RUNNING|n[1-2],x7|8|2G|3|None|allocator:j5:3.9\n"
        "18|PENDING||1|100M|1|JobHeldUser|(null)\n"
        "19|COMPLETED|n1|1|0|1|None|a|b\n"
        "not a job\n"
    )
    first, second, third = jobs_of(text)
    assert (first.id, first.nodes, first.comment, first.is_live) == ("17", ("n1", "n2", "x7"), "allocator:j5:3.9", True)
    assert (second.state, second.reason, second.nodes) == ("PENDING", "JobHeldUser", ())
    assert (third.comment, third.is_live) == ("a|b", False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("gpu[01-03,7],login", ("gpu01", "gpu02", "gpu03", "gpu7", "login")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
    ],
)
def test_lists_of_hosts(text: str, names: tuple[str, ...]) -> None:
    assert hosts(text) == names
