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


def fill(problem: Problem, tree: QueueTree, leaf_of_row: Integers, queue: Integers, bound: Floats) -> Fill:
    """Count the jobs below each of `queue` (B,) into `bound` (B, F, R), inf where there is none."""
    shape = problem.capacity.shape
    bundle = np.zeros((len(queue), *shape))
    if not len(queue):
        return Fill(queue, bundle)
    order = np.argsort(-problem.utility, axis=1, kind="stable")
    rows_of_leaf = np.argsort(leaf_of_row, kind="stable")
    starts = np.searchsorted(leaf_of_row[rows_of_leaf], np.arange(tree.size + 1))
    for position, number in enumerate(queue.tolist()):
        leaves = np.flatnonzero(tree.is_below(number))
        rows = np.concatenate([rows_of_leaf[starts[leaf] : starts[leaf + 1]] for leaf in leaves.tolist()])
        bundle[position] = _counted_in(problem, rows, order[rows], bound[position])
    return Fill(queue, bundle)


def _counted_in(problem: Problem, rows: Integers, order: Integers, bound: Floats) -> Floats:
    """(F, R) what the jobs of these rows use within `bound` (F, R)."""
    used = np.zeros(bound.shape)
    left = problem.count[rows].astype(np.float64)
    for column in list(order.T) * _PASSES:
        flavor = problem.flavor[rows, column]
        able = problem.eligible[rows, column]
        each = problem.demand[rows, column] * able[:, None]
        wanted = np.zeros(bound.shape)
        np.add.at(wanted, flavor, each * left[:, None])
        room = np.maximum(bound - used, 0.0)
        part = np.ones(bound.shape)
        np.divide(room, wanted, out=part, where=wanted > room)
        taken = np.where(each > 0, part[flavor], 1.0).min(axis=1, initial=1.0) * left * able
        np.add.at(used, flavor, each * taken[:, None])
        left -= taken
    return used
