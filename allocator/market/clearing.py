"""The market of a round: class by class, each with the capacity and the quotas that the classes above it leave.

    for each priority class, the highest first:
        what others are guaranteed is kept for them
        budgets and prices that agree (`equilibrium`), within quotas (`limited`)
        what it got is taken off capacity, quotas and side constraints

So a job of a lower class gets nothing that one of a higher class could use, except its own queue's guarantee. Nothing
is done by big weights, whose ratios a solver would have to bear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Budgets, Claims, Entitled, plain, visible
from allocator.market.equilibrium import Equilibrium, equilibrium
from allocator.market.limited import Limited
from allocator.market.limits import Bounds, use, without
from allocator.market.prices import Prices
from allocator.market.quotas import Fill, fill, within_capacity
from allocator.market.side import within_side
from allocator.solvers.solution import Solution, Status, WarmStart

Solve = Callable[[Problem, WarmStart], Solution]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One priority class, n' of the problem's rows."""

    priority: int
    rows: Integers
    """(n',) which of the problem's."""
    prices: Floats
    """(F, R) of what nobody keeps to themselves, relative to this class's own budgets, which add up to 1."""
    budgets: Budgets | None
    """None where budgets do not depend on prices."""
    solves: int
    moved: float
    """The part of its money that changed hands last: 0 where budgets and prices agree."""
    limit_prices: Mapping[LimitName, float]
    """Of the limits that held this class back: see `Prices.named`."""
    charged: Prices
    """What each queue pays."""


@dataclass(frozen=True, slots=True, eq=False)
class Cleared:
    """`solution` of `problem`, whose weights are the budgets; prices of quotas by name; the classes in order."""

    problem: Problem
    solution: Solution
    limit_prices: Mapping[LimitName, float]
    stages: tuple[Stage, ...]
    tree: QueueTree
    used: Floats
    """(Q, F, R) what each queue gets, those below it included, in display units; without what pinned jobs hold."""
    guaranteed: Fill
    """What quotas guarantee to those who want something now."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """Who takes part: the problem, and what it does not know of its rows."""

    problem: Problem
    claims: Claims
    priority: Integers
    """(n,)"""
    tree: QueueTree
    held: Floats
    """(Q, F, R) what pinned jobs hold, those of queues below included, in display units."""
    flavors: tuple[str, ...]
    resources: tuple[str, ...]
    side: tuple[LimitName, ...] = ()
    """Names of the problem's first limits."""


@dataclass(frozen=True, slots=True, eq=False)
class _Left:
    """What the classes so far left, and what queues have."""

    capacity: Floats
    """(F, R)"""
    amounts: Floats
    """(L,) of the problem's own limits."""
    held: Floats
    """(Q, F, R) by pinned jobs and by the classes so far."""

    def after(self, market: Market, part: Problem, leaf: Integers, shares: Floats) -> _Left:
        """What `shares` of a class's own problem leave."""
        return _Left(
            without(self.capacity, part.usage(shares), market.problem.capacity),
            without(self.amounts, part.limit_usage(shares), market.problem.limit_amount),
            self.held + use(part, market.tree, leaf, shares),
        )


def clear(
    market: Market, solve: Solve, start: WarmStart, known: Mapping[LimitName, float], gap: float = 1e-4
) -> Cleared:
    """`start` and `known` are the last round's prices, by capacity and by limit; `gap` is what `solve` aims for."""
    problem, tree = market.problem, market.tree
    shares = np.zeros(problem.throughput.shape)
    weight = problem.weight.copy()
    left = _Left(problem.capacity, problem.limit_amount, market.held)
    at_first = Bounds.of(tree, problem.capacity, market.held)
    guaranteed: Fill | None = None
    stages: list[Stage] = []
    solutions: list[Solution] = []
    classes = np.unique(market.priority)[::-1].tolist()
    for number, priority in enumerate(classes):
        rows = np.flatnonzero(market.priority == priority)
        inside, part = _reduced(problem, rows, left)
        if not part.row_count:
            continue
        claims = market.claims.of_rows(inside)
        part = part.weighted(visible(plain(claims, tree, claims.weight * part.count), part.fairness) / part.count)
        bounds = at_first.after(left.held - market.held)
        if number + 1 < len(classes):
            later = np.flatnonzero(market.priority <= priority)
            bounds = bounds.keeping(tree, left.capacity, _guarantees(market, later, left, bounds.kept))
        limited = Limited(solve, tree, claims.queue, bounds, market.flavors, market.resources, market.side, gap, known)
        guaranteed = _guaranteed(part, claims, tree, left.held, bounds.kept)
        entitled = Entitled(guaranteed, _most(part, claims, tree, bounds), left.held)
        found = equilibrium(part, claims, tree, entitled, limited, start)
        stages.append(_stage(market, int(priority), inside, found))
        solutions.append(found.solution)
        if found.solution.status is Status.FAILED:  # what it would have had, no lower class shall have
            break
        shares[inside], weight[inside] = found.solution.shares, found.problem.weight
        left = left.after(market, part, claims.queue, found.solution.shares)
    weighted = problem.weighted(weight)
    if len(classes) > 1 or guaranteed is None:
        guaranteed = _guaranteed(problem, market.claims, tree, market.held, at_first.kept)
    solution = _together(weighted, shares, stages, solutions, solve, start)
    answered = [stage for stage, one in zip(stages, solutions, strict=True) if one.status is not Status.FAILED]
    return Cleared(
        problem=weighted,
        solution=solution,
        limit_prices={name: price for stage in answered for name, price in stage.limit_prices.items()},
        stages=tuple(stages),
        tree=tree,
        used=left.held - market.held,
        guaranteed=guaranteed,
    )


