"""The cheapest way to a utility that is given, exactly and with a little smoothing. Compiled; inner loops run over
the rows of a tile.

A row of a tile has columns with gain g_k and cost c_k, and must reach y. Exactly, it pays (lam what a unit more would
cost, t the price of its time)

    min over x >= 0, g . x >= y, sum x <= 1 of c . x  =  max over lam of  lam y - t(lam),    t(lam) = max(0, max_k lam
    g_k - c_k)

which `walk_to` finds from corner to corner of the convex t(lam). With the quadratic term sum_k x_k^2 / (2 s_k) the
answer moves continuously with costs, x_k = s_k max(0, lam g_k - c_k - t), and `smooth_to` finds it by Newton's method
in (lam, t): the equations of `price_response.py` for a demand that does not depend on lam.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER
from allocator.solvers.price_response import add_up

Array = NDArray[Any]
_MOST_CORNERS = 70
_MOST_TURNS = 8
"""Newton steps for all rows of a tile together; those that need more are finished one by one."""
_EXACT = 1e-9
"""Relative residual of the smooth equations that counts as none."""


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def walk_to(  # noqa: C901 - many loops, each with few arrays, are what becomes vector instructions
    cost: Array, gain: Array, count: int, y: Array, w: int, thin: Array, lam: Array, t: Array, low_gain: Array,
    high_gain: Array,
) -> None:  # fmt: skip
    """lam, t, and the gains of the two columns (0: idling) that are mixed. Needs 0 < y < the largest gain.

    Their line is tried; a column that lies below it takes the place of one of them (cutting planes in one dimension; at
    most as many steps as columns). Columns of gain 0 are never used.
    """
    low_cost, high_cost, top, found, other = thin[0], thin[1], thin[2], thin[3], thin[4]
    high_gain[:w] = 0.0
    high_cost[:w] = 0.0
    for q in range(count):
        cq, gq = cost[q], gain[q]
        for i in range(w):
            better = (gq[i] > high_gain[i]) | ((gq[i] == high_gain[i]) & (cq[i] < high_cost[i]))
            high_cost[i] = cq[i] if better else high_cost[i]
            high_gain[i] = gq[i] if better else high_gain[i]
    low_gain[:w] = 0.0
    low_cost[:w] = 0.0
    for _ in range(_MOST_CORNERS):
        for i in range(w):
            lam[i] = (high_cost[i] - low_cost[i]) / (high_gain[i] - low_gain[i])
        for i in range(w):
            line = lam[i] * high_gain[i] - high_cost[i]
            top[i] = line + 1e-12 * (abs(lam[i] * high_gain[i]) + high_cost[i])
        found[:w] = -1.0
        for q in range(count):
            cq, gq = cost[q], gain[q]
            for i in range(w):
                line = lam[i] * gq[i] - cq[i]
                above = (line > top[i]) & (gq[i] > 0.0)
                found[i] = gq[i] if above else found[i]
                other[i] = cq[i] if above else other[i]
                top[i] = line if above else top[i]
        moved = 0.0
        for i in range(w):
            moved += 1.0 if found[i] > 0.0 else 0.0
        if moved == 0.0:
            break
        for i in range(w):
            low_cost[i] = other[i] if (found[i] > 0.0) & (found[i] < y[i]) else low_cost[i]
        for i in range(w):
            low_gain[i] = found[i] if (found[i] > 0.0) & (found[i] < y[i]) else low_gain[i]
        for i in range(w):
            high_cost[i] = other[i] if found[i] >= y[i] else high_cost[i]
        for i in range(w):
            high_gain[i] = found[i] if found[i] >= y[i] else high_gain[i]
    for i in range(w):
        lam[i] = max((high_cost[i] - low_cost[i]) / (high_gain[i] - low_gain[i]), 0.0)
    for i in range(w):
        t[i] = max(lam[i] * high_gain[i] - high_cost[i], 0.0) if low_gain[i] > 0.0 else 0.0


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def smooth_to(
    cost: Array, gain: Array, stiff: Array, count: int, y: Array, width: float, w: int, x: Array, thin: Array,
    lam: Array, t: Array, low_gain: Array, high_gain: Array, sums: Array,
) -> None:  # fmt: skip
    """The smooth response x (K, w) with its lam and t; stiff (K, w) gets s_k = min(1, 1 / g_k)^2 / width.

    Begins with the exact answer and overwrites it. sums (5, w) gets sum x, g . x, and over columns in use the sums of
    s, s g and s g^2. Rows that need more steps than others are finished one by one.
    """
    for q in range(count):
        gq, sq = gain[q], stiff[q]
        for i in range(w):
            most = max(1.0, gq[i])
            sq[i] = 1.0 / (most * most * width)
    _start(y, width, w, thin, lam, t, low_gain, high_gain)
    for _ in range(_MOST_TURNS):
        add_up(cost, gain, stiff, count, lam, t, w, x, sums)
        if _move(sums, y, w, thin, lam, t) < _EXACT:
            break
    add_up(cost, gain, stiff, count, lam, t, w, x, sums)
    one_by_one = False
    for i in range(w):
        late = sums[0, i] - 1.0 if t[i] > 0.0 else max(sums[0, i] - 1.0, 0.0)
        if not ((abs(late) <= _EXACT) & (abs(y[i] - sums[1, i]) <= _EXACT * y[i])):
            one_by_one = True
            lam[i], t[i] = _alone(cost, gain, stiff, count, y[i], i, lam[i])
    if one_by_one:
        add_up(cost, gain, stiff, count, lam, t, w, x, sums)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _start(
    y: Array, width: float, w: int, thin: Array, lam: Array, t: Array, low_gain: Array, high_gain: Array
) -> None:
    """(lam, t) at which the columns of the exact answer get what they have there, as if there were no others."""
    part, move = thin[0], thin[1]
    for i in range(w):
        part[i] = min(max((y[i] - low_gain[i]) / (high_gain[i] - low_gain[i]), 0.0), 1.0)
    for i in range(w):
        high, low = max(1.0, high_gain[i]), max(1.0, low_gain[i])
        of_high = width * part[i] * high * high
        of_low = width * (1.0 - part[i]) * low * low
        mixed = low_gain[i] > 0.0
        move[i] = (of_high - (of_low if mixed else 0.0)) / (high_gain[i] - low_gain[i])
        back = move[i] * low_gain[i] - of_low
        alone = t[i] + back <= 0.0
        t[i] = t[i] + back if mixed & (not alone) else 0.0
    for i in range(w):
        lam[i] = max(lam[i] + move[i], 1e-12 * width)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _move(sums: Array, y: Array, w: int, thin: Array, lam: Array, t: Array) -> float:
    """One Newton step on g . x = y, sum x = 1 (or t = 0); returns the largest residual before it."""
    shares, reached, s0, s1, s2 = sums[0], sums[1], sums[2], sums[3], sums[4]
    short, inverse, later, move = thin[0], thin[1], thin[2], thin[3]
    for i in range(w):
        short[i] = y[i] - reached[i]
    for i in range(w):
        inverse[i] = 1.0 / (s2[i] * s0[i] * (1.0 + 1e-13) - s1[i] * s1[i] + 1e-200)
    for i in range(w):
        later[i] = (s2[i] * (shares[i] - 1.0) + s1[i] * short[i]) * inverse[i]
    for i in range(w):
        move[i] = (s0[i] * short[i] + s1[i] * (shares[i] - 1.0)) * inverse[i]
    for i in range(w):
        idle = t[i] + later[i] <= 0.0
        move[i] = (short[i] - s1[i] * t[i]) / (s2[i] + 1e-200) if idle else move[i]
    worst = 0.0
    for i in range(w):
        late = abs(shares[i] - 1.0) if t[i] + later[i] > 0.0 else t[i]
        worst = max(worst, late, abs(short[i]) / y[i])
    for i in range(w):
        t[i] = min(max(t[i] + later[i], 0.0), 1e200)
    for i in range(w):
        lam[i] = min(max(lam[i] + move[i], 0.1 * lam[i]), 10.0 * lam[i])
    return worst


@njit(cache=True, nogil=True, error_model="numpy")
def _alone(cost: Array, gain: Array, stiff: Array, count: int, y: float, i: int, first: float) -> tuple[float, float]:
    """(lam, t) of row i of a tile, slowly and surely: t exactly for each lam, lam by Newton within a bracket."""
    low, high, t = 0.0, 1e300, 0.0
    lam = first if (first > 1e-100) & (first < 1e100) else 1.0
    for turn in range(200):
        t = 0.0
        for _ in range(100):
            shares, s0 = 0.0, 0.0
            for q in range(count):
                margin = lam * gain[q, i] - cost[q, i] - t
                if margin > 0.0:
                    shares += stiff[q, i] * margin
                    s0 += stiff[q, i]
            if shares <= 1.0 + 1e-13 or t + (shares - 1.0) / s0 <= t:
                break
            t += (shares - 1.0) / s0
        reached, s0, s1, s2 = 0.0, 0.0, 0.0, 0.0
        for q in range(count):
            margin, g, s = lam * gain[q, i] - cost[q, i] - t, gain[q, i], stiff[q, i]
            if margin > 0.0:
                reached += g * s * margin
                s0 += s
                s1 += s * g
                s2 += s * g * g
        short = y - reached
        if abs(short) < 1e-13 * y:
            break
        if short > 0.0:
            low = lam
        else:
            high = lam
        bend = s2 - s1 * s1 / s0 if t > 0.0 and s0 > 0.0 else s2
        following = lam + short / bend if bend > 1e-9 * s2 else -1.0
        if not low < following < high or turn % 4 == 3:
            following = 10.0 * lam if high == 1e300 else (0.1 * lam if low == 0.0 else np.sqrt(low * high))
        if abs(following - lam) < 1e-15 * lam:
            break
        lam = following
    return lam, t
