"""One pass over rows that must reach given utilities: what they use at prices, what it costs, and how both change.
Compiled.

With delta = s for columns in use and means weighted by delta, what a row uses changes with costs and with its utility
y by

    dx_k / dc_j = -delta_k [k = j] + delta_k delta_j / sum delta + zeta b_k b_j,    b_k = delta_k (g_k - mean g),
    dx_k / dy   = zeta b_k,     zeta = 1 / sum_k b_k (g_k - mean g)

without the second term, and with mean g = 0, while it has time to spare: those of `price_sums.py` for a demand that
is fixed.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER
from allocator.solvers.level_response import smooth_to, walk_to
from allocator.solvers.price_response import add_costs
from allocator.solvers.price_sums import add_pairs

Array = NDArray[Any]
WIDE, THIN = 4, 24
"""Temporaries of a chunk: WIDE of (K, TILE), THIN of (TILE,)."""
EXACT, BILL, BEND, RATE, EXACT_RATE, RISING = range(6)
PLACES = 6
"""Places in `totals`: cost of exact responses; bill and smoothing term of the smooth ones; what raising the level
would cost, smooth and exact; rows that rise with the level.
"""
_LEAST_UNIT = 1e-12
"""Part of its end that a row without any demand gets."""
_COSTS = 1e-7
"""Part of its money from which on a row pays."""


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def respond_to(
    fresh: bool, width: float, level: float, prices: Array, floor: Array, tiles: Array, columns: Array,
    column_count: Array, entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array, base: Array,
    rate: Array, end: Array, unit: Array, money: Array, wide: Array, thin: Array, schur: Array, use: Array,
    rise: Array, totals: Array,
) -> None:  # fmt: skip
    """Add the rows of `tiles`, each at min(base + rate x level, end), to schur (m, m), what use falls by with prices,
    use (m,), rise (m,), what it grows by with the level, and totals (PLACES,).

    `fresh` sets `unit` and `money` (n,), in which the smoothing of each row is measured: its utility, and what its
    columns cost on average, at prices of at least `floor` (m,).
    """
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high, rising, weight, bill, bend = (
        thin[0], thin[1], thin[2], thin[3], thin[4], thin[5], thin[6], thin[7], thin[8]
    )  # fmt: skip
    sums, rest = thin[10:15], thin[15:]
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        listed, listed_count, om = entries[pattern], entry_count[pattern], omega[a:b]
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        _demand(level, base[a:b], rate[a:b], end[a:b], w, y, rising)
        if fresh:
            add_costs(cost, floor, listed, listed_count, amount, a, w)
            _set_money(cost, g, count, y, w, unit[a:b], money[a:b])
        add_costs(cost, prices, listed, listed_count, amount, a, w)
        walk_to(cost, g, count, y, w, rest, lam, t, low, high)
        exact, exact_rate, more = 0.0, 0.0, 0.0
        for i in range(w):
            exact += om[i] * (lam[i] * y[i] - t[i])
        for i in range(w):
            exact_rate += om[i] * lam[i] * rising[i]
        for i in range(w):
            more += 1.0 if rising[i] > 0.0 else 0.0
        totals[EXACT] += exact
        totals[EXACT_RATE] += exact_rate
        totals[RISING] += more
        _rescale(cost, g, count, unit[a:b], money[a:b], om, w, weight, lam, t, y, low, high, rising)
        smooth_to(cost, g, stiff, count, y, width, w, x, rest, lam, t, low, high, sums)
        bill[:w] = 0.0
        bend[:w] = 0.0
        for q in range(count):
            cq, xq, sq = cost[q], x[q], stiff[q]
            for i in range(w):
                bill[i] += cq[i] * xq[i]
            for i in range(w):
                bend[i] += xq[i] * xq[i] / sq[i]
        spent, smoothing, faster = 0.0, 0.0, 0.0
        for i in range(w):
            spent += weight[i] * bill[i]
            smoothing += weight[i] * bend[i]
        for i in range(w):
            faster += weight[i] * lam[i] * rising[i]
        totals[BILL] += spent
        totals[BEND] += 0.5 * smoothing
        totals[RATE] += faster
        for e in range(listed_count):
            xq, ae = x[listed[e, 0]], amount[listed[e, 2], a : a + w]
            used = 0.0
            for i in range(w):
                used += om[i] * ae[i] * xq[i]
            use[listed[e, 1]] += used
        _add_changes(
            x,
            g,
            stiff,
            sums,
            t,
            om,
            money[a:b],
            rising,
            count,
            listed,
            listed_count,
            amount,
            a,
            w,
            rest,
            cost,
            schur,
            rise,
        )


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def write_shares_at(
    width: float, level: float, prices: Array, tiles: Array, columns: Array, column_count: Array, entries: Array,
    entry_count: Array, amount: Array, gain: Array, omega: Array, base: Array, rate: Array, end: Array, unit: Array,
    money: Array, wide: Array, thin: Array, order: Array, known: Array, shares: Array,
) -> None:  # fmt: skip
    """The smooth responses of the rows of `tiles`, that are not known (n,), into rows order[i] of `shares` (n, K)."""
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high, rising, weight = thin[0], thin[1], thin[2], thin[3], thin[4], thin[5], thin[6]
    sums, rest = thin[10:15], thin[15:]
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        _demand(level, base[a:b], rate[a:b], end[a:b], w, y, rising)
        add_costs(cost, prices, entries[pattern], entry_count[pattern], amount, a, w)
        walk_to(cost, g, count, y, w, rest, lam, t, low, high)
        _rescale(cost, g, count, unit[a:b], money[a:b], omega[a:b], w, weight, lam, t, y, low, high, rising)
        smooth_to(cost, g, stiff, count, y, width, w, x, rest, lam, t, low, high, sums)
        for i in range(w):
            for q in range(count):
                if not known[a + i]:
                    shares[order[a + i], columns[pattern, q]] = x[q, i]


@njit(cache=True, nogil=True, error_model="numpy")
def settle_rows(
    width: float, level: float, prices: Array, believed: Array, tiles: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array, base: Array, rate: Array, end: Array,
    unit: Array, money: Array, wide: Array, thin: Array, order: Array, known: Array, shares: Array, taken: Array,
) -> int:  # fmt: skip
    """Settle rows that rise where they are at `level`, if more would cost something or they are at their end.

    What costs something is told by the `believed` prices (m,). Settled rows that pay are known (n,): their smooth
    responses go to rows order[i] of `shares` (n, K), what they use is added to taken (m,), and they demand nothing
    any more. Of all others the columns that cost something are closed (gain 0). Returns how many rows are settled.
    """
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high, rising, weight = thin[0], thin[1], thin[2], thin[3], thin[4], thin[5], thin[6]
    sums, rest = thin[10:15], thin[15:]
    settled = 0
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        listed, listed_count = entries[pattern], entry_count[pattern]
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        _demand(level, base[a:b], rate[a:b], end[a:b], w, y, rising)
        add_costs(cost, prices, listed, listed_count, amount, a, w)
        walk_to(cost, g, count, y, w, rest, lam, t, low, high)
        _rescale(cost, g, count, unit[a:b], money[a:b], omega[a:b], w, weight, lam, t, y, low, high, rising)
        smooth_to(cost, g, stiff, count, y, width, w, x, rest, lam, t, low, high, sums)
        add_costs(cost, believed, listed, listed_count, amount, a, w)
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        _demand(level, base[a:b], rate[a:b], end[a:b], w, y, rising)
        walk_to(cost, g, count, y, w, rest, lam, t, low, high)
        for i in range(w):
            row = a + i
            if known[row]:
                continue
            if rate[row] > 0.0 and (lam[i] * y[i] > _COSTS * money[row] or rising[i] == 0.0):
                base[row] = y[i]
                rate[row] = 0.0
                settled += 1
            paid = 0.0
            for q in range(count):
                paid += cost[q, i] * x[q, i]
            if rate[row] == 0.0 and paid > _COSTS * money[row]:
                known[row] = True
                base[row] = 0.0
                for q in range(count):
                    shares[order[row], columns[pattern, q]] = x[q, i]
                for e in range(listed_count):
                    taken[listed[e, 1]] += omega[row] * amount[listed[e, 2], row] * x[listed[e, 0], i]
                continue
            best = 0.0
            for q in range(count):
                k = columns[pattern, q]
                if cost[q, i] > 0.0:
                    gain[k, row] = 0.0
                best = max(best, gain[k, row])
            end[row] = min(end[row], best * (1.0 - 1e-9))
    return settled


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def weigh_money(
    width: float, level: float, prices: Array, tiles: Array, columns: Array, column_count: Array, entries: Array,
    entry_count: Array, amount: Array, gain: Array, omega: Array, base: Array, rate: Array, end: Array, unit: Array,
    money: Array, wide: Array, thin: Array, behind: Array,
) -> None:  # fmt: skip
    """Add to behind (m,) the money of rows, in the shares that use each coupling row: its scale of prices, when
    divided by use.
    """
    cost, g, stiff, x = wide[0], wide[1], wide[2], wide[3]
    lam, t, y, low, high, rising, weight = thin[0], thin[1], thin[2], thin[3], thin[4], thin[5], thin[6]
    sums, rest = thin[10:15], thin[15:]
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        listed, listed_count = entries[pattern], entry_count[pattern]
        for q in range(count):
            g[q, :w] = gain[columns[pattern, q], a:b]
        _demand(level, base[a:b], rate[a:b], end[a:b], w, y, rising)
        add_costs(cost, prices, listed, listed_count, amount, a, w)
        walk_to(cost, g, count, y, w, rest, lam, t, low, high)
        _rescale(cost, g, count, unit[a:b], money[a:b], omega[a:b], w, weight, lam, t, y, low, high, rising)
        smooth_to(cost, g, stiff, count, y, width, w, x, rest, lam, t, low, high, sums)
        for e in range(listed_count):
            xq = x[listed[e, 0]]
            part = 0.0
            for i in range(w):
                part += weight[i] * xq[i]
            behind[listed[e, 1]] += part


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _demand(level: float, base: Array, rate: Array, end: Array, w: int, y: Array, rising: Array) -> None:
    for i in range(w):
        y[i] = base[i] + rate[i] * level
    for i in range(w):
        rising[i] = rate[i] if y[i] < end[i] else 0.0
    for i in range(w):
        y[i] = max(min(y[i], end[i]), _LEAST_UNIT * end[i])


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _set_money(cost: Array, g: Array, count: int, y: Array, w: int, unit: Array, money: Array) -> None:
    for i in range(w):
        unit[i] = y[i]
    money[:w] = 0.0
    for q in range(count):
        cq, gq = cost[q], g[q]
        for i in range(w):
            money[i] += cq[i] * min(1.0, y[i] / gq[i]) if gq[i] > 0.0 else 0.0
    for i in range(w):
        money[i] = max(money[i] / count, 1e-200)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _rescale(
    cost: Array, g: Array, count: int, unit: Array, money: Array, om: Array, w: int, weight: Array, lam: Array,
    t: Array, y: Array, low: Array, high: Array, rising: Array,
) -> None:  # fmt: skip
    """Into the row's own units of utility and money."""
    for i in range(w):
        weight[i] = om[i] * money[i]
    for q in range(count):
        cq, gq = cost[q], g[q]
        for i in range(w):
            gq[i] /= unit[i]
        for i in range(w):
            cq[i] /= money[i]
    for i in range(w):
        lam[i] *= unit[i] / money[i]
    for i in range(w):
        t[i] /= money[i]
    for i in range(w):
        y[i] /= unit[i]
        rising[i] /= unit[i]
    for i in range(w):
        low[i] /= unit[i]
        high[i] /= unit[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _add_changes(
    x: Array, g: Array, stiff: Array, sums: Array, t: Array, om: Array, money: Array, rising: Array, count: int,
    listed: Array, listed_count: int, amount: Array, a: int, w: int, thin: Array, bent: Array, schur: Array,
    rise: Array,
) -> None:  # fmt: skip
    """Add to schur (m, m), one pair of columns after the other, and to rise (m,); overwrites `stiff` and `bent`."""
    s0, s1, s2 = sums[2], sums[3], sums[4]
    inverse, mean, zeta, rate = thin[0], thin[1], thin[2], thin[4]
    for i in range(w):
        inverse[i] = 1.0 / s0[i] if (t[i] > 0.0) & (s0[i] > 0.0) else 0.0
    for i in range(w):
        mean[i] = s1[i] * inverse[i]
    for i in range(w):
        spread = s2[i] - s1[i] * mean[i]
        zeta[i] = 1.0 / spread if spread > 1e-11 * s2[i] else 0.0
    for i in range(w):
        rate[i] = om[i] / money[i]
    for q in range(count):
        xq, gq, sq, bq = x[q], g[q], stiff[q], bent[q]
        for i in range(w):
            sq[i] = sq[i] if xq[i] > 0.0 else 0.0
        for i in range(w):
            bq[i] = sq[i] * (gq[i] - mean[i])
    for i in range(w):
        rising[i] *= zeta[i] * om[i]
    for e in range(listed_count):
        bq, ae = bent[listed[e, 0]], amount[listed[e, 2], a : a + w]
        part = 0.0
        for i in range(w):
            part += ae[i] * bq[i] * rising[i]
        rise[listed[e, 1]] += part
    add_pairs(stiff, bent, thin, listed, listed_count, amount, a, w, schur)
