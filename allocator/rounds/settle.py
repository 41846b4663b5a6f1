"""What a round hands to the next: credits and prices, settled from what was applied, not from what was wished. Pure.

Credit is run time owed, in seconds. From one round to the next it changes at the job's *pace*: the share the optimum
gave it, minus 1 if it runs. A job with share 0.4 that waits gains 0.4 s per second; while it runs it loses 0.6.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np

from allocator.domain.job import JobState
from allocator.domain.placement import WHOLE
from allocator.domain.plan import Commit
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, QueueHistory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.live import Live
from allocator.formulation.problem import Floats, Integers
from allocator.formulation.promises import in_turns
from allocator.placement.contenders import owed_now
from allocator.rounds.charging import history_after
from allocator.rounds.coming import coming_work
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


def configurations_after(live: Live, commit: Commit) -> Integers:
    """(J,) index of the configuration that each live job runs in once `commit` is true; -1 of those that wait."""
    configuration = live.jobs.configuration.copy()
    position = live.positions(applied.change.job_id for applied in commit.applied)
    configuration[position] = [
        -1 if applied.allocation is None else applied.allocation.placement.configuration for applied in commit.applied
    ]
    return configuration


def parts_after(live: Live, commit: Commit) -> Floats:
    """(J,) the part of its demand that each live job holds once `commit` is true: 0 or 1, unless it is divisible."""
    part = np.where(live.jobs.runs, live.jobs.millis / WHOLE, 0.0)
    position = live.positions(applied.change.job_id for applied in commit.applied)
    part[position] = [
        0.0 if applied.allocation is None else applied.allocation.placement.millis / WHOLE for applied in commit.applied
    ]
    return part


def _within_limit(formulation: Formulation, owed: Floats, limit: float) -> Floats:
    """(J,) credits within the limit. Where a flavor cannot give what the optimum promises, because of fragments,
    everybody there is owed more and more; when the first reaches the limit, all of them are lowered together, so that
    who is owed more than whom is not forgotten.
    """
    row = formulation.row
    inside = np.flatnonzero((row >= 0) & formulation.live.profiles.preemptible[formulation.live.jobs.profile])
    if not inside.size or not (owed > limit).any():
        return np.minimum(limit, np.maximum(-limit, owed))
    flavor = formulation.problem.flavor[row[inside], 0]
    beyond = np.zeros(len(formulation.flavors))
    np.maximum.at(beyond, flavor, owed[inside] - limit)
    lowered = owed.copy()
    lowered[inside] -= np.maximum(beyond, 0.0)[flavor]
    return np.minimum(limit, np.maximum(-limit, lowered))


def settle(memory: Memory, snapshot: Snapshot, decision: Decision, commit: Commit, policy: Policy) -> Memory:
    """The memory after this round. Credits stay within the policy's limit, and go with their job."""
    formulation, solution = decision.formulation, decision.solution
    live, row = formulation.live, formulation.row
    credit = _within_limit(formulation, owed_now(memory, live, snapshot.time), policy.credit_limit_seconds)
    pace, parts = np.zeros(len(credit)), parts_after(live, commit)
    prices, limit_prices = memory.prices, memory.limit_prices
    if solution.status is not Status.FAILED:
        there = row >= 0
        share = np.minimum(1.0, formulation.parts(in_turns(formulation, solution.shares)).sum(axis=1))
        pace[there] = share[row[there]] - parts[there]
        pace[np.abs(pace) <= _PACE_TOLERANCE] = 0.0
        prices = formulation.prices_to_remember(solution.prices, memory)
        limit_prices = formulation.limit_prices_to_remember(decision.market.limit_prices, memory)
    history: Mapping[str, QueueHistory] = {}
    if policy.usage_strength > 0:
        history = history_after(memory, snapshot, decision, configurations_after(live, commit), parts, policy)
    kept = (credit != 0) | (pace != 0)
    return Memory(
        time=snapshot.time,
        sequences=array("q", live.jobs.sequence[kept].tobytes()),
        credits=array("d", credit[kept].tobytes()),
        pace=array("d", pace[kept].tobytes()),
        prices=prices,
        limit_prices=limit_prices,
        work=coming_work(live, prices, memory.work),
        history=history,
    )
