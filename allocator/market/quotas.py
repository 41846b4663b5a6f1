"""What fits within quotas: bundles of capacity that queues are guaranteed, and the most that they could use.

A queue's jobs are counted into its quota, everybody in proportion, each in its fastest configuration first: what does
not fit there goes to the next. What comes out is a bundle (amounts by flavor and resource), whose worth at the prices
of the moment is the budget that buys it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Floats, Integers, Problem
from allocator.formulation.tree import QueueTree

_PASSES = 3
"""Jobs that need little of what others exhausted are counted in again with what is left."""
_HALVINGS, _ROUNDING = 40, 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """Bundles of some queues."""

    queue: Integers
    """(B,)"""
    bundle: Floats
    """(B, F, R) in display units."""


def worth(fill: Fill, prices: Floats, otherwise: float) -> Floats:
    """(Q,) what each queue's bundle costs it at its `prices` (Q, F, R); `otherwise` where it has none."""
    found = np.full(len(prices), otherwise)
    found[fill.queue] = np.einsum("bfr,bfr->b", fill.bundle, prices[fill.queue])
    return found


def within_capacity(tree: QueueTree, fill: Fill, kept: Floats, capacity: Floats) -> Fill:
    """The bundles, lowered in proportion where they and what queues keep, (Q, F, R), are more than the `capacity`
    (F, R), which has room for all that is kept. A queue gets of a flavor only so much as it gets of its scarcest part.
    """
    bundle = np.zeros(kept.shape)
    bundle[fill.queue] = fill.bundle

    def reserved(part: Floats) -> Floats:
        total: Floats = tree.at_least(np.maximum(bundle * part, kept))[tree.depth == 0].sum(axis=0)
        return total

    room = capacity * (1 + _ROUNDING)
    high = np.ones(capacity.shape)
    fits = reserved(high) <= room
    if fits.all():
        return fill
    low = np.where(fits, 1.0, 0.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = reserved(middle) <= room
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    part = np.where(fill.bundle > 0, low, 1.0).min(axis=2, initial=1.0)
    return Fill(fill.queue, fill.bundle * part[:, :, None])


def outermost(tree: QueueTree, queue: Integers) -> Integers:
    """Positions in `queue` of those without another of them above."""
    among = np.zeros(tree.size + 1, dtype=np.bool_)
    among[queue] = True
    above = np.zeros(tree.size, dtype=np.bool_)
    for level in range(1, tree.levels):
        here = np.flatnonzero(tree.depth == level)
        above[here] = above[tree.parent[here]] | among[tree.parent[here]]
    return np.flatnonzero(~above[queue])


def fill(problem: Problem, tree: QueueTree, leaf_of_row: Integers, queue: Integers, bound: Floats) -> Fill:
    """Count the jobs below each of `queue` (B,) into `bound` (B, F, R), inf where there is none."""
    bundle = np.zeros((len(queue), *problem.capacity.shape))
    ways = _Way.all_of(problem) if len(queue) else []
    for depth in np.unique(tree.depth[queue]).tolist():
        here = np.flatnonzero(tree.depth[queue] == depth)
        position = np.full(tree.size, -1)
        position[queue[here]] = np.arange(here.size)
        bundle[here] = _counted_in(problem, ways, position[_at_depth(tree, depth)[leaf_of_row]], bound[here])
    return Fill(queue, bundle)


def _at_depth(tree: QueueTree, depth: int) -> Integers:
    """(Q,) the queue at that depth above each, or itself; those that are higher up stay what they are."""
    found = np.arange(tree.size)
    for level in range(tree.levels - 1, depth, -1):
        found = np.where(tree.depth[found] == level, tree.parent[found], found)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """The configurations that come in the same place by speed, one of each row that has so many."""

    rows: Integers
    flavor: Integers
    demand: Floats
    """(rows, R)"""

    @classmethod
    def all_of(cls, problem: Problem) -> list[_Way]:
        """The fastest, the second, and so on."""
        found = []
        for column in np.argsort(-problem.utility, axis=1, kind="stable").T:
            rows = np.flatnonzero(np.take_along_axis(problem.eligible, column[:, None], 1)[:, 0])
            if rows.size:
                found.append(cls(rows, problem.flavor[rows, column[rows]], problem.demand[rows, column[rows]]))
        return found


def _counted_in(problem: Problem, ways: list[_Way], group: Integers, bound: Floats) -> Floats:
    """(B, F, R) what the jobs of each `group` (n,), -1 of nobody's, use within its `bound` (B, F, R)."""
    flavors = problem.flavor_count
    used = np.zeros(bound.shape).reshape(-1, problem.resource_count)
    most = bound.reshape(used.shape)
    left = np.where(group >= 0, problem.count, 0).astype(np.float64)
    for way in ways * _PASSES:
        room = np.maximum(most - used, 0.0)
        cell = group[way.rows] * flavors + way.flavor
        active = np.flatnonzero((left[way.rows] > 0) & np.asarray(room.any(axis=1))[cell])
        rows, each, cell = way.rows[active], way.demand[active], cell[active]
        wanted = _by_cell(cell, each * left[rows, None], len(used))
        part = np.divide(room, wanted, out=np.ones(room.shape), where=wanted > room)
        tight = np.asarray((part < 1).any(axis=1))
        taken = left[rows]
        some = np.flatnonzero(tight[cell])
        taken[some] *= np.where(each[some] > 0, part[cell[some]], 1.0).min(axis=1, initial=1.0)
        used += _by_cell(cell, each * taken[:, None], len(used))
        left[rows] -= taken
    return used.reshape(bound.shape)


def _by_cell(cell: Integers, amounts: Floats, cells: int) -> Floats:
    """(cells, R) `amounts` (m, R) added up."""
    found = [np.bincount(cell, weights=column, minlength=cells) for column in amounts.T]
    return np.stack(found, axis=1)
