"""Kernels: who runs this round: one walk over the jobs, the most owed first, each whole or not at all.

Equivalent to:

1. Take the jobs that wait, those that were evicted, and those that want another configuration; in order of priority
   class, then credit, then admission.
2. Each tries the configurations to which the optimum gave a share, the largest first, in free space; if none fits, by
   stopping others (`stopping`). Whoever is stopped joins the walk at its own place in the order. If that does not help
   either because of jobs that cannot be stopped, nodes may be reserved for it (`reserving`).
3. When a priority class is through, each of its jobs that is still without a place tries all other configurations
   it could run in: whatever the optimum would leave idle is used.
4. If room was made on the way, walk again, because somebody who came earlier may now fit.

A running job is not touched unless somebody needs its place, or the optimum moved it wholly to another configuration.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.entering import go_home, lacking
from allocator.placement.reserving import reserve
from allocator.placement.space import Integers, Pool
from allocator.placement.starting import reconfigure, start, start_instead_of_others
from allocator.placement.stopping import LOST_TO_QUOTA
from allocator.placement.turns import comes_before, pop, push
from allocator.placement.world import OWED, SPARE, World

NOT_KNOWN = 2000
"""Thousandths of a demand that nobody asks for."""


def is_allowed_any(world: World, job: int) -> bool:
    """Whether quotas and side constraints let the job start in any of its options: otherwise it lacks no nodes."""
    row = world.jobs.option_row[job]
    for column in range(world.options.choices[row]):
        kind = world.options.kind[row, column]
        if world.kinds.flavor[kind] >= 0 and lacking(world, job, kind) == 0:
            return True
    return False


def turn(world: World, pool: Pool, job: int, preempting: bool) -> Pool:
    """What one job does when its turn has come."""
    if world.places.kind[job] >= 0:
        if preempting and world.jobs.in_place[job] and world.jobs.wish[job] >= 0:
            pool = reconfigure(world, pool, job)
        return pool
    owed = world.jobs.phase[job] == OWED
    if world.jobs.evicted[job] >= LOST_TO_QUOTA and go_home(world, pool, job):
        return pool  # what it was stopped for is there again
    pool = start(world, pool, job, owed)
    if world.places.kind[job] < 0 and preempting:
        pool = start_instead_of_others(world, pool, job, owed)
        if world.places.kind[job] < 0 and owed and len(world.reservations.job) > 0 and is_allowed_any(world, job):
            reserve(world, job)
    return pool


def is_hopeful(world: World, job: int, preempting: bool) -> bool:
    """Whether a turn may change anything: most jobs know at once that there is nothing to be had."""
    owed = world.jobs.phase[job] == OWED
    if world.places.kind[job] >= 0 or world.jobs.particular[job] or (len(world.reservations.job) > 0 and owed):
        return True
    row = world.jobs.option_row[job]
    for column in range(world.options.choices[row]):
        kind = world.options.kind[row, column]
        flavor = world.kinds.flavor[kind]
        if world.options.owed[row, column] == owed and flavor >= 0:
            if world.scratch.failed[0, kind] != world.space.grown[flavor]:
                return True
            if preempting and not world.scratch.hopeless[kind]:
                return True
    return False


def next_position(world: World, asking: Integers, at: Integers) -> int:
    """The next of `asking` to have a turn, its phase noted; -1 if there is none. `at`: (position, phase, first and end
    of the priority class), moved on.
    """
    jobs = world.jobs
    while True:
        if at[0] == at[3]:  # the class is through: its second phase, or the next class
            if at[1] == OWED and at[2] < at[3]:
                at[0], at[1] = at[2], SPARE
            else:
                if at[3] == len(asking):
                    return -1
                at[1], at[2] = OWED, at[3]
                while at[3] < len(asking) and jobs.priority[asking[at[3]]] == jobs.priority[asking[at[2]]]:
                    at[3] += 1
                at[0] = at[2]
        job = asking[at[0]]
        if not world.scratch.joined[job] and (at[1] == OWED or world.places.kind[job] < 0):
            jobs.phase[job] = at[1]
            return int(at[0])
        at[0] += 1


def walk(world: World, pool: Pool, asking: Integers, preempting: bool) -> Pool:
    """One walk over everybody who wants something: those of `asking`, which is in order, and whoever lost its place.

    Whoever loses its place on the way has its turns where it belongs in the order, or at once if that is past.
    """
    jobs, scratch = world.jobs, world.scratch
    heap = scratch.heap
    scratch.hopeless[:] = False
    scratch.dead_ends[:] = -1
    scratch.stuck[:] = NOT_KNOWN
    scratch.joined[:] = False
    heap[-1] = 0
    for position in range(scratch.lost[-1]):
        job = scratch.lost[position]
        if world.places.kind[job] < 0 and not scratch.joined[job]:
            jobs.phase[job] = OWED
            scratch.joined[job] = True
            push(jobs, heap, job)
    at = np.zeros(4, dtype=np.int64)
    while True:
        position = next_position(world, asking, at)
        late = heap[-1] > 0 and (position < 0 or comes_before(jobs, heap[0], asking[position]))
        if late:
            job = pop(jobs, heap)
        elif position < 0:
            return pool
        else:
            job = asking[position]
            at[0] += 1
        if late or is_hopeful(world, job, preempting):
            pool = turn(world, pool, job, preempting)
        if late and world.places.kind[job] < 0 and jobs.phase[job] == OWED:
            jobs.phase[job] = SPARE
            push(jobs, heap, job)


KERNELS = (is_allowed_any, turn, is_hopeful, next_position, walk)
"""In order: each calls only those before it."""
