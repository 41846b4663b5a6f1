"""Jobs of a real daemon on a real Slurm: what runs, what is stopped, and what nobody may touch."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.client import OutputPiece, OutputRun
from allocator.domain.cluster import NODE_DOMAIN
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.resources import Resources
from allocator.slurm.observed import hosts
from tests import slurm_cluster
from tests.slurm.driven import Driven, driving

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no Slurm here: {slurm_cluster.missing()}")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    with driving(tmp_path_factory.mktemp("slurm"), nodes=4, lease_seconds=20.0) as made:
        yield made


def test_gangs_run_where_they_were_placed_with_what_they_need_to_know(driven: Driven, tmp_path: Path) -> None:
    script = 'echo "$ALLOCATOR_JOB_ID $ALLOCATOR_RANK $ALLOCATOR_REPLICAS $SLURMD_NODENAME $1" >> "$2/$ALLOCATOR_RANK"'
    hostile = "$(touch /tmp/never); `id` 'quoted' \"twice\""
    (job,) = driven.submit("sh", "-c", script, "x", hostile, str(tmp_path), replicas=6, cores=2)
    (ended,) = driven.wait_until_ended(job)
    assert (ended.state, ended.message) == (JobState.SUCCEEDED, "")
    told = [(tmp_path / str(rank)).read_text().split(" ", 4) for rank in range(6)]
    assert [line[:3] for line in told] == [[job, str(rank), "6"] for rank in range(6)]
    assert {line[4] for line in told} == {hostile + "\n"}
    assert max([line[3] for line in told].count(node) for node in driven.slurm.nodes) <= 2, "four cores, two each"


@pytest.mark.parametrize(
    ("replicas", "cores", "limit", "nodes"), [(4, 1, 2, 2), (3, 2, None, 3), (5, 1, None, 2), (7, 2, None, 4)]
)
def test_slurm_gives_each_node_of_a_gang_what_was_decided(
    driven: Driven, replicas: int, cores: int, limit: int | None, nodes: int
) -> None:
    """Else what is free to us is not to Slurm, and whoever is placed there waits for the gang's end."""
    limits = Constraints(at_most=(AtMost(limit, NODE_DOMAIN),)) if limit else UNCONSTRAINED
    (job,) = driven.submit("sleep", "30", replicas=replicas, cores=cores, constraints=limits)

    def running() -> list[str]:
        queue = driven.queue()
        return [number for number, state, whose in queue if state == "RUNNING" and f":{job}:" in whose]

    driven.wait_for("it runs", running)
    found = driven.slurm.call("scontrol", "show", "job", "--details", *running())
    given = {
        node: len(hosts(f"[{numbers}]"))
        for names, numbers in re.findall(r"Nodes=(\S+) CPU_IDs=(\S+)", found)
        for node in hosts(names)
    }
    allocation = driven.client.job(job).allocation
    assert allocation is not None
    decided = Counter(replica.node for replica in allocation.placement.replicas)
    driven.client.cancel([job])
    driven.wait_until_ended(job)
    assert len(decided) == nodes
    assert given == {node: count * cores for node, count in decided.items()}


def test_divisible_jobs_get_whole_cores(driven: Driven) -> None:
    """Five of them would be due 3.2 cores each of these 16, which Slurm cannot give: each has its four, by turns."""
    assert [node.capabilities for node in driven.client.nodes()] == [frozenset()] * 4
    jobs = driven.submit("sleep", "1", cores=4, count=5, memory_mib=0, divisible=True)
    assert len(jobs) == 5
    ended = driven.wait_until_ended(*jobs)
    assert {(job.state, job.message) for job in ended} == {(JobState.SUCCEEDED, "")}


def test_failures_are_told_with_their_exit_code(driven: Driven) -> None:
    failed, missing, nothing = (
        *driven.submit("sh", "-c", "exit 3"),
        *driven.submit("/no/such/program"),
        *[
            answer.id
            for answer in driven.client.submit([JobSpec("q", (Configuration("cpu", 1, Resources(1000)),))])
            if isinstance(answer, Job)
        ],
    )
    ended = driven.wait_until_ended(failed, missing, nothing)
    assert {job.state for job in ended} == {JobState.FAILED}
    assert "exited with 3" in ended[0].message
    assert "exited with 1" in ended[1].message
    assert "nothing that could be run" in ended[2].message or "says nothing" in ended[2].message


