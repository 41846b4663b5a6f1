"""Passes over the rows that make shares feasible, compiled; `fused_repair.py` says in what order they are made.

Every pass works on the rows a to b, adds what the shares use to `usage` (F R + L,), and what they are worth to `tally`:
[0] and [1] the sum of c w phi(u) and its rounding error, [2] the lowest u / w, [3] what is not finite of the sum, [4]
how many rows might be starved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.fused_bound import add, worth
from allocator.formulation.repair import STARVED

Array = NDArray[Any]
_MOST = 1e12
"""How many times a wish may be granted: a wish is a direction."""
_ONE = np.uint64(1)
"""Positions are unsigned, which spares a test for indices that count from the end."""
_TILE = 64
"""Rows whose utilities are collected before they are counted, which is quicker."""
_LESS = 1 - 8 * float(np.finfo(np.float64).eps)


@njit(cache=True, nogil=True, error_model="numpy")
def _clean(shares: Array, eligible: Array, i: int, top: float, row: Array) -> None:
    """Row i of any shares: from 0 to 1, 0 for what is not finite, scaled to at most the whole time in any order of
    summation.
    """
    time = 0.0
    for k in range(row.size):
        share = shares[i, k]
        share = share if (share > 0.0) & eligible[i, k] else 0.0  # NaN compares as false
        share = share if share < 1.0 else (1.0 if share < np.inf else 0.0)
        row[k] = share
        time += share
    if time > 0.5 * (1.0 + top):
        fit = top / time
        for k in range(row.size):
            row[k] *= fit


@njit(cache=True, nogil=True, error_model="numpy")
def _split(eligible: Array, i: int, top: float, row: Array) -> None:
    """Row i of a split of all time over the eligible columns."""
    able = 0
    for k in range(row.size):
        able += 1 if eligible[i, k] else 0
    for k in range(row.size):
        row[k] = top / able if eligible[i, k] else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _scale(row: Array, i: int, factor: Array, starts: Array, touched: Array) -> None:
    """Each column of the row by the least `factor` (F R + L,) of what it touches."""
    base = np.uint64(i * row.size)
    e = np.uint64(starts[base])
    for k in range(row.size):
        end = np.uint64(starts[base + np.uint64(k + 1)])
        least = 1.0
        while e < end:
            one = factor[np.uint64(touched[e])]
            least = min(least, one)
            e += _ONE
        row[k] *= least


@njit(cache=True, nogil=True, error_model="numpy")
def _use(row: Array, i: int, starts: Array, touched: Array, amounts: Array, usage: Array) -> None:
    """Add what the row's shares use."""
    base = np.uint64(i * row.size)
    e = np.uint64(starts[base])
    for k in range(row.size):
        end = np.uint64(starts[base + np.uint64(k + 1)])
        while e < end:
            usage[np.uint64(touched[e])] += amounts[e] * row[k]
            e += _ONE


@njit(cache=True, nogil=True, error_model="numpy")
def _tally(reached: Array, alpha: float, weight: Array, count: Array, first: int, rows: int, tally: Array) -> None:
    """Count the utilities of the rows from `first` on."""
    total, lost, lowest, endless = tally[0], tally[1], tally[2], tally[3]
    for j in range(rows):
        if alpha == np.inf:
            lowest = min(lowest, reached[j] / weight[first + j])
            continue
        value = weight[first + j] * float(count[first + j]) * worth(reached[j], alpha)
        if abs(value) < np.inf:
            total, lost = add(total, lost, value)
        else:
            endless += value
    tally[0], tally[1], tally[2], tally[3] = total, lost, lowest, endless


@njit(cache=True, nogil=True, error_model="numpy")
def weigh(
    shares: Array, top: float, eligible: Array, starts: Array, touched: Array, amounts: Array, a: int, b: int,
    usage: Array,
) -> None:  # fmt: skip
    """What any `shares` use once each row fits its time."""
    row = np.empty(eligible.shape[1])
    for i in range(a, b):
        _clean(shares, eligible, i, top, row)
        _use(row, i, starts, touched, amounts, usage)


@njit(cache=True, nogil=True, error_model="numpy")
def settle(
    shares: Array, top: float, factor: Array, alpha: float, eligible: Array, starts: Array, touched: Array,
    amounts: Array, utility: Array, weight: Array, count: Array, a: int, b: int, result: Array, usage: Array,
    tally: Array,
) -> None:  # fmt: skip
    """The same shares, each column scaled by the least `factor` (F R + L,) of what it touches; may be in place."""
    row, reached, starved = np.empty(eligible.shape[1]), np.empty(_TILE), 0
    for first in range(a, b, _TILE):
        rows = min(_TILE, b - first)
        for j in range(rows):
            i = first + j
            _clean(shares, eligible, i, top, row)
            _scale(row, i, factor, starts, touched)
            _use(row, i, starts, touched, amounts, usage)
            utilities, worths, able = 0.0, 0.0, 0
            for k in range(row.size):
                result[i, k] = row[k]
                utilities += row[k] * utility[i, k]
                worths += utility[i, k]
                able += 1 if eligible[i, k] else 0
            reached[j] = utilities
            starved += 1 if utilities * able < STARVED * worths else 0  # a split gives at most the mean of its columns
        _tally(reached, alpha, weight, count, first, rows, tally)
    tally[4] = starved


@njit(cache=True, nogil=True, error_model="numpy")
def weigh_split(
    top: float, eligible: Array, starts: Array, touched: Array, amounts: Array, a: int, b: int, usage: Array
) -> None:
    """What everybody uses who splits all time evenly over the eligible columns."""
    row = np.empty(eligible.shape[1])
    for i in range(a, b):
        _split(eligible, i, top, row)
        _use(row, i, starts, touched, amounts, usage)


