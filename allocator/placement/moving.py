"""Kernels: running jobs move aside so that a gang fits: all of them have a place afterwards, or nothing has changed.

Equivalent to: lift those who shall move out of their places; place the gang; let everybody whose old place is still
free go back to it, the last named first; place the others wherever they fit as what they run as. If the gang or one of
them finds no place, undo everything.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.allowing import charge, excess, replicas_held
from allocator.placement.bounds import join, may_return
from allocator.placement.fit import holds, take
from allocator.placement.space import Integers, Pool
from allocator.placement.starting import find, settle_in
from allocator.placement.world import World

MOVED_ASIDE = 6
"""Code of `evictions.REASONS`."""
DONE, GANG_HAS_NO_PLACE = -1, -2
"""Answers other than a position among those who shall move."""
STAYS = -1
"""Instead of a first piece: the job is where it was."""


def lift(world: World, pool: Pool, job: int, sign: int) -> None:
    """Put a job (back) into the place that is noted for it (sign 1), or lift it out of it (-1)."""
    places = world.places
    take(world.space, world.kinds, pool, places, job, sign)
    join(world.bounds, pool, job, places.first[job], places.pieces[job], sign)


def vacate(world: World, pool: Pool, job: int, first: int, pieces: int) -> None:
    """Give back a place that was found for a job, but not noted."""
    places = world.places
    old_first, old_pieces = places.first[job], places.pieces[job]
    places.first[job] = first
    places.pieces[job] = pieces
    lift(world, pool, job, -1)
    places.first[job] = old_first
    places.pieces[job] = old_pieces


def stay_or_go(world: World, pool: Pool, movers: Integers, found: Integers) -> tuple[Pool, int]:
    """Let lifted jobs go back to their old places, or to others: the pool, and which of them found none, or DONE.
    `found` (movers, 2): first piece and pieces of new places; 0 pieces: it is where it was, or nowhere.
    """
    places = world.places
    for position in range(len(movers) - 1, -1, -1):
        mover = movers[position]
        fits = holds(world.space, world.kinds, pool, places, mover)
        if fits and may_return(world.bounds, pool, mover, places.first[mover], places.pieces[mover]):
            lift(world, pool, mover, 1)
            found[position, 0] = STAYS
    for position in range(len(movers)):
        if found[position, 0] == STAYS:
            continue
        first = pool.used[0]
        pool = find(world, pool, movers[position], places.kind[movers[position]])
        found[position, 0] = first
        found[position, 1] = pool.used[0] - first
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
    if excess(world, job, kind, world.kinds.replicas[kind]) > 0:
        return pool, GANG_HAS_NO_PLACE
    first, devices = pool.used[0], pool.used[1]
    found = np.zeros((len(movers), 2), dtype=np.int64)
    for position in range(len(movers)):
        lift(world, pool, movers[position], -1)
    pool = find(world, pool, job, kind)
    pieces = pool.used[0] - first
    answer = GANG_HAS_NO_PLACE
    if pieces > 0:
        pool, answer = stay_or_go(world, pool, movers, found)
    if answer == DONE:
        settle_in(world, job, kind, world.options.configuration[row, column], first, pieces)
        for position in range(len(movers)):
            if found[position, 1] > 0:
                mover = movers[position]
                world.space.grown[world.kinds.flavor[kind]] += 1
                jobs.evicted[mover] = MOVED_ASIDE
                as_it_was = jobs.configuration[mover]
                charge(world, mover, places.kind[mover], replicas_held(world, pool, mover), -1)
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


KERNELS = (lift, vacate, stay_or_go, move_aside)
"""In order: each calls only those before it."""
