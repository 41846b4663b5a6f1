"""Smooth responses to prices, added up over rows: use, value, and the curvature of both. Compiled.

The dual function of the smoothed problem is sum p + sum over rows of what their utility is worth beyond the bill; its
slope is 1 - use, and its curvature the m x m sum of what use changes with prices. With delta = s for columns in use and
means weighted by delta,

    dx_k / dc_j = -delta_k [k = j] + delta_k delta_j / sum delta + zeta delta_k (g_k - mean g) delta_j (g_j - mean g),
    1 / zeta = sum delta (g - mean g)^2 + y / (alpha lam);    while a row has time to spare, without the second term
                                                              and with 0 for mean g

(the row's own 2 x 2 system, eliminated). Smooth over many rows, it is taken from some tiles that stand for all.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER
from allocator.solvers.price_response import add_costs, smooth, walk
from allocator.solvers.price_utility import surplus_at, value_at

Array = NDArray[Any]
TILE = 128
"""Rows that a kernel works on at a time: its temporaries stay in the cache of the processor."""
WIDE, THIN = 4, 22
"""Temporaries of a chunk: WIDE of (K, TILE), THIN of (TILE,)."""
_LEAST_UNIT, _LARGEST_UNIT = 1e-6, 1e6
EXACT, UNITS, VALUE, BILL, BEND, WEIGHT = range(6)
PLACES = 6
"""Places in `totals`: money left of exact responses; value of the units; value, bill and smoothing term of the smooth
responses; sum of weights.
"""


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def respond(
    fresh: bool, width: float, prices: Array, alpha: float, tiles: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array, order: Array, unit: Array,
    wide: Array, thin: Array, bits: Array, schur: Array, use: Array, through: Array, totals: Array, bids: Array,
    shares: Array,
) -> None:  # fmt: skip
    """Add the rows of `tiles` to schur (m, m), use (m,), through (m,), the worth of the shares that use each, totals.

    `fresh` sets `unit` (n,), in which the smoothing of each row is measured, to the utility it has at these prices.
    bids (m,), unless empty, are raised to the highest price of each coupling row, all others as they are, at which a
    row begins to use it. Row i's answer goes into row order[i] of `shares` (n, K), unless that has no rows.
    """
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high = thin[0], thin[1], thin[2], thin[3], thin[4]
    left, scale, weight, bill, bend = thin[5], thin[6], thin[7], thin[8], thin[9]
    sums, rest = thin[10:15], thin[15:]
    for index in range(tiles.shape[0]):
        pattern, a, b, stands_for = tiles[index, 0], tiles[index, 1], tiles[index, 2], tiles[index, 3]
        w, count = b - a, column_count[pattern]
        listed, listed_count, om = entries[pattern], entry_count[pattern], omega[a:b]
        add_costs(cost, prices, listed, listed_count, amount, a, w)
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        walk(cost, g, count, alpha, w, x, rest, lam, t, y, low, high)
        surplus_at(lam, y, alpha, w, bits, left)
        for i in range(w):
            left[i] += t[i]
        totals[EXACT] += weighted(om, left, w)
        if fresh:
            totals[UNITS] += set_units(g, count, alpha, om, w, bits, y, left, unit[a:b])
        rescale(cost, g, count, alpha, unit[a:b], om, w, scale, weight, lam, t, y, low, high)
        smooth(cost, g, stiff, count, alpha, width, w, x, rest, lam, t, y, low, high, sums)
        value_at(sums[1], alpha, w, bits, y)
        bills(cost, stiff, x, count, w, bill, bend)
        totals[VALUE] += weighted(weight, y, w)
        totals[BILL] += weighted(weight, bill, w)
        totals[BEND] += weighted(weight, bend, w)
        totals[WEIGHT] += weight[:w].sum()
        add_use(x, g, lam, weight, om, listed, listed_count, amount, a, w, use, through, left)
        if bids.size:
            raise_bids(cost, g, lam, t, scale, prices, listed, listed_count, amount, a, w, left, bids)
        if shares.shape[0]:
            for i in range(w):
                for q in range(count):
                    shares[order[a + i], columns[pattern, q]] = x[q, i]
        if stands_for:
            _add_curvature(
                float(stands_for), x, g, stiff, sums, lam, t, alpha, om, scale, count, listed, listed_count, amount, a,
                w, rest, cost, schur,
            )  # fmt: skip


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def weighted(weight: Array, values: Array, w: int) -> float:
    total = 0.0
    for i in range(w):
        total += weight[i] * values[i]
    return total


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def bills(cost: Array, stiff: Array, x: Array, count: int, w: int, bill: Array, bend: Array) -> None:
    """c . x and sum x^2 / (2 s) of every row."""
    bill[:w] = 0.0
    bend[:w] = 0.0
    for q in range(count):
        cq, xq, sq = cost[q], x[q], stiff[q]
        for i in range(w):
            bill[i] += cq[i] * xq[i]
        for i in range(w):
            bend[i] += 0.5 * xq[i] * xq[i] / sq[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def set_units(
    g: Array, count: int, alpha: float, om: Array, w: int, bits: Array, y: Array, scratch: Array, unit: Array
) -> float:
    """A row's unit is the utility it has; with alpha = 0, where that may be nothing, the most it could have."""
    if alpha == 0.0:
        unit[:w] = _LEAST_UNIT
        for q in range(count):
            gq = g[q]
            for i in range(w):
                unit[i] = max(unit[i], gq[i])
        return 0.0
    for i in range(w):
        unit[i] = min(max(y[i], _LEAST_UNIT), _LARGEST_UNIT)
    if alpha != 1.0:
        return 0.0
    scratch[:w] = unit[:w]
    value_at(scratch, alpha, w, bits, y)
    value = 0.0
    for i in range(w):
        value += om[i] * y[i]
    for i in range(w):
        y[i] = scratch[i]
    return value


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def rescale(
    cost: Array, g: Array, count: int, alpha: float, unit: Array, om: Array, w: int, scale: Array, weight: Array,
    lam: Array, t: Array, y: Array, low: Array, high: Array,
) -> None:  # fmt: skip
    """Into the row's own units of utility and, for alpha other than 1, of money: `scale` of these make one of all's."""
    _set_scale(alpha, unit, w, scale)
    for i in range(w):
        weight[i] = om[i] / scale[i]
    for q in range(count):
        cq, gq = cost[q], g[q]
        for i in range(w):
            gq[i] /= unit[i]
        for i in range(w):
            cq[i] *= scale[i]
    for i in range(w):
        lam[i] *= unit[i] * scale[i]
    for i in range(w):
        t[i] *= scale[i]
    for values in (y, low, high):
        for i in range(w):
            values[i] /= unit[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _set_scale(alpha: float, unit: Array, w: int, scale: Array) -> None:
    """unit^(alpha - 1)."""
    if alpha == 1.0:
        scale[:w] = 1.0
    elif alpha == 0.0:
        for i in range(w):
            scale[i] = 1.0 / unit[i]
    elif alpha == 2.0:
        scale[:w] = unit[:w]
    else:
        for i in range(w):
            scale[i] = unit[i] ** (alpha - 1.0)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def add_use(
    x: Array, g: Array, lam: Array, weight: Array, om: Array, listed: Array, listed_count: int, amount: Array, a: int,
    w: int, use: Array, through: Array, worth: Array,
) -> None:  # fmt: skip
    """What the rows use of each coupling row, and what the shares that use it are worth to them."""
    last, all_worth = -1, 0.0
    for e in range(listed_count):
        q, r = listed[e, 0], listed[e, 1]
        xq, gq, ae = x[q], g[q], amount[listed[e, 2], a : a + w]
        if q != last:
            last, all_worth = q, 0.0
            for i in range(w):
                worth[i] = weight[i] * lam[i] * gq[i] * xq[i]
            for i in range(w):
                all_worth += worth[i]
        used = 0.0
        for i in range(w):
            used += om[i] * ae[i] * xq[i]
        use[r] += used
        through[r] += all_worth


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def raise_bids(
    cost: Array, g: Array, lam: Array, t: Array, scale: Array, prices: Array, listed: Array, listed_count: int,
    amount: Array, a: int, w: int, margin: Array, bids: Array,
) -> None:  # fmt: skip
    last = -1
    for e in range(listed_count):
        q, r = listed[e, 0], listed[e, 1]
        cq, gq, ae = cost[q], g[q], amount[listed[e, 2], a : a + w]
        if q != last:
            last = q
            for i in range(w):
                margin[i] = (lam[i] * gq[i] - cq[i] - t[i]) / scale[i]
        highest = -1e300
        for i in range(w):
            highest = max(highest, margin[i] / ae[i])
        bids[r] = max(bids[r], prices[r] + highest)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _add_curvature(
    times: float, x: Array, g: Array, stiff: Array, sums: Array, lam: Array, t: Array, alpha: float, om: Array,
    scale: Array, count: int, listed: Array, listed_count: int, amount: Array, a: int, w: int, thin: Array, bent: Array,
    schur: Array,
) -> None:  # fmt: skip
    """Add `times` the rows' curvature to schur (m, m), one pair of columns after the other; spoils `stiff`, `bent`."""
    prepare(times, x, g, stiff, sums, lam, t, alpha, om, scale, count, w, thin, bent)
    add_pairs(stiff, bent, thin, listed, listed_count, amount, a, w, schur)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def add_pairs(
    stiff: Array,
    bent: Array,
    thin: Array,
    listed: Array,
    listed_count: int,
    amount: Array,
    a: int,
    w: int,
    schur: Array,
) -> None:
    """Add the sums of dx_k / dc_j over the rows, one pair of columns after the other.

    thin holds 1 / sum delta, -, zeta, a scratch, and the rows' weight.
    """
    inverse, zeta, pair, rate = thin[0], thin[2], thin[3], thin[4]
    first = 0
    while first < listed_count:
        k, past = listed[first, 0], first
        while past < listed_count and listed[past, 0] == k:
            past += 1
        second = first
        while second < listed_count:
            j, end = listed[second, 0], second
            while end < listed_count and listed[end, 0] == j:
                end += 1
            dk, dj, bk, bj = stiff[k], stiff[j], bent[k], bent[j]
            if j == k:
                for i in range(w):
                    pair[i] = max(dk[i] * (1.0 - dk[i] * inverse[i]) - zeta[i] * bk[i] * bk[i], 0.0)
            else:
                for i in range(w):
                    pair[i] = -(dk[i] * dj[i] * inverse[i] + zeta[i] * bk[i] * bj[i])
            for i in range(w):
                pair[i] *= rate[i]
            _add_pair(listed, first, past, second, end, amount, a, w, pair, schur)
            second = end
        first = past


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def prepare(
    times: float, x: Array, g: Array, stiff: Array, sums: Array, lam: Array, t: Array, alpha: float, om: Array,
    scale: Array, count: int, w: int, thin: Array, bent: Array,
) -> None:  # fmt: skip
    """delta in `stiff`, delta (g - mean g) in `bent`; 1 / sum delta, mean g, zeta and the rows' weight in `thin`."""
    reached, s0, s1, s2 = sums[1], sums[2], sums[3], sums[4]
    inverse, mean, zeta, rate = thin[0], thin[1], thin[2], thin[4]
    for i in range(w):
        inverse[i] = 1.0 / s0[i] if (t[i] > 0.0) & (s0[i] > 0.0) else 0.0
    for i in range(w):
        mean[i] = s1[i] * inverse[i]
    if alpha > 0.0:
        for i in range(w):
            spread = max(s2[i] - s1[i] * mean[i], 1e-14 * s2[i]) + 1e-300
            zeta[i] = 1.0 / (spread + reached[i] / (alpha * lam[i]))
    else:
        zeta[:w] = 0.0
    for i in range(w):
        rate[i] = times * om[i] * scale[i]
    for q in range(count):
        xq, gq, sq, bq = x[q], g[q], stiff[q], bent[q]
        for i in range(w):
            sq[i] = sq[i] if xq[i] > 0.0 else 0.0
        for i in range(w):
            bq[i] = sq[i] * (gq[i] - mean[i])


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _add_pair(
    listed: Array,
    first: int,
    past: int,
    second: int,
    end: int,
    amount: Array,
    a: int,
    w: int,
    pair: Array,
    schur: Array,
) -> None:
    """Add sum_i pair_i a_i b_i for all coupling rows of one column with all of another, or of the same."""
    for e in range(first, past):
        ae = amount[listed[e, 2], a : a + w]
        for f in range(max(e, second), end):
            af = amount[listed[f, 2], a : a + w]
            part = 0.0
            for i in range(w):
                part += ae[i] * af[i] * pair[i]
            schur[listed[e, 1], listed[f, 1]] += part
            if e != f:
                schur[listed[f, 1], listed[e, 1]] += part
