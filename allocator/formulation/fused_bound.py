"""The upper bound of many rows at given prices, in one compiled pass without temporaries.

The same closed form as in `response.py`, walked only as far as the rows buy. The pass reads 12 bytes per column, 12 per
coupled amount and 16 per row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.chunks import chunk_bounds, usual_threads, workers
from allocator.formulation.problem import Floats, Problem

Array = NDArray[Any]
_TILE = 64
"""Rows whose hulls are walked together: their 16 bytes per column stay in the cache nearest to the processor."""
_ONE = np.uint64(1)
"""Positions are unsigned, which spares a test for indices that count from the end."""
_FAR = 1e120
"""Costs and utilities beyond this, or nearer to 0 than its inverse, are left to the plain functions: here slopes are
compared by products, which are quicker than quotients but overflow sooner."""


def value_and_spending(problem: Problem, prices: Floats, threads: int | None = None) -> tuple[float, float, float]:
    """(sum of c w phi(u), sum of c |w phi(u)|, sum of c cost(u)) over all rows, u being what each buys at `prices`
    (F R + L,). Needs a finite alpha. Each sum errs by about one rounding; NaN where numbers might overflow.
    """
    n, coupling = problem.row_count, problem.coupling
    bounds = chunk_bounds(n)
    sums = np.zeros((bounds.size - 1, 5))

    def task(chunk: int) -> None:
        entries = (coupling.indptr, coupling.indices, coupling.data)
        values = (problem.utility, problem.weight, problem.count)
        rows: tuple[Any, ...] = (*entries, *values, bounds[chunk], bounds[chunk + 1], sums[chunk])
        _buy(problem.fairness, prices, *rows)

    with workers(usual_threads(n) if threads is None else threads) as run:
        run(task, bounds.size - 1)
    if not np.isfinite(sums).all():
        return math.nan, math.nan, math.nan
    return math.fsum(sums[:, :2].ravel()), math.fsum(sums[:, 2]), math.fsum(sums[:, 3:].ravel())


@njit(cache=True, nogil=True, error_model="numpy")
def worth(utility: float, alpha: float) -> float:
    """phi_alpha(utility), alpha finite."""
    if alpha == 1.0:
        return float(np.log(utility))
    if alpha == 0.0:
        return utility
    if alpha == 2.0:
        return -1.0 / utility
    if alpha == 0.5:
        return float(2.0 * np.sqrt(utility))
    return float(utility ** (1.0 - alpha) / (1.0 - alpha))


@njit(cache=True, nogil=True, error_model="numpy")
def add(total: float, lost: float, term: float) -> tuple[float, float]:
    """total + term, and `lost` with the rounding error of that added (Knuth's two-sum)."""
    after = total + term
    shown = after - total
    return after, lost + ((total - (after - shown)) + (term - shown))


@njit(cache=True, nogil=True, error_model="numpy")
def _buy(
    alpha: float, prices: Array, starts: Array, touched: Array, amounts: Array, utility: Array, weight: Array,
    count: Array, a: int, b: int, sums: Array,
) -> None:  # fmt: skip
    """Rows a to b, a tile of them at a time, laid out so that one instruction works on several rows."""
    width = utility.shape[1]
    gain, cost = np.zeros((width, _TILE)), np.zeros((width, _TILE))
    reached, spent = np.empty(_TILE), np.empty(_TILE)
    value = lost = size = paid = lost_paid = 0.0
    for first in range(a, b, _TILE):
        rows = min(_TILE, b - first)
        if not _gather(prices, starts, touched, amounts, utility, count, first, rows, gain, cost):
            value = np.nan
            break
        if alpha == 0.0:
            _choose(weight, first, rows, gain, cost, reached, spent)
        else:
            _walk(alpha, weight, first, rows, gain, cost, reached, spent)
        for j in range(rows):
            jobs = float(count[first + j])
            term = jobs * weight[first + j] * worth(reached[j], alpha)
            value, lost = add(value, lost, term)
            size += abs(term)
            paid, lost_paid = add(paid, lost_paid, jobs * spent[j])
    sums[0], sums[1], sums[2], sums[3], sums[4] = value, lost, size, paid, lost_paid


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    prices: Array, starts: Array, touched: Array, amounts: Array, utility: Array, count: Array, first: int, rows: int,
    gain: Array, cost: Array,
) -> bool:  # fmt: skip
    """Fill gain and cost (K, tile): what a whole share of each column gives and costs one job. False where products of
    two of them might overflow or vanish.
    """
    width = utility.shape[1]
    e = np.uint64(starts[first * width])
    least, most = 1.0, 1.0
    for j in range(rows):
        base, jobs = np.uint64((first + j) * width), float(count[first + j])
        for k in range(width):
            end = np.uint64(starts[base + np.uint64(k + 1)])
            paid = 0.0
            while e < end:
                paid += amounts[e] * prices[np.uint64(touched[e])]
                e += _ONE
            paid = paid / jobs if jobs != 1.0 else paid
            given = utility[first + j, k]
            cost[k, j], gain[k, j] = paid, given
            most = max(most, paid, given)
            least = min(least, paid if paid > 0.0 else 1.0, given if given > 0.0 else 1.0)
    return least > 1 / _FAR and most < _FAR


