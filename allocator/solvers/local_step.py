"""Newton's step in the few prices of one group: a small quadratic in a box. Compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
_MOST_SWEEPS, _STILL = 50, 1e-3
"""How often prices are gone through one by one where the step leaves the box, and what counts as no move."""


@njit(cache=True, nogil=True, error_model="numpy")
def fall_of(step: Array, slope: Array, curved: Array) -> float:
    """By how much the quadratic model falls."""
    fall = 0.0
    for i in range(step.size):
        fall -= slope[i] * step[i]
        for j in range(step.size):
            fall -= 0.5 * step[i] * curved[i, j] * step[j]
    return fall


@njit(cache=True, nogil=True, error_model="numpy")
def step_of(q: Array, slope: Array, curved: Array, mass: Array) -> Array:
    """Newton's step in prices q (k,) within a box: none falls below 0, or rises beyond thrice itself and half of the
    money `mass` (k,) of those who share the limit.

    What has next to no curvature, because nobody is there or because others do the same, is held back in proportion to
    its slope: by nothing at the minimum.
    """
    k = q.size
    low, high, back = -q, 2.0 * q + 0.5 * mass, np.abs(slope) / (q + mass)
    damped, step, held = curved.copy(), np.zeros(k), np.zeros(k, dtype=np.bool_)
    for i in range(k):
        damped[i, i] += back[i]
        held[i] = (q[i] == 0.0) & (slope[i] >= 0.0)
    right = -slope
    substitute(factor_of(damped, held, back), held, right)
    inside = True
    for i in range(k):
        step[i] = min(max(right[i], low[i]), high[i])
        inside &= bool(step[i] == right[i])
    if not inside:
        if fall_of(step, slope, damped) <= 0.0:
            step[:] = 0.0
        _sweep(step, slope, damped, low, high)
    return step


@njit(cache=True, nogil=True, error_model="numpy")
def _sweep(step: Array, slope: Array, damped: Array, low: Array, high: Array) -> None:
    """Toward the minimum in the box, one price after the other."""
    k = step.size
    for _ in range(_MOST_SWEEPS):
        farthest = 0.0
        for i in range(k):
            gradient = slope[i]
            for j in range(k):
                gradient += damped[i, j] * step[j]
            size = damped[i, i]
            wanted = step[i] - gradient / size if size > 0.0 else step[i]
            wanted = min(max(wanted, low[i]), high[i])
            farthest = max(farthest, abs(wanted - step[i]) / (high[i] - low[i]))
            step[i] = wanted
        if farthest < _STILL:
            break


@njit(cache=True, nogil=True, error_model="numpy")
def factor_of(curved: Array, held: Array, floor: Array) -> Array:
    """Cholesky's factor of the rows and columns that are not held, with at least `floor` (k,) on the diagonal."""
    k = floor.size
    factor = np.zeros((k, k))
    shift = 1e-13
    i = 0
    while i < k:
        if held[i]:
            factor[i, i] = 1.0
            i += 1
            continue
        worst = False
        for j in range(i + 1):
            if held[j]:
                continue
            left = curved[i, j]
            for r in range(j):
                left -= factor[i, r] * factor[j, r]
            if i != j:
                factor[i, j] = left / factor[j, j]
            else:
                size = max(curved[i, i], floor[i]) + 1e-300
                left += size * shift + max(floor[i] - curved[i, i], 0.0)
                worst = not left > 1e-15 * size
                factor[i, i] = np.sqrt(left) if not worst else 1.0
        i += 1
        if worst:
            shift *= 100.0
            factor[:] = 0.0
            i = 0
    return factor


@njit(cache=True, nogil=True, error_model="numpy")
def substitute(factor: Array, held: Array, right: Array) -> None:
    """Solves in place; 0 for what is held."""
    k = right.size
    for i in range(k):
        if held[i]:
            right[i] = 0.0
            continue
        for j in range(i):
            right[i] -= factor[i, j] * right[j]
        right[i] /= factor[i, i]
    for i in range(k - 1, -1, -1):
        for j in range(i + 1, k):
            right[i] -= factor[j, i] * right[j]
        right[i] /= factor[i, i]
