"""Which method answers, and what happens when it does not: the solver that rounds use.

Identical rows of large problems become one first. Nothing scarce: the shortcut. For alpha = inf levels, by
prices or by a ladder of linear programs. Otherwise price discovery if there are many rows, Clarabel if there are few or
if that answer is not certified within the gap; then Clarabel again, scaled by the best answer so far; then plain
arithmetic. The best shares and the best prices of all attempts are kept. It never raises on a valid problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.giving_way import checkpoint
from allocator.formulation.certificate import Certificate, certify, objective, positive_split, relative_gap, repair
from allocator.formulation.problem import Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.conic import conic
from allocator.solvers.equal_split import equal_split
from allocator.solvers.max_min import max_min
from allocator.solvers.merge_first import merge_first
from allocator.solvers.solution import Solution, Status, WarmStart
from allocator.solvers.surplus import surplus

DEFAULT_ITERATIONS = 400
_USUAL_ITERATIONS = 50
PRICE_ROWS, LINEAR_ROWS = 500, 2000
"""From so many rows on price discovery comes first; the second for alpha = 0, where few rows have few corners, far
apart. With fewer, Clarabel is quick and copes with more.
"""
ROWS_PER_CAPACITY = 30
"""With fewer rows for every capacity and limit, up to LINEAR_ROWS, price discovery takes long to find the corners; but
for limits that few rows share.
"""
MOST_CAPACITIES, DENSITY = 300, 8
"""More capacities and limits than the first, but for limits that few rows share, cost price discovery more than
Clarabel, where that is an alternative. The second is how many times as much as the sparse rows the dense ones may take.
"""
MERGED_ROWS = 100
"""The same where many identical rows were merged and alpha is not 0: what has to be loaded is loaded already."""
LEVEL_ROWS = 4000
"""From so many rows on max-min goes level by level in prices; with fewer, a ladder of linear programs is exact."""
_PASSES_OF_LEVELS = 5
"""Passes that count as one iteration: levels take many cheap ones."""
CONIC_SIZE = 200_000
"""Up to so many shares, rows x columns, Clarabel is worth waiting for: it takes some seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a method is asked for, and what is known when its turn comes."""

    iterations: int
    """It may spend at most so many."""
    gap: float
    warm_start: WarmStart | None
    best: Certificate | None
    """Of the methods before."""
    large: bool
    """The problem has PRICE_ROWS, or had before identical ones were merged."""


@dataclass(frozen=True, slots=True)
class Method:
    """`propose(problem, request)` gives a candidate; None: it does not apply.

    One that `needs_budget` is skipped when no iterations are left; one that `takes_all` may spend all that are left.
    """

    name: str
    propose: Callable[[Problem, Request], Candidate | None]
    needs_budget: bool = True
    takes_all: bool = False
    completes: bool = False
    """Its turn comes even after an answer within the gap, if that is not complete."""


def _surplus(problem: Problem, _request: Request) -> Candidate | None:
    return surplus(problem)


def _max_min(problem: Problem, request: Request) -> Candidate | None:
    fits = np.isinf(problem.fairness) and problem.utility.size <= CONIC_SIZE
    return max_min(problem, request.iterations) if fits else None


def _levels(problem: Problem, request: Request) -> Candidate | None:
    if not np.isinf(problem.fairness) or problem.row_count < LEVEL_ROWS:
        return None
    from allocator.solvers.level_prices import max_min_by_prices  # noqa: PLC0415 - numba takes half a second to import

    passes = request.iterations * _PASSES_OF_LEVELS
    found = max_min_by_prices(problem, passes, request.gap, request.warm_start)
    return replace(found, iterations=-(-found.iterations // _PASSES_OF_LEVELS))


def _price(problem: Problem, request: Request) -> Candidate | None:
    least = LINEAR_ROWS if problem.fairness == 0 else MERGED_ROWS if request.large else PRICE_ROWS
    if np.isinf(problem.fairness) or problem.row_count < least or not _enough_rows(problem):
        return None
    from allocator.solvers.price import price_discovery  # noqa: PLC0415 - numba takes half a second to import

    return price_discovery(problem, request.iterations, request.gap, request.warm_start)


def _enough_rows(problem: Problem) -> bool:
    """Whether there are many rows for every capacity and limit, and few enough of these. Limits that few rows share do
    not count: they are solved for queue by queue. Otherwise rows must touch them evenly, as they are laid out densely.
    """
    shared, local = problem.available.size, False
    if problem.limit_count:
        from allocator.solvers.local_limits import few_share, wide_count  # noqa: PLC0415 - see above

        shared, local = problem.capacity.size + wide_count(problem), few_share(problem)
    if problem.row_count < min(ROWS_PER_CAPACITY * shared, LINEAR_ROWS):
        return False
    if shared > MOST_CAPACITIES and problem.utility.size <= CONIC_SIZE:
        return False
    dense = _deepest(problem) * problem.row_count
    return local or dense <= DENSITY * max(problem.coupling.nnz, problem.utility.size)


def _deepest(problem: Problem) -> int:
    """Amounts of capacities and limits that one row touches at most."""
    return int(np.diff(problem.coupling.indptr[:: problem.column_count]).max(initial=0))


def _conic(problem: Problem, request: Request) -> Candidate | None:
    return conic(problem, request.iterations, gap=request.gap) if problem.utility.size <= CONIC_SIZE else None


def _rescaled(problem: Problem, request: Request) -> Candidate | None:
    """Again with shorter steps, measured in what the best answer so far gives everybody if that beats an equal split:
    a bad guess of the scale is by far the commonest cause of failure.
    """
    if problem.utility.size > CONIC_SIZE:
        return None
    near, best = repair(problem, positive_split(problem)), request.best
    beats = best is not None and best.objective > objective(problem, near)
    if best is not None and beats and (problem.utilities(best.shares) > 0).all():
        near = best.shares
    return conic(problem, request.iterations, near=near, step_fraction=0.9)


def _equal_split(problem: Problem, request: Request) -> Candidate | None:
    return equal_split(problem, request.warm_start)


METHODS: tuple[Method, ...] = (
    Method("surplus", _surplus, needs_budget=False),
    Method("levels", _levels),
    Method("max_min", _max_min, takes_all=True, completes=True),
    Method("price", _price),
    Method("conic", _conic),
    Method("conic_rescaled", _rescaled),
    Method("conic_rescaled_again", _rescaled),
    Method("equal_split", _equal_split, needs_budget=False),
)
"""In order. The last one spends its own small, fixed number of passes: it must answer when the budget is gone."""


@dataclass(frozen=True, slots=True)
class ChainSolver:
    """Implements the rounds' Solver port. `price` and `equal_split` use a warm start; Clarabel cannot."""

    methods: tuple[Method, ...] = METHODS

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        """OPTIMAL when certified within `gap`, INACCURATE when certified but farther off, FAILED when nothing was.

        `iterations` bounds what all attempts spend together: iterations of `price`, factorisations of Clarabel.
        """
        if problem.row_count == 0:
            return _empty(problem)
        large = problem.row_count >= PRICE_ROWS
        return merge_first(
            problem, gap, lambda merged, wished: self._tried(merged, wished, iterations, warm_start, large=large)
        )

    def _tried(
        self, problem: Problem, gap: float, iterations: int, warm_start: WarmStart | None, *, large: bool
    ) -> Solution:
        """What comes of the methods, one after the other."""
        best: Certificate | None = None
        whole = True
        solver, spent, attempts = "none", 0, []
        tried: list[str] = []
        """Methods whose turn it was: all but those that do not apply."""
        for method in self.methods:
            if best is not None and best.within(gap) and not method.completes:
                continue
            if method.needs_budget and spent >= iterations:
                tried.append(method.name)
                attempts.append(f"{method.name}: no iterations left")
                continue
            checkpoint()
            left = iterations - spent
            alone = problem.utility.size > CONIC_SIZE  # the methods after it do not apply
            allowance = left if method.takes_all or alone else _allowance(left)
            try:
                candidate = method.propose(problem, Request(allowance, gap, warm_start, best, large))
                certificate = None if candidate is None else _certified(problem, candidate, gap if large else 0.0)
            except BaseException as error:  # a panic in Clarabel's Rust is not an Exception
                if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
                    raise
                tried.append(method.name)
                attempts.append(f"{method.name}: {type(error).__name__}: {error}")
                continue
            if candidate is None or certificate is None:
                attempts.append(f"{method.name}: does not apply")
                continue
            tried.append(method.name)
            spent += candidate.iterations
            attempts.append(f"{method.name}: {candidate.outcome}, gap {certificate.gap:.3g}")
            completed = candidate.complete and not whole and certificate.within(gap)
            if best is None or completed or certificate.objective > best.objective:
                solver, whole = method.name, candidate.complete
            best = certificate if best is None else _better_of_both(problem, best, certificate, other_counts=completed)
            if whole and best.within(gap):
                return _solution(best, Status.OPTIMAL, solver, spent, attempts, fallback=len(tried) > 1)
        if best is None:
            return _failed(problem, spent, attempts)
        return _solution(best, Status.INACCURATE, solver, spent, attempts, fallback=solver != tried[0])