@njit(cache=True, nogil=True, error_model="numpy")
def _choose(weight: Array, first: int, rows: int, gain: Array, cost: Array, reached: Array, spent: Array) -> None:
    """alpha = 0: every row buys the whole of the column whose utility exceeds its cost by most, if any does."""
    reached[:], spent[:] = 0.0, 0.0
    for k in range(gain.shape[0]):
        for j in range(rows):
            budget = weight[first + j]
            better = budget * gain[k, j] - cost[k, j] > budget * reached[j] - spent[j]
            reached[j] = gain[k, j] if better else reached[j]
            spent[j] = cost[k, j] if better else spent[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _walk(
    alpha: float, weight: Array, first: int, rows: int, gain: Array, cost: Array, reached: Array, spent: Array
) -> None:
    """From corner to corner of each row's hull along the least slope, until the row does not buy on."""
    high, dear = np.empty(_TILE), np.empty(_TILE)
    slope, wanted, walking = np.zeros(_TILE), np.empty(_TILE), np.ones(_TILE)
    reached[:], spent[:] = 0.0, 0.0
    for _ in range(gain.shape[0]):
        high[:], dear[:] = reached, np.inf
        for k in range(gain.shape[0]):
            _compare(gain[k], cost[k], reached, spent, high, dear)
        for j in range(rows):
            rate = (dear[j] - spent[j]) / (high[j] - reached[j])
            slope[j] = max(slope[j], rate)
            wanted[j] = weight[first + j] / slope[j]
        _wanted(wanted, alpha)
        if _move(slope, wanted, high, dear, rows, walking, reached, spent) == 0:
            break


@njit(cache=True, nogil=True, error_model="numpy")
def _compare(gain: Array, cost: Array, reached: Array, spent: Array, high: Array, dear: Array) -> None:
    """Remember each row's column if the slope to it is the least so far, or the same and it is farther."""
    for j in range(gain.size):
        rise, run = gain[j] - reached[j], high[j] - reached[j]
        one, other = (cost[j] - spent[j]) * run, (dear[j] - spent[j]) * rise  # they compare as the slopes do
        better = (rise > 0.0) & ((one < other) | ((one == other) & (rise > run)))
        high[j] = gain[j] if better else high[j]
        dear[j] = cost[j] if better else dear[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _move(
    slope: Array, wanted: Array, high: Array, dear: Array, rows: int, walking: Array, reached: Array, spent: Array
) -> int:
    """Take every row that is still walking to its next corner, or as far as it wants; how many walk on."""
    left = 0
    for j in range(rows):
        inside = wanted[j] < high[j]
        partly = max(reached[j], wanted[j])
        onward = partly if inside else high[j]
        paid = spent[j] + slope[j] * (onward - reached[j]) if inside else dear[j]
        moves = (walking[j] > 0.0) & (high[j] > reached[j])
        spent[j] = paid if moves else spent[j]
        reached[j] = onward if moves else reached[j]
        walking[j] = 1.0 if moves & (not inside) else 0.0
        left += 1 if moves & (not inside) else 0
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def _wanted(ratio: Array, alpha: float) -> None:
    """Each ratio of weight to slope becomes the utility whose marginal worth is the slope; alpha > 0."""
    if alpha == 0.5:
        for j in range(ratio.size):
            ratio[j] = ratio[j] * ratio[j]
    elif alpha == 2.0:
        for j in range(ratio.size):
            ratio[j] = np.sqrt(ratio[j])
    elif alpha != 1.0:
        for j in range(ratio.size):
            ratio[j] = ratio[j] ** (1.0 / alpha)