def _stage(market: Market, priority: int, rows: Integers, found: Equilibrium) -> Stage:
    names = market.flavors, market.resources, market.side
    return Stage(
        priority=priority,
        rows=rows,
        prices=found.solution.prices,
        budgets=found.budgets,
        solves=found.solves,
        moved=found.moved,
        limit_prices=found.prices.named(market.tree, names),
        charged=found.prices,
    )


def _reduced(problem: Problem, rows: Integers, left: _Left) -> tuple[Integers, Problem]:
    """Those of `rows` to which something is left, as a problem of their own; which they are."""
    same = np.array_equal(left.capacity, problem.capacity) and np.array_equal(left.amounts, problem.limit_amount)
    if same and len(rows) == problem.row_count:
        return rows, problem
    throughput = np.where(_open(problem, left), problem.throughput, 0.0)[rows]
    able = (throughput > 0).any(axis=1)
    inside = rows[able]
    place = np.full(problem.row_count, -1)
    place[inside] = np.arange(inside.size)
    reduced = Problem.from_arrays(
        throughput=throughput[able],
        flavor=problem.flavor[inside],
        demand=problem.demand[inside],
        capacity=left.capacity,
        weight=problem.weight[inside],
        count=problem.count[inside],
        fairness=problem.fairness,
        reference=problem.reference[inside],
        limits=[
            limit.among(place)._replace(amount=float(amount))
            for limit, amount in zip(problem.limits, left.amounts, strict=True)
        ],
    )
    return inside, reduced


def _open(problem: Problem, left: _Left) -> Booleans:
    """(n, K) columns that need nothing of which nothing is left."""
    needs = (problem.demand > 0) & (left.capacity[problem.flavor] <= 0)
    found: Booleans = problem.eligible & ~np.asarray(needs.any(axis=2))
    for number in np.flatnonzero(left.amounts <= 0).tolist():
        row, column, _ = problem.limit_arrays.entries(number, problem.flavor, problem.demand)
        found[row, column] = False
    return found


def _guaranteed(problem: Problem, claims: Claims, tree: QueueTree, held: Floats, kept: Floats) -> Fill:
    """What these jobs' queues are guaranteed of it, beside what all of them keep (Q, F, R). Where that is more than
    there is, everybody's in proportion.
    """
    quotas = tree.quotas
    if not quotas.nominal.any():
        return Fill(np.zeros(0, dtype=np.int64), np.zeros((0, *problem.capacity.shape)))
    queue = np.unique(quotas.queue[quotas.nominal > 0])
    bound = np.zeros((tree.size, *problem.capacity.shape))
    some = quotas.nominal > 0
    bound[quotas.queue[some], quotas.flavor[some]] = np.inf  # nothing is said about the other resources of the flavor
    bound[quotas.queue, quotas.flavor, quotas.resource] = quotas.nominal
    found = fill(problem, tree, claims.queue, queue, np.maximum(bound[queue] - held[queue], 0.0))
    possible = within_capacity(tree, found, kept, problem.capacity)
    return within_side(problem, tree, claims.queue, possible)


def _guarantees(market: Market, rows: Integers, left: _Left, kept: Floats) -> Floats:
    """(Q, F, R) what is guaranteed to the queues of `rows` together."""
    found = np.zeros(left.held.shape)
    if not len(market.tree.quotas.queue):
        return found
    inside, part = _reduced(market.problem, rows, left)
    if part.row_count:
        claims = market.claims.of_rows(inside)
        filled = _guaranteed(part, claims, market.tree, left.held, kept)
        found[filled.queue] = filled.bundle
    return found


def _most(problem: Problem, claims: Claims, tree: QueueTree, bounds: Bounds) -> Fill:
    """What queues with a bound could use at most."""
    queue = np.flatnonzero(np.isfinite(bounds.most).any(axis=(1, 2)))
    return fill(problem, tree, claims.queue, queue, bounds.most[queue])


def _together(
    problem: Problem,
    shares: Floats,
    stages: Sequence[Stage],
    solutions: Sequence[Solution],
    solve: Solve,
    start: WarmStart,
) -> Solution:
    """One answer of all classes. A capacity's price is that of the lowest class that pays for it: who buys last.

    A class without an answer gets nothing, and those below it neither; those above keep what they have.
    """
    if not solutions:
        return solve(problem, start)
    if len(solutions) == 1:
        return replace(solutions[0], shares=shares)
    answered = [solution for solution in solutions if solution.status is not Status.FAILED]
    if not answered:
        return replace(solutions[-1], shares=shares)
    prices, limit_prices = np.zeros(problem.capacity.shape), np.zeros(problem.limit_count)
    for solution in answered:
        prices = np.where(solution.prices > 0, solution.prices, prices)
        limit_prices = np.where(solution.limit_prices > 0, solution.limit_prices, limit_prices)
    whole = all(solution.status is Status.OPTIMAL for solution in solutions)
    return replace(
        answered[-1],
        shares=shares,
        prices=prices,
        limit_prices=limit_prices,
        objective=sum(solution.objective for solution in answered),
        bound=sum(solution.bound for solution in answered),
        gap=max(solution.gap for solution in answered),
        status=Status.OPTIMAL if whole else Status.INACCURATE,
        iterations=sum(solution.iterations for solution in solutions),
        attempts=tuple(
            f"class {stage.priority}: {attempt}"
            for stage, solution in zip(stages, solutions, strict=True)
            for attempt in solution.attempts
        ),
        fallback=any(solution.fallback or solution.status is Status.FAILED for solution in solutions),
    )
