"""What a round hands to the next: credits and prices, settled from what was applied, not from what was wished. Pure.

Credit is run time owed, in seconds. From one round to the next it changes at the job's *pace*: the share the optimum
gave it, minus 1 if it runs. A job with share 0.4 that waits gains 0.4 s per second; while it runs it loses 0.6.
"""

from __future__ import annotations

import numpy as np

from allocator.domain.job import JobState
from allocator.domain.plan import Commit
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.decide import Decision
from allocator.solvers.solution import Status

_PACE_TOLERANCE = 1e-3
"""Shares are only as exact as the gap: a smaller difference is no debt."""


def running_after(snapshot: Snapshot, commit: Commit) -> dict[str, int]:
    """Configuration index by job id of every job that runs once `commit` is true."""
    running = {
        job.id: job.allocation.placement.configuration
        for job in snapshot.jobs
        if job.state is JobState.RUNNING and job.allocation is not None
    }
    for applied in commit.applied:
        if applied.allocation is None:
            running.pop(applied.change.job_id, None)
        else:
            running[applied.change.job_id] = applied.allocation.placement.configuration
    return running


def settle(memory: Memory, snapshot: Snapshot, decision: Decision, commit: Commit, policy: Policy) -> Memory:
    """The memory after this round. Credits stay within the policy's limit, and go with their job."""
    now = snapshot.time
    solved = decision.solution.status is not Status.FAILED
    row_share = np.minimum(1.0, decision.solution.shares.sum(axis=1)).tolist() if solved else []
    rows = decision.formulation.rows
    running = running_after(snapshot, commit)
    limit = policy.credit_limit_seconds
    owed: dict[str, float] = {}
    pace: dict[str, float] = {}
    for job in snapshot.jobs:
        credit = min(limit, max(-limit, memory.credit(job.id, now)))
        if credit:
            owed[job.id] = credit
        row = rows.get(job.id)
        if row is not None and solved:
            rate = row_share[row] - (1.0 if job.id in running else 0.0)
            if abs(rate) > _PACE_TOLERANCE:
                pace[job.id] = rate
    prices, limit_prices = memory.prices, memory.limit_prices
    if solved:
        prices = decision.formulation.prices_to_remember(decision.solution.prices, memory)
        limit_prices = decision.formulation.limit_prices_to_remember(decision.solution.limit_prices, memory)
    return Memory(time=now, credits=owed, pace=pace, prices=prices, limit_prices=limit_prices)
