"""Kernels: how many replicas fit a node, and what is derived of a node's free amounts."""

from __future__ import annotations

import numpy as np

from allocator.placement.space import Integers, Kinds, Space

_GPU = 1000


def refresh(space: Space, node: int) -> None:
    """Recompute what is derived from free amounts; fresh every time, so that undoing gives back the same bits."""
    whole = 0
    left = 0
    for device in range(space.devices.shape[1]):
        millis = space.devices[node, device]
        left += millis
        if millis == _GPU:
            whole += 1
    space.whole[node] = whole
    slack = left * space.device_worth[node]
    for resource in range(space.free.shape[1]):
        slack += space.free[node, resource] * space.worth[node, resource]
    space.slack[node] = slack
    space.changes[space.changes[-1] % (len(space.changes) - 1)] = node
    space.changes[-1] += 1


def part_of(amount: int, millis: int) -> int:
    """Thousandths of an amount, rounded up."""
    if millis == 1000:
        return amount
    return -(-amount * millis // 1000)


def room_if_open(space: Space, kinds: Kinds, kind: int, millis: int, node: int) -> int:
    """`room_on` a node that takes new work."""
    if kinds.mask[kind] >= 0 and not kinds.masks[kinds.mask[kind], node]:
        return 0
    room = int(kinds.cap[kind])
    for resource in range(space.free.shape[1]):
        amount = part_of(kinds.amount[kind, resource], millis)
        if amount > 0:
            free = space.free[node, resource]
            if free < amount:
                return 0
            room = min(room, free // amount)
    devices = kinds.devices[kind]
    if devices > 0:
        room = min(room, space.whole[node] // devices)
    part = kinds.part[kind]
    if part > 0:
        fractions = 0
        for device in range(space.devices.shape[1]):
            fractions += space.devices[node, device] // part
        room = min(room, fractions)
    return room


def room_on(space: Space, kinds: Kinds, kind: int, millis: int, node: int) -> int:
    """How many replicas that hold `millis` thousandths of their demand the node could take now, at most what the gang
    needs and its limits on itself allow.
    """
    return room_if_open(space, kinds, kind, millis, node) if space.open[node] else 0


def able_nodes(space: Space, kinds: Kinds, kind: int, millis: int) -> Integers:
    """The nodes of the kind's flavor with enough for one replica, ascending; its limits and labels aside.

    One tight loop over a few arrays: in a busy cluster nearly every node is ruled out here.
    """
    flavor = kinds.flavor[kind]
    first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
    found = np.empty(last - first, dtype=np.int64)
    free, is_open, whole, devices = space.free, space.open, space.whole, space.devices
    resources, gpus = free.shape[1], devices.shape[1]
    needed = np.empty(resources, dtype=np.int64)
    for resource in range(resources):
        needed[resource] = part_of(kinds.amount[kind, resource], millis)
    idle, part = kinds.devices[kind], kinds.part[kind]
    count = 0
    for node in range(first, last):
        fits = is_open[node] and whole[node] >= idle
        for resource in range(resources):
            fits &= needed[resource] <= 0 or free[node, resource] >= needed[resource]
        if fits and part > 0:
            fits = False
            for device in range(gpus):
                fits |= devices[node, device] >= part
        if fits:
            found[count] = node
            count += 1
    return found[:count]


def has_shared_device(space: Space, kinds: Kinds, kind: int, node: int) -> bool:
    """Whether a replica that needs a part of a device could join others on one."""
    for device in range(space.devices.shape[1]):
        left = space.devices[node, device]
        if kinds.part[kind] <= left < _GPU:
            return True
    return False


KERNELS = (refresh, part_of, room_if_open, room_on, able_nodes, has_shared_device)
"""In order: each calls only those before it."""
