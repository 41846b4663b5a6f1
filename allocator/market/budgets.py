"""What everybody may spend, at given prices: the total of 1 poured down the queue tree to the jobs.

A queue that cannot spend its part (its jobs are satisfied, or what it may use is bounded) leaves the rest to its
siblings first, and then to those above; one that is guaranteed something is given at least what that costs. So with
prices that clear the market for these budgets, everybody has what the tree says they should.

In order:

1. What each row needs to be satisfied: what its jobs' best configuration costs, and what it buys on the way there.
2. Up the tree, what each queue can spend at most and must be given at least.
3. Down the tree, siblings of higher priority first: `water.pour`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.response import hull_of
from allocator.formulation.tree import QueueTree
from allocator.market.promised import floors
from allocator.market.quotas import Fill, worth
from allocator.market.water import level, pour, spill

LEAST_PART, CHEAP_PART = 1e-3, 1e-2
"""Of what a row would have if everybody spent all they have: it keeps at least the first, whatever its turn, since who
may spend nothing would not even get what is free. Whom less than the second satisfies keeps that, which makes no
difference to anybody: weights that lie farther apart are hard on solvers.
"""
FAINTEST, _LEAST_NUMBER = 1e-30, 1e-250
"""Of all money: what floats can tell from nothing, and solvers bear; and a number."""
_FAR, _FARTHEST = 100.0, 230.0
"""Natural logarithms of levels: of this size they are taken relative to those of the queue, and cut at the second."""
_MOST_POWER = 600.0
"""Of weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """Who wants something: one entry per row of the problem."""

    queue: Integers
    """(n,) the leaf of the tree."""
    weight: Floats
    """(n,) of one job, relative to the others of its queue."""
    turn: Integers
    """(n,) order of service in a queue that serves in order."""
    least: Floats | None = None
    """(n,) the utility that each job is promised out of its queue's money, 0 of most; None: of all."""
    closed: Booleans | None = None
    """(n, K) columns in which money buys nothing now, though the problem promises a little: what a job could spend on
    them is its siblings'. None: there are none."""

    def of_rows(self, rows: Integers) -> Claims:
        """Of these only."""
        least = None if self.least is None else self.least[rows]
        closed = None if self.closed is None else self.closed[rows]
        return Claims(self.queue[rows], self.weight[rows], self.turn[rows], least, closed)


@dataclass(frozen=True, slots=True, eq=False)
class Entitled:
    """What queues get for certain, could use at most, and have already."""

    guaranteed: Fill
    most: Fill
    held: Floats
    """(Q, F, R) by pinned jobs and higher classes, those of queues below included: part of their budget is spent."""

    @classmethod
    def nothing(cls, tree: QueueTree, shape: tuple[int, ...]) -> Entitled:
        """No quotas, nothing held; `shape` (F, R)."""
        none = Fill(np.zeros(0, dtype=np.int64), np.zeros((0, *shape)))
        return cls(none, none, np.zeros((tree.size, *shape)))


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """What everything costs whom: limits that hold some back are a charge on what those use."""

    row: Floats
    """(n, K) what one job of each row pays for a whole share of each column; inf where it can have none."""
    queue: Floats
    """(Q, F, R) prices for each queue, without those of its own limits, which a smaller budget makes needless."""

    @classmethod
    def of(cls, problem: Problem, tree: QueueTree, prices: Floats) -> Charges:
        """Without limits: `prices` (F, R) for everybody."""
        row = np.einsum("ikr,ikr->ik", problem.demand, prices[problem.flavor])
        return cls(row, np.broadcast_to(prices, (tree.size, *prices.shape)))

    def scaled(self, factor: float) -> Charges:
        return Charges(self.row * factor, self.queue * factor)


@dataclass(frozen=True, slots=True, eq=False)
class Budgets:
    """What a row's jobs weigh, `row` (n,), and what all below a queue may spend, `queue` (Q,): roots add up to 1."""

    row: Floats
    queue: Floats
    cap: Floats
    """(Q,) what it could spend at most."""
    floor: Floats
    """(Q,) what its guarantee costs."""