@njit(cache=True, nogil=True, error_model="numpy")
def mixtures(
    result: Array, parts: Array, top: float, factor: Array, alpha: float, eligible: Array, starts: Array,
    touched: Array, utility: Array, weight: Array, count: Array, a: int, b: int, tallies: Array,
) -> None:  # fmt: skip
    """Tallies (P, 5) of `result` mixed with each of `parts` (P,) of a split scaled by `factor`."""
    row, mixed = np.empty(eligible.shape[1]), np.empty(1)
    for i in range(a, b):
        _split(eligible, i, top, row)
        _scale(row, i, factor, starts, touched)
        reached, split = 0.0, 0.0
        for k in range(row.size):
            reached += result[i, k] * utility[i, k]
            split += row[k] * utility[i, k]
        tallies[0, 4] += 1.0 if reached < STARVED * split else 0.0
        for p in range(parts.size):
            mixed[0] = (1.0 - parts[p]) * reached + parts[p] * split
            _tally(mixed, alpha, weight, count, i, 1, tallies[p])


@njit(cache=True, nogil=True, error_model="numpy")
def mix(
    result: Array, part: float, top: float, factor: Array, alpha: float, eligible: Array, starts: Array,
    touched: Array, amounts: Array, utility: Array, weight: Array, count: Array, a: int, b: int, usage: Array,
    tally: Array,
) -> None:  # fmt: skip
    """Turn `result` into its mixture with `part` of a split scaled by `factor`."""
    row, reached = np.empty(eligible.shape[1]), np.empty(1)
    for i in range(a, b):
        _split(eligible, i, top, row)
        _scale(row, i, factor, starts, touched)
        reached[0] = 0.0
        for k in range(row.size):
            row[k] = (1.0 - part) * result[i, k] + part * row[k]
            result[i, k] = row[k]
            reached[0] += row[k] * utility[i, k]
        _use(row, i, starts, touched, amounts, usage)
        _tally(reached, alpha, weight, count, i, 1, tally)


@njit(cache=True, nogil=True, error_model="numpy")
def grow_own(
    result: Array, top: float, factor: Array, starts: Array, touched: Array, amounts: Array, a: int, b: int,
    usage: Array,
) -> None:  # fmt: skip
    """Every row takes more of what it has: of each column `factor` times as much, within its idle time."""
    width = result.shape[1]
    row, more = np.empty(width), np.empty(width)
    for i in range(a, b):
        base = np.uint64(i * width)
        e = np.uint64(starts[base])
        time, total = 0.0, 0.0
        for k in range(width):
            end = np.uint64(starts[base + np.uint64(k + 1)])
            least = _MOST
            while e < end:
                one = factor[np.uint64(touched[e])]
                least = min(least, one)
                e += _ONE
            row[k] = result[i, k]
            more[k] = least * row[k]
            time += row[k]
            total += more[k]
        idle = max(top - time, 0.0)
        keep = (idle / total if total > idle else 1.0) * _LESS
        for k in range(width):
            row[k] += more[k] * keep
            result[i, k] = row[k]
        _use(row, i, starts, touched, amounts, usage)


@njit(cache=True, nogil=True, error_model="numpy")
def _wish(
    result: Array, i: int, top: float, room: Array, starts: Array, touched: Array, utility: Array
) -> tuple[float, int]:
    """Row i's idle time, and its best column of which everything has `room` (F R + L,); -1 if there is none."""
    width = result.shape[1]
    base = np.uint64(i * width)
    e = np.uint64(starts[base])
    idle, best, most = top, -1, 0.0
    for k in range(width):
        idle -= result[i, k]
        end = np.uint64(starts[base + np.uint64(k + 1)])
        free = True
        while e < end:
            free &= room[np.uint64(touched[e])]
            e += _ONE
        better = free & (utility[i, k] > most)
        best = k if better else best
        most = utility[i, k] if better else most
    return idle, best if idle > 0.0 else -1


@njit(cache=True, nogil=True, error_model="numpy")
def weigh_idle(
    result: Array, top: float, room: Array, starts: Array, touched: Array, amounts: Array, utility: Array, a: int,
    b: int, usage: Array,
) -> None:  # fmt: skip
    """What all idle time would use beside the shares, every row's in its best column with room."""
    width = result.shape[1]
    for i in range(a, b):
        idle, k = _wish(result, i, top, room, starts, touched, utility)
        if k >= 0:
            for e in range(starts[i * width + k], starts[i * width + k + 1]):
                usage[touched[e]] += amounts[e] * idle


@njit(cache=True, nogil=True, error_model="numpy")
def grant_idle(
    result: Array, top: float, room: Array, factor: Array, alpha: float, starts: Array, touched: Array,
    amounts: Array, utility: Array, weight: Array, count: Array, a: int, b: int, usage: Array, tally: Array,
) -> None:  # fmt: skip
    """Give idle time to the same columns, `factor` of each wish at most."""
    width, reached = result.shape[1], np.empty(_TILE)
    for first in range(a, b, _TILE):
        rows = min(_TILE, b - first)
        for j in range(rows):
            i = first + j
            idle, best = _wish(result, i, top, room, starts, touched, utility)
            if best >= 0:
                granted = 1.0
                for e in range(starts[i * width + best], starts[i * width + best + 1]):
                    granted = min(granted, factor[touched[e]])
                result[i, best] += granted * idle * _LESS
            utilities = 0.0
            for k in range(width):
                utilities += result[i, k] * utility[i, k]
            reached[j] = utilities
            _use(result[i], i, starts, touched, amounts, usage)
        _tally(reached, alpha, weight, count, first, rows, tally)
