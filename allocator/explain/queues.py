"""Where every queue of a round stands, all queues at once: what each is entitled to, asks for, could use and is given.

Metrics show these numbers of every queue, an explanation those of one. Arrays have one entry per queue of the market's
tree (Q,), those below it included; amounts (Q, F, R) are in display units. Worked out when somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from allocator.explain.money import spent
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.clearing import Cleared
from allocator.market.water import spill

if TYPE_CHECKING:
    from allocator.explain.finished import Finished

_PASSES = 3
"""As quotas count jobs in: those that need little of what others exhausted are counted in again with what is left."""


@dataclass(frozen=True, eq=False)
class Queues:
    """Of the queues that take part in the market of a finished round; the others have nothing and want nothing."""

    finished: Finished

    @property
    def _market(self) -> Cleared:
        return self.finished.market

    @cached_property
    def entitlement(self) -> Floats:
        """(Q,) parts of all money by weights, if everybody could spend theirs."""
        return entitlements(self._market.tree, self.finished.leaf_of_row, self.finished.held)

    @cached_property
    def budget(self) -> Floats:
        """(Q,) what each may spend, in the last class that had any budgets, whose money counts what higher classes and
        pinned jobs hold.
        """
        told = [stage.budgets for stage in self._market.stages if stage.budgets is not None]
        return told[-1].queue if told else np.zeros(self._market.tree.size)

    @cached_property
    def spends(self) -> Floats:
        """(Q,) on capacity, at the prices of their classes."""
        return spent(self.finished)

    @cached_property
    def demand(self) -> Floats:
        """(Q, F, R) what jobs ask for, each where it is fastest, and what they hold for good."""
        problem, tree, leaf = self._market.problem, self._market.tree, self.finished.leaf_of_row
        found = np.zeros((tree.size, *problem.capacity.shape))
        if problem.column_count and problem.row_count:
            row = np.arange(problem.row_count)
            best = problem.utility.argmax(axis=1)
            each = problem.demand[row, best] * problem.count[:, None]
            np.add.at(found, (leaf, problem.flavor[row, best]), each)
        return tree.above(found) + self.finished.held

    @cached_property
    def could_use(self) -> Floats:
        """(Q, F, R) of that, what they could use at once, within quotas and what nodes have."""
        capacity = self._market.problem.capacity
        return self._filled(np.minimum(self._most, capacity)) + self.finished.held

    @cached_property
    def optimum(self) -> Floats:
        """(Q, F, R) what they are given, and hold for good."""
        return self._market.used + self.finished.held

    @cached_property
    def guaranteed(self) -> Floats:
        """(Q, F, R) what of their nominal quotas they ask for, were there enough of everything; 0 without a quota."""
        quotas, held = self._market.tree.quotas, self.finished.held
        found = np.zeros(held.shape)
        bound = np.full(held.shape, np.inf)
        at = (quotas.queue, quotas.flavor, quotas.resource)
        bound[at] = np.maximum(quotas.nominal - held[at], 0.0)
        owners = np.unique(quotas.queue[quotas.nominal > 0])
        found[at] = np.minimum(held[at], quotas.nominal) + self._filled(bound, owners)[at]
        return found

    @cached_property
    def _most(self) -> Floats:
        """(Q, F, R) what each may use besides what it holds for good; inf where there is no limit."""
        quotas, held = self._market.tree.quotas, self.finished.held
        found = np.full(held.shape, np.inf)
        at = (quotas.queue, quotas.flavor, quotas.resource)
        found[at] = np.maximum(quotas.most - held[at], 0.0)
        return found

    def _filled(self, bound: Floats, queue: Integers | None = None) -> Floats:
        """(Q, F, R) what jobs use within a bound, each in its fastest configuration first; only for some queues."""
        tree = self._market.tree
        chosen = np.arange(tree.size) if queue is None else queue
        found = np.zeros(bound.shape)
        found[chosen] = counted_in(self._market.problem, tree, self.finished.leaf_of_row, chosen, bound[chosen])
        return found

    def kept(self, amounts: Floats, served: Floats) -> Floats:
        """(Q,) what part of its guarantee each queue has, that has `amounts` (Q, F, R): 1 if all of it, or nothing is
        guaranteed. `served` (n,) is the utility of each row's jobs together.

        A guarantee is kept in worth, at the prices of the round: a queue may have something else that serves it better.
        Or it is kept by what has no price: to the part to which its jobs that ask for something guaranteed are served.
        """
        prices = self.finished.report.solution.prices
        promised = np.einsum("qfr,fr->q", self.guaranteed, prices)
        has = np.einsum("qfr,fr->q", amounts, prices)
        in_worth = np.divide(has, promised, out=np.zeros(len(has)), where=promised > 0)
        wanted, given = self._served_of_quotas(served)
        in_service = np.divide(given, wanted, out=np.ones(len(given)), where=wanted > 0)
        found: Floats = np.minimum(np.maximum(in_worth, in_service), 1.0)
        return found

    def _served_of_quotas(self, served: Floats) -> tuple[Floats, Floats]:
        """(Q,) machine time that would satisfy the jobs that ask for something guaranteed, and what they have of it."""
        problem, tree, quotas = self._market.problem, self._market.tree, self._market.tree.quotas
        nominal = np.zeros((tree.size, *problem.capacity.shape), dtype=np.bool_)
        nominal[quotas.queue, quotas.flavor, quotas.resource] = quotas.nominal > 0
        wanted, given = np.zeros(tree.size), np.zeros(tree.size)
        size = self.machine_time
        needs = (problem.demand > 0) & problem.eligible[:, :, None]
        above = self.finished.leaf_of_row.copy()
        rows = np.arange(problem.row_count)
        while len(rows):
            owner = above[rows]
            asks = (needs[rows] & nominal[owner[:, None], problem.flavor[rows]]).any(axis=(1, 2))
            mine = rows[asks]
            wanted += np.bincount(owner[asks], weights=(size * problem.count)[mine], minlength=tree.size)
            given += np.bincount(owner[asks], weights=(size * served)[mine], minlength=tree.size)
            above[rows] = tree.parent[owner]
            rows = rows[above[rows] >= 0]
        return wanted, given

    @cached_property
    def machine_time(self) -> Floats:
        """(n,) what a job of each row takes where it is fastest: the largest part of any resource of the cluster."""
        problem = self._market.problem
        if not problem.row_count or not problem.column_count:
            return np.zeros(problem.row_count)
        total = self.everything.sum(axis=0)
        need = problem.demand[np.arange(problem.row_count), problem.utility.argmax(axis=1)]
        part = np.divide(need, total, out=np.zeros(need.shape), where=total > 0)
        found: Floats = part.max(axis=1, initial=0.0)
        return found

    @cached_property
    def everything(self) -> Floats:
        """(F, R) what there is to share out, with what is held for good."""
        found: Floats = self._market.problem.capacity + self.finished.held[self._market.tree.parent < 0].sum(axis=0)
        return found


def entitlements(tree: QueueTree, leaf_of_row: Integers, held: Floats) -> Floats:
    """(Q,) parts of 1, by weights, among queues with jobs that want something or hold something for good.

    `leaf_of_row` (n,) are the leaves of the problem's rows, `held` (Q, F, R) what pinned jobs hold.
    """
    jobs = np.bincount(leaf_of_row, minlength=tree.size).astype(np.float64)
    jobs += held.sum(axis=(1, 2)) * np.isin(np.arange(tree.size), tree.parent, invert=True)
    wanting = tree.above(jobs) > 0
    parts = np.zeros(tree.size)
    for depth in range(tree.levels):
        here = np.flatnonzero((tree.depth == depth) & wanting)
        have = np.concatenate([[1.0], parts])
        parts[here] = spill(tree.parent[here] + 1, tree.weight[here], np.zeros(len(here)), have)
    return parts


def counted_in(problem: Problem, tree: QueueTree, leaf_of_row: Integers, queue: Integers, bound: Floats) -> Floats:
    """(B, F, R) what the jobs below each of `queue` (B,) use within `bound` (B, F, R), everybody in proportion, each in
    its fastest configuration first: what does not fit there goes to the next. As `market.quotas.fill`, for all queues
    of a level of the tree at once.
    """
    bundle = np.zeros(bound.shape)
    if not problem.row_count or not problem.column_count:
        return bundle
    order = np.argsort(-problem.utility, axis=1, kind="stable")
    position = np.full(tree.size, -1, dtype=np.int64)
    position[queue] = np.arange(len(queue))
    above = leaf_of_row.copy()
    for depth in range(tree.levels - 1, -1, -1):
        deeper = tree.depth[above] > depth
        above[deeper] = tree.parent[above[deeper]]
        rows = np.flatnonzero((tree.depth[above] == depth) & (position[above] >= 0))
        if len(rows):
            here = np.unique(position[above[rows]])
            level = _level(problem, rows, order[rows], position[above[rows]], bound)
            bundle[here] = level[here]
    return bundle


def _level(problem: Problem, rows: Integers, order: Integers, group: Integers, bound: Floats) -> Floats:
    """(B, F, R) what `rows` use within the bound of their `group` (n',)."""
    used = np.zeros(bound.shape)
    left = problem.count[rows].astype(np.float64)
    everybody = rows
    for column in list(order.T) * _PASSES:
        some = np.flatnonzero(left > 0)
        if not len(some):
            break
        rows, chosen, groups = everybody[some], column[some], group[some]
        flavor, able = problem.flavor[rows, chosen], problem.eligible[rows, chosen]
        each = problem.demand[rows, chosen] * able[:, None]
        wanted = np.zeros(bound.shape)
        np.add.at(wanted, (groups, flavor), each * left[some][:, None])
        room = np.maximum(bound - used, 0.0)
        part = np.ones(bound.shape)
        np.divide(room, wanted, out=part, where=wanted > room)
        taken = np.where(each > 0, part[groups, flavor], 1.0).min(axis=1, initial=1.0) * left[some] * able
        np.add.at(used, (groups, flavor), each * taken[:, None])
        left[some] -= taken
    return used
