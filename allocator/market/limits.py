"""Borrowing limits as rows over shares, and how far an answer is beyond what quotas allow.

What a queue uses is at most its nominal quota and its borrowing limit together. There may be thousands of such rows,
and hardly any binds: they are added to the problem when an answer breaks them (`limited.py`). For lending see `pools`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Floats, Integers, Limit, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.pools import lacking, topmost

Place = tuple[int, int, int]
"""Queue, flavor, resource."""
KEPT = "kept:"
"""Begins the names of lending limits, before that of the queue; no queue is called so."""
_TOLERANCE = 1e-7
"""Relative to the capacity: by so much an answer may be beyond a row that it does not know."""
_CRUMB = 1e-4
"""Less than this part of a capacity or limit is nothing: what a gap leaves of one that is used up. As a limit of its
own, so small beside others, it would be hard on solvers, and its price beyond all measure.
"""


def without(amount: Floats, used: Floats, all_there_is: Floats) -> Floats:
    """What is left of it, but for crumbs."""
    rest = np.maximum(amount - used, 0.0)
    return np.where(np.isfinite(rest) & (rest <= _CRUMB * all_there_is), 0.0, rest)


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What quotas still allow, (Q, F, R) in display units: what is held already is taken off."""

    most: Floats
    """inf where there is no limit."""
    kept: Floats
    """All together never more than there is."""

    @classmethod
    def of(cls, tree: QueueTree, capacity: Floats, held: Floats) -> Bounds:
        """`held` (Q, F, R) is what each queue has for certain; `capacity` (F, R) what is free besides. Where nominal
        quotas promise more than there is, everybody keeps less in proportion.
        """
        quotas = tree.quotas
        at = (quotas.queue, quotas.flavor, quotas.resource)
        most = np.full((tree.size, *capacity.shape), np.inf)
        most[at] = quotas.most
        kept, nominal = np.zeros(most.shape), np.zeros(most.shape)
        kept[at], nominal[at] = quotas.kept, quotas.nominal
        promised = tree.at_least(nominal)[tree.depth == 0].sum(axis=0)
        there = capacity + held[tree.depth == 0].sum(axis=0)
        kept *= np.divide(there, promised, out=np.ones(promised.shape), where=promised > there)
        return cls(np.maximum(most - held, 0.0), _within(tree, capacity, np.maximum(kept - held, 0.0)))

    def after(self, used: Floats) -> Bounds:
        """When queues have had `used` (Q, F, R) of it."""
        return Bounds(without(self.most, used, self.most), without(self.kept, used, self.kept))

    def keeping(self, tree: QueueTree, capacity: Floats, guaranteed: Floats) -> Bounds:
        """Also what others of the queue are guaranteed (Q, F, R), until their turn comes."""
        return Bounds(self.most, _within(tree, capacity, np.maximum(self.kept, guaranteed)))


def _within(tree: QueueTree, capacity: Floats, kept: Floats) -> Floats:
    """`kept` (Q, F, R), lowered in proportion where there is not so much free."""
    every = tree.at_least(kept)[tree.depth == 0].sum(axis=0)
    found: Floats = kept * np.divide(capacity, every, out=np.ones(every.shape), where=every > capacity)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """One borrowing limit as a row: members are rows of the market's problem."""

    name: LimitName
    limit: Limit

    def counted(self, problem: Problem) -> tuple[Integers, Floats]:
        """The members, and (members, K) what one job of each uses of the limit."""
        rows = np.asarray(self.limit.members, dtype=np.int64)
        on = problem.flavor[rows] == self.limit.flavor
        return rows, np.where(on, problem.demand[rows, :, self.limit.resource], 0.0)


def use(problem: Problem, tree: QueueTree, leaf: Integers, shares: Floats) -> Floats:
    """(Q, F, R) what each queue uses, those below it included, under `shares` (n, K); `leaf` (n,) by row."""
    cell = leaf[:, None] * problem.flavor_count + problem.flavor
    return tree.above(
        _by_cell(problem, cell, problem.demand * (shares * problem.count[:, None])[:, :, None], tree.size)
    )


