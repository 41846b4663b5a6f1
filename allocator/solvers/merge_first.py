"""Identical rows made one in front of a solver, and its answer given to all of them.

Certified where it is small: the merged problem has the same optimum, the same dual function and, at the same shares,
the same objective (`formulation/merging.py` proves it). Room for the original's longer sums is made before the
objective is taken, so the printed numbers are those of the shares that are given out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from allocator.formulation.certificate import Certificate, objective, relative_gap
from allocator.formulation.merging import Merged, merged
from allocator.formulation.problem import Problem
from allocator.solvers.solution import Solution, Status


def merge_first(problem: Problem, gap: float, solve: Callable[[Problem, float], Solution]) -> Solution:
    """`solve(problem, gap)`, of the merged problem where that pays. If merging fails, of the problem as it is."""
    try:
        together = merged(problem)
        if together is not None:
            room = 3 * together.margin
            return _for_all(together, solve(together.problem, max(gap - room, gap / 2)), gap)
    except Exception as error:  # noqa: BLE001 - memory, compilers, caches: the problem can be solved without
        answer = solve(problem, gap)
        return replace(answer, attempts=(f"merged: {type(error).__name__}: {error}", *answer.attempts))
    return solve(problem, gap)


def _for_all(together: Merged, answer: Solution, gap: float) -> Solution:
    """The answer to the merged problem as one to the original; `gap` is what was asked for."""
    small = together.problem
    shares = together.with_room(answer.shares)
    value = answer.objective if shares is answer.shares else objective(small, shares)
    bound = max(answer.bound, value)
    left = relative_gap(small, value, bound)
    status = answer.status
    if status is not Status.FAILED:
        judged = Certificate(shares, answer.prices, answer.limit_prices, value, bound, left)
        status = Status.OPTIMAL if judged.within(gap) else Status.INACCURATE
    told = f"merged: {together.row.size:,} rows into {small.row_count:,}"
    return replace(
        answer,
        shares=together.spread(shares),
        objective=value,
        bound=bound,
        gap=left,
        status=status,
        attempts=(told, *answer.attempts),
    )
