"""Solves with the rows of quotas that were needed so far: see `limits`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.certificate import gap_unit
from allocator.formulation.fairness import phi
from allocator.formulation.problem import Booleans, Floats, Integers, Limit, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Charges
from allocator.market.limits import KEPT, Bounds, Cut, borrowing, broken
from allocator.solvers.solution import Solution, Status, WarmStart

Solve = Callable[[Problem, WarmStart], Solution]


@dataclass(slots=True, eq=False)
class Limited:
    """Solves problems of the same rows, which may differ in their weights. Remembers which rows were needed."""

    solve: Solve
    tree: QueueTree
    leaf: Integers
    """(n,) of each row of the problems."""
    bounds: Bounds
    flavors: tuple[str, ...]
    resources: tuple[str, ...]
    gap: float = 1e-4
    """What an answer may lack to count as optimal."""
    known_prices: dict[LimitName, float] = field(default_factory=dict)
    """From the last round."""
    cuts: dict[LimitName, Cut] = field(default_factory=dict)
    prices: dict[LimitName, float] = field(default_factory=dict)
    """Of the last answer, by name; rows that were not needed have none."""

    def __post_init__(self) -> None:
        """Begin with what bound in the last round."""
        queues, flavors, resources = (
            {name: position for position, name in enumerate(names)}
            for names in (self.tree.names, self.flavors, self.resources)
        )
        for name in self.known_prices:
            queue, flavor, resource = name
            if queue in queues and flavor in flavors and resource in resources:
                at = queues[queue], flavors[flavor], resources[resource]
                if np.isfinite(self.bounds.most[at]):
                    self.cuts[name] = borrowing(self.tree, self.leaf, self.bounds, at, name)

    def refine(self, problem: Problem, solution: Solution, tolerance: float) -> float:
        """By what part of them `solution` breaks bounds at most, if that is more than `tolerance`, else 0; rows that
        would keep it from doing so are there the next time.
        """
        found = broken(
            problem, self.tree, self.leaf, self.bounds, solution.shares, (self.flavors, self.resources), tolerance
        )
        for cut, excess in found:
            self.cuts[cut.name] = cut
            price = solution.prices[cut.limit.flavor, cut.limit.resource]
            if np.isfinite(excess):  # the price that would make it use so much less, at alpha = 1
                self.prices.setdefault(cut.name, price * excess)
        return max((excess for _, excess in found), default=0.0)

    def within(self, problem: Problem, solution: Solution) -> Solution:
        """The same, kept within the bounds that it breaks: everybody who uses what is bounded has less of it in
        proportion. What that costs is taken off the objective and added to the gap: the bound is what it was.
        """
        shares = solution.shares
        found = broken(problem, self.tree, self.leaf, self.bounds, shares, (self.flavors, self.resources), 0.0)
        if not found:
            return solution
        shares = shares.copy()
        for cut, excess in found:
            rows = np.asarray(cut.limit.members, dtype=np.int64)
            uses = (problem.flavor[rows] == cut.limit.flavor) & (problem.demand[rows, :, cut.limit.resource] > 0)
            shares[rows] = np.where(uses, shares[rows] / (1 + excess), shares[rows])  # by inf: nothing
        lost = _worth(problem, solution.shares) - _worth(problem, shares)
        gap = solution.gap + lost / gap_unit(problem)
        status = solution.status if gap <= self.gap else Status.INACCURATE
        return replace(solution, shares=shares, objective=solution.objective - lost, gap=gap, status=status)

    def charges(self, problem: Problem, prices: Floats) -> Charges:
        """What the last answer charges: rows that limits hold back pay for those too."""
        plain = Charges.of(problem, self.tree, prices)
        if not self.cuts:
            return plain
        row, queue = plain.row, plain.queue.copy()
        for cut in self.cuts.values():
            if cut.limit.amount == 0:  # not to be had at any price
                members = np.asarray(cut.limit.members, dtype=np.int64)
                closed = (problem.flavor[members] == cut.limit.flavor) & (
                    problem.demand[members, :, cut.limit.resource] > 0
                )
                row[members] = np.where(closed, np.inf, row[members])
        for name, price in self.prices.items():
            limit = self.cuts[name].limit
            members = np.asarray(limit.members, dtype=np.int64)
            on = problem.flavor[members] == limit.flavor
            row[members] += np.where(on, problem.demand[members, :, limit.resource] * price, 0.0)
            if name[0].startswith(KEPT):
                payers = np.unique(self.leaf[members])
                queue[payers, limit.flavor, limit.resource] += price
        return Charges(row, self._above(queue))

    def _above(self, queue: Floats) -> Floats:
        """Inner queues see the highest prices of those below them."""
        tree = self.tree
        for level in range(tree.levels - 1, 0, -1):
            here = np.flatnonzero(tree.depth == level)
            np.maximum.at(queue, tree.parent[here], queue[here])
        return queue

    def __call__(self, problem: Problem, start: WarmStart) -> Solution:
        """Shares (n, K) under the rows that are known. Jobs that these leave nothing have a share of 0."""
        cuts = list(self.cuts.values())
        if not cuts:
            return self.solve(problem, start)
        inside, throughput = _open(problem, [cut.limit for cut in cuts])
        rows = np.flatnonzero(inside)
        position = np.cumsum(inside) - 1
        smaller = Problem.from_arrays(
            throughput=throughput[rows],
            flavor=problem.flavor[rows],
            demand=problem.demand[rows],
            capacity=problem.capacity,
            weight=problem.weight[rows],
            count=problem.count[rows],
            fairness=problem.fairness,
            reference=problem.reference[rows],
            limits=[
                cut.limit._replace(members=[int(position[row]) for row in cut.limit.members if inside[row]])
                for cut in cuts
            ],
        )
        known = self.known_prices | self.prices
        before = np.array([known.get(cut.name, np.nan) for cut in cuts])
        solution = self.solve(smaller, WarmStart(start.prices, before))
        found = zip(cuts, solution.limit_prices.tolist(), strict=True)
        self.prices = {cut.name: price for cut, price in found if price > 0}
        shares = np.zeros(problem.throughput.shape)
        shares[rows] = solution.shares
        return replace(solution, shares=shares, limit_prices=np.zeros(0))


def _worth(problem: Problem, shares: Floats) -> float:
    """The objective of the jobs that have a share; for alpha = inf their lowest level."""
    utility = problem.utilities(shares)
    some = utility > 0
    if not some.any():
        return 0.0
    if np.isinf(problem.fairness):
        return float((utility[some] / problem.weight[some]).min())
    return float((problem.weight * problem.count)[some] @ phi(utility[some], problem.fairness))


def _open(problem: Problem, limits: list[Limit]) -> tuple[Booleans, Floats]:
    """(n,) which rows keep a column in which limits of 0 let them run, and (n, K) the throughput without the others."""
    throughput = problem.throughput.copy()
    for limit in limits:
        if limit.amount == 0 and len(limit.members):
            rows = np.asarray(limit.members, dtype=np.int64)
            closed = (problem.flavor[rows] == limit.flavor) & (problem.demand[rows, :, limit.resource] > 0)
            throughput[rows] = np.where(closed, 0.0, throughput[rows])
    return np.asarray(((throughput > 0) & problem.eligible).any(axis=1)), throughput
