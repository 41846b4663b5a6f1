"""Kernels: a job comes to a place or leaves it: everything that goes by who is where is told."""

from __future__ import annotations

from allocator.placement.allowing import charge, excess, replicas_in
from allocator.placement.bounds import join, may_return
from allocator.placement.fit import holds, take
from allocator.placement.limiting import count, exceeding, overrun
from allocator.placement.room import part_of
from allocator.placement.space import Integers, Pool
from allocator.placement.world import World


def enter(world: World, pool: Pool, job: int, kind: int, first: int, pieces: int, sign: int) -> None:
    """Count the pieces of a job that has come (sign 1) or gone (-1): bounds, quotas, side constraints."""
    join(world.bounds, pool, job, first, pieces, sign)
    charge(world, job, kind, replicas_in(pool, first, pieces), sign)
    count(world, pool, job, kind, first, pieces, sign)


def lift(world: World, pool: Pool, job: int, sign: int) -> None:
    """Put a job (back) into the place that is noted for it (sign 1), or lift it out of it (-1)."""
    places = world.places
    take(world.space, world.kinds, pool, places, job, sign)
    enter(world, pool, job, places.kind[job], places.first[job], places.pieces[job], sign)


def lacking(world: World, job: int, kind: int) -> int:
    """By how much quotas and side constraints would be exceeded if the job started so, whatever its nodes, added up;
    0: they let it start.
    """
    replicas = world.kinds.replicas[kind]
    return excess(world, job, kind, replicas) + overrun(world, job, kind, replicas)


def beyond_at(world: World, pool: Pool, job: int) -> int:
    """The same for a job that was lifted, if it went back."""
    kind, first, pieces = world.places.kind[job], world.places.first[job], world.places.pieces[job]
    return excess(world, job, kind, replicas_in(pool, first, pieces)) + exceeding(world, pool, job, kind, first, pieces)


def is_free(world: World, pool: Pool, job: int) -> bool:
    """Whether a lifted job fits into its old place, quotas and side constraints aside."""
    places = world.places
    fits = holds(world.space, world.kinds, pool, places, job)
    return fits and may_return(world.bounds, pool, job, places.first[job], places.pieces[job])


def lets_return(world: World, pool: Pool, job: int, comer: int, kind: int, first: int, pieces: int) -> bool:
    """Whether quotas and side constraints let a lifted job go back now that somebody has come. What was exceeded before
    is no reason: only what the comer takes as well.
    """
    if world.jobs.account[job] < 0:
        return True
    beyond = beyond_at(world, pool, job)
    if beyond == 0:
        return True
    enter(world, pool, comer, kind, first, pieces, -1)
    without = beyond_at(world, pool, job)
    enter(world, pool, comer, kind, first, pieces, 1)
    return without >= beyond


def go_home(world: World, pool: Pool, job: int) -> bool:
    """Let a job that was stopped go back to where it was, if it still can: then nothing has happened to it."""
    jobs, places = world.jobs, world.places
    places.kind[job] = jobs.home[job]
    if is_free(world, pool, job) and beyond_at(world, pool, job) == 0:
        lift(world, pool, job, 1)
        jobs.configuration[job] = jobs.home_configuration[job]
        jobs.in_place[job] = True
        jobs.evicted[job] = 0
        return True
    places.kind[job] = -1
    return False


def take_part(world: World, pool: Pool, job: int, part: int) -> int:
    """Let a divisible job hold up to so many thousandths of its demand where it is, at least what it holds, as quotas
    and side constraints allow: how many. What is free on its node is not asked.
    """
    places, low, high = world.places, world.places.millis[job], part
    kind, first, pieces = places.kind[job], places.first[job], places.pieces[job]
    enter(world, pool, job, kind, first, pieces, -1)
    while low < high:
        middle = (low + high + 1) // 2
        places.millis[job] = middle
        if beyond_at(world, pool, job) == 0:
            low = middle
        else:
            high = middle - 1
    places.millis[job] = low
    enter(world, pool, job, kind, first, pieces, 1)
    return int(low)


def take_parts(world: World, pool: Pool, asking: Integers, wanted: Integers) -> None:
    """Let divisible jobs `asking`, in this order, hold up to `wanted` (J,) thousandths of their demand, as far as what
    is free on their nodes, quotas and side constraints allow.
    """
    space, kinds, places = world.space, world.kinds, world.places
    for job in asking:
        node, kind, held, part = pool.node[places.first[job]], places.kind[job], places.millis[job], wanted[job]
        for resource in range(space.free.shape[1]):
            amount = kinds.amount[kind, resource]
            if amount > 0:
                part = min(part, (space.free[node, resource] + part_of(amount, held)) * 1000 // amount)
        if part <= held:
            continue
        part = take_part(world, pool, job, part)
        for resource in range(space.free.shape[1]):
            amount = kinds.amount[kind, resource]
            space.free[node, resource] -= part_of(amount, part) - part_of(amount, held)


KERNELS = (enter, lift, lacking, beyond_at, is_free, lets_return, go_home, take_part, take_parts)
"""In order: each calls only those before it."""
