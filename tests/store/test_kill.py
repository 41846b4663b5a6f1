"""What was acknowledged survives kill -9 in the middle of the load."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from allocator.domain.job import Job
from allocator.intake import commands as c
from allocator.store.sql import SqlStore
from tests.store.acknowledging_writer import CLIENTS
from tests.store.cluster import do, spec

ROOT = Path(__file__).parents[2]
ENOUGH = 300


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/allocator.db"
    return str(request.getfixturevalue("postgres_url"))


def acknowledged_until_killed(url: str) -> dict[str, str]:
    """Names by id of the jobs that the program had been promised when it was killed."""
    command = [sys.executable, "-m", "tests.store.acknowledging_writer", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline() for _ in range(ENOUGH)]
        program.send_signal(signal.SIGKILL)
        lines += program.stdout.readlines()
        assert program.wait() == -signal.SIGKILL
    whole = [line for line in lines if line.endswith("\n")]
    return dict(entry.split("=") for line in whole for entry in line.split())


def test_every_acknowledged_job_is_there_after_kill_9(url: str) -> None:
    promised = acknowledged_until_killed(url)
    assert len(promised) >= ENOUGH
    with SqlStore(url) as store:
        live = {job.id: job for job in store.snapshot(0.0).jobs}
        assert promised.items() <= {job_id: job.spec.name for job_id, job in live.items()}.items()
        assert [job.sequence for job in live.values()] == list(range(1, len(live) + 1))
        # Nothing was stored twice or by halves: every batch of three is there whole, every name once.
        names = {job.spec.name for job in live.values()}
        assert len(names) == len(live)
        for name in names:
            client, number, _ = name.split("-")
            size = 3 if int(number) % 3 == 0 else 1
            assert {f"{client}-{number}-{index}" for index in range(size)} <= names
        # Whoever was not answered asks again, and gets the job that there is or a new one.
        again = {f"{client}-1" for client in range(CLIENTS)}
        for request_id in again:
            (answer,) = do(store, c.SubmitJobs((spec(name=f"{request_id}-0"),), request_id))
            assert isinstance(answer, Job)
        assert len(store.snapshot(0.0).jobs) == len(names | {f"{request_id}-0" for request_id in again})
