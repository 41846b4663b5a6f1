"""The market of a round: class by class, each with the capacity and the quotas that the classes above it leave.

    for each priority class, the highest first:
        what others are guaranteed is kept for them
        budgets and prices that agree (`equilibrium`), within quotas (`limited`)
        what it got is taken off capacity and quotas

So a job of a lower class gets nothing that one of a higher class could use, except its own queue's guarantee. Nothing
is done by big weights, whose ratios a solver would have to bear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.snapshot import LimitName
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Budgets, Claims, Entitled, plain
from allocator.market.equilibrium import equilibrium
from allocator.market.limited import Limited
from allocator.market.limits import Bounds, use
from allocator.market.quotas import Fill, fill
from allocator.solvers.solution import Solution, Status, WarmStart

Solve = Callable[[Problem, WarmStart], Solution]

_CRUMB = 1e-4
"""Less than this part of a capacity is nothing: what a gap leaves of one that is used up. As a capacity of its own, so
small beside others, it would be hard on solvers.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One priority class, n' of the problem's rows."""

    priority: int
    rows: Integers
    """(n',) which of the problem's."""
    prices: Floats
    """(F, R) as this class sees them: relative to its own budgets, which add up to 1."""
    budgets: Budgets | None
    """None where budgets do not depend on prices."""
    solves: int
    moved: float
    """The part of its money that changed hands last: 0 where budgets and prices agree."""
    limit_prices: Mapping[LimitName, float]
    """Of the limits that held this class back."""


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


def clear(
    market: Market, solve: Solve, start: WarmStart, known: Mapping[LimitName, float], gap: float = 1e-4
) -> Cleared:
    """`start` and `known` are the last round's prices, by capacity and by limit; `gap` is what `solve` aims for."""
    problem, tree = market.problem, market.tree
    shares = np.zeros(problem.throughput.shape)
    weight = problem.weight.copy()
    capacity, held = problem.capacity.copy(), market.held.copy()
    limit_prices: dict[LimitName, float] = {}
    stages, solutions = [], []
    classes = np.unique(market.priority)[::-1].tolist()
    for number, priority in enumerate(classes):
        rows = np.flatnonzero(market.priority == priority)
        bounds = Bounds.of(tree, capacity, held)
        later = np.flatnonzero(market.priority <= priority)
        if number + 1 < len(classes):
            bounds = bounds.keeping(_guarantees(market, later, capacity, held))
        inside, part = _reduced(problem, rows, capacity)
        if not part.row_count:
            continue
        claims = Claims(market.claims.queue[inside], market.claims.weight[inside], market.claims.turn[inside])
        part = replace(part, weight=plain(claims, tree, claims.weight * part.count) / part.count)
        limited = Limited(solve, tree, claims.queue, bounds, market.flavors, market.resources, gap, dict(known))
        entitled = Entitled(_guaranteed(part, claims, tree, held), _most(part, claims, tree, bounds), held)
        found = equilibrium(part, claims, tree, entitled, limited, start)
        stages.append(
            Stage(
                int(priority),
                inside,
                found.solution.prices,
                found.budgets,
                found.solves,
                found.moved,
                dict(limited.prices),
            )
        )
        solutions.append(found.solution)
        if found.solution.status is Status.FAILED:
            break
        shares[inside], weight[inside] = found.solution.shares, found.problem.weight
        capacity = np.maximum(capacity - part.usage(found.solution.shares), 0.0)
        capacity[capacity <= _CRUMB * problem.capacity] = 0.0
        held = held + use(part, tree, claims.queue, found.solution.shares)
        limit_prices |= limited.prices
    weighted = replace(problem, weight=weight)
    solution = _together(weighted, shares, stages, solutions, solve, start)
    return Cleared(
        problem=weighted,
        solution=solution,
        limit_prices=limit_prices,
        stages=tuple(stages),
        tree=tree,
        used=held - market.held,
        guaranteed=_guaranteed(problem, market.claims, tree, market.held),
    )


def _reduced(problem: Problem, rows: Integers, capacity: Floats) -> tuple[Integers, Problem]:
    """Those of `rows` for which `capacity` leaves something, as a problem of their own; which they are."""
    if np.array_equal(capacity, problem.capacity) and len(rows) == problem.row_count:
        return rows, problem
    needs = (problem.demand[rows] > 0) & (capacity[problem.flavor[rows]] <= 0)
    throughput = np.where(needs.any(axis=2) | ~problem.eligible[rows], 0.0, problem.throughput[rows])
    able = (throughput > 0).any(axis=1)
    inside = rows[able]
    reduced = Problem.from_arrays(
        throughput=throughput[able],
        flavor=problem.flavor[inside],
        demand=problem.demand[inside],
        capacity=capacity,
        weight=problem.weight[inside],
        count=problem.count[inside],
        fairness=problem.fairness,
        reference=problem.reference[inside],
    )
    return inside, reduced


def _guaranteed(problem: Problem, claims: Claims, tree: QueueTree, held: Floats) -> Fill:
    """What these jobs' queues are guaranteed of it. Where it is more than there is, everybody's in proportion."""
    quotas = tree.quotas
    queue = np.unique(quotas.queue[quotas.nominal > 0])
    bound = np.zeros((tree.size, *problem.capacity.shape))
    some = quotas.nominal > 0
    bound[quotas.queue[some], quotas.flavor[some]] = np.inf  # nothing is said about the other resources of the flavor
    bound[quotas.queue, quotas.flavor, quotas.resource] = quotas.nominal
    found = fill(problem, tree, claims.queue, queue, np.maximum(bound[queue] - held[queue], 0.0))
    outer = _outermost(tree, queue)
    promised = found.bundle[outer].sum(axis=0)
    lowered = np.divide(problem.capacity, promised, out=np.ones(promised.shape), where=promised > problem.capacity)
    return Fill(queue, found.bundle * lowered)


def _guarantees(market: Market, rows: Integers, capacity: Floats, held: Floats) -> Floats:
    """(Q, F, R) what is guaranteed to the queues of `rows` together."""
    found = np.zeros(held.shape)
    if not len(market.tree.quotas.queue):
        return found
    inside, part = _reduced(market.problem, rows, capacity)
    if part.row_count:
        claims = Claims(market.claims.queue[inside], market.claims.weight[inside], market.claims.turn[inside])
        filled = _guaranteed(part, claims, market.tree, held)
        found[filled.queue] = filled.bundle
    return found


def _outermost(tree: QueueTree, queue: Integers) -> Integers:
    """Positions in `queue` of those without another of them above."""
    among = np.zeros(tree.size + 1, dtype=np.bool_)
    among[queue] = True
    above = np.zeros(tree.size, dtype=np.bool_)
    for level in range(1, tree.levels):
        here = np.flatnonzero(tree.depth == level)
        above[here] = above[tree.parent[here]] | among[tree.parent[here]]
    return np.flatnonzero(~above[queue])


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
    """One answer of all classes. A capacity's price is that of the lowest class that pays for it: who buys last."""
    if not solutions:
        return solve(problem, start)
    if len(solutions) == 1:
        return replace(solutions[0], shares=shares)
    failed = any(solution.status is Status.FAILED for solution in solutions)
    prices = np.zeros(problem.capacity.shape)
    for stage in stages:
        prices = np.where(stage.prices > 0, stage.prices, prices)
    worst = Status.FAILED if failed else Status.OPTIMAL
    if not failed and any(solution.status is Status.INACCURATE for solution in solutions):
        worst = Status.INACCURATE
    return replace(
        solutions[-1],
        shares=np.zeros(shares.shape) if failed else shares,
        prices=prices,
        objective=sum(solution.objective for solution in solutions),
        bound=sum(solution.bound for solution in solutions),
        gap=max(solution.gap for solution in solutions),
        status=worst,
        iterations=sum(solution.iterations for solution in solutions),
        attempts=tuple(
            f"class {stage.priority}: {attempt}"
            for stage, solution in zip(stages, solutions, strict=True)
            for attempt in solution.attempts
        ),
        fallback=any(solution.fallback for solution in solutions),
    )
