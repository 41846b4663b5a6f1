"""The two passes of an interior-point iteration over the rows: add up the Newton system, and find the rows' steps.

Compiled; the innermost loops run over the rows of a tile. Symbols and formulas are those of `interior.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.solvers.price_centre import TILE, add_costs, imbalance, marginal

Array = NDArray[Any]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _factor(
    cols: Array, gain: Array, x: Array, v: Array, ss: Array, tt: Array, ll: Array, alpha: float, a: int, w: int,
    delta: Array, bent: Array, y: Array, rest: Array, total: Array, mean: Array, curve: Array, spread: Array,
) -> None:  # fmt: skip
    """What inverts a row's block: delta = x / v, its sum `total` and the sum without the largest `rest`, the mean and
    variance of gain weighted by delta, bent = delta (gain - mean), curve = alpha lam / y.
    """
    for i in range(w):
        y[i] = 0.0
        total[i] = ss[i] / tt[i]  # the largest so far
        rest[i] = 0.0
        mean[i] = 0.0
    for q in range(cols.size):
        k = cols[q]
        xk, vk, gk, dk = x[k, a : a + w], v[k, a : a + w], gain[k, a : a + w], delta[q]
        for i in range(w):
            y[i] += gk[i] * xk[i]
            dk[i] = xk[i] / vk[i]
            rest[i] += min(total[i], dk[i])
            total[i] = max(total[i], dk[i])
            mean[i] += dk[i] * gk[i]
    for i in range(w):
        total[i] += rest[i]
        mean[i] /= total[i]
        spread[i] = ss[i] / tt[i] * mean[i] * mean[i]
        curve[i] = alpha * ll[i] / y[i]
    for q in range(cols.size):
        gk, dk, bk = gain[cols[q], a : a + w], delta[q], bent[q]
        for i in range(w):
            off = gk[i] - mean[i]
            bk[i] = dk[i] * off
            spread[i] += bk[i] * off


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _respond(
    count: int, push: Array, slack_push: Array, forcing: Array, delta: Array, bent: Array, ss: Array, tt: Array,
    total: Array, mean: Array, curve: Array, spread: Array, w: int, dtt: Array, dll: Array, scratch: Array,
) -> None:  # fmt: skip
    """The rows' answer to pushes h: push becomes dx and slack_push ds; dt and d lam are written.

    dt = mean(h) + d lam mean(gain);  dx = delta (h - mean(h)) + d lam bent;
    d lam = (forcing - curve cov(gain, h)) / (1 + curve var(gain)).
    """
    for i in range(w):
        dtt[i] = ss[i] / tt[i] * slack_push[i]
    for q in range(count):
        dk, hk = delta[q], push[q]
        for i in range(w):
            dtt[i] += dk[i] * hk[i]
    for i in range(w):
        dtt[i] /= total[i]
        scratch[i] = ss[i] / tt[i] * mean[i] * (dtt[i] - slack_push[i])
    for q in range(count):
        bk, hk = bent[q], push[q]
        for i in range(w):
            scratch[i] += bk[i] * (hk[i] - dtt[i])
    for i in range(w):
        dll[i] = (forcing[i] - curve[i] * scratch[i]) / (1.0 + curve[i] * spread[i])
        slack_push[i] = ss[i] / tt[i] * (slack_push[i] - dtt[i] - dll[i] * mean[i])
    for q in range(count):
        dk, bk, hk = delta[q], bent[q], push[q]
        for i in range(w):
            hk[i] = dk[i] * (hk[i] - dtt[i]) + dll[i] * bk[i]
    for i in range(w):
        dtt[i] += dll[i] * mean[i]


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_moved(
    push: Array, omega: Array, entries: Array, entry_count: int, amount: Array, a: int, w: int, into: Array
) -> None:
    """Add what shares `push` (K, w) use of each coupling row."""
    for e in range(entry_count):
        ae, hk = amount[entries[e, 2], a : a + w], push[entries[e, 0]]
        moved = 0.0
        for i in range(w):
            moved += omega[i] * ae[i] * hk[i]
        into[entries[e, 1]] += moved


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _add_schur(
    entries: Array, entry_count: int, amount: Array, om: Array, delta: Array, bent: Array, rest: Array, total: Array,
    zeta: Array, pair: Array, a: int, w: int, schur: Array,
) -> None:  # fmt: skip
    """Add the rows' part of the Schur complement, one pair of columns after the other."""
    first = 0
    while first < entry_count:
        k, past = entries[first, 0], first
        while past < entry_count and entries[past, 0] == k:
            past += 1
        second = first
        while second < entry_count:
            j, end = entries[second, 0], second
            while end < entry_count and entries[end, 0] == j:
                end += 1
            dk, dj, bk, bj = delta[k], delta[j], bent[k], bent[j]
            if j == k:
                for i in range(w):
                    others = rest[i] if dk[i] * 2.0 > total[i] else total[i] - dk[i]
                    pair[i] = om[i] * (dk[i] * others / total[i] - zeta[i] * bk[i] * bk[i])
            else:
                for i in range(w):
                    pair[i] = -om[i] * (dk[i] * dj[i] / total[i] + zeta[i] * bk[i] * bj[i])
            for e in range(first, past):
                ae = amount[entries[e, 2], a : a + w]
                for f in range(max(e, second), end):
                    af = amount[entries[f, 2], a : a + w]
                    part = 0.0
                    for i in range(w):
                        part += ae[i] * af[i] * pair[i]
                    schur[entries[e, 1], entries[f, 1]] += part
                    if e != f:
                        schur[entries[f, 1], entries[e, 1]] += part
            second = end
        first = past


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def assemble(
    step_primal: float, step_dual: float, prices: Array, alpha: float, tiles: Array, columns: Array,
    column_count: Array, entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array,
    x: Array, v: Array, s: Array, t: Array, lam: Array, dx: Array, dv: Array, ds: Array, dt: Array, dl: Array,
    schur: Array, rhs: Array, usage: Array, through: Array, sums: Array,
) -> None:  # fmt: skip
    """Take the steps along the stored direction, then add the rows' part of the Newton system at `prices`.

    schur (m, m); rhs (m,) what an affine step at unchanged prices moves; usage (m,); through (m,) what the
    shares that use it are worth; sums (5,): complementarity, surplus and money (the gap here is the prices' sum +
    surplus - money), worth of the imbalances, number of products.
    """
    width = gain.shape[0]
    cost, delta, bent, push = (
        np.empty((width, TILE)), np.empty((width, TILE)), np.empty((width, TILE)), np.empty((width, TILE)),
    )  # fmt: skip
    y, rest, total, mean, curve, spread, pair = (
        np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE),
    )  # fmt: skip
    slack_push, forcing, dtt, dll, scratch = (
        np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE),
    )  # fmt: skip
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        listed, listed_count, cols = entries[pattern], entry_count[pattern], columns[pattern, :count]
        add_costs(cost, prices, listed, listed_count, amount, a, w)
        om, ss, tt, ll = omega[a:b], s[a:b], t[a:b], lam[a:b]
        dss, dts, dls = ds[a:b], dt[a:b], dl[a:b]
        products = 0.0
        for i in range(w):
            ss[i] += step_primal * dss[i]
            tt[i] += step_dual * dts[i]
            ll[i] += step_dual * dls[i]
            slack_push[i] = -tt[i]
            products += om[i] * ss[i] * tt[i]
        for q in range(count):
            k = cols[q]
            xk, vk, dxk, dvk, hk = x[k, a:b], v[k, a:b], dx[k, a:b], dv[k, a:b], push[q]
            for i in range(w):
                xk[i] += step_primal * dxk[i]
                vk[i] += step_dual * dvk[i]
                hk[i] = xk[i]
                products += om[i] * xk[i] * vk[i]
        _factor(cols, gain, x, v, ss, tt, ll, alpha, a, w, delta, bent, y, rest, total, mean, curve, spread)
        _add_moved(push, om, listed, listed_count, amount, a, w, usage)
        for e in range(listed_count):
            gk, hk, earned = gain[cols[listed[e, 0]], a:b], push[listed[e, 0]], 0.0
            for i in range(w):
                earned += om[i] * ll[i] * gk[i] * hk[i]
            through[listed[e, 1]] += earned
        money, worst, worth = 0.0, 0.0, 0.0
        for i in range(w):
            wrong = -imbalance(ll[i], y[i], alpha)
            worst += om[i] * ll[i] * y[i] * abs(wrong)
            forcing[i] = ll[i] * wrong
            pair[i] = marginal(y[i], alpha)
            scratch[i] = 0.0
            money += om[i] * pair[i] * y[i]
            worth += om[i]
        for q in range(count):
            gk, vk, ck, hk = gain[cols[q], a:b], v[cols[q], a:b], cost[q], push[q]
            for i in range(w):
                scratch[i] = max(scratch[i], pair[i] * gk[i] - ck[i])
                hk[i] = -vk[i]
        surplus = 0.0
        for i in range(w):
            surplus += om[i] * scratch[i]
        sums[0] += products
        sums[1] += surplus
        sums[2] += money
        sums[3] += worst
        sums[4] += worth * (count + 1)
        _respond(
            count, push, slack_push, forcing, delta, bent, ss, tt, total, mean, curve, spread, w, dtt, dll, scratch
        )
        _add_moved(push, om, listed, listed_count, amount, a, w, rhs)
        for i in range(w):
            curve[i] /= 1.0 + curve[i] * spread[i]
        _add_schur(listed, listed_count, amount, om, delta, bent, rest, total, curve, pair, a, w, schur)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def direct(  # noqa: C901, PLR0915 - two variants of one pass; apart they would repeat it
    final: bool, target: float, moves: Array, alpha: float, tiles: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array,
    x: Array, v: Array, s: Array, t: Array, lam: Array, dx: Array, dv: Array, ds: Array, dt: Array, dl: Array,
    rhs_target: Array, rhs_bend: Array, sums: Array,
) -> None:  # fmt: skip
    """The rows' steps when prices move by `moves` (m,).

    First the affine step (final False): rhs_target and rhs_bend (m,) get what a barrier of 1 and the second-order
    terms of this step will move. Then, with those terms of the stored step and the barrier `target`, the final one.
    sums (5,): largest -d / value of primal and of dual values, then the sums of dx v, x dv and dx dv.
    """
    width = gain.shape[0]
    cost, delta, bent, push, second = (
        np.empty((width, TILE)), np.empty((width, TILE)), np.empty((width, TILE)), np.empty((width, TILE)),
        np.empty((width, TILE)),
    )  # fmt: skip
    y, rest, total, mean, curve, spread, dy = (
        np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE),
    )  # fmt: skip
    slack_push, forcing, dtt, dll, scratch = (
        np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE), np.empty(TILE),
    )  # fmt: skip
    for index in range(tiles.shape[0]):
        pattern, a, b = tiles[index, 0], tiles[index, 1], tiles[index, 2]
        w, count = b - a, column_count[pattern]
        listed, listed_count, cols = entries[pattern], entry_count[pattern], columns[pattern, :count]
        add_costs(cost, moves, listed, listed_count, amount, a, w)
        om, ss, tt, ll = omega[a:b], s[a:b], t[a:b], lam[a:b]
        dss, dts, dls = ds[a:b], dt[a:b], dl[a:b]
        _factor(cols, gain, x, v, ss, tt, ll, alpha, a, w, delta, bent, y, rest, total, mean, curve, spread)
        dy[:w] = 0.0
        for q in range(count):
            k = cols[q]
            xk, vk, dxk, dvk, gk, hk, ck = x[k, a:b], v[k, a:b], dx[k, a:b], dv[k, a:b], gain[k, a:b], push[q], cost[q]
            if final:
                for i in range(w):
                    hk[i] = (target - dxk[i] * dvk[i]) / xk[i] - vk[i] - ck[i]
                    dy[i] += gk[i] * dxk[i]
            else:
                for i in range(w):
                    hk[i] = -vk[i] - ck[i]
        for i in range(w):
            wrong = -imbalance(ll[i], y[i], alpha)
            slack_push[i] = -tt[i]
            if final:
                slack_push[i] += (target - dss[i] * dts[i]) / ss[i]
                wrong += _bend(dls[i] / ll[i], dy[i] / y[i], alpha)
            forcing[i] = ll[i] * wrong
        _respond(
            count, push, slack_push, forcing, delta, bent, ss, tt, total, mean, curve, spread, w, dtt, dll, scratch
        )
        primal, dual, one, other, both = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(w):
            dss[i], dts[i], dls[i] = slack_push[i], dtt[i], dll[i]
            primal = max(primal, -dss[i] / ss[i])
            dual = max(dual, -dts[i] / tt[i], -dls[i] / ll[i])
            one += om[i] * dss[i] * tt[i]
            other += om[i] * ss[i] * dts[i]
            both += om[i] * dss[i] * dts[i]
        dy[:w] = 0.0
        for q in range(count):
            k = cols[q]
            xk, vk, dxk, dvk, gk, hk, ck = x[k, a:b], v[k, a:b], dx[k, a:b], dv[k, a:b], gain[k, a:b], push[q], cost[q]
            for i in range(w):
                dxk[i] = hk[i]
                dvk[i] = ck[i] + dts[i] - dls[i] * gk[i]
                dy[i] += gk[i] * hk[i]
                primal = max(primal, -dxk[i] / xk[i])
                dual = max(dual, -dvk[i] / vk[i])
                one += om[i] * dxk[i] * vk[i]
                other += om[i] * xk[i] * dvk[i]
                both += om[i] * dxk[i] * dvk[i]
        sums[0] = max(sums[0], primal)
        sums[1] = max(sums[1], dual)
        sums[2] += one
        sums[3] += other
        sums[4] += both
        if final:
            continue
        for q in range(count):
            k = cols[q]
            xk, dxk, dvk, hk, ck = x[k, a:b], dx[k, a:b], dv[k, a:b], push[q], second[q]
            for i in range(w):
                hk[i] = 1.0 / xk[i]
                ck[i] = -dxk[i] * dvk[i] * hk[i]
        for i in range(w):
            slack_push[i] = 1.0 / ss[i]
            forcing[i] = 0.0
        _respond(
            count, push, slack_push, forcing, delta, bent, ss, tt, total, mean, curve, spread, w, dtt, dll, scratch
        )
        _add_moved(push, om, listed, listed_count, amount, a, w, rhs_target)
        for i in range(w):
            slack_push[i] = -dss[i] * dts[i] / ss[i]
            forcing[i] = ll[i] * _bend(dls[i] / ll[i], dy[i] / y[i], alpha)
        _respond(
            count, second, slack_push, forcing, delta, bent, ss, tt, total, mean, curve, spread, w, dtt, dll, scratch
        )
        _add_moved(second, om, listed, listed_count, amount, a, w, rhs_bend)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _bend(dlam: float, dy: float, alpha: float) -> float:
    """Second-order term of log lam + alpha log y for relative changes, at most 1/2."""
    if alpha == 0.0:
        return 0.0
    return min(0.5 * (dlam * dlam + alpha * dy * dy), 0.5)
