"""When a job will start, as far as can be told: the decision replayed forward, in a few scenarios of who ends when."""

from __future__ import annotations

import math
from itertools import pairwise

from allocator.explain.answers import Assumption, Estimate
from allocator.explain.finished import Finished
from allocator.explain.lasting import Lasting
from allocator.explain.replay import World, replayed, sparse, world_after
from allocator.rounds.ports import Solver

ROUNDS, SCENARIOS = 40, 5
"""Looks per scenario, and scenarios where durations are uncertain."""


def estimate_start(
    finished: Finished, job_id: str, solver: Solver, interval: float, rounds: int = ROUNDS, scenarios: int = SCENARIOS
) -> Estimate:
    """Of a job that waited in the last round. At most `rounds` x `scenarios` rounds are decided."""
    world = world_after(finished)
    now = world.snapshot.time
    if job_id in finished.hopeless:
        return Estimate((None,), 0.0, 0, (Assumption.NO_ARRIVALS,))
    times = sparse(now, interval, rounds)
    unknown = finished.policy.horizon_seconds
    uncertain = Lasting(0, now, unknown).is_uncertain(world.snapshot.jobs)
    starts: list[float | None] = []
    decided = 0
    for seed in range(scenarios if uncertain else 1):
        start, looked = _start(world, job_id, solver, times, Lasting(seed, now, unknown))
        starts.append(start)
        decided += looked
    assumptions = [Assumption.NO_ARRIVALS, Assumption.EXPECTED_DURATIONS_HOLD]
    if uncertain:
        assumptions.append(Assumption.UNKNOWN_LAST_AS_LONG_AGAIN)
    if any(later - earlier > 1.5 * interval for earlier, later in pairwise(times)):
        assumptions.append(Assumption.ROUNDS_SKIPPED)
    return Estimate(
        starts=tuple(sorted(starts, key=lambda start: math.inf if start is None else start)),
        horizon_seconds=times[-1] - now if times else 0.0,
        rounds=decided,
        assumptions=tuple(assumptions),
    )


def _start(world: World, job_id: str, solver: Solver, times: list[float], lasting: Lasting) -> tuple[float | None, int]:
    """Seconds until the job starts, None if it does not; and how many rounds that took."""
    looked = 0
    for step in replayed(world, times, solver, lasting.ended):
        looked += 1
        if step.starts(job_id):
            return step.snapshot.time - world.snapshot.time, looked
    return None, looked
