"""Prices and budgets that agree: what everybody may spend depends on prices, and prices on what everybody may spend.

    budgets from the last prices -> solve -> prices -> budgets -> ...

until next to no money changes hands any more. Every step is a whole solve, certified as usual; with prices from the
last round the first or second is the last one. In a market of one scarce resource the second solve has it exactly: the
budgets' sum is 1, so that prices are right at once, and budgets of the right prices are right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from allocator.formulation.problem import Floats, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Budgets, Charges, Claims, Entitled, budgets
from allocator.solvers.solution import Solution, Status, WarmStart

MOST_SOLVES = 12
_PLAIN_STEPS, _SWING = 4, 0.7
"""After so many solves a step back that is nearly as long as the one before is gone half the way only."""
SETTLED = 1e-4
"""So small a part of all money may still change hands."""
_MANY_ROWS, _NEARLY_SETTLED, _NEARLY_KEPT = 1000, 1e-3, 2e-3
"""With so many rows, money and limits may be off by these parts; what goes beyond a limit is then cut off."""
_EXACTLY = 1e-7
_BUDGETS_FIRST, _MUCH = 2, 0.02
"""So many solves are without new rows for limits while more than that part of all money changes hands."""


@dataclass(frozen=True, slots=True, eq=False)
class Equilibrium:
    """The last solve, and what it was of."""

    problem: Problem
    solution: Solution
    budgets: Budgets | None
    """At the prices of the solution; None where budgets do not depend on prices."""
    solves: int
    moved: float
    """The part of all money that changed hands last."""


class Priced(Protocol):
    """Solves, and says what the last answer charges whom."""

    def __call__(self, problem: Problem, start: WarmStart) -> Solution: ...

    def refine(self, problem: Problem, solution: Solution, tolerance: float) -> float:
        """By what part the solution breaks limits at most, 0 if by less than that part; the next one knows them."""
        ...

    def within(self, problem: Problem, solution: Solution) -> Solution:
        """The same kept within all limits."""
        ...

    def charges(self, problem: Problem, prices: Floats) -> Charges:
        """At `prices` (F, R) of capacity, with those of limits."""
        ...


def equilibrium(
    problem: Problem, claims: Claims, tree: QueueTree, entitled: Entitled, solve: Priced, start: WarmStart
) -> Equilibrium:
    """`problem.weight` is where to begin without prices: budgets that nobody fails to spend."""
    if not 0 < problem.fairness < np.inf or not problem.row_count:
        return _without_budgets(problem, solve, start)
    exact = problem.row_count < _MANY_ROWS
    settled, tolerance = (SETTLED, 0.0) if exact else (_NEARLY_SETTLED, _NEARLY_KEPT)
    leaves = np.setdiff1d(np.arange(tree.size), tree.parent)

    def at(charges: Charges, money: float) -> Budgets:
        """In units in which `money`, which is all that is spent, and what is held are worth 1 together."""
        total = money + float((charges.queue[leaves] * entitled.held[leaves]).sum())
        return budgets(problem, claims, tree, charges.scaled(1 / total) if total > 0 else charges, entitled)

    row = problem.weight * problem.count
    known = np.where(problem.capacity > 0, start.prices, 0.0)  # of nothing there is no price, and no need for one
    if np.isfinite(known).all() and (known > 0).any():  # without any, they do not tell what anybody could spend
        row = at(solve.charges(problem, np.maximum(known, 0.0)), float((known * problem.capacity).sum())).row
    best: tuple[float, float, Equilibrium] | None = None
    path: list[tuple[Floats, Floats]] = []
    for solves in range(1, MOST_SOLVES + 1):
        weighted = replace(problem, weight=row / problem.count)
        solution = solve(weighted, start)
        if solution.status is Status.FAILED:
            break
        charges = solve.charges(problem, solution.prices)
        costs = np.where(solution.shares > 0, charges.row, 0.0)
        money = float((costs * solution.shares * problem.count[:, None]).sum())
        spending = at(charges, money)
        moved = float(np.abs(spending.row / spending.row.sum() - row / row.sum()).sum() / 2)
        early = solves <= _BUDGETS_FIRST and moved > _MUCH  # budgets that agree keep most limits by themselves
        worst = np.inf if early else solve.refine(problem, solution, tolerance or _EXACTLY)
        found = Equilibrium(weighted, solution, spending, solves, moved)
        best = min(best or (np.inf, np.inf, found), (worst, moved, found), key=lambda one: one[:2])
        if moved <= settled and worst == 0:
            break
        path.append((row, spending.row if money > 0 else row))  # where nothing costs anything, all can spend all
        row = _next(path)
        start = WarmStart(solution.prices, solution.limit_prices)
    if best is None:
        return Equilibrium(weighted, solution, None, solves, 1.0)
    return replace(best[2], solution=solve.within(problem, best[2].solution), solves=solves)


def _without_budgets(problem: Problem, solve: Priced, start: WarmStart) -> Equilibrium:
    """At alpha = 0 and inf, where money says nothing: just within limits."""
    for solves in range(1, MOST_SOLVES + 1):  # noqa: B007 - how many there were is told
        solution = solve(problem, start)
        if solution.status is Status.FAILED or not solve.refine(problem, solution, _EXACTLY):
            break
    if solution.status is not Status.FAILED:
        solution = solve.within(problem, solution)
    return Equilibrium(problem, solution, None, solves, 0.0)


def _next(path: list[tuple[Floats, Floats]]) -> Floats:
    """Budgets to try next, after those tried and what came of them: just that, or half the way where the last steps go
    to and fro and do not get shorter.
    """
    tried, came = path[-1]
    if len(path) < _PLAIN_STEPS:
        return came
    step, before = came - tried, path[-2][1] - path[-2][0]
    swings = float(step @ before) < -_SWING * float(before @ before)
    return (tried + came) / 2 if swings else came
