"""A daemon that dies in the middle of a round: what was committed is pushed after the restart, and nothing twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from allocator.daemon.clock import SystemClock
from allocator.domain.job import JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.placement.verify import violations
from allocator.rounds.loop import run_round
from allocator.solvers import ChainSolver
from allocator.store.sql import SqlStore


class Agent:
    """Keeps what it was pushed."""

    def __init__(self) -> None:
        self.desired: list[NodeDesired] = []

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        self.desired += desired


@pytest.mark.parametrize("when", ["before-push", "before-record"])
def test_round_cut_off_after_its_commit(tmp_path: Path, when: str) -> None:
    url = f"sqlite:///{tmp_path / 'allocator.db'}"
    cut = subprocess.run([sys.executable, "-m", "tests.rounds.dying_round", url, when], check=False, timeout=120)
    assert cut.returncode == -9

    with SqlStore(url) as store:
        committed = {job.id: job.allocation for job in store.list_jobs(states=[JobState.RUNNING])}
        assert len(committed) == 2
        agent = Agent()
        report, _ = run_round(
            store=store,
            pusher=agent,
            clock=SystemClock(),
            solver=ChainSolver(),
            policy=Policy(),
            memory=store.memory(),
        )
        assert report.plan.changes == ()
        assert {job.id: job.allocation for job in store.list_jobs(states=[JobState.RUNNING])} == committed
        (told,) = agent.desired
        assert {(replica.job_id, replica.epoch) for replica in told.replicas} == {
            (job_id, allocation.epoch) for job_id, allocation in committed.items() if allocation is not None
        }
        assert all(told.epoch >= replica.epoch for replica in told.replicas)
        assert violations(store.nodes(), store.list_jobs()) == []
