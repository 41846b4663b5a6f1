"""A market's problem as solvers take it: with pools for what queues keep, and rows for the limits that are known.

Where anybody has a pool of some resource, one more column of capacities stands for what is in nobody's: jobs that draw
from it need it there too, and the capacity itself is more than all could use. A pool is a limit over those who draw
from it. All other limits count what is used of the resource itself, wherever it is drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.formulation.certificate import dual_bound
from allocator.formulation.problem import Booleans, Floats, Integers, Limit, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.limits import Cut, Place
from allocator.market.pools import COMMON, Pools, outside
from allocator.market.prices import Prices, closed_columns
from allocator.solvers.solution import Solution, WarmStart

_SPARE = 1.01
"""Times all that could be used: so much there is of what does not count by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Of n rows of the market's problem those that can have anything. Limits are the problem's own, then `cuts`, then
    `owners`.
    """

    problem: Problem
    rows: Integers
    """Which of the market's rows these are."""
    pools: Pools
    shared: tuple[int, ...]
    """Resources that have a column for what is common."""
    cuts: tuple[Cut, ...]
    owners: tuple[Place, ...]
    """Pools that could be used up."""

    @classmethod
    def of(
        cls, problem: Problem, tree: QueueTree, leaf: Integers, pools: Pools, cuts: Sequence[Cut], wanted: Floats
    ) -> Program:
        """`wanted` (Q, F, R) is what leaves could use at most."""
        throughput = _open(problem, leaf, pools, cuts)
        rows = np.flatnonzero(((throughput > 0) & problem.eligible).any(axis=1))
        place = np.full(problem.row_count, -1)
        place[rows] = np.arange(rows.size)
        shared = tuple(np.flatnonzero(pools.split.any(axis=0)).tolist())
        owners = _that_bind(tree, pools, wanted)
        limits = [limit.among(place) for limit in (*problem.limits, *(cut.limit for cut in cuts))]
        limits += [_pool(pools, at, leaf[rows]) for at in owners]
        built = Problem.from_arrays(
            throughput=throughput[rows],
            flavor=problem.flavor[rows],
            demand=_demand(problem, rows, leaf, pools, shared),
            capacity=_capacity(problem, pools, shared, wanted),
            weight=problem.weight[rows],
            count=problem.count[rows],
            fairness=problem.fairness,
            reference=problem.reference[rows],
            limits=limits,
        )
        return cls(built, rows, pools, shared, tuple(cuts), owners)

    def weighted(self, problem: Problem) -> Problem:
        """With the weights of `problem`, a market's of the same rows."""
        return self.problem.weighted(problem.weight[self.rows])

    def start(self, known: Prices | None, start: WarmStart) -> WarmStart:
        """`start` knows the prices of the market's capacities, and `known` the rest; NaN is what nobody knows."""
        common = start.prices
        if common.shape != self.pools.common.shape:
            return WarmStart(common)
        own = self.pools.split
        prices = np.hstack([np.where(own, 0.0, common), np.where(own, common, 0.0)[:, self.shared]])
        count = self.problem.limit_count
        limits = np.full(count, np.nan)
        if known is not None:
            limits[: known.side.size] = known.side
            limits[known.side.size : count - len(self.owners)] = [
                known.borrowing[cut.name][1] if cut.name in known.borrowing else np.nan for cut in self.cuts
            ]
            limits[count - len(self.owners) :] = [known.paid[at] for at in self.owners]
        return WarmStart(prices, limits)

    def prices(self, tree: QueueTree, solution: Solution) -> Prices:
        """What an answer charges."""
        resources = self.pools.common.shape[1]
        common = solution.prices[:, :resources].copy()
        for position, resource in enumerate(self.shared):
            split = self.pools.split[:, resource]
            common[split, resource] = solution.prices[split, resources + position]
        count, pools = solution.limit_prices.size, len(self.owners)
        own = np.zeros(self.pools.own.shape)
        for at, price in zip(self.owners, solution.limit_prices[count - pools :].tolist(), strict=True):
            own[at] = price
        nothing = self.pools.split & (self.pools.common == 0)
        common = np.where(
            nothing, own.max(axis=0, initial=0.0), common
        )  # any price is right at which nobody would sell
        sides = count - pools - len(self.cuts)
        paid = solution.limit_prices[sides : count - pools].tolist()
        return Prices(
            self.pools,
            common,
            self.pools.paid(tree, common, own),
            solution.limit_prices[:sides].copy(),
            {cut.name: (cut, price) for cut, price in zip(self.cuts, paid, strict=True)},
        )

    def bound(self, problem: Problem, tree: QueueTree, prices: Prices, solution: Solution) -> float:
        """On what anybody could reach within all limits, from the same prices: no pool dearer than the one above."""
        paid, lowered = prices.paid.copy(), False
        for level in range(tree.levels):
            here = np.flatnonzero(tree.depth == level)
            above = outside(tree, prices.common, paid)[here]
            lowered = lowered or bool((paid[here] > above).any())
            paid[here] = np.where(self.pools.own[here], np.minimum(paid[here], above), above)
        if not lowered:
            return solution.bound
        limits = solution.limit_prices.copy()
        limits[limits.size - len(self.owners) :] = [paid[at] for at in self.owners]
        return dual_bound(self.weighted(problem), solution.prices, limits)