def budgets(problem: Problem, claims: Claims, tree: QueueTree, charges: Charges, entitled: Entitled) -> Budgets:
    """At these charges, relative to a total of 1 that buys what is held as well."""
    if claims.least is None and not charges.row.any() and not charges.queue.any():
        return _where_nothing_costs(problem, claims, tree)
    return _at_prices(problem, claims, tree, charges, entitled)


def _where_nothing_costs(problem: Problem, claims: Claims, tree: QueueTree) -> Budgets:
    """The same as `_at_prices` says there, where most of it has nothing to say: nobody can spend anything."""
    parts, nothing = np.zeros(tree.size), np.zeros(tree.size)
    for depth in range(tree.levels):
        here = np.flatnonzero(tree.depth == depth)
        have = np.concatenate([[1.0], parts])
        parts[here] = spill(tree.parent[here] + 1, tree.weight[here], nothing[here], have)
    usual = plain(claims, tree, claims.weight * problem.count)
    least = _least(usual, (usual > FAINTEST).astype(np.float64), problem.fairness)
    return Budgets(visible(least, problem.fairness), parts, nothing, nothing)


def _least(usual: Floats, cheap: Floats, alpha: float) -> Floats:
    """(n,) what rows keep of what they `usual`ly have, who are `cheap` to satisfy more."""
    part = (LEAST_PART + (CHEAP_PART - LEAST_PART) * cheap) ** max(1.0, alpha)
    found: Floats = usual * np.maximum(part, _faintest(alpha))
    return found


def _at_prices(problem: Problem, claims: Claims, tree: QueueTree, charges: Charges, entitled: Entitled) -> Budgets:
    steps = Steps.of(problem, claims, charges.row)
    need = steps.need
    paid = np.einsum("qfr,qfr->q", entitled.held, charges.queue)
    bill = paid.copy()
    bill[np.unique(tree.parent[tree.parent >= 0])] = 0.0  # what is held is held by leaves
    own_floor = worth(entitled.guaranteed, charges.queue, 0.0) + _held_within_quota(tree, entitled.held, charges.queue)
    own_cap = paid + worth(entitled.most, charges.queue, np.inf)
    cap = bill + np.bincount(claims.queue, weights=need, minlength=tree.size)
    floor = np.zeros(tree.size)
    for depth in range(tree.levels - 1, -1, -1):
        here = np.flatnonzero(tree.depth == depth)
        cap[here] = np.minimum(cap[here], own_cap[here])
        floor[here] = np.minimum(np.maximum(floor[here], own_floor[here]), cap[here])
        below = here[tree.parent[here] >= 0]
        np.add.at(cap, tree.parent[below], cap[below])
        np.add.at(floor, tree.parent[below], floor[below])
    parts = np.zeros(tree.size)
    for depth in range(tree.levels):
        here = np.flatnonzero(tree.depth == depth)
        have = np.concatenate([[1.0], parts])  # all roots have one budget, that of nobody
        given = _by_priority(
            tree.parent[here] + 1, tree.priority[here], tree.weight[here], floor[here], cap[here], have
        )
        parts[here] = given
    weight = _among_jobs(claims, problem.count, tree, steps, need, np.maximum(parts - bill, 0.0))
    usual = plain(claims, tree, claims.weight * problem.count)
    # what weights buy grows with their 1/alpha-th power
    share = np.divide(need, CHEAP_PART * usual, out=np.full(need.shape, np.inf), where=usual > FAINTEST)
    cheap = np.clip(2 - share, 0.0, 1.0)  # gradually: budgets that jump never settle
    least = _least(usual, cheap, problem.fairness)
    return Budgets(visible(np.maximum(weight * problem.count, least), problem.fairness), parts, cap, floor)


def visible(row: Floats, alpha: float) -> Floats:
    """(n,) budgets, none so small beside all of them that numbers lose it: a deep tree of small weights may say so."""
    found: Floats = np.maximum(row, _faintest(alpha) * row.sum())
    return found


