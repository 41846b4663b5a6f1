"""Kernels: how many replicas of a gang each node has where the engine cannot be told (`Space.order`).

Slurm 22.05, asked for a list of nodes, gives each of them one, and then the first in its order all that it has room for
when it looks, which may be more or less than the round saw: then it holds another layout than was decided. As many on
each node it can be told. So a gang is laid out like that where it can be, and else as the engine will most likely do.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.space import Integers, Kinds, Space

_MORE_NODES = 2
"""At most so many times as many nodes are taken for it: a gang on few is faster, and leaves fewer pieces."""


def lay_out(space: Space, kinds: Kinds, kind: int, need: int, counts: Integers, fill: Integers, filled: int) -> int:
    """The rows of `fill` (node, replicas), or others in their place, for the engine that is to place them; how many
    there are. `counts` (N,): room of each node, in replicas; where a row fills its node it may be 0.
    """
    for row in range(filled):
        if space.order[fill[row, 0]] < 0:
            return filled
    for row in range(filled):
        counts[fill[row, 0]] = max(counts[fill[row, 0]], fill[row, 1])
    for each in range(need // 2, 0, -1):
        if need // each > _MORE_NODES * filled:
            break
        if need % each == 0 and tightest(space, kinds, kind, each, need // each, counts, fill, filled):
            return need // each
    as_engines_do(space, counts, fill, filled)
    return filled


def tightest(
    space: Space, kinds: Kinds, kind: int, each: int, many: int, counts: Integers, fill: Integers, filled: int
) -> bool:
    """Put so many nodes with room for `each` into `fill`, those with the least room; False if there are not so many.
    Where racks matter, only those that are there.
    """
    if kinds.within[kind] >= 0 or space.racked[0]:
        nodes = np.sort(fill[:filled, 0])
    else:
        flavor = kinds.flavor[kind]
        nodes = np.arange(space.flavor_starts[flavor], space.flavor_starts[flavor + 1])
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
    row = 0
    for position in range(len(nodes)):
        node = nodes[position]
        if counts[node] < each or counts[node] > level or space.order[node] < 0:
            continue
        if counts[node] == level:
            if left == 0:
                continue
            left -= 1
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


KERNELS = (as_engines_do, tightest, lay_out)
"""In order: each calls only those before it."""
