"""The problem's own limits in the market: side constraints across queues, flavors and resources.

They are rows of the problem from the beginning, so an answer keeps them. Who is counted by one that binds pays its
price, as for any other scarce thing. A limit that counts the jobs of one queue only is like a borrowing limit of that
queue: its price is not counted in what the queue is guaranteed, since a smaller budget makes it needless.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.quotas import Fill, outermost


def side_of_rows(problem: Problem, side: Floats) -> Floats:
    """(n, K) what one job of each row pays for the limits, at their prices `side` (L,)."""
    everything = np.concatenate([np.zeros(problem.capacity.size), side])
    found: Floats = (problem.coupling.T @ everything).reshape(problem.throughput.shape) / problem.count[:, None]
    return found


def side_of_queues(problem: Problem, tree: QueueTree, leaf: Integers, side: Floats) -> Floats:
    """(Q, F, R) what a unit costs each queue for limits that count others too: of its jobs the mean."""
    found = np.zeros((tree.size, *problem.capacity.shape))
    for number in np.flatnonzero(side > 0).tolist():
        rate, alone = _counted(problem, tree, leaf, number)
        found += np.where(alone[:, None, None], 0.0, rate * side[number])
    return found


def within_side(problem: Problem, tree: QueueTree, leaf: Integers, fill: Fill) -> Fill:
    """The bundles, lowered in proportion where all or one of them need more of a limit than there is."""
    bundle, outer = fill.bundle, outermost(tree, fill.queue)
    if not fill.queue.size:
        return fill
    for number, amount in enumerate(problem.limit_amount.tolist()):
        rate = _counted(problem, tree, leaf, number)[0][fill.queue]
        needs = np.einsum("bfr,bfr->b", bundle, rate)
        most = max(float(needs.max()), float(needs[outer].sum()))
        if most > amount:
            bundle = np.where(needs[:, None, None] > 0, bundle * (amount / most), bundle)
    return Fill(fill.queue, bundle)


def _counted(problem: Problem, tree: QueueTree, leaf: Integers, number: int) -> tuple[Floats, Booleans]:
    """(Q, F, R) how much of a limit a unit takes, held by a mean job of each queue, those below it included; and (Q,)
    whether it counts nobody else.
    """
    rate = np.zeros((tree.size, *problem.capacity.shape))
    jobs = np.maximum(_jobs(problem, tree, leaf, np.arange(problem.row_count)), 1.0)
    every = np.zeros(tree.size)
    for terms, members in problem.limits[number].parts:
        mine = _jobs(problem, tree, leaf, np.asarray(members, dtype=np.int64))
        every += mine
        for flavor, resource, coefficient in terms:
            rate[:, flavor, resource] += coefficient * mine / jobs
    return rate, every >= every[tree.depth == 0].sum()


def _jobs(problem: Problem, tree: QueueTree, leaf: Integers, rows: Integers) -> Floats:
    """(Q,) how many of the jobs of `rows` are below each queue."""
    at_leaves = np.bincount(leaf[rows], weights=problem.count[rows], minlength=tree.size).astype(np.float64)
    return tree.above(at_leaves)
