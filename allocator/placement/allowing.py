"""Kernels: what quotas still allow. Every start counts against its queue and those above it, on its flavor.

Two things are asked (`market.limits` has the same for shares of time): a queue uses at most its nominal quota and its
borrowing limit together; and what all queues reserve fits, where a queue reserves what it uses, or what it does not
lend if that is more, and an inner queue what those below it reserve, or what it does not lend.
"""

from __future__ import annotations

from allocator.placement.room import part_of
from allocator.placement.space import Kinds, Pool
from allocator.placement.world import World


def amount_of(kinds: Kinds, kind: int, resource: int, millis: int) -> int:
    """What one replica takes of a resource; the one after the last is milli-GPUs."""
    if resource == kinds.amount.shape[1]:
        return int(kinds.devices[kind] * 1000 + kinds.part[kind])
    return part_of(kinds.amount[kind, resource], millis)


def charge(world: World, job: int, kind: int, replicas: int, sign: int) -> None:
    """Count replicas of a kind as used by the job's queue (`sign` 1), or no longer (-1)."""
    allowed = world.allowances
    leaf = allowed.leaf[job]
    if leaf < 0:
        return
    flavor, millis = world.kinds.flavor[kind], world.places.millis[job]
    for resource in range(allowed.used.shape[2]):
        amount = sign * replicas * amount_of(world.kinds, kind, resource, millis)
        if amount == 0:
            continue
        queue, change = leaf, amount
        while queue >= 0:
            allowed.used[queue, flavor, resource] += amount
            kept = allowed.kept[queue, flavor, resource]
            before = max(allowed.wanted[queue, flavor, resource], kept)
            allowed.wanted[queue, flavor, resource] += change
            change = max(allowed.wanted[queue, flavor, resource], kept) - before
            queue = allowed.parent[queue]
        allowed.reserved[flavor, resource] += change


def excess(world: World, job: int, kind: int, replicas: int) -> int:
    """By how much the queues would be beyond what they may, added up, if the job started so; 0: it may."""
    allowed = world.allowances
    leaf = allowed.leaf[job]
    if leaf < 0:
        return 0
    flavor, millis, beyond = world.kinds.flavor[kind], world.places.millis[job], 0
    for resource in range(allowed.used.shape[2]):
        amount = replicas * amount_of(world.kinds, kind, resource, millis)
        if amount == 0:
            continue
        queue, change = leaf, amount
        while queue >= 0:
            beyond += max(0, allowed.used[queue, flavor, resource] + amount - allowed.most[queue, flavor, resource])
            kept = allowed.kept[queue, flavor, resource]
            wanted = allowed.wanted[queue, flavor, resource]
            change = max(wanted + change, kept) - max(wanted, kept)
            queue = allowed.parent[queue]
        if allowed.lends[flavor, resource] and change > 0:
            over = allowed.reserved[flavor, resource] + change - allowed.capacity[flavor, resource]
            beyond += max(0, over)
    return beyond


def replicas_in(pool: Pool, first: int, pieces: int) -> int:
    """Of these pieces: those that have not finished."""
    held = 0
    for piece in range(first, first + pieces):
        held += pool.replicas[piece]
    return held


KERNELS = (amount_of, charge, excess, replicas_in)
"""In order: each calls only those before it."""
