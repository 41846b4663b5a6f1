"""Any shares made strictly feasible: within every capacity and limit as floats add up, nobody starved needlessly.

Nothing here knows where the shares came from. Shrinking keeps what is positive positive; growing never takes from
anybody. For many rows the same steps run compiled, in `fused_repair.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.formulation.kernels import compiled
from allocator.formulation.objective import objective
from allocator.formulation.problem import Floats, Problem

Indices = NDArray[np.signedinteger[Any]]
_EPSILON = float(np.finfo(np.float64).eps)
FILL_PASSES = 3
MIXTURES = (1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.5)
"""How much of a positive split is tried for shares that starve somebody."""
STARVED = 1e-3
"""Utility, relative to the positive split, below which mixing is tried."""
SAME_LEVEL = 1e-6
"""Gain of the lowest level, relatively, that is not worth disturbing the levels above it (alpha = inf)."""


def repair(problem: Problem, shares: Floats) -> Floats:
    """Strictly feasible shares (n, K) near `shares` (n, K), which may hold anything: NaN, negatives, overuse.

    Clip, scale each job to at most its whole time, scale every column by its most overused capacity or limit, for
    alpha >= 1 mix in a positive split if somebody would starve, then let shares grow into what is left over.
    """
    return feasible(problem, shares)[0]


def feasible(
    problem: Problem,
    shares: Floats,
    enough: Callable[[float], bool] = lambda _objective: False,
    *,
    overwrite: bool = False,
    threads: int | None = None,
) -> tuple[Floats, float]:
    """The repaired shares and their objective. Nothing grows further once `enough(objective)`. For many rows,
    `overwrite` allows to write the result where `shares` are, and `threads` work, which changes no bit.
    """
    if problem.row_count == 0:
        return np.zeros(problem.throughput.shape), 0.0
    if compiled(problem.row_count):
        from allocator.formulation import fused_repair  # noqa: PLC0415 - loads numba

        return fused_repair.feasible(problem, shares, enough, overwrite=overwrite, threads=threads)
    grip = _Grip.of(problem)
    usable = np.where(np.isfinite(shares), shares, 0.0)
    fitting = _fit(problem, grip, np.where(problem.eligible, np.clip(usable, 0.0, 1.0), 0.0))
    if problem.fairness >= 1:
        fitting = _feed_the_starved(problem, fitting)
    for _ in range(FILL_PASSES):
        if enough(objective(problem, fitting)) or (fitting.sum(axis=1) >= 1).all():  # nobody has time to fill
            break
        fitting = _grow(problem, grip, fitting)
    fitting = _fit(problem, grip, fitting)
    return fitting, objective(problem, fitting)


def positive_split(problem: Problem) -> Floats:
    """Feasible shares (n, K), every one of an eligible column above 0: equal wishes, scaled to what there is. Not to be
    written to.
    """
    if "positive split" not in problem.memo:
        wishes = problem.eligible / np.maximum(problem.eligible.sum(axis=1, keepdims=True), 1)
        problem.memo["positive split"] = _fit(problem, _Grip.of(problem), wishes)
    found: Floats = problem.memo["positive split"]
    return found


def margin(problem: Problem) -> float:
    """Relative room left when scaling to a bound: more than any order of summation can err by."""
    return 4 * _EPSILON * (float(problem.entries.most) + 4)


@dataclass(frozen=True, slots=True)
class _Grip:
    """Which rows of `coupling` hold each column back: `rows[starts[j]:starts[j+1]]` for column `columns[j]`."""

    rows: Indices
    starts: Indices
    columns: Indices
    margin: float

    @classmethod
    def of(cls, problem: Problem) -> _Grip:
        entries = problem.entries
        return cls(entries.row, entries.starts, entries.columns, margin(problem))

    def least(self, by_row: Floats, shape: tuple[int, ...], default: float) -> Floats:
        """(n, K) for each column the smallest of `by_row` over the rows that hold it; `default` where none does."""
        result = np.full(shape, default)
        if self.columns.size:
            result.ravel()[self.columns] = np.minimum.reduceat(by_row[self.rows], self.starts)
        return result


def _fit(problem: Problem, grip: _Grip, shares: Floats) -> Floats:
    """Scale non-negative shares down until each job's sum and every row hold; unchanged where they hold already."""
    time = shares.sum(axis=1)
    keep = np.where(time > 1, (1 - 4 * _EPSILON * (shares.shape[1] + 2)) / np.maximum(time, 1.0), 1.0)
    shares = shares * keep[:, None]
    usage = problem.coupled_usage(shares)
    over = usage > problem.available
    if not over.any():
        return shares
    factor = np.ones_like(usage)
    factor[over] = problem.available[over] * (1 - grip.margin) / usage[over]
    return shares * grip.least(factor, shares.shape, 1.0)


def _feed_the_starved(problem: Problem, shares: Floats) -> Floats:
    """The best mixture of `shares` with a positive split, if somebody has next to nothing."""
    split = positive_split(problem)
    if (problem.utilities(shares) >= STARVED * problem.utilities(split)).all():
        return shares
    candidates = [shares, *((1 - part) * shares + part * split for part in MIXTURES), split]
    best = max(candidates, key=lambda candidate: objective(problem, candidate))
    if np.isinf(problem.fairness) and objective(problem, best) <= objective(problem, shares) * (1 + SAME_LEVEL):
        return shares  # the lowest level is as high already, and a mixture knows nothing of the others
    return best


def _grow(problem: Problem, grip: _Grip, shares: Floats) -> Floats:
    """Let every job take more of what it has, then idle time in its best column, as far as room is left for all."""
    used = problem.coupled_usage(shares)
    shares = shares + _affordable(problem, grip, shares, used, shares, used)
    idle = np.maximum(1 - shares.sum(axis=1), 0.0)
    used = problem.coupled_usage(shares)
    room = np.maximum(problem.available - used, 0.0)
    open_column = grip.least(room / np.maximum(problem.available, 1e-300), shares.shape, 1.0) > grip.margin
    worth = np.where(open_column, problem.utility, 0.0)
    best = worth.argmax(axis=1)
    rows = np.arange(shares.shape[0])
    wishes = np.zeros_like(shares)
    wishes[rows, best] = np.where(worth[rows, best] > 0, idle, 0.0)
    if not wishes.any():
        return shares
    return shares + _affordable(problem, grip, shares, used, wishes, problem.coupled_usage(wishes))


def _affordable(problem: Problem, grip: _Grip, shares: Floats, used: Floats, wishes: Floats, wanted: Floats) -> Floats:
    """The largest part of `wishes` (n, K) >= 0 that fits beside `shares`: each column by its tightest row, each job
    within its idle time. At most infinitely many times the wish: a wish is a direction. `used` and `wanted` (m,) are
    what the two take.
    """
    room = np.maximum(problem.available * (1 - grip.margin) - used, 0.0)
    factor = np.divide(room, wanted, out=np.full_like(room, np.inf), where=wanted > 0)
    most = grip.least(factor, shares.shape, np.inf)
    idle = np.maximum(1 - shares.sum(axis=1), 0.0)
    more = np.where(wishes > 0, np.minimum(most, 1e12) * wishes, 0.0)
    total = more.sum(axis=1)
    keep = np.divide(idle, total, out=np.ones_like(total), where=total > idle)
    affordable: Floats = more * (keep * (1 - 8 * _EPSILON))[:, None]
    return affordable
