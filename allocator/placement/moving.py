"""Kernels: running jobs move aside so that a gang fits: all of them have a place afterwards, or nothing has changed.

Equivalent to: lift those who shall move out of their places; place the gang; let everybody whose old place is still
free go back to it, the last named first; place the others wherever they fit as what they run as. If the gang or one of
them finds no place, undo everything.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.entering import is_free, lacking, lets_return, lift
from allocator.placement.space import Integers, Pool
from allocator.placement.starting import find, settle_in
from allocator.placement.world import World

MOVED_ASIDE = 6
"""Code of `evictions.REASONS`."""
DONE, GANG_HAS_NO_PLACE = -1, -2
"""Answers other than a position among those who shall move."""
STAYS = -1
"""Instead of a first piece: the job is where it was."""


def vacate(world: World, pool: Pool, job: int, first: int, pieces: int) -> None:
    """Give back a place that was found for a job, but not noted."""
    places = world.places
    old_first, old_pieces = places.first[job], places.pieces[job]
    places.first[job] = first
    places.pieces[job] = pieces
    lift(world, pool, job, -1)
    places.first[job] = old_first
    places.pieces[job] = old_pieces


def stay_or_go(
    world: World, pool: Pool, job: int, kind: int, first: int, movers: Integers, found: Integers
) -> tuple[Pool, int]:
    """Let lifted jobs go back to their old places, or to others, now that `job` has come to the last pieces, from
    `first` on: the pool, and which of them found none, or DONE. `found` (movers, 2): first piece and pieces of new
    places; 0 pieces: it is where it was, or nowhere.
    """
    places, pieces = world.places, pool.used[0] - first
    for position in range(len(movers) - 1, -1, -1):
        mover = movers[position]
        if is_free(world, pool, mover) and lets_return(world, pool, mover, job, kind, first, pieces):
            lift(world, pool, mover, 1)
            found[position, 0] = STAYS
    for position in range(len(movers)):
        if found[position, 0] == STAYS:
            continue
        start = pool.used[0]
        pool = find(world, pool, movers[position], places.kind[movers[position]])
        found[position, 0] = start
        found[position, 1] = pool.used[0] - start
        if found[position, 1] == 0:
            return pool, position
    return pool, DONE


def move_aside(world: World, pool: Pool, job: int, column: int, movers: Integers) -> tuple[Pool, int]:
    """Place a job without a place as its option `column` says, while `movers` move. (the pool; DONE, or
    GANG_HAS_NO_PLACE, or which of the movers found no place: then nothing has changed).
    """
    places, jobs = world.places, world.jobs
    row = jobs.option_row[job]
    kind = world.options.kind[row, column]
    if lacking(world, job, kind) > 0:
        return pool, GANG_HAS_NO_PLACE
    first, devices = pool.used[0], pool.used[1]
    found = np.zeros((len(movers), 2), dtype=np.int64)
    for position in range(len(movers)):
        lift(world, pool, movers[position], -1)
    pool = find(world, pool, job, kind)
    pieces = pool.used[0] - first
    answer = GANG_HAS_NO_PLACE
    if pieces > 0:
        pool, answer = stay_or_go(world, pool, job, kind, first, movers, found)
    if answer == DONE:
        settle_in(world, job, kind, world.options.configuration[row, column], first, pieces)
        world.limits.released[0] += 1
        for position in range(len(movers)):
            if found[position, 1] > 0:
                mover = movers[position]
                world.space.grown[world.kinds.flavor[kind]] += 1
                jobs.evicted[mover] = MOVED_ASIDE
                as_it_was = jobs.configuration[mover]
                settle_in(world, mover, places.kind[mover], as_it_was, found[position, 0], found[position, 1])
        return pool, answer
    for position in range(len(movers)):
        if found[position, 0] == STAYS:
            lift(world, pool, movers[position], -1)
        elif found[position, 1] > 0:
            vacate(world, pool, movers[position], found[position, 0], found[position, 1])
    if pieces > 0:
        places.kind[job] = kind
        vacate(world, pool, job, first, pieces)
        places.kind[job] = -1
    for position in range(len(movers)):
        lift(world, pool, movers[position], 1)
    pool.used[0] = first
    pool.used[1] = devices
    return pool, answer


def which_may_start(world: World, jobs: Integers, kind: int) -> Integers:
    """(n,) 1 for those of `jobs` whom quotas and side constraints let start as this kind, whatever the nodes."""
    found = np.zeros(len(jobs), dtype=np.int64)
    for position in range(len(jobs)):
        found[position] = lacking(world, jobs[position], kind) == 0
    return found


KERNELS = (vacate, stay_or_go, move_aside, which_may_start)
"""In order: each calls only those before it."""