def wanted(problem: Problem, leaf: Integers, queues: int) -> Floats:
    """(Q, F, R) what the jobs of each leaf could use at most, each in whatever configuration uses most."""
    most: Floats = np.where(problem.eligible[:, :, None], problem.demand, 0.0) * problem.count[:, None, None]
    for column in range(1, problem.column_count):  # of several on one flavor the first has the most
        for before in range(column):
            same = (problem.flavor[:, before] == problem.flavor[:, column])[:, None]
            more = np.where(same, np.maximum(most[:, column] - most[:, before], 0.0), 0.0)
            most[:, before] += more
            most[:, column] = np.where(same, 0.0, most[:, column])
    return _by_cell(problem, leaf[:, None] * problem.flavor_count + problem.flavor, most, queues)


def _by_cell(problem: Problem, cell: Integers, amounts: Floats, queues: int) -> Floats:
    """(Q, F, R) `amounts` (n, K, R) added up by queue and flavor, whose `cell` (n, K) says both."""
    cells = queues * problem.flavor_count
    found = [np.bincount(cell.ravel(), amounts[:, :, each].ravel(), cells) for each in range(problem.resource_count)]
    return np.stack(found, axis=1).astype(np.float64).reshape(queues, *problem.capacity.shape)


def borrowing(tree: QueueTree, leaf: Integers, bounds: Bounds, at: Place, name: LimitName) -> Cut:
    """The row of one queue, flavor and resource."""
    queue, flavor, resource = at
    members = np.flatnonzero(tree.is_below(queue)[leaf])
    return Cut(name, Limit.of(flavor, resource, float(bounds.most[at]), members))


def slack(problem: Problem, tolerance: float) -> Floats:
    """(F, R) by so much all together may be beyond what there is, if `tolerance` is a part of every limit."""
    found: Floats = problem.capacity * tolerance + (_TOLERANCE * (1.0 + problem.capacity) if tolerance else 0.0)
    return found


def broken(bounds: Bounds, used: Floats, problem: Problem, tolerance: float) -> list[tuple[Place, float]]:
    """Which borrowing limits `used` (Q, F, R) breaks by more than `tolerance` of their amount, and by what part of it
    each; inf where nothing is allowed.
    """
    room = bounds.most * (1 + tolerance) + (slack(problem, tolerance) - problem.capacity * tolerance)
    found = []
    for queue, flavor, resource in np.argwhere(used > room).tolist():
        at = queue, flavor, resource
        amount = float(bounds.most[at])
        found.append((at, float(used[at]) / amount - 1 if amount > 0 else np.inf))
    return found


def kept_back(problem: Problem, tree: QueueTree, leaf: Integers, bounds: Bounds, shares: Floats) -> Floats:
    """`shares` (n, K) within all borrowing and lending limits: who uses what is beyond one has less in proportion."""
    shares = shares.copy()
    for at, excess in broken(bounds, use(problem, tree, leaf, shares), problem, 0.0):
        queue, flavor, resource = at
        _lower(problem, np.flatnonzero(tree.is_below(queue)[leaf]), flavor, resource, 1 / (1 + excess), shares)
    used = use(problem, tree, leaf, shares)
    keeps, total = lacking(tree, bounds.kept, used, problem.capacity)
    leaves = ~np.isin(np.arange(tree.size), tree.parent)
    for flavor, resource in np.argwhere(keeps.any(axis=0) & (total > problem.capacity)).tolist():
        first, inside = topmost(tree, keeps[:, flavor, resource])
        theirs = float(used[leaves & ~inside, flavor, resource].sum())
        rest = float(problem.capacity[flavor, resource] - bounds.kept[first, flavor, resource].sum())
        if theirs > max(rest, 0.0):
            _lower(problem, np.flatnonzero(~inside[leaf]), flavor, resource, max(rest, 0.0) / theirs, shares)
    return shares


def _lower(problem: Problem, rows: Integers, flavor: int, resource: int, factor: float, shares: Floats) -> None:
    """Only `factor` of the shares of these rows that use it."""
    uses = (problem.flavor[rows] == flavor) & (problem.demand[rows, :, resource] > 0)
    shares[rows] = np.where(uses, shares[rows] * factor, shares[rows])
