"""Kernels: limits on who else is in the same domain, and what a job must be near to.

A *bound* is a distinct (per, of, at most): while a job that declares it is in a domain of `per`, at most so many
replicas of jobs that carry all labels `of` may be there. It binds whoever comes later as well. Affinity is the same
table read the other way: a job that must be near to `of` may only go where one of them is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.placement.ordering import largest_first
from allocator.placement.space import Booleans, Integers, Places, Pool

MEMBER, DECLARES, NEAR = 1, 2, 4
"""What a job has to do with a bound: its labels count, it set the limit, it must be where others are. Added up."""


class Bounds(NamedTuple):
    """B bounds, the jobs that have to do with them, and who is where."""

    domain: Integers
    """(B, N) number of the domain each node is in."""
    most: Integers
    """(B,) replicas."""
    members: Integers
    """(B, domains) replicas there whose labels count; changed on the way."""
    declarers: Integers
    """(B, domains) replicas there of jobs that set the limit; changed on the way."""
    starts: Integers
    """(J + 1,): what job j has to do with is bound[starts[j] : starts[j + 1]]."""
    bound: Integers
    """(E,)"""
    role: Integers
    """(E,) MEMBER, DECLARES and NEAR added up."""
    is_lone: Booleans
    """(B,) whether each domain is one node: then no two nodes share what it allows."""
    is_wanted: Booleans
    """(B,) whether somebody must be near to those that the bound is about."""
    combination: Integers
    """(J,) jobs with the same number have to do with the same bounds in the same way; -1: with none."""


def join(bounds: Bounds, pool: Pool, job: int, first: int, pieces: int, sign: int) -> None:
    """Count the pieces of a job that has come (sign 1) or gone (-1)."""
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        bound = bounds.bound[entry]
        for piece in range(first, first + pieces):
            domain = bounds.domain[bound, pool.node[piece]]
            if bounds.role[entry] & MEMBER:
                bounds.members[bound, domain] += sign * pool.replicas[piece]
            if bounds.role[entry] & DECLARES:
                bounds.declarers[bound, domain] += sign * pool.replicas[piece]


def join_all(bounds: Bounds, pool: Pool, places: Places) -> None:
    """Count everybody who has a place."""
    for job in range(len(places.kind)):
        if places.kind[job] >= 0:
            join(bounds, pool, job, places.first[job], places.pieces[job], 1)


def room_under(role: int, members: int, declarers: int, most: int, room: int) -> int:
    """How many of `room` replicas a bound allows a job with this role, where so many are and declare it."""
    if role & NEAR and members < 1:
        return 0
    if role & DECLARES or (role & MEMBER and declarers > 0):
        if role & MEMBER:
            return int(min(room, max(0, most - members)))
        if members > most:
            return 0
    return room


def bounded_room(bounds: Bounds, job: int, node: int, room: int) -> int:
    """How many of `room` replicas of the job bounds allow on the node, if it were the only one of its domain."""
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        bound, role = bounds.bound[entry], bounds.role[entry]
        domain = bounds.domain[bound, node]
        members, declarers = bounds.members[bound, domain], bounds.declarers[bound, domain]
        room = room_under(role, members, declarers, bounds.most[bound], room)
    return room


def bound_counts(bounds: Bounds, job: int, first: int, last: int, counts: Integers) -> int:
    """Lower `counts` on nodes first : last to what bounds allow all of them together; their sum. In a domain of several
    nodes the fullest are used first.
    """
    if bounds.starts[job] == bounds.starts[job + 1]:
        return int(counts[first:last].sum())
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        bound, role = bounds.bound[entry], bounds.role[entry]
        domain, members, declarers = bounds.domain[bound], bounds.members[bound], bounds.declarers[bound]
        most = bounds.most[bound]
        for node in range(first, last):
            if counts[node] > 0:
                here = domain[node]
                counts[node] = room_under(role, members[here], declarers[here], most, counts[node])
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        bound, role = bounds.bound[entry], bounds.role[entry]
        if not role & MEMBER or bounds.is_lone[bound]:
            continue
        taken = np.zeros(bounds.members.shape[1], dtype=np.int64)
        order = largest_first(counts[first:last])
        for position in range(len(order)):
            node = first + order[position]
            domain = bounds.domain[bound, node]
            if role & DECLARES or bounds.declarers[bound, domain] > 0:
                left = bounds.most[bound] - bounds.members[bound, domain] - taken[domain]
                counts[node] = min(counts[node], max(0, left))
                taken[domain] += counts[node]
    return int(counts[first:last].sum())


def is_near(bounds: Bounds, job: int, other: int) -> bool:
    """Whether the other is one of those that the job must be near to: stopping it would not help."""
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        if bounds.role[entry] & NEAR == 0:
            continue
        for theirs in range(bounds.starts[other], bounds.starts[other + 1]):
            if bounds.bound[theirs] == bounds.bound[entry] and bounds.role[theirs] & MEMBER:
                return True
    return False


def draws_others(bounds: Bounds, job: int) -> bool:
    """Whether somebody may have waited to be near to the job."""
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        if bounds.role[entry] & MEMBER and bounds.is_wanted[bounds.bound[entry]]:
            return True
    return False


def may_return(bounds: Bounds, pool: Pool, job: int, first: int, pieces: int) -> bool:
    """Whether bounds allow a lifted job to go back where it was. What it must be near to is asked at starts only."""
    allowed = True
    join(bounds, pool, job, first, pieces, 1)
    for entry in range(bounds.starts[job], bounds.starts[job + 1]):
        bound, role = bounds.bound[entry], bounds.role[entry]
        if role & (MEMBER | DECLARES) == 0:
            continue
        for piece in range(first, first + pieces):
            domain = bounds.domain[bound, pool.node[piece]]
            if bounds.declarers[bound, domain] > 0 and bounds.members[bound, domain] > bounds.most[bound]:
                allowed = False
    join(bounds, pool, job, first, pieces, -1)
    return allowed


KERNELS = (join, join_all, room_under, bounded_room, bound_counts, is_near, draws_others, may_return)
"""In order: each calls only those before it."""