def _faintest(alpha: float) -> float:
    """FAINTEST of what weights buy, as a weight."""
    return float(max(FAINTEST ** max(1.0, alpha), _LEAST_NUMBER)) if np.isfinite(alpha) else FAINTEST


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """What each row pays as the level rises at which its queue is served: piece by piece of its hull.

    A job of weight omega theta^alpha buys utility until its marginal worth is the slope s of the next piece: at level
    theta it has u = omega^(1/alpha) theta / s^(1/alpha). Between two pieces the level rises and nothing is bought: its
    time is all taken, and the faster configuration too dear still.
    """

    opens: Floats
    """(n, K) level at which it begins to buy the piece."""
    closes: Floats
    """(n, K) and has all of it."""
    slope: Floats
    """(n, K) what all jobs of the row pay per level in between."""
    need: Floats
    """(n,) what they pay for running all the time in their best configuration."""
    utility: Floats
    """(n, K + 1) from corner to corner of the hull."""
    rate: Floats
    """(n, K) level per utility in each piece; 0 in those that cost nothing."""
    unit: Floats
    """(n,) natural logarithm of the level that is 1 in the row's queue."""
    alpha: float

    @classmethod
    def of(cls, problem: Problem, claims: Claims, cost: Floats) -> Steps:
        """At a `cost` (n, K) for one job; inf where a column is not to be had."""
        usable = problem.eligible & np.isfinite(cost)
        if claims.closed is not None:
            usable &= ~claims.closed
        shape = hull_of(np.where(usable, problem.utility, 0.0), np.where(usable, cost, 0.0))
        alpha, count = problem.fairness, problem.count[:, None]
        pays = np.isfinite(shape.slope) & (shape.slope > 0)
        rate, unit = _rates(np.where(pays, shape.slope, 1.0), claims, alpha)
        opens, closes = rate * shape.utility[:, :-1], rate * shape.utility[:, 1:]
        paid = np.where(pays, np.diff(shape.cost, axis=1), 0.0) * count
        span = closes - opens
        slope = np.divide(paid, span, out=np.zeros(paid.shape), where=span > 0)
        return cls(
            opens=np.where(slope > 0, opens, 0.0),
            closes=np.where(slope > 0, closes, 0.0),
            slope=slope,
            need=paid.sum(axis=1),
            utility=shape.utility,
            rate=np.where(slope > 0, rate, 0.0),
            unit=unit,
            alpha=alpha,
        )

    def of_rows(self, rows: Integers) -> Steps:
        """Of these only."""
        return Steps(
            self.opens[rows],
            self.closes[rows],
            self.slope[rows],
            self.need[rows],
            self.utility[rows],
            self.rate[rows],
            self.unit[rows],
            self.alpha,
        )

    def level_of(self, utility: Floats) -> Floats:
        """(n,) the level at which each row has `utility` (n,), or all it can have if that is less."""
        inside = (self.utility[:, :-1] < utility[:, None]) & (self.opens < self.closes)
        at = np.minimum(self.utility[:, 1:], utility[:, None])
        found: Floats = np.where(inside, self.rate * at, 0.0).max(axis=1, initial=0.0)
        return found

    def paid_at(self, level: Floats) -> Floats:
        """(n,) what all jobs of each row pay at `level` (n,)."""
        found: Floats = (self.slope * (np.clip(level[:, None], self.opens, self.closes) - self.opens)).sum(axis=1)
        return found

    def weights(self, level: Floats, claimed: Floats) -> Floats:
        """(n,) of one job each, at the `level` (n,) of its queue; where that buys it nothing more than a lower one, of
        the lower one.
        """
        reached = np.where(self.opens < level[:, None], np.minimum(self.closes, level[:, None]), 0.0).max(
            axis=1, initial=0.0
        )
        size = self.alpha * (np.log(np.where(reached > 0, reached, 1.0)) + self.unit)
        if np.abs(size).max(initial=0.0) > _MOST_POWER:  # weights are relative: as large as numbers can be
            size = np.maximum(size - size.max(), -_MOST_POWER)
            return np.where(reached > 0, claimed * np.exp(size), 0.0)
        found: Floats = claimed * reached**self.alpha * np.exp(self.alpha * self.unit)
        return found


