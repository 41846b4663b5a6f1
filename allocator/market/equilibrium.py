"""Prices and budgets that agree: what everybody may spend depends on prices, and prices on what everybody may spend.

    budgets from the last prices -> solve -> prices -> budgets -> ...

until next to no money changes hands any more. Every step is a whole solve, certified as usual; with prices from the
last round the first or second is the last one. In a market of one scarce resource the second solve has it exactly: the
budgets' sum is 1, so that prices are right at once, and budgets of the right prices are right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from allocator.formulation.problem import Floats, Problem
from allocator.formulation.tree import QueueTree
from allocator.market.budgets import Budgets, Charges, Claims, Entitled, budgets
from allocator.market.limited import Answer, Limited
from allocator.market.prices import Prices
from allocator.solvers.solution import Solution, Status, WarmStart

MOST_SOLVES, MOST_OF_MANY = 20, 12
"""The second where there are many rows."""
_PLAIN_STEPS, _STRAIGHT, _SLOW, _FARTHEST = 2, 0.8, 0.3, 10.0
"""After so many steps the next is guessed from them, if they are in line but for this part (the squared cosine), and
either turn back or become shorter by less than that; and it is so many times as long at most.
"""
SETTLED = 1e-4
"""So small a part of all money may still change hands."""
_WORTH_TELLING = 10
"""Where it is more than so many times what may, the solution says so."""
_MANY_ROWS, _NEARLY_SETTLED, _NEARLY_KEPT = 1000, 1e-3, 2e-3
"""With so many rows, money and limits may be off by these parts; what goes beyond a limit is then cut off."""
_SLIGHTLY = 0.05
"""An answer that breaks a limit by more than that part is not worth mending."""
_EXACTLY = 1e-7
_BUDGETS_FIRST, _MUCH = 2, 0.02
"""So many solves are without new rows for limits while more than that part of all money changes hands."""


@dataclass(frozen=True, slots=True, eq=False)
class Equilibrium:
    """The last solve, and what it was of."""

    problem: Problem
    solution: Solution
    prices: Prices
    budgets: Budgets | None
    """At the prices of the solution; None where budgets do not depend on prices."""
    solves: int
    moved: float
    """The part of all money that changed hands last."""


def equilibrium(
    problem: Problem, claims: Claims, tree: QueueTree, entitled: Entitled, solve: Limited, start: WarmStart
) -> Equilibrium:
    """`problem.weight` is where to begin without prices: budgets that nobody fails to spend."""
    if not 0 < problem.fairness < np.inf or not problem.row_count:
        return _without_budgets(problem, solve, start)
    exact = problem.row_count < _MANY_ROWS
    settled, tolerance = (SETTLED, _EXACTLY) if exact else (_NEARLY_SETTLED, _NEARLY_KEPT)
    inner = np.zeros(tree.size + 1, dtype=np.bool_)
    inner[tree.parent] = True  # the last one is the parent of roots
    leaves = np.flatnonzero(~inner[:-1])

    def at(charges: Charges, money: float) -> tuple[Budgets, float]:
        """In units in which `money`, which is all that is spent, and what is held are worth 1 together; the unit."""
        total = money + float((charges.queue[leaves] * entitled.held[leaves]).sum())
        unit = 1 / total if total > 0 else 1.0
        return budgets(problem, claims, tree, charges.scaled(unit), entitled), unit

    row = problem.weight * problem.count
    known = _known(problem, solve, start)
    if known is not None:
        row = at(solve.charges(problem, known), known.income(problem))[0].row
    best: tuple[tuple[float, float], Answer, Equilibrium] | None = None
    path: list[tuple[Floats, Floats]] = []
    for solves in range(1, (MOST_SOLVES if exact else MOST_OF_MANY) + 1):
        weighted = problem.weighted(row / problem.count)
        answer = solve(weighted, start, known)
        if answer.solution.status is Status.FAILED:
            break
        charges = solve.charges(problem, answer.prices)
        money = _spent(problem, charges, answer.solution)
        if not np.isfinite(money):  # prices beyond what numbers hold say nothing
            break
        spending, unit = at(charges, money)
        moved = float(np.abs(spending.row / spending.row.sum() - row / row.sum()).sum() / 2)
        early = solves <= _BUDGETS_FIRST and moved > _MUCH  # budgets that agree keep most limits by themselves
        worst = np.inf if early else solve.refine(weighted, answer, tolerance)
        found = Equilibrium(weighted, answer.solution, answer.prices, spending, solves, moved)
        if moved <= settled and (worst == 0 or (not exact and _good_enough(weighted, solve, answer, worst))):
            best = (0.0, moved), answer, found
            break
        best = min(best or ((np.inf, np.inf), answer, found), ((worst, moved), answer, found), key=lambda one: one[0])
        came = spending.row if money > 0 else row  # where nothing costs anything, all can spend all
        path = [*([] if 0 < worst < np.inf else path), (row / row.sum(), came / came.sum())]
        row, guessed = _next(path)
        row = row * came.sum()
        path = [] if guessed else path
        known = answer.prices.scaled(unit)  # to which these weights belong
        start = WarmStart(known.common)
    if best is None:
        kept = answer.solution if answer.solution.status is Status.FAILED else solve.within(weighted, answer)
        return Equilibrium(weighted, kept, answer.prices, None, solves, 1.0)
    _, answer, found = best
    solution = solve.within(found.problem, answer)
    if found.moved > _WORTH_TELLING * settled:
        solution = replace(solution, attempts=(*solution.attempts, _unsettled(found.moved)))
    return replace(found, solution=solution, solves=solves)


def _unsettled(moved: float) -> str:
    return f"budgets: {100 * moved:.2g} % of the money not settled"


def _known(problem: Problem, solve: Limited, start: WarmStart) -> Prices | None:
    """The last round's prices; None where not all of them are known, or nothing has one: then they do not tell what
    anybody could spend.
    """
    if start.prices.shape != problem.capacity.shape:
        return None
    common = np.where(problem.capacity > 0, start.prices, 0.0)  # of nothing there is no price, and no need for one
    if not np.isfinite(common).all() or not (common > 0).any():
        return None
    return solve.remembered(problem, np.maximum(common, 0.0))


def _good_enough(problem: Problem, solve: Limited, answer: Answer, worst: float) -> bool:
    """Whether it is certified as asked for also when it is kept within all limits."""
    return worst <= _SLIGHTLY and solve.within(problem, answer).status is Status.OPTIMAL


def _spent(problem: Problem, charges: Charges, solution: Solution) -> float:
    costs = np.where(solution.shares > 0, charges.row, 0.0)
    return float((costs * solution.shares * problem.count[:, None]).sum())


def _without_budgets(problem: Problem, solve: Limited, start: WarmStart) -> Equilibrium:
    """At alpha = 0 and inf, where money says nothing: just within limits."""
    known = _known(problem, solve, start)
    for solves in range(1, MOST_OF_MANY + 1):  # noqa: B007 - how many there were is told
        answer = solve(problem, start, known)
        if answer.solution.status is Status.FAILED or not solve.refine(problem, answer, _EXACTLY):
            break
        known, start = answer.prices, WarmStart(answer.prices.common)
    solution = answer.solution
    if solution.status is not Status.FAILED:
        solution = solve.within(problem, answer)
    return Equilibrium(problem, solution, answer.prices, None, solves, 0.0)


def _next(path: list[tuple[Floats, Floats]]) -> tuple[Floats, bool]:
    """Budgets to try next, after those tried and what came of them, all adding up to 1: just that, but where the last
    two steps go to and fro, the point in between that they point at, and where they go on in one direction, the end
    that they tend to. Whether it is one of these: what comes of it is no step like those before.
    """
    tried, came = path[-1]
    if len(path) < _PLAIN_STEPS:
        return came, False
    (before, after), step = path[-2], came - tried
    last = after - before
    size = float(last @ last)
    part = float(step @ last) / size if size > 0 else 0.0
    straight = part * float(last @ step) >= _STRAIGHT * float(step @ step)
    if straight and part < 0:
        return tried + step / (1 - part), True
    if straight and part > _SLOW:
        far = tried + step * min(1 / (1 - part) if part < 1 else _FARTHEST, _FARTHEST)
        return np.maximum(far, np.minimum(tried, came) / _FARTHEST), True
    return came, False
