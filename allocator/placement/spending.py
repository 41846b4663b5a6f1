"""Kernels: what it costs those who will come that a gang takes a node, kept until the node changes.

The cost is that of `prospects` or `fragmentation`, doubled, plus 1 where no device is shared already: of equal costs,
the node on which whole devices stay whole is the cheaper. NEVER where the gang does not fit; whether the node takes
new work is not asked, because that changes on the way.
"""

from __future__ import annotations

from allocator.placement.costs import GRADIENT, LEFT_OVER
from allocator.placement.fragmentation import increase
from allocator.placement.prospects import spend
from allocator.placement.room import has_shared_device, room_if_open
from allocator.placement.space import Integers, Kinds, Space

NEVER = 2**62
_STALE = -(2**62)


def spent(free: Integers, devices: Integers, kinds: Kinds, kind: int, times: int) -> tuple[int, int]:
    """The cost of `times` replicas that fit, and the device to take the part of, which one at a time is asked for."""
    costs, flavor = kinds.costs, kinds.flavor[kind]
    amount, whole, part = kinds.amount[kind] * times, kinds.devices[kind] * times, kinds.part[kind]
    if costs.score == GRADIENT:
        return increase(free, devices, flavor, amount, whole, part, costs.work)
    return spend(free, devices, flavor, amount, whole, part, costs.tables)


def cost_on(space: Space, kinds: Kinds, kind: int, times: int, node: int) -> int:
    """The cost of `times` replicas more on the node."""
    if room_if_open(space, kinds, kind, 1000, node) < times:
        return NEVER
    part = kinds.part[kind]
    unshared = 1 if part > 0 and not has_shared_device(space, kinds, kind, node) else 0
    if kinds.costs.score == LEFT_OVER:
        return unshared
    if part == 0:
        return 2 * spent(space.free[node], space.devices[node], kinds, kind, times)[0]
    total = 0
    free, devices = space.free[node].copy(), space.devices[node].copy()
    for _ in range(times):  # one after another, each on the device that is best then
        cost, device = spent(free, devices, kinds, kind, 1)
        total += cost
        free -= kinds.amount[kind]
        devices[device] -= part
    return 2 * total + unshared


def priced(space: Space, kinds: Kinds, kind: int, times: int) -> int:
    """The slot with the costs of all nodes of the kind's flavor, for its whole gang if that is `times`, otherwise for
    one replica; -1 where no costs are kept. What has changed since it was last asked for is computed again.
    """
    costs, flavor = kinds.costs, kinds.flavor[kind]
    if len(costs.holder) == 0:
        return -1
    whole_gang = times == kinds.replicas[kind]
    row = kind if whole_gang else len(kinds.flavor) + kind
    count = times if whole_gang else 1
    slot = row % len(costs.holder)
    line, changes = costs.cost[slot], space.changes
    first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
    now, room = changes[-1], len(changes) - 1
    if costs.holder[slot] != row or now - costs.seen[slot] > room:
        for node in range(first, last):
            line[node] = cost_on(space, kinds, kind, count, node)
    else:
        for change in range(costs.seen[slot], now):
            line[changes[change % room]] = _STALE
        for change in range(costs.seen[slot], now):
            node = changes[change % room]
            if first <= node < last and line[node] == _STALE:
                line[node] = cost_on(space, kinds, kind, count, node)
    costs.holder[slot] = row
    costs.seen[slot] = now
    return slot


def cheapest(space: Space, kinds: Kinds, kind: int, slot: int) -> int:
    """The open node of the kind's flavor with the least cost, then the least slack, then the first; -1: none fits."""
    line = kinds.costs.cost[slot]
    flavor = kinds.flavor[kind]
    best = -1
    least = NEVER - 1
    for node in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
        if line[node] > least or not space.open[node]:
            continue
        if best >= 0 and line[node] == least and space.slack[node] >= space.slack[best]:
            continue
        best = node
        least = line[node]
    return best


def device_for(space: Space, kinds: Kinds, kind: int, node: int) -> int:
    """The device that a replica should take its part of: the one that costs least, or the tightest."""
    part = kinds.part[kind]
    if kinds.costs.score != LEFT_OVER:
        return spent(space.free[node], space.devices[node], kinds, kind, 1)[1]
    best = -1
    for device in range(space.devices.shape[1]):
        left = space.devices[node, device]
        if left >= part and (best < 0 or left < space.devices[node, best]):
            best = device
    return best


KERNELS = (spent, cost_on, priced, cheapest, device_for)
"""In order: each calls only those before it."""
