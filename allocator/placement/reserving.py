"""Kernels: nodes kept for a job that is owed much and cannot start because of jobs that nobody may stop.

Without reservations a large gang, or one among non-preemptible jobs, could wait for ever: whatever gets free is taken
by smaller jobs that fit at once. So when the walk comes to a job that is owed at least the hysteresis, or more than
anybody else who waits, and even with every preemptible job gone it would not fit, it chooses the nodes on which most
of its replicas could be then, and keeps them: until the end of the walk no non-preemptible job may start there unless
it is expected to end before the reserved start, which is when the last of those in the way is expected to end.
Preemptible jobs may: they can be stopped when the time has come. Backfilling, that is.

Room for the reserving gang on its nodes is taken by nobody who is owed less, and its credit grows while it waits.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.fit import choose, count_all
from allocator.placement.ordering import largest_first
from allocator.placement.room import room_on
from allocator.placement.space import Integers
from allocator.placement.world import World


def close_reserved(world: World, job: int) -> int:
    """Close reserved nodes to a job that would be in the way, until `reopen_reserved`: 1 if it would, otherwise 0."""
    reservations, jobs = world.reservations, world.jobs
    if jobs.preemptible[job] or reservations.nodes[-1] == 0:
        return 0
    if np.isfinite(reservations.start[0]) and jobs.duration[job] <= reservations.start[0]:
        return 0
    for position in range(reservations.nodes[-1]):
        world.space.open[reservations.nodes[position]] = False
    return 1


def reopen_reserved(world: World) -> None:
    """Undo `close_reserved`."""
    for position in range(world.reservations.nodes[-1]):
        world.space.open[world.reservations.nodes[position]] = True


def free_slot(world: World, job: int) -> int:
    """Where a reservation can be noted; -1 if there are enough, or the job has one."""
    free = -1
    for slot in range(len(world.reservations.job)):
        if world.reservations.job[slot] == job:
            return -1
        if world.reservations.job[slot] < 0 and free < 0:
            free = slot
    return free


def keep_best_domain(world: World, kind: int, counts: Integers) -> None:
    """Set counts to -1 but for the domain in which most of the gang could be without those who may be stopped, of the
    domains that could hold it all if they were empty.
    """
    kinds, empty = world.kinds, world.reservations.empty
    flavor, need = kinds.flavor[kind], kinds.replicas[kind]
    first, last = world.space.flavor_starts[flavor], world.space.flavor_starts[flavor + 1]
    domains = kinds.domains[kinds.within[kind]]
    size = domains.max() + 1
    now, most = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for node in range(first, last):
        if not world.reservations.reserved[node]:
            now[domains[node]] += counts[node]
            most[domains[node]] += room_on(empty, kinds, kind, 1000, node)
    best = -1
    for domain in range(size):
        if most[domain] >= need and (best < 0 or now[domain] > now[best]):
            best = domain
    for node in range(first, last):
        if domains[node] != best:
            counts[node] = -1


def reserve(world: World, job: int) -> None:
    """Keep nodes for a job that could not start, if it is owed enough and non-preemptible jobs are in its way."""
    reservations, kinds, counts = world.reservations, world.kinds, world.scratch.counts
    row = world.jobs.option_row[job]
    enough = world.jobs.credit[job] >= reservations.owed or (job == reservations.first and world.jobs.credit[job] > 0)
    if not enough or not world.options.owed[row, 0]:
        return
    slot = free_slot(world, job)
    kind = world.options.kind[row, 0]
    flavor, missing = kinds.flavor[kind], kinds.replicas[kind]
    if slot < 0 or flavor < 0:
        return
    if world.scratch.unhindered[kind]:
        return
    total = count_all(reservations.lasting, kinds, kind, 1000, counts)
    if total >= missing and choose(world.space, kinds, kind, missing, counts.copy(), world.scratch.fill) > 0:
        world.scratch.unhindered[kind] = True
        return  # where only preemptible jobs are in the way, credit will move them
    if kinds.within[kind] >= 0:
        keep_best_domain(world, kind, counts)
    first, last = world.space.flavor_starts[flavor], world.space.flavor_starts[flavor + 1]
    order = largest_first(counts[first:last])
    chosen = 0
    start = 0.0
    for position in range(len(order)):
        if missing <= 0:
            break
        node = first + order[position]
        room = 0 if counts[node] < 0 else room_on(reservations.empty, kinds, kind, 1000, node)
        if room > 0 and not reservations.reserved[node]:
            order[chosen] = node
            chosen += 1
            missing -= room
            if counts[node] < room:
                start = max(start, reservations.ends[node])
    if missing > 0:
        return
    for position in range(chosen):
        reservations.reserved[order[position]] = True
        reservations.nodes[reservations.nodes[-1]] = order[position]
        reservations.nodes[-1] += 1
    if reservations.job[0] < 0 or start < reservations.start[0]:
        reservations.start[0] = start
    reservations.job[slot] = job


KERNELS = (close_reserved, reopen_reserved, free_slot, keep_best_domain, reserve)
"""In order: each calls only those before it."""