def solve(problem: Problem, gap: float = 1e-4, warm_start: WarmStart | None = None) -> Solution:
    """Shares, prices, objective, bound, gap and status of `problem`, by the chain with its default budget.

    Raises ValueError for a gap that is not above 0, TypeError for a warm start that is none.
    """
    if not gap > 0:
        raise ValueError(f"gap: must be a number above 0, such as 1e-4; got {gap}")
    if warm_start is not None and not isinstance(warm_start, WarmStart):
        raise TypeError(f"warm_start: must be a WarmStart or None, got {type(warm_start).__name__}")
    return ChainSolver().solve(problem, gap=gap, iterations=DEFAULT_ITERATIONS, warm_start=warm_start)


def _allowance(left: int) -> int:
    """What one attempt may spend: half of what is left, so that others get a chance, or what is usually enough."""
    return min(left, max(left // 2, _USUAL_ITERATIONS))


def _certified(problem: Problem, candidate: Candidate, enough: float) -> Certificate:
    return certify(problem, candidate.shares, candidate.prices, candidate.limit_prices, enough=enough, overwrite=True)


def _better_of_both(problem: Problem, one: Certificate, other: Certificate, *, other_counts: bool) -> Certificate:
    """The shares with the larger objective (the other's if they count more), the prices with the smaller bound."""
    value = one if one.objective >= other.objective and not other_counts else other
    dual = one if one.bound <= other.bound else other
    bound = max(dual.bound, value.objective)
    gap = relative_gap(problem, value.objective, bound)
    return replace(value, prices=dual.prices, limit_prices=dual.limit_prices, bound=bound, gap=gap)


def _solution(
    best: Certificate, status: Status, solver: str, spent: int, attempts: list[str], *, fallback: bool
) -> Solution:
    return Solution(
        shares=best.shares,
        prices=best.prices,
        limit_prices=best.limit_prices,
        objective=best.objective,
        bound=best.bound,
        gap=best.gap,
        status=status,
        solver=solver,
        iterations=spent,
        attempts=tuple(attempts),
        fallback=fallback,
    )


def _empty(problem: Problem) -> Solution:
    nothing = Candidate.free(problem, np.zeros(problem.throughput.shape), "no jobs")
    return _solution(_certified(problem, nothing, 0.0), Status.OPTIMAL, "empty", 0, ["empty: no jobs"], fallback=False)


def _failed(problem: Problem, spent: int, attempts: list[str]) -> Solution:
    shares = np.zeros(problem.throughput.shape)
    return Solution(
        shares=shares,
        prices=np.zeros(problem.capacity.shape),
        limit_prices=np.zeros(problem.limit_count),
        objective=objective(problem, shares),
        bound=float("inf"),
        gap=float("inf"),
        status=Status.FAILED,
        solver="none",
        iterations=spent,
        attempts=tuple(attempts),
    )
