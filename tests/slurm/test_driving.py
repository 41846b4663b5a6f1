"""Jobs of a real daemon on a real Slurm: what runs, what is stopped, and what nobody may touch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allocator.client import Client
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.process import Process
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from tests import slurm_cluster
from tests.daemon.process import DaemonProcess, running
from tests.slurm_cluster import SlurmCluster

pytestmark = pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"no Slurm here: {slurm_cluster.missing()}")
PATIENCE = 90.0


class Driven:
    """A daemon, a Slurm of four nodes with four cores each, and the bridge between them, which a test may kill."""

    def __init__(self, folder: Path, slurm: SlurmCluster, daemon: DaemonProcess) -> None:
        self.folder, self.slurm, self.daemon = folder, slurm, daemon
        self.spool = folder / "spool"
        self.client = Client(daemon.address)
        self._bridge: subprocess.Popen[bytes] | None = None

    def drive(self) -> None:
        with (self.folder / "bridge.log").open("ab") as log:
            self._bridge = subprocess.Popen(
                [sys.executable, "-m", "allocator", "slurm", "drive", f"--spool={self.spool}", "--poll=0.2",
                 f"--address={self.daemon.address}"],
                env=self.slurm.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self._bridge is not None
        self._bridge.kill()
        self._bridge.wait()

    def submit(self, *command: str, cores: int = 1, replicas: int = 1, count: int = 1, grace: float = 5.0) -> list[str]:
        demand = Resources(cpu_millicores=cores * 1000, memory_bytes=64 * 2**20)
        process = Process(tuple(command), grace_seconds=grace)
        spec = JobSpec("q", (Configuration("cpu", replicas, demand),), process=process)
        answers = self.client.submit([spec] * count)
        return [answer.id for answer in answers if isinstance(answer, Job)]

    def queue(self) -> list[list[str]]:
        """Slurm's jobs: id, state, comment."""
        text = self.slurm.call("squeue", "--noheader", "--states=all", "-o", "%A|%T|%k")
        return [line.split("|") for line in text.splitlines()]

    def wait_for(self, what: str, holds: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            log = self.folder / "bridge.log"
            assert time.monotonic() < until, f"{what}: {self.queue()}\n{log.read_text()[-2000:]}"
            time.sleep(0.05)

    def wait_until_ended(self, *jobs: str) -> list[Job]:
        self.wait_for("jobs end", lambda: all(self.client.job(job).state.is_final for job in jobs))
        return [self.client.job(job) for job in jobs]

    def close(self) -> None:
        if self._bridge is not None and self._bridge.poll() is None:
            self.kill()
        self.client.close()


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("slurm")
    lease = {"ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "20"}
    with (
        SlurmCluster(folder / "slurm", nodes=4, cores=4, extra="KillWait=2\nMinJobAge=5") as slurm,
        running(folder, **lease) as daemon,
    ):
        made = Driven(folder, slurm, daemon)
        made.client.create_queue(Queue("q"))
        made.drive()
        made.wait_for("nodes register", lambda: len(list(made.client.nodes())) == 4)
        yield made
        made.close()


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