def test_what_jobs_print_can_be_read_while_they_run_and_afterwards(driven: Driven, tmp_path: Path) -> None:
    script = 'echo "rank $ALLOCATOR_RANK"; until test -e "$0"; do sleep 0.1; done; echo over'
    (job,) = driven.submit("sh", "-c", script, str(tmp_path / "go"), replicas=2)
    seen = b""
    for event in driven.client.read_output(job, follow=True):
        if isinstance(event, OutputRun):
            assert event.shared, "Slurm writes what all tasks print to one log"
        if isinstance(event, OutputPiece):
            seen += event.content
        if {b"rank 0", b"rank 1"} <= set(seen.splitlines()):
            (tmp_path / "go").touch()
    assert sorted(seen.splitlines()) == [b"over", b"over", b"rank 0", b"rank 1"]
    driven.wait_until_ended(job)
    again = driven.client.read_output(job, replica=1)
    assert b"".join(event.content for event in again if isinstance(event, OutputPiece)) == seen


def test_a_cancelled_job_is_told_to_end_and_then_made_to(driven: Driven, tmp_path: Path) -> None:
    gentle = 'trap "echo saved > $0; exit 0" TERM; touch $0.up; while :; do sleep 0.1; done'
    deaf = 'trap "" TERM; touch $0.up; while :; do sleep 0.1; done'
    first, second = tmp_path / "gentle", tmp_path / "deaf"
    jobs = [
        *driven.submit("sh", "-c", gentle, str(first), grace=30.0),
        *driven.submit("sh", "-c", deaf, str(second), grace=1.0),
    ]
    driven.wait_for("both run", lambda: Path(f"{first}.up").exists() and Path(f"{second}.up").exists())
    driven.client.cancel(jobs)
    driven.wait_for("both end", lambda: all(state not in ("RUNNING", "COMPLETING") for _, state, _ in driven.queue()))
    assert first.read_text() == "saved\n"


def test_what_others_run_is_seen_and_left_alone(driven: Driven) -> None:
    theirs = driven.slurm.call(
        "sbatch", "--parsable", "--nodes=3", "--ntasks-per-node=4", "--output=/dev/null", "--wrap=sleep 300"
    ).strip()
    try:
        driven.wait_for("their job runs", lambda: [theirs, "RUNNING", "(null)"] in driven.queue())

        def free() -> int:
            return sum(node.capacity.cpu_millicores for node in driven.client.nodes()) // 1000

        driven.wait_for("their cores are not ours", lambda: free() == 4)
        jobs = driven.submit("sleep", "0.2", cores=2, count=4)
        assert {job.state for job in driven.wait_until_ended(*jobs)} == {JobState.SUCCEEDED}
        assert [theirs, "RUNNING", "(null)"] in driven.queue()
        too_wide = driven.slurm.call("sbatch", "--parsable", "--nodes=2", "--exclusive", "--wrap=true").strip()
        said = driven.slurm.call(sys.executable, "-m", "allocator", "slurm", "observe", "--json")
        found = json.loads(said)
        assert (found["running"], found["starts"], found["passed_over"]) == (1, [], [])
        assert [(each["job"], each["cause"]) for each in found["waits"]] == [(too_wide, "insufficient_capacity")]
        assert "Would wait" in driven.slurm.call(sys.executable, "-m", "allocator", "slurm", "observe")
        driven.slurm.call("scancel", too_wide)
    finally:
        driven.slurm.call("scancel", theirs)
    driven.wait_for("their cores are free again", lambda: free() == 16)


def test_a_comment_makes_nobodys_job_one_of_ours(driven: Driven) -> None:
    """Neither one that is like ours, nor a line break in it that makes a line like one of ours."""
    comment = "allocator:j900:2.7\n901|PENDING||1|1|1|None|allocator:j901:2.7"
    theirs = driven.slurm.call("sbatch", "--parsable", "--hold", "--uid=nobody", f"--comment={comment}", "--wrap=true")
    there = [theirs.strip(), "PENDING", "allocator:j900:2.7"]
    try:
        assert there in driven.queue()
        (job,) = driven.submit("true")
        assert driven.wait_until_ended(job)[0].state is JobState.SUCCEEDED
        assert there in driven.queue()
    finally:
        driven.slurm.call("scancel", theirs.strip())


def test_nothing_is_lost_or_run_twice_whoever_restarts(driven: Driven, tmp_path: Path) -> None:
    """The bridge is killed, the controller is restarted, the daemon is killed, while jobs come and go."""
    command = ("sh", "-c", 'mkdir "$0/$ALLOCATOR_JOB_ID" || touch "$0/twice-$ALLOCATOR_JOB_ID"; sleep 1', str(tmp_path))
    jobs = driven.submit(*command, count=24)
    driven.wait_for("some run", lambda: sum(state == "RUNNING" for _, state, _ in driven.queue()) > 3)
    driven.kill()
    driven.slurm.end("slurmctld")
    driven.drive()
    driven.slurm.start_controller()
    driven.daemon.kill()
    driven.daemon.start()
    ended = driven.wait_until_ended(*jobs)
    assert {(job.state, job.message) for job in ended} == {(JobState.SUCCEEDED, "")}
    assert {job.preemption_count for job in ended} == {0}
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(jobs), "each once, and none twice"
