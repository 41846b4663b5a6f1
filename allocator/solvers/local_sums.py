"""One pass over rows in groups: the prices of local limits are solved for, group by group, and what is left adds up.

With q the prices of a group's local limits and p all other prices, the smoothed dual function is

    D(p, q) = sum p + sum over groups of [ sum q + the worth of their rows ],

so that its least value over all q is a function of p alone, convex and smooth like D itself, with the slope in p that D
has there and the curvature A - B^T C^-1 B, where C (k, k) is the curvature in the prices that are above 0, B (k, m)
that between them and p. A group is a handful of rows: that a step goes too far there is found and mended there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER
from allocator.solvers.local_step import factor_of, fall_of, step_of, substitute
from allocator.solvers.price_response import add_costs, smooth, walk
from allocator.solvers.price_sums import (
    BEND,
    BILL,
    EXACT,
    UNITS,
    VALUE,
    WEIGHT,
    add_pairs,
    add_use,
    bills,
    prepare,
    raise_bids,
    rescale,
    set_units,
    weighted,
)
from allocator.solvers.price_utility import surplus_at, value_at

Array = NDArray[Any]
MONEY, OVER = 6, 7
LOCAL_PLACES = 8
"""Places in `totals`: those of `price_sums`; prices of local limits; what cutting overuse of those costs."""
_MOST_TURNS, _MOST_TRIALS = 40, 20
_GOOD = 0.1
"""Part of what was foreseen that is enough for a step."""
_FALL, _STRAY = 1e-3, 0.05
"""What is foreseen, and what is still used too much or too little, when a group is settled: in `close` of its money."""
_ALL, _NEAR, _AS_BEFORE = True, False, False
"""What to add up: everything, or only what local limits are about; and in the units of before."""
_FIRST = 30.0
"""How much less close it need be before units are measured."""


@njit(cache=True, nogil=True, error_model="numpy")
def respond_locally(
    fresh: bool, alpha: float, width: float, close: float, prices: Array, move: Array, capacities: int, groups: Array,
    rows: Any, near: Array, tangent: Array, mass: Array, unit: Array, scratch: Any, schur: Array, use: Array,
    through: Array, totals: Array, bids: Array, shares: Array,
) -> None:  # fmt: skip
    """Add the rows of `groups` to schur (m, m), use (m,), through (m,), totals (LOCAL_PLACES,), as `respond` does, with
    the prices of local limits `near` (L,) set to their best at `prices` (m,).

    `move` (m,) is by what prices changed since the last pass, `tangent` (L, m) how near prices change with them; both
    say where to begin; they are found to about `close`, a part of all money.
    """
    m = prices.size
    for number in range(groups.shape[0]):
        a, b, first, past = groups[number, 0], groups[number, 1], groups[number, 2], groups[number, 3]
        k = past - first
        q, line = near[first:past], tangent[first:past]
        curved, cross = np.zeros((k, k)), np.zeros((k, m))
        used, worth = np.zeros(k), np.zeros(k)
        into = (schur, cross, use, through, worth, totals, bids, shares)
        money = 0.0
        for tile in range(a, b):
            money += rows[7][rows[0][tile, 1] : rows[0][tile, 2]].sum()
        if k:
            for i in range(k):
                shift = 0.0
                for r in range(m):
                    shift += line[i, r] * move[r]
                q[i] = min(max(q[i] + shift, 0.5 * q[i]), 2.0 * q[i])
            for turn in range(2 if fresh else 1):
                enough = close * money * (_FIRST if fresh and turn == 0 else 1.0)
                _settle(fresh, alpha, width, prices, capacities, a, b, q, rows, mass[first:past], unit, enough, scratch,
                        curved, used, into)  # fmt: skip
            curved[:] = 0.0
            used[:] = 0.0
        _add_tiles(_ALL, fresh and k == 0, alpha, width, prices, capacities, a, b, q, rows, unit, scratch, curved,
                   used, into)  # fmt: skip
        if fresh and alpha == 1.0:
            totals[UNITS] += _unit_value(a, b, rows, unit, scratch)
        if k:
            _eliminate(q, used, curved, cross, line, schur)
            for i in range(k):
                totals[MONEY] += q[i]
                over = 1.0 - 1.0 / max(used[i], 1.0)
                totals[OVER] += over * (1.0 + 0.5 * alpha * over) * worth[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _unit_value(a: int, b: int, rows: Any, unit: Array, scratch: Any) -> float:
    """What the units are worth at alpha = 1."""
    tiles, omega, thin, bits = rows[0], rows[7], scratch[1], scratch[2]
    total = 0.0
    for tile in range(a, b):
        low, past = tiles[tile, 1], tiles[tile, 2]
        thin[0, : past - low] = unit[low:past]
        value_at(thin[0], 1.0, past - low, bits, thin[1])
        total += weighted(omega[low:past], thin[1], past - low)
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _settle(
    fresh: bool, alpha: float, width: float, prices: Array, capacities: int, a: int, b: int, q: Array, rows: Any,
    mass: Array, unit: Array, enough: float, scratch: Any, curved: Array, used: Array, into: Any,
) -> None:  # fmt: skip
    """Newton's method on q (k,), each step shortened until the group's dual function falls."""
    k = q.size
    trial, then_curved, then_used = np.empty(k), np.empty((k, k)), np.empty(k)
    curved[:] = 0.0
    used[:] = 0.0
    now = q.sum() + _add_tiles(
        _NEAR, fresh, alpha, width, prices, capacities, a, b, q, rows, unit, scratch, curved, used, into
    )
    rounding = 1e-15 * (abs(now) + q.sum())
    for _ in range(_MOST_TURNS):
        step = step_of(q, 1.0 - used, curved, mass)
        foreseen, stray = fall_of(step, 1.0 - used, curved), 0.0
        for i in range(k):
            stray += abs(1.0 - used[i]) * (max(mass[i], q[i]) if used[i] > 1.0 else q[i])
        if foreseen <= rounding or (foreseen <= _FALL * enough and stray <= _STRAY * enough):
            break
        before = 0.0
        for i in range(k):
            before += (1.0 - used[i]) * step[i]
        part, low, high, then = 1.0, 0.0, 0.0, now
        for _ in range(_MOST_TRIALS):
            for i in range(k):
                trial[i] = max(q[i] + part * step[i], 0.0)
            then_curved[:] = 0.0
            then_used[:] = 0.0
            then = trial.sum() + _add_tiles(
                _NEAR, _AS_BEFORE, alpha, width, prices, capacities, a, b, trial, rows, unit, scratch, then_curved,
                then_used, into,
            )  # fmt: skip
            after = 0.0
            for i in range(k):
                after += (1.0 - then_used[i]) * step[i]
            if now - then >= _GOOD * part * foreseen - rounding or (then < now and after <= 0.0):
                break
            if after > 0.0:  # too far: to where the slopes at both ends say the minimum is
                high = part
                part = low + (high - low) * min(max(before / (before - after), 0.05), 0.5)
            else:
                low = part
                part = 0.5 * (low + high)
        if not then <= now + rounding:
            break
        now = then
        q[:] = trial
        curved[:] = then_curved
        used[:] = then_used


@njit(cache=True, nogil=True, error_model="numpy")
def _eliminate(q: Array, used: Array, curved: Array, cross: Array, line: Array, schur: Array) -> None:
    """line (k, m) = -C^-1 B for prices above 0, and schur += B^T line."""
    k, m = cross.shape
    held = (q == 0.0) & (used <= 1.0)
    floor = np.zeros(k)
    for i in range(k):
        floor[i] = 1e-12 * curved[i, i] + 1e-300
    factor = factor_of(curved, held, floor)
    right = np.empty(k)
    for r in range(m):
        right[:] = -cross[:, r]
        substitute(factor, held, right)
        line[:, r] = right
    for i in range(k):
        for r in range(m):
            each = cross[i, r]
            if each != 0.0:
                for s in range(m):
                    schur[r, s] += each * line[i, s]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _add_tiles(
    full: bool, fresh: bool, alpha: float, width: float, prices: Array, capacities: int, first: int, past: int,
    near: Array, rows: Any, unit: Array, scratch: Any, curved: Array, used: Array, into: Any,
) -> float:  # fmt: skip
    """The worth of these tiles' rows beyond their bills and smoothing; adds their use of local limits to used (k,), its
    change with near prices to curved (k, k), and, if `full`, all the rest to `into`.
    """
    tiles, columns, column_count, entries, entry_count, amount, gain, omega, order, starts, position, number, listed = (
        rows
    )
    wide, thin, bits = scratch
    schur, cross, use, through, near_through, totals, bids, shares = into
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high = thin[0], thin[1], thin[2], thin[3], thin[4]
    left, scale, weight, bill, bend = thin[5], thin[6], thin[7], thin[8], thin[9]
    sums, rest = thin[10:15], thin[15:]
    worth = 0.0
    for index in range(first, past):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        shared, shared_count, om = entries[pattern], entry_count[pattern], omega[a:b]
        add_costs(cost, prices, shared, shared_count, amount, a, w)
        _add_listed_costs(cost, prices, near, capacities, starts, position, number, listed, a, w)
        for c in range(count):
            g[c, :w] = gain[columns[pattern, c], a:b]
        walk(cost, g, count, alpha, w, x, rest, lam, t, y, low, high)
        if full:
            surplus_at(lam, y, alpha, w, bits, left)
            for i in range(w):
                left[i] += t[i]
            totals[EXACT] += weighted(om, left, w)
        if fresh:
            set_units(g, count, alpha, om, w, bits, y, left, unit[a:b])
        rescale(cost, g, count, alpha, unit[a:b], om, w, scale, weight, lam, t, y, low, high)
        smooth(cost, g, stiff, count, alpha, width, w, x, rest, lam, t, y, low, high, sums)
        value_at(sums[1], alpha, w, bits, y)
        bills(cost, stiff, x, count, w, bill, bend)
        value, paid, bent = weighted(weight, y, w), weighted(weight, bill, w), weighted(weight, bend, w)
        worth += value - paid - bent
        if full:
            totals[VALUE] += value
            totals[BILL] += paid
            totals[BEND] += bent
            totals[WEIGHT] += weight[:w].sum()
            add_use(x, g, lam, weight, om, shared, shared_count, amount, a, w, use, through, left)
            if bids.size:
                raise_bids(cost, g, lam, t, scale, prices, shared, shared_count, amount, a, w, left, bids)
            if shares.shape[0]:
                _write(x, count, columns[pattern], order, a, w, shares)
            _add_listed_through(x, g, lam, weight, om, starts, position, number, listed, a, w, capacities, use,
                                through, near_through)  # fmt: skip
        _add_near_use(x, om, starts, position, number, listed, a, w, used)
        prepare(1.0, x, g, stiff, sums, lam, t, alpha, om, scale, count, w, rest, cost)
        if full:
            add_pairs(stiff, cost, rest, shared, shared_count, amount, a, w, schur)
        _add_listed_pairs(full, stiff, cost, rest, shared, shared_count, amount, starts, position, number, listed, a,
                          w, capacities, curved, cross, schur)  # fmt: skip
    return worth


@njit(cache=True, nogil=True, error_model="numpy")
def _write(x: Array, count: int, columns: Array, order: Array, a: int, w: int, shares: Array) -> None:
    for i in range(w):
        for c in range(count):
            shares[order[a + i], columns[c]] = x[c, i]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_listed_costs(
    cost: Array, prices: Array, near: Array, capacities: int, starts: Array, position: Array, number: Array,
    listed: Array, a: int, w: int,
) -> None:  # fmt: skip
    """Onto cost (K, w), what a whole share pays for limits."""
    for i in range(w):
        for e in range(starts[a + i], starts[a + i + 1]):
            price = near[number[e]] if number[e] >= 0 else prices[capacities - 1 - number[e]]
            cost[position[e], i] += price * listed[e]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_near_use(
    x: Array, om: Array, starts: Array, position: Array, number: Array, listed: Array, a: int, w: int, used: Array
) -> None:
    for i in range(w):
        for e in range(starts[a + i], starts[a + i + 1]):
            if number[e] >= 0:
                used[number[e]] += om[i] * listed[e] * x[position[e], i]


@njit(cache=True, nogil=True, error_model="numpy")
def _add_listed_through(
    x: Array, g: Array, lam: Array, weight: Array, om: Array, starts: Array, position: Array, number: Array,
    listed: Array, a: int, w: int, capacities: int, use: Array, through: Array, near_through: Array,
) -> None:  # fmt: skip
    """The worth of shares that use limits, and the use of wide ones."""
    for i in range(w):
        for e in range(starts[a + i], starts[a + i + 1]):
            c = position[e]
            worth = weight[i] * lam[i] * g[c, i] * x[c, i]
            if number[e] >= 0:
                near_through[number[e]] += worth
            else:
                use[capacities - 1 - number[e]] += om[i] * listed[e] * x[c, i]
                through[capacities - 1 - number[e]] += worth


@njit(cache=True, nogil=True, error_model="numpy")
def _add_listed_pairs(
    full: bool, stiff: Array, bent: Array, thin: Array, shared: Array, shared_count: int, amount: Array, starts: Array,
    position: Array, number: Array, listed: Array, a: int, w: int, capacities: int, curved: Array, cross: Array,
    schur: Array,
) -> None:  # fmt: skip
    """Curvature of limits with one another and, if `full`, with capacities: only columns in use have any."""
    inverse, zeta, rate = thin[0], thin[2], thin[4]
    for i in range(w):
        low, past = starts[a + i], starts[a + i + 1]
        for e in range(low, past):
            k, row = position[e], number[e]
            if stiff[k, i] == 0.0 or not (full or row >= 0):
                continue
            each = rate[i] * listed[e]
            for f in range(low, past):
                j, column = position[f], number[f]
                if stiff[j, i] == 0.0 or not (full or column >= 0):
                    continue
                part = each * listed[f] * _change(stiff, bent, inverse, zeta, k, j, i)
                if row >= 0 and column >= 0:
                    curved[row, column] += part
                elif row >= 0:
                    cross[row, capacities - 1 - column] += part
                elif column < 0:
                    schur[capacities - 1 - row, capacities - 1 - column] += part
            if full:
                for f in range(shared_count):
                    j, column = shared[f, 0], shared[f, 1]
                    if stiff[j, i] == 0.0:
                        continue
                    part = each * amount[shared[f, 2], a + i] * _change(stiff, bent, inverse, zeta, k, j, i)
                    if row >= 0:
                        cross[row, column] += part
                    else:
                        schur[capacities - 1 - row, column] += part
                        schur[column, capacities - 1 - row] += part


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _change(stiff: Array, bent: Array, inverse: Array, zeta: Array, k: int, j: int, i: int) -> float:
    """-dx_k / dc_j of row i."""
    both: float = stiff[k, i] * stiff[j, i] * inverse[i] + zeta[i] * bent[k, i] * bent[j, i]
    return max(float(stiff[k, i]) - both, 0.0) if k == j else -both