def _open(problem: Problem, leaf: Integers, pools: Pools, cuts: Sequence[Cut]) -> Floats:
    """(n, K) throughput where no limit of 0 forbids it."""
    throughput = problem.throughput
    closed = closed_columns(problem, leaf, pools)
    if closed is not None:
        throughput = np.where(closed, 0.0, throughput)
    for cut in cuts:
        if cut.limit.amount == 0:
            rows, uses = cut.counted(problem)
            throughput = throughput.copy() if throughput is problem.throughput else throughput
            throughput[rows] = np.where(uses > 0, 0.0, throughput[rows])
    return throughput


def _that_bind(tree: QueueTree, pools: Pools, wanted: Floats) -> tuple[Place, ...]:
    """Pools of which more is wanted than is in them."""
    asked = np.zeros(wanted.shape)
    leaves = np.setdiff1d(np.arange(tree.size), tree.parent)
    for flavor, resource in np.argwhere(pools.split).tolist():
        drawn = pools.drawn[leaves, flavor, resource]
        some = drawn != COMMON
        np.add.at(asked[:, flavor, resource], drawn[some], wanted[leaves[some], flavor, resource])
    return tuple((queue, flavor, resource) for queue, flavor, resource in np.argwhere(asked > pools.amount).tolist())


def _pool(pools: Pools, at: Place, leaf: Integers) -> Limit:
    queue, flavor, resource = at
    members = np.flatnonzero(pools.drawn[leaf, flavor, resource] == queue)
    return Limit.of(flavor, resource, float(pools.amount[at]), members)


def _demand(problem: Problem, rows: Integers, leaf: Integers, pools: Pools, shared: tuple[int, ...]) -> Floats:
    """(n', K, R') with the columns of what is common."""
    demand = problem.demand[rows]
    if not shared:
        return demand
    draws: Booleans = (pools.drawn == COMMON) & pools.split
    resources = np.array(shared)
    common = draws[:, :, resources][leaf[rows][:, None], problem.flavor[rows]]
    return np.concatenate([demand, np.where(common, demand[:, :, resources], 0.0)], axis=2)


def _capacity(problem: Problem, pools: Pools, shared: tuple[int, ...], wanted: Floats) -> Floats:
    """(F, R') with the columns of what is common; 1 of what nobody counts there."""
    most = _SPARE * np.maximum(wanted.sum(axis=0), problem.capacity)
    capacity = np.where(pools.split, most, problem.capacity)
    return np.hstack([capacity, np.where(pools.split, pools.common, 1.0)[:, shared]])