def _rates(slope: Floats, claims: Claims, alpha: float) -> tuple[Floats, Floats]:
    """(n, K) level per utility, and (n,) the logarithm of its unit: only levels of one queue are compared, so near
    alpha = 0, where they are far from 1, they are measured from the middle of the queue's.
    """
    far = (np.abs(np.log(slope)).max(initial=0.0) + np.abs(np.log(claims.weight)).max(initial=0.0)) / alpha
    if far < _FAR:
        return slope ** (1 / alpha) / claims.weight[:, None] ** (1 / alpha), np.zeros(len(slope))
    size = (np.log(slope) - np.log(claims.weight)[:, None]) / alpha
    queues = int(claims.queue.max()) + 1
    least, most = np.full(queues, np.inf), np.full(queues, -np.inf)
    np.minimum.at(least, claims.queue, size.min(axis=1))
    np.maximum.at(most, claims.queue, size.max(axis=1))
    middle = least[claims.queue] / 2 + most[claims.queue] / 2
    return np.exp(np.clip(size - middle[:, None], -_FARTHEST, _FARTHEST)), middle


def _held_within_quota(tree: QueueTree, held: Floats, prices: Floats) -> Floats:
    """(Q,) what the part of the nominal quota costs that is held already."""
    quotas = tree.quotas
    at = (quotas.queue, quotas.flavor, quotas.resource)
    amount = np.minimum(held[at], quotas.nominal) * prices[at]
    return np.bincount(quotas.queue, weights=amount, minlength=tree.size).astype(np.float64)


def plain(claims: Claims, tree: QueueTree, mass: Floats) -> Floats:
    """(n,) budgets of rows of `mass` (count times weight) if everybody could spend all they have."""
    parts = np.zeros(tree.size)
    wanting = tree.above(np.bincount(claims.queue, minlength=tree.size).astype(np.float64)) > 0
    for depth in range(tree.levels):
        here = np.flatnonzero((tree.depth == depth) & wanting)
        have = np.concatenate([[1.0], parts])
        parts[here] = spill(tree.parent[here] + 1, tree.weight[here], np.zeros(len(here)), have)
    return spill(claims.queue, mass, np.zeros(len(mass)), parts)


def _by_priority(
    group: Integers, priority: Integers, weight: Floats, floor: Floats, cap: Floats, budget: Floats
) -> Floats:
    """What each sibling gets of its group's budget: the highest priority first, but everybody's floor before that."""
    left = budget.copy()
    poured = np.zeros(len(group))
    reserved = np.bincount(group, weights=floor, minlength=len(budget))
    for value in np.unique(priority)[::-1]:
        these = np.flatnonzero(priority == value)
        mine = np.bincount(group[these], weights=floor[these], minlength=len(budget))
        reserved -= mine
        mine_and_free = np.maximum(left - np.maximum(reserved, 0.0), np.minimum(mine, left))
        poured[these] = pour(group[these], weight[these], floor[these], cap[these], mine_and_free)
        left -= np.bincount(group[these], weights=poured[these], minlength=len(budget))
        left = np.maximum(left, 0.0)
    return spill(group, weight, poured, budget)


def _among_jobs(claims: Claims, count: Integers, tree: QueueTree, steps: Steps, need: Floats, parts: Floats) -> Floats:
    """(n,) weights with which the jobs of each queue spend its part: all at one level, or one after the other. `count`
    (n,) is how many each row has.
    """
    group = claims.queue.copy()
    base, paid = np.zeros(len(need)), np.zeros(len(need))
    if claims.least is not None:
        base, paid = floors(steps, claims.queue, claims.weight * count, claims.least, parts)
    rest = need - paid
    money = parts - np.bincount(claims.queue, weights=paid, minlength=len(parts))
    in_order = np.flatnonzero(tree.in_order[claims.queue])
    if in_order.size:
        order = in_order[np.lexsort((claims.turn[in_order], claims.queue[in_order]))]
        queue = claims.queue[order]
        spent = np.concatenate([[0.0], np.cumsum(rest[order])])
        left = money[queue] - (spent[:-1] - spent[np.searchsorted(queue, queue)])
        group[order] = len(parts) + np.arange(len(order))
        money = np.concatenate([money, np.clip(left, 0.0, rest[order])])
    width = steps.opens.shape[1]
    opens, closes = np.maximum(steps.opens, base[:, None]), np.maximum(steps.closes, base[:, None])
    reached = level(np.repeat(group, width), opens.ravel(), closes.ravel(), steps.slope.ravel(), np.maximum(money, 0.0))
    return steps.weights(np.maximum(reached[group], base), claims.weight)
