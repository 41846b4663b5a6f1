"""Kernels: how many replicas of a gang each node has where the engine cannot be told (`Space.order`).

Slurm 22.05, asked for a list of nodes, gives each of them one, and then the first in its order all that it has room for
when it looks, which may be more or less than the round saw: then it holds another layout than was decided. As many on
each node it can be told. So a gang is laid out like that where it can be, and else as the engine will most likely do.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.costs import LEFT_OVER
from allocator.placement.ordering import foremost
from allocator.placement.space import Integers, Kinds, Space
from allocator.placement.spending import priced

_MORE_NODES = 2
"""At most so many times as many nodes are taken for it: a gang on few is faster, and leaves fewer pieces."""


def lay_out(space: Space, kinds: Kinds, kind: int, need: int, counts: Integers, fill: Integers, filled: int) -> int:
    """The rows of `fill` (node, replicas), or others in their place, for the engine that is to place them; how many
    there are. `counts` (N,): room of each node, in replicas; where a row fills its node it may be 0.
    """
    for row in range(filled):
        if space.order[fill[row, 0]] < 0:
            return filled
    if is_even(fill, filled):
        return filled
    for row in range(filled):
        counts[fill[row, 0]] = max(counts[fill[row, 0]], fill[row, 1])
    nodes = nodes_around(space, kinds, kind, fill, filled)
    for each in range(need // 2, 0, -1):
        if need // each > _MORE_NODES * filled:
            break
        if need % each == 0 and tightest(space, kinds, kind, each, need // each, counts, nodes, fill):
            return need // each
    as_engines_do(space, counts, fill, filled)
    return filled


def is_even(fill: Integers, filled: int) -> bool:
    """Whether all rows have as many replicas."""
    return bool(np.all(fill[:filled, 1] == fill[0, 1]))


def nodes_around(space: Space, kinds: Kinds, kind: int, fill: Integers, filled: int) -> Integers:
    """The nodes of the flavor that may stand in for those of the fill: where racks matter, of the same racks."""
    flavor = kinds.flavor[kind]
    first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
    within = kinds.within[kind] >= 0
    if not within and not space.racked[0]:
        return np.arange(first, last)
    domains = kinds.domains[kinds.within[kind]] if within else space.rack
    here = np.zeros(domains.max() + 1, dtype=np.bool_)
    for row in range(filled):
        here[domains[fill[row, 0]]] = True
    found = np.empty(last - first, dtype=np.int64)
    many = 0
    for node in range(first, last):
        if here[domains[node]]:
            found[many] = node
            many += 1
    return found[:many]


def tightest(
    space: Space, kinds: Kinds, kind: int, each: int, many: int, counts: Integers, nodes: Integers, fill: Integers
) -> bool:
    """Put so many of `nodes` with room for `each` into `fill`, those with the least room, of equal ones the foremost;
    False if there are not so many.
    """
    levels = np.zeros(counts.max() + 1, dtype=np.int64)
    for position in range(len(nodes)):
        node = nodes[position]
        if counts[node] >= each and space.order[node] >= 0:
            levels[counts[node]] += 1
    if levels.sum() < many:
        return False
    level, left = each, many  # so many are taken of those with just so much room, and all with less
    while levels[level] < left:
        left -= levels[level]
        level += 1
    alike = np.empty(levels[level], dtype=np.int64)
    row, equal = 0, 0
    for position in range(len(nodes)):
        node = nodes[position]
        if counts[node] < each or counts[node] > level or space.order[node] < 0:
            continue
        if counts[node] == level:
            alike[equal] = node
            equal += 1
        else:
            fill[row, 0], fill[row, 1] = node, each
            row += 1
    slot = priced(space, kinds, kind, 1) if kinds.costs.score != LEFT_OVER else -1
    for node in foremost(space, kinds, slot, counts, alike, level, left):
        fill[row, 0], fill[row, 1] = node, each
        row += 1
    return True


def as_engines_do(space: Space, counts: Integers, fill: Integers, filled: int) -> None:
    """The same nodes, each with as many replicas as its engine gives it: one, then the first in order as many as it has
    room for, and so on. Nodes of other engines among them: as it is.
    """
    spare = -filled
    for row in range(filled):
        if space.order[fill[row, 0]] < 0:
            return
        spare += fill[row, 1]
    for row in range(1, filled):  # in order
        node, count = fill[row, 0], fill[row, 1]
        before = row - 1
        while before >= 0 and space.order[fill[before, 0]] > space.order[node]:
            fill[before + 1, 0], fill[before + 1, 1] = fill[before, 0], fill[before, 1]
            before -= 1
        fill[before + 1, 0], fill[before + 1, 1] = node, count
    for row in range(filled):
        room = max(counts[fill[row, 0]], fill[row, 1])  # full nodes count 0
        more = min(room - 1, spare)
        fill[row, 1] = 1 + more
        spare -= more


KERNELS = (as_engines_do, is_even, nodes_around, tightest, lay_out)
"""In order: each calls only those before it."""
