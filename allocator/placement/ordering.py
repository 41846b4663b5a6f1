"""Kernels: nodes in an order, without sorting more of them than are wanted."""

from __future__ import annotations

import numpy as np

from allocator.placement.space import Integers, Kinds, Space


def largest_first(values: Integers) -> Integers:
    """(n,) positions, the largest value first, equal ones in order. Values are from -1 to something not too large."""
    ends = np.zeros(values.max() + 2 if len(values) else 2, dtype=np.int64)
    for position in range(len(values)):
        ends[values[position] + 1] += 1
    end = len(values)
    for value in range(len(ends)):
        end -= ends[value]
        ends[value] = end
    order = np.empty(len(values), dtype=np.int64)
    for position in range(len(values)):
        order[ends[values[position] + 1]] = position
        ends[values[position] + 1] += 1
    return order


def precedes(space: Space, kinds: Kinds, slot: int, counts: Integers, one: int, other: int) -> bool:
    """Whether one node is filled before the other: that with more room; of equal ones the cheaper, as the costs in a
    slot say (-1: they do not matter); then that with less left over; then the first.
    """
    if counts[one] != counts[other]:
        return bool(counts[one] > counts[other])
    if slot >= 0:
        costs = kinds.costs.kept
        if costs[slot, one] != costs[slot, other]:
            return bool(costs[slot, one] < costs[slot, other])
    if space.slack[one] != space.slack[other]:
        return bool(space.slack[one] < space.slack[other])
    return one < other


def sink(space: Space, kinds: Kinds, slot: int, counts: Integers, heap: Integers, at: int, end: int) -> None:
    """Let the node at a position of heap[:end] go down to where it belongs: each is preceded by the two below it."""
    node = heap[at]
    while True:
        below = 2 * at + 1
        if below >= end:
            break
        if below + 1 < end and precedes(space, kinds, slot, counts, heap[below], heap[below + 1]):
            below += 1
        if not precedes(space, kinds, slot, counts, node, heap[below]):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = node


def foremost(
    space: Space, kinds: Kinds, slot: int, counts: Integers, nodes: Integers, least: int, many: int
) -> Integers:
    """(many,) the first so many of `nodes` in the order of `precedes`. So many have room for `least` at least."""
    heap = np.empty(many, dtype=np.int64)
    held = 0
    for position in range(len(nodes)):
        node = nodes[position]
        if counts[node] < least:
            continue
        if held < many:
            heap[held] = node
            held += 1
            if held == many:
                for at in range(many // 2 - 1, -1, -1):
                    sink(space, kinds, slot, counts, heap, at, many)
        elif precedes(space, kinds, slot, counts, node, heap[0]):
            heap[0] = node
            sink(space, kinds, slot, counts, heap, 0, many)
    for end in range(many - 1, 0, -1):
        last = heap[end]
        heap[end] = heap[0]
        heap[0] = last
        sink(space, kinds, slot, counts, heap, 0, end)
    return heap


KERNELS = (largest_first, precedes, sink, foremost)
"""In order: each calls only those before it."""
