"""With which weight of its queue a job's promise would hold: tried on a copy of the facts, and told only if it did."""

from __future__ import annotations

import math
from dataclasses import replace

from allocator.domain.job import Job
from allocator.explain.finished import Finished
from allocator.explain.replay import World, every_round, replayed, world_after
from allocator.rounds.ports import Solver
from allocator.rounds.promise import PromiseState
from allocator.rounds.standings import promise_of, standings

HEAVIEST, STEP, MOST_TRIES = 1024.0, 1.05, 14
"""Times its present weight that is tried at most; how close to the smallest that does; how many rounds are decided."""
_MOST_WEIGHT = 1e6


def weight_that_holds(finished: Finished, job: Job, solver: Solver, interval: float) -> float | None:
    """None if even the heaviest does not, or the promise holds anyway. Facts are those right after the last round."""
    world = world_after(finished)
    queue = next((each for each in world.snapshot.queues if each.name == job.spec.queue), None)
    if queue is None:
        return None
    own = queue.weight
    most = min(own * HEAVIEST, _MOST_WEIGHT)
    if not _holds(world, job, own * 2, solver, interval):
        if most <= own * 2 or not _holds(world, job, most, solver, interval):
            return None
        light, found = own * 2, most
    else:
        light, found = own, own * 2
    for _ in range(MOST_TRIES - 2):
        if found / light <= STEP:
            break
        middle = float(f"{math.sqrt(light * found):.3g}")
        if not light < middle < found:
            break
        if _holds(world, job, middle, solver, interval):
            found = middle
        else:
            light = middle
    return found


def _holds(world: World, job: Job, weight: float, solver: Solver, interval: float) -> bool:
    """Whether it does in the next round if its queue has that weight."""
    queues = tuple(
        replace(queue, weight=weight) if queue.name == job.spec.queue else queue for queue in world.snapshot.queues
    )
    facts = replace(world, snapshot=replace(world.snapshot, queues=queues)).cold
    step = next(iter(replayed(facts, every_round(world.snapshot.time, interval, 1), solver)))
    formulation = step.decision.formulation
    at = int(formulation.live.positions([job.id])[0])
    seen = step.snapshot.jobs[at]
    found = promise_of(standings(formulation, step.decision.solution.shares), seen, at, step.snapshot.time)
    return found is not None and found.state is PromiseState.KEPT
