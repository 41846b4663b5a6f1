"""Kernels: how many replicas a node could take, and what that costs those who will come, kept until the node changes.

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
ROOM, OF_ONE, OF_GANG = 0, 1, 2
"""What a row says of nodes: see `costs`."""
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


def value_on(space: Space, kinds: Kinds, which: int, kind: int, node: int) -> int:
    """What a row of this sort says of the node."""
    if which == ROOM:
        return room_if_open(space, kinds, kind, 1000, node)
    return cost_on(space, kinds, kind, kinds.replicas[kind] if which == OF_GANG else 1, node)


def kept_row(space: Space, kinds: Kinds, which: int, kind: int) -> int:
    """The slot that says for all nodes of the kind's flavor how many replicas of it they could take (ROOM), what one of
    them costs there (OF_ONE), or its whole gang (OF_GANG). What has changed since it was last asked for is computed
    again. Only where rows are kept.
    """
    costs, flavor, changes = kinds.costs, kinds.flavor[kind], space.changes
    row = which * len(kinds.flavor) + kind
    slot = row % len(costs.holder)
    line = costs.kept[slot]
    first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
    now, ring = changes[-1], len(changes) - 1
    if costs.holder[slot] != row or now - costs.seen[slot] > ring:
        for node in range(first, last):
            line[node] = value_on(space, kinds, which, kind, node)
    else:
        for change in range(costs.seen[slot], now):
            line[changes[change % ring]] = _STALE
        for change in range(costs.seen[slot], now):
            node = changes[change % ring]
            if first <= node < last and line[node] == _STALE:
                line[node] = value_on(space, kinds, which, kind, node)
    costs.holder[slot] = row
    costs.seen[slot] = now
    return slot


def priced(space: Space, kinds: Kinds, kind: int, times: int) -> int:
    """The slot with the costs of all nodes of the kind's flavor, for its whole gang if that is `times`, otherwise for
    one replica; -1 where no costs are kept.
    """
    if len(kinds.costs.holder) == 0:
        return -1
    return kept_row(space, kinds, OF_GANG if times == kinds.replicas[kind] else OF_ONE, kind)


def cheapest(space: Space, kinds: Kinds, kind: int, slot: int) -> int:
    """The open node of the kind's flavor with the least cost, then the least slack, then the first; -1: none fits."""
    line, slack, is_open = kinds.costs.kept[slot], space.slack, space.open
    flavor = kinds.flavor[kind]
    best = -1
    least = NEVER - 1
    for node in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
        if line[node] > least or not is_open[node]:
            continue
        if best >= 0 and line[node] == least and slack[node] >= slack[best]:
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


KERNELS = (spent, cost_on, value_on, kept_row, priced, cheapest, device_for)
"""In order: each calls only those before it."""
