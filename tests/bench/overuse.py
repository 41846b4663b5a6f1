"""Whether shares keep to what there is: as floats add up, without any tolerance, and in arithmetic that does not round.

The first is what is promised. The second can be beyond by a unit in the last place, where floats add up to just what
there is: products and sums are in two parts there, so that only errors of errors are lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Floats, Problem

Array = NDArray[Any]


def overuse(problem: Problem, shares: Floats) -> float:
    """The most by which any capacity, limit or job's time is exceeded, relatively; 0 where none is. inf for shares that
    are no numbers, negative, or where a job cannot run.
    """
    if not (np.isfinite(shares) & (shares >= 0)).all() or shares[~problem.eligible].any():
        return float("inf")
    beyond = problem.coupled_usage(shares) - problem.available
    return max(0.0, _relative(beyond, problem.available), float(shares.sum(axis=1).max(initial=0.0)) - 1)


def unrounded_overuse(problem: Problem, shares: Floats) -> float:
    """The same without rounding."""
    coupling, available = problem.coupling, problem.available
    sums = np.zeros((2, available.size))
    _use(coupling.data, coupling.indices, coupling.indptr, shares.ravel(), sums)
    return max(0.0, _relative((sums[0] - available) + sums[1], available), _most_time_beyond(shares))


def _relative(beyond: Floats, available: Floats) -> float:
    relative = np.divide(beyond, available, out=np.where(beyond > 0, np.inf, 0.0), where=available > 0)
    return float(relative.max(initial=0.0))


@njit(cache=True, nogil=True)
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, nogil=True)
def _two_product(a: float, b: float) -> tuple[float, float]:
    """a b and what rounding took from it (Dekker, with Veltkamp's splitting)."""
    product = a * b
    wide_a, wide_b = 134217729.0 * a, 134217729.0 * b
    a_high, b_high = wide_a - (wide_a - a), wide_b - (wide_b - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@njit(cache=True, nogil=True)
def _use(amounts: Array, rows: Array, starts: Array, shares: Array, sums: Array) -> None:
    """Into sums (2, m): what all use of each coupling row, and what is too small to show in it."""
    for j in range(shares.size):
        if shares[j] == 0.0:
            continue
        for e in range(starts[j], starts[j + 1]):
            row = rows[e]
            product, lost = _two_product(amounts[e], shares[j])
            sums[0, row], more = _two_sum(sums[0, row], product)
            sums[1, row] += lost + more


@njit(cache=True, nogil=True)
def _most_time_beyond(shares: Array) -> float:
    most = 0.0
    for i in range(shares.shape[0]):
        total, rest = 0.0, 0.0
        for k in range(shares.shape[1]):
            total, lost = _two_sum(total, shares[i, k])
            rest += lost
        most = max(most, (total - 1.0) + rest)
    return most
