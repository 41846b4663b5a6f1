"""What rows buy at given prices, exactly and with a little smoothing. Compiled.

A row has columns with gain g_k and cost c_k; lam is its marginal utility, t the price of its time. Exactly, it wants

    max over x >= 0, sum x <= 1 of phi(g . x) - c . x
        =  min over lam of  t(lam) + max over y of (phi(y) - lam y),    t(lam) = max(0, max_k lam g_k - c_k)

which `walk` finds from corner to corner of the convex t(lam). That answer jumps from column to column as prices move.
With a term - sum_k x_k^2 / (2 s_k) it moves continuously instead, x_k = s_k max(0, lam g_k - c_k - t), and nothing is
lost by rows whose choice is not close: `smooth` finds that by Newton's method in (lam, t), from the exact answer.

The inner loops run over the rows of a tile and touch few arrays each: with many, the compiler would have to check too
many pairs for overlap, and gives up on vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER
from allocator.solvers.price_utility import demand_at, slope_at

Array = NDArray[Any]
_MOST_CORNERS = 24
_MOST_TURNS = 8
"""Newton steps for all rows of a tile together; those that need more are finished one by one."""
_EXACT, _NEARLY = 1e-9, 1e-6
"""Relative residual of the smooth equations that counts as none, and one that the next Newton step makes that small."""


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def add_costs(cost: Array, prices: Array, entries: Array, entry_count: int, amount: Array, a: int, w: int) -> None:
    """cost (K, w) by position of the column: what a whole share pays at `prices`, for the rows from a on."""
    cost[:, :w] = 0.0
    for e in range(entry_count):
        rate = prices[entries[e, 1]]
        source, into = amount[entries[e, 2], a : a + w], cost[entries[e, 0]]
        for i in range(w):
            into[i] += rate * source[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def walk(
    cost: Array, gain: Array, count: int, alpha: float, w: int, ratio: Array, thin: Array, lam: Array, t: Array,
    y: Array, low_gain: Array, high_gain: Array,
) -> None:  # fmt: skip
    """The exact response: lam, t, y, and the gains of the two columns (0: idling) whose mixture it is, if it is one.

    Between a line that is too flat at lam and one that is too steep their crossing is tried; a line above it takes the
    place of one of them (cutting planes in one dimension; at most as many steps as columns).
    """
    low_cost, high_cost, top, found, done = thin[0], thin[1], thin[2], thin[3], thin[4]
    if alpha == 0.0:
        lam[:w] = 1.0
        y[:w] = 1.0
        low_gain[:w] = 0.0
        high_gain[:w] = 1.0
        _time_price(cost, gain, count, lam, w, t)
        return
    _first_corner(cost, gain, count, alpha, w, ratio, lam, y, high_gain, high_cost, done, top)
    for i in range(w):
        low_gain[i] = high_gain[i] * (1.0 - done[i])
    for i in range(w):
        low_cost[i] = high_cost[i] * (1.0 - done[i])
    for _ in range(_MOST_CORNERS):
        open_rows = 0.0
        for i in range(w):
            open_rows += 1.0 - done[i]
        if open_rows == 0.0:
            break
        _line_above(cost, gain, count, w, lam, low_gain, low_cost, high_gain, high_cost, top, found)
        for i in range(w):
            done[i] = 1.0 if found[i] < 0.0 else done[i]
        demand_at(lam, alpha, w, y)
        _next_corner(alpha, w, thin, lam, y, low_gain, high_gain)
    demand_at(lam, alpha, w, y)
    _time_price(cost, gain, count, lam, w, t)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _first_corner(
    cost: Array, gain: Array, count: int, alpha: float, w: int, ratio: Array, lam: Array, y: Array, high_gain: Array,
    high_cost: Array, done: Array, slope: Array,
) -> None:  # fmt: skip
    """The column that gives most for its cost; done are rows to which it gives enough in less than all their time."""
    lam[:w] = 1e300
    for q in range(count):
        cq, gq, rq = cost[q], gain[q], ratio[q]
        for i in range(w):
            rq[i] = cq[i] / gq[i]
        for i in range(w):
            lam[i] = min(lam[i], rq[i])
    for q in range(count):
        cq, gq, rq = cost[q], gain[q], ratio[q]
        for i in range(w):
            high_gain[i] = gq[i] if rq[i] == lam[i] else high_gain[i]
        for i in range(w):
            high_cost[i] = cq[i] if rq[i] == lam[i] else high_cost[i]
    demand_at(lam, alpha, w, y)
    slope_at(high_gain, alpha, w, slope)
    for i in range(w):
        done[i] = 1.0 if y[i] <= high_gain[i] else 0.0
    for i in range(w):
        lam[i] = lam[i] if done[i] > 0.0 else slope[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _line_above(
    cost: Array, gain: Array, count: int, w: int, lam: Array, low_gain: Array, low_cost: Array, high_gain: Array,
    high_cost: Array, top: Array, found: Array,
) -> None:  # fmt: skip
    """The gain of the column that is farthest above both lines at lam, and by then `top`; -1 where there is none."""
    for i in range(w):
        line = max(lam[i] * high_gain[i] - high_cost[i], lam[i] * low_gain[i] - low_cost[i])
        top[i] = line + 1e-12 * abs(line) + 1e-15
    found[:w] = -1.0
    for q in range(count):
        cq, gq = cost[q], gain[q]
        for i in range(w):
            line = lam[i] * gq[i] - cq[i]
            above = line > top[i]
            found[i] = gq[i] if above else found[i]
            top[i] = line if above else top[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _next_corner(alpha: float, w: int, thin: Array, lam: Array, y: Array, low_gain: Array, high_gain: Array) -> None:
    """The line that was found takes the place of one of the two; lam moves to the best point of the new pair."""
    low_cost, high_cost, top, found, done, one, other = thin[0], thin[1], thin[2], thin[3], thin[4], thin[5], thin[6]
    for i in range(w):
        other[i] = lam[i] * found[i] - top[i]  # the cost of the column that was found
    for i in range(w):
        low_cost[i] = other[i] if (done[i] == 0.0) & (found[i] < y[i]) else low_cost[i]
    for i in range(w):
        low_gain[i] = found[i] if (done[i] == 0.0) & (found[i] < y[i]) else low_gain[i]
    for i in range(w):
        high_cost[i] = other[i] if (done[i] == 0.0) & (found[i] >= y[i]) else high_cost[i]
    for i in range(w):
        high_gain[i] = found[i] if (done[i] == 0.0) & (found[i] >= y[i]) else high_gain[i]
    slope_at(high_gain, alpha, w, one)
    slope_at(low_gain, alpha, w, other)
    for i in range(w):
        apart = high_gain[i] - low_gain[i]
        crossing = (high_cost[i] - low_cost[i]) / (apart if apart > 0.0 else 1.0)
        best = min(max(crossing, one[i]), other[i]) if apart > 0.0 else other[i]
        lam[i] = lam[i] if done[i] > 0.0 else best


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _time_price(cost: Array, gain: Array, count: int, lam: Array, w: int, t: Array) -> None:
    t[:w] = 0.0
    for q in range(count):
        cq, gq = cost[q], gain[q]
        for i in range(w):
            t[i] = max(t[i], lam[i] * gq[i] - cq[i])


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def smooth(
    cost: Array, gain: Array, stiff: Array, count: int, alpha: float, width: float, w: int, x: Array, thin: Array,
    lam: Array, t: Array, y: Array, low_gain: Array, high_gain: Array, sums: Array,
) -> None:  # fmt: skip
    """The smooth response x (K, w) with its lam and t; stiff (K, w) gets s_k = min(1, 1 / g_k)^2 / width.

    Begins with the exact answer and overwrites it. sums (5, w) gets sum x, g . x, and over columns in use the sums of
    s, s g and s g^2. Rows that need more steps than others are finished one by one.
    """
    for q in range(count):
        gq, sq = gain[q], stiff[q]
        for i in range(w):
            most = min(1.0, 1.0 / gq[i])
            sq[i] = most * most / width
    _start(cost, gain, stiff, count, alpha, width, w, thin, lam, t, y, low_gain, high_gain)
    for _ in range(_MOST_TURNS):
        add_up(cost, gain, stiff, count, lam, t, w, x, sums)
        worst = _move_time(sums, w, width, t) if alpha == 0.0 else _move_both(sums, alpha, w, width, thin, lam, t)
        if worst < _NEARLY:
            add_up(cost, gain, stiff, count, lam, t, w, x, sums)
            return
    add_up(cost, gain, stiff, count, lam, t, w, x, sums)
    one_by_one = False
    demand_at(lam, alpha, w, y)
    for i in range(w):
        late = sums[0, i] - 1.0 if t[i] > 0.0 else max(sums[0, i] - 1.0, 0.0)
        short = y[i] - sums[1, i] if alpha > 0.0 else 0.0
        if not ((abs(late) <= _EXACT) & (abs(short) <= _EXACT * y[i]) & ((sums[1, i] > 0.0) | (alpha == 0.0))):
            one_by_one = True
            lam[i], t[i] = _alone(cost, gain, stiff, count, alpha, i, lam[i])
    if one_by_one:
        add_up(cost, gain, stiff, count, lam, t, w, x, sums)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _start(
    cost: Array, gain: Array, stiff: Array, count: int, alpha: float, width: float, w: int, thin: Array, lam: Array,
    t: Array, y: Array, low_gain: Array, high_gain: Array,
) -> None:  # fmt: skip
    """(lam, t) at which the columns of the exact answer get what they have there, as if there were no others."""
    if alpha == 0.0:
        t[:w] = 0.0
        for q in range(count):
            cq, gq, sq = cost[q], gain[q], stiff[q]
            for i in range(w):
                t[i] = max(t[i], gq[i] - cq[i] - 1.0 / sq[i])
        return
    part, move, back = thin[0], thin[1], thin[2]
    for i in range(w):
        apart = high_gain[i] - low_gain[i]
        part[i] = min(max((y[i] - low_gain[i]) / apart, 0.0), 1.0) if apart > 0.0 else 1.0
    for i in range(w):
        apart = high_gain[i] - low_gain[i]
        high, low = max(1.0, high_gain[i]), max(1.0, low_gain[i])
        push = width * (part[i] * high * high - (1.0 - part[i]) * low * low) / (apart if apart > 0.0 else 1.0)
        mixed = (part[i] < 1.0) & (part[i] > 0.0) & (abs(push) < 0.3 * lam[i])
        push = push if mixed else 0.0
        move[i] = width * part[i] * high * high / high_gain[i] if low_gain[i] <= 0.0 else push
    for i in range(w):
        high, low = max(1.0, high_gain[i]), max(1.0, low_gain[i])
        held = width * ((1.0 - part[i]) * low * low if move[i] != 0.0 else max(part[i], 1.0 - part[i]) * high * high)
        back[i] = move[i] * low_gain[i] - held
    for i in range(w):
        t[i] = max(t[i] + back[i], 0.0) if low_gain[i] > 0.0 else 0.0
    for i in range(w):
        lam[i] += move[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def add_up(
    cost: Array, gain: Array, stiff: Array, count: int, lam: Array, t: Array, w: int, x: Array, sums: Array
) -> None:
    """x (K, w) at (lam, t), and its `sums` (5, w) as in `smooth`."""
    shares, reached, s0, s1, s2 = sums[0], sums[1], sums[2], sums[3], sums[4]
    sums[:, :w] = 0.0
    for q in range(count):
        cq, gq, sq, xq = cost[q], gain[q], stiff[q], x[q]
        for i in range(w):
            xq[i] = sq[i] * max(lam[i] * gq[i] - cq[i] - t[i], 0.0)
        for i in range(w):
            shares[i] += xq[i]
            reached[i] += gq[i] * xq[i]
        for i in range(w):
            s0[i] += sq[i] if xq[i] > 0.0 else 0.0
        for i in range(w):
            once = gq[i] * sq[i] if xq[i] > 0.0 else 0.0
            s1[i] += once
            s2[i] += gq[i] * once


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _move_time(sums: Array, w: int, width: float, t: Array) -> float:
    """Newton on the sum of shares, from below: it only falls and bends one way, so that no step goes too far."""
    shares, s0 = sums[0], sums[2]
    worst = 0.0
    for i in range(w):
        step = max((shares[i] - 1.0) / s0[i], -t[i]) if s0[i] > 0.0 else -t[i]
        worst = max(worst, abs(step))
        t[i] += step
    return worst / width


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _move_both(sums: Array, alpha: float, w: int, width: float, thin: Array, lam: Array, t: Array) -> float:
    """One Newton step on g . x = y(lam), sum x = 1 (or t = 0); returns the largest residual before it."""
    shares, reached, s0, s1, s2 = sums[0], sums[1], sums[2], sums[3], sums[4]
    y, short, bend, inverse, later, move = thin[0], thin[1], thin[2], thin[3], thin[4], thin[5]
    demand_at(lam, alpha, w, y)
    for i in range(w):
        bend[i] = y[i] / (alpha * lam[i]) + s2[i]
    for i in range(w):
        short[i] = y[i] - reached[i]
    least = 1e-12 / width
    for i in range(w):
        inverse[i] = 1.0 / (bend[i] * (s0[i] + least) - s1[i] * s1[i])
    for i in range(w):
        later[i] = (bend[i] * (shares[i] - 1.0) + s1[i] * short[i]) * inverse[i]
    for i in range(w):
        move[i] = ((s0[i] + least) * short[i] + s1[i] * (shares[i] - 1.0)) * inverse[i]
    for i in range(w):
        move[i] = (short[i] - s1[i] * t[i]) / bend[i] if t[i] + later[i] <= 0.0 else move[i]
    worst = 0.0
    for i in range(w):
        late = abs(shares[i] - 1.0) if t[i] + later[i] > 0.0 else t[i]
        worst = max(worst, late, abs(short[i]) / y[i])
    for i in range(w):
        t[i] = max(t[i] + later[i], 0.0)
    for i in range(w):
        lam[i] = min(max(lam[i] + move[i], 0.2 * lam[i]), 5.0 * lam[i])
    return worst


@njit(cache=True, nogil=True, error_model="numpy")
def _alone(
    cost: Array, gain: Array, stiff: Array, count: int, alpha: float, i: int, first: float
) -> tuple[float, float]:
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
        if alpha == 0.0:
            break
        reached, s0, s1, s2 = 0.0, 0.0, 0.0, 0.0
        for q in range(count):
            margin, g, s = lam * gain[q, i] - cost[q, i] - t, gain[q, i], stiff[q, i]
            if margin > 0.0:
                reached += g * s * margin
                s0 += s
                s1 += s * g
                s2 += s * g * g
        y = lam ** (-1.0 / alpha)
        short = y - reached
        if abs(short) < 1e-13 * y:
            break
        if short > 0.0:
            low = lam
        else:
            high = lam
        if t > 0.0 and s0 > 0.0:
            s2 -= s1 * s1 / s0
        following = lam + short / (max(s2, 0.0) + y / (alpha * lam))
        if not low < following < high or turn % 3 == 2:
            following = np.sqrt(max(low, 0.1 * lam) * min(high, 10.0 * lam))
        if abs(following - lam) < 1e-15 * lam:
            break
        lam = following
    return lam, t
