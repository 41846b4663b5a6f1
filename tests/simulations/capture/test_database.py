"""A daemon's database, captured without the daemon: its jobs, with the run times that they had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from allocator.domain.errors import InvalidInput, NotFound, StoreUnavailable
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.solvers import ChainSolver
from allocator.store.sql import SqlStore
from allocator.store.standing import standing
from simulations.capture.database import capture_database
from simulations.capture.file import CaptureError, CaptureWriter
from simulations.capture.workload import read_workload
from simulations.cli import ExitCode, app, run
from simulations.replay import ReplayOptions, replay
from tests.simulations.capture.cluster import gpu_job, gpu_node

START = 1_800_000_000.0


class Clock:
    now_seconds = START

    def now(self) -> float:
        return self.now_seconds

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False


class Ignored:
    def push(self, desired: object) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database in which three jobs ended, one after 100 s each, one failed, one runs and one waits."""
    url = f"sqlite:///{tmp_path / 'allocator.db'}"
    clock, memory = Clock(), Memory()
    with SqlStore(url, group_commit_seconds=0.0) as store:

        def do(command: c.Command) -> object:
            return store.execute(command, clock.now_seconds).result(60)

        do(c.CreateQueue(Queue("q")))
        do(c.RegisterNode(gpu_node("n1")))
        specs = [gpu_job(name=f"job{number}") for number in range(3)]
        do(c.SubmitJobs((*specs, gpu_job(gpus=4, name="whole"), gpu_job(gpus=8, name="never"))))
        jobs: tuple[Job, ...] = store.list_jobs()
        for _ in range(5):
            _, memory = run_round(
                store=store, pusher=Ignored(), clock=clock, solver=ChainSolver(), policy=Policy(), memory=memory
            )
            clock.now_seconds += 50.0
            for job in jobs[:3]:
                now = store.get_job(job.id)
                if now.allocation is not None and clock.now_seconds >= START + 100:
                    state = c.ReplicaState.FAILED if now.spec.name == "job2" else c.ReplicaState.SUCCEEDED
                    do(c.Heartbeat("n1", (c.ReplicaReport(job.id, 0, now.allocation.epoch, state),)))
    return url


def test_jobs_have_the_run_times_that_they_had(url: str, tmp_path: Path) -> None:
    path = tmp_path / "db.capture.gz"
    assert capture_database(url, CaptureWriter(path)) == 5
    found = read_workload(path)
    durations = {arrival.spec.name: arrival.duration for arrival in found.workload.arrivals}
    assert durations == pytest.approx({"job0": 100.0, "job1": 100.0, "job2": 100.0, "whole": 100.0})
    assert found.workload.dropped == {"never_ran": 1}
    assert {arrival.time for arrival in found.workload.arrivals} == {START}
    assert (found.interval_seconds, found.workload.start, found.outages) == (50.0, START, ())
    assert "Jobs are all that a daemon's database keeps, over 200 s." in found.workload.notes
    options = ReplayOptions(policy=found.policy, interval_seconds=found.interval_seconds)
    assert replay(found.workload, options).summary["jobs"]["by_state"] == {"succeeded": 4}


def test_it_is_read_beside_the_daemon_and_left_as_it_is(url: str) -> None:
    with SqlStore(url) as store, standing(url) as found:
        assert found.snapshot.jobs == store.snapshot(0.0).jobs
        assert [job.spec.name for job in found.ended] == ["job0", "job1", "job2"]
        store.execute(c.SubmitJobs((gpu_job(),)), START).result(60)


def test_only_what_was_submitted_since(url: str, tmp_path: Path) -> None:
    path = tmp_path / "db.capture.gz"
    assert capture_database(url, CaptureWriter(path), seconds=10.0) == 2
    assert [arrival.spec.name for arrival in read_workload(path).workload.arrivals] == ["whole"]


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    for url, error in (
        ("mysql://host/x", InvalidInput),
        (f"sqlite:///{tmp_path / 'none.db'}", NotFound),
        (f"sqlite:///{tmp_path / 'empty.db'}", StoreUnavailable),
    ):
        (tmp_path / "empty.db").touch()
        with pytest.raises(error), standing(url):
            pass
    assert not (tmp_path / "none.db").exists()


def test_the_command_reads_it(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "db.capture.gz"
    assert run(lambda: app(["capture", "--database", url, "--out", str(path)])) == ExitCode.OK
    assert capsys.readouterr().out.startswith("5 jobs, ")
    assert run(lambda: app(["decide", str(path)])) == ExitCode.BAD_TRACE
    assert "holds no round" in capsys.readouterr().err
    code = run(lambda: app(["capture", "--database", f"{url}x", "--out", str(tmp_path / "o.capture.gz")]))
    assert code == ExitCode.BAD_INPUT
    assert not (tmp_path / "o.capture.gz").exists()
    code = run(lambda: app(["capture", "--database", url, "--for", "1h", "--out", str(tmp_path / "o.capture.gz")]))
    assert code == ExitCode.BAD_INPUT
    assert "is about a running daemon" in capsys.readouterr().err


def test_a_database_without_jobs_cannot_be_replayed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with SqlStore(url) as store:
        store.execute(c.RegisterNode(replace(gpu_node("n1"))), START).result(60)
    path = tmp_path / "db.capture.gz"
    capture_database(url, CaptureWriter(path))
    with pytest.raises(CaptureError, match="holds no job"):
        read_workload(path)
