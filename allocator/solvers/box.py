"""The minimum of a small convex quadratic in a box."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Floats

Array = NDArray[Any]
_MOST_TURNS = 60
_SHIFTS = (1e-14, 1e-11, 1e-8, 1e-5)
"""Added to a unit diagonal until the matrix has a Cholesky factor."""


def box_minimum(curvature: Floats, slope: Floats, low: Floats, high: Floats) -> Floats:
    """x (m,) in [low, high], which contains 0, that nearly minimises slope . x + x . curvature x / 2.

    `curvature` (m, m) is positive semidefinite but for rounding. Projected Newton steps on the components that no bound
    holds (Bertsekas, SIAM J. Control and Optimization 20(2), 1982); where those do not fall, up to the first bound.
    """
    x = np.zeros_like(slope)
    value = 0.0
    for _ in range(_MOST_TURNS):
        gradient = slope + times(curvature, x)
        step = _step(curvature, gradient, x, low, high)
        if not step.any():
            break
        for trial in (np.clip(x + step, low, high), x + _inside(x, step, low, high) * step):
            at_trial = float((slope * trial).sum() + 0.5 * (trial * times(curvature, trial)).sum())
            if at_trial < value:
                break
        else:
            break
        fallen, x, value = value - at_trial, np.clip(trial, low, high), at_trial
        if fallen <= 1e-10 * abs(value):
            break
    return x


def _step(curvature: Floats, gradient: Floats, x: Floats, low: Floats, high: Floats) -> Floats:
    """Newton's step for the components that no bound holds, nor would stop at once."""
    free = ~(((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)))
    step = np.zeros_like(x)
    while free.any():
        step[:] = 0.0
        step[free] = _newton(curvature[np.ix_(free, free)], gradient[free], (high - low)[free])
        stopped = ((x <= low) & (step < 0)) | ((x >= high) & (step > 0))
        if not stopped.any():
            return step
        free &= ~stopped
    step[:] = 0.0
    return step


def _inside(x: Floats, step: Floats, low: Floats, high: Floats) -> float:
    """How much of `step` fits into the box, at most 1."""
    bound = np.where(step > 0, high - x, x - low)
    return float(np.divide(bound, np.abs(step), out=np.ones_like(x), where=step != 0).min(initial=1.0))


def _newton(curvature: Floats, gradient: Floats, width: Floats) -> Floats:
    """-curvature^-1 gradient; where there is next to no curvature, a step of the width of the box."""
    floor = 1e-3 * np.abs(gradient) / width
    scale = 1 / np.sqrt(np.maximum(np.diag(curvature), floor) + 1e-300)
    scaled = curvature * scale[:, None] * scale
    np.fill_diagonal(scaled, 1.0)
    for shift in _SHIFTS:
        solved = _solved(scaled, shift, scale * gradient)
        if solved.size:
            return -scale * solved
    return -scale * scale * gradient


def times(matrix: Floats, vector: Floats) -> Floats:
    """matrix (m, m) x vector (m,), summed in an order that does not depend on how many threads a BLAS has."""
    product: Floats = np.einsum("ij,j->i", matrix, vector)
    return product


@njit(cache=True, nogil=True, error_model="numpy")
def _solved(matrix: Array, shift: float, right: Array) -> Array:
    """(matrix + shift I)^-1 right by Cholesky's factors; empty where the matrix is not positive definite."""
    m = right.size
    factor, x = np.zeros((m, m)), right.copy()
    for i in range(m):
        for j in range(i + 1):
            left = matrix[i, j]
            for k in range(j):
                left -= factor[i, k] * factor[j, k]
            if i != j:
                factor[i, j] = left / factor[j, j]
            elif left + shift > 0.0:
                factor[i, i] = np.sqrt(left + shift)
            else:
                return np.empty(0)
    for i in range(m):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(m - 1, -1, -1):
        for k in range(i + 1, m):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]
    return x
