"""Rows put on their central points at given prices: where an interior point starts, cold or warm. Compiled.

For fixed prices and a barrier mu each row has one point with x v = s t = mu, sum x + s = 1, v = cost + t - lam gain
and lam y^alpha = 1. Newton on log lam finds it, with t from a secular equation for each lam. It need not be exact:
whatever is left of lam y^alpha = 1 is an ordinary residual of the iteration that follows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
TILE = 256
"""Rows that a kernel works on at a time: its temporaries stay in the cache of the processor."""


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def imbalance(lam: float, y: float, alpha: float) -> float:
    """log(lam y^alpha), or where the power is cheap 2 (h - 1) / (h + 1), which is log h to second order, at most 2."""
    if alpha == 0.0:
        return 0.0
    if alpha == 1.0:
        h = lam * y
    elif alpha == 2.0:
        h = lam * y * y
    elif alpha == 0.5:
        h = lam * np.sqrt(y)
    else:
        return float(np.log(lam) + alpha * np.log(y))
    return 2.0 * (h - 1.0) / (h + 1.0)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def marginal(y: float, alpha: float) -> float:
    """y^-alpha."""
    if alpha == 0.0:
        return 1.0
    if alpha == 1.0:
        return 1.0 / y
    if alpha == 2.0:
        return 1.0 / (y * y)
    if alpha == 0.5:
        return float(1.0 / np.sqrt(y))
    return float(y**-alpha)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def add_costs(cost: Array, prices: Array, entries: Array, entry_count: int, amount: Array, a: int, w: int) -> None:
    """cost (K, w) by position of the column: what a whole share pays at `prices`, for the rows from a on."""
    cost[:, :w] = 0.0
    for e in range(entry_count):
        rate = prices[entries[e, 1]]
        source, into = amount[entries[e, 2], a : a + w], cost[entries[e, 0]]
        for i in range(w):
            into[i] += rate * source[i]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _time_prices(
    mu: float, cost: Array, gain: Array, cols: Array, ll: Array, a: int, w: int, most: Array, total: Array,
    steep: Array, tt: Array,
) -> None:  # fmt: skip
    """t with sum_k mu / (cost + t - lam gain) + mu / t = 1, by Newton on the inverse of the sum, from below."""
    most[:w] = 0.0
    for q in range(cols.size):
        gk, ck = gain[cols[q], a : a + w], cost[q]
        for i in range(w):
            most[i] = max(most[i], ll[i] * gk[i] - ck[i])
    for i in range(w):
        tt[i] = most[i] + mu
    for _ in range(6):
        far = 0.0
        for i in range(w):
            total[i] = mu / tt[i]
            steep[i] = mu / (tt[i] * tt[i])
        for q in range(cols.size):
            gk, ck = gain[cols[q], a : a + w], cost[q]
            for i in range(w):
                one = 1.0 / max(ck[i] + (tt[i] - ll[i] * gk[i]), 0.5 * mu)
                total[i] += mu * one
                steep[i] += mu * one * one
        for i in range(w):
            far = max(far, total[i])
            tt[i] += max(total[i] - 1.0, 0.0) * total[i] / steep[i]
        if far < 1.0 + 1e-5:
            break


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def centre(
    mu: float, rounds: int, prices: Array, alpha: float, tiles: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array, amount: Array, gain: Array, x: Array, v: Array, s: Array, t: Array, lam: Array,
) -> None:  # fmt: skip
    """Fill x, v, s, t and lam of the rows in `tiles`; begins with the lam that is there, takes `rounds` steps."""
    cost, bar = np.empty((gain.shape[0], TILE)), np.empty((gain.shape[0], TILE))
    most, total, steep, mean, spread, y, low, high = (
        np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE),
        np.empty(TILE),
    )  # fmt: skip
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count, cols = b - a, column_count[pattern], columns[pattern, : column_count[pattern]]
        add_costs(cost, prices, entries[pattern], entry_count[pattern], amount, a, w)
        tt, ll, ss = t[a:b], lam[a:b], s[a:b]
        if alpha > 0.0:
            _best_response(cost, bar, gain, cols, alpha, a, w, low, high, most, y, ll)
        low[:w] = 0.0
        high[:w] = 1e300
        for turn in range(rounds + 1):
            _time_prices(mu, cost, gain, cols, ll, a, w, most, total, steep, tt)
            for i in range(w):
                ss[i] = mu / tt[i]
                total[i] = ss[i]
            for q in range(count):
                k = cols[q]
                gk, xk, vk, ck = gain[k, a:b], x[k, a:b], v[k, a:b], cost[q]
                for i in range(w):
                    vk[i] = max(ck[i] + (tt[i] - ll[i] * gk[i]), 0.5 * mu)
                    xk[i] = mu / vk[i]
                    total[i] += xk[i]
            for i in range(w):
                ss[i] /= total[i]
                y[i] = 0.0
                mean[i] = 0.0
                spread[i] = 0.0
                steep[i] = ss[i] * ss[i]
            for q in range(count):
                k = cols[q]
                gk, xk = gain[k, a:b], x[k, a:b]
                for i in range(w):
                    xk[i] /= total[i]
                    square = xk[i] * xk[i]
                    y[i] += gk[i] * xk[i]
                    steep[i] += square
                    mean[i] += gk[i] * square
                    spread[i] += gk[i] * gk[i] * square
            if turn == rounds or alpha == 0.0:
                break
            worst = 0.0
            for i in range(w):
                variance = max(spread[i] - mean[i] * mean[i] / steep[i], 0.0) / mu
                wrong = imbalance(ll[i], y[i], alpha)
                worst = max(worst, abs(wrong))
                low[i] = ll[i] if wrong < 0.0 else low[i]
                high[i] = ll[i] if wrong > 0.0 else high[i]
                step = -wrong / (1.0 + alpha * ll[i] * variance / y[i])
                newton = ll[i] * (
                    1.0 + step + 0.5 * step * step if step > 0.0 else 1.0 / (1.0 - step + 0.5 * step * step)
                )
                middle = 0.5 * (low[i] + min(high[i], 4.0 * ll[i]))
                y[i] = newton if (low[i] <= newton) & (newton <= high[i]) else middle
            if worst < 1e-7:
                break
            ll[:] = y[:w]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _best_response(
    cost: Array, bar: Array, gain: Array, cols: Array, alpha: float, a: int, w: int, low: Array, high: Array,
    most: Array, y: Array, ll: Array,
) -> None:  # fmt: skip
    """The marginal utility of each row's best response without a barrier, by bisection: where the best column by
    lam gain - cost changes from one that calls for a larger lam to one that calls for a smaller one.
    """
    low[:w], high[:w] = 1e300, 0.0
    for q in range(cols.size):
        gk, ck, hk = gain[cols[q], a : a + w], cost[q], bar[q]
        for i in range(w):
            hk[i] = marginal(gk[i], alpha)
            low[i] = min(low[i], hk[i])
            high[i] = max(high[i], hk[i], ck[i] / gk[i])
    for _ in range(24):
        for i in range(w):
            ll[i] = np.sqrt(low[i] * high[i])
            most[i] = 0.0
            y[i] = 1e300
        for q in range(cols.size):
            gk, ck, hk = gain[cols[q], a : a + w], cost[q], bar[q]
            for i in range(w):
                margin = ll[i] * gk[i] - ck[i]
                y[i] = hk[i] if margin > most[i] else y[i]
                most[i] = max(most[i], margin)
        for i in range(w):
            low[i] = ll[i] if ll[i] < y[i] else low[i]
            high[i] = high[i] if ll[i] < y[i] else ll[i]
