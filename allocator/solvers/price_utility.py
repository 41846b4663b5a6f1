"""The fairness function of many rows at once, in loops that become vector instructions. Compiled.

phi and what belongs to it, as in `formulation/fairness.py`, for the first w elements of an array; alpha is the same for
all, so that the choice of a formula is made once and not per element.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.solvers.in_order import IN_ORDER

Array = NDArray[Any]
_LEAST = 1e-100
"""Marginal utilities and utilities below this count as this: their inverses stay far from overflow."""
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_SQRT2 = 1.4142135623730951


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def demand_at(lam: Array, alpha: float, w: int, y: Array) -> None:
    """y = lam^(-1/alpha): the utility at which a unit more is worth lam. For alpha = 0, where it is not unique, 1."""
    if alpha == 1.0:
        for i in range(w):
            y[i] = 1.0 / max(lam[i], _LEAST)
    elif alpha == 2.0:
        for i in range(w):
            y[i] = 1.0 / np.sqrt(max(lam[i], _LEAST))
    elif alpha == 0.5:
        for i in range(w):
            one = 1.0 / max(lam[i], _LEAST)
            y[i] = one * one
    elif alpha == 0.0:
        y[:w] = 1.0
    else:
        power = -1.0 / alpha
        for i in range(w):
            y[i] = max(lam[i], _LEAST) ** power


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def slope_at(y: Array, alpha: float, w: int, lam: Array) -> None:
    """lam = y^-alpha: what a unit more is worth at y."""
    if alpha == 1.0:
        for i in range(w):
            lam[i] = 1.0 / max(y[i], _LEAST)
    elif alpha == 2.0:
        for i in range(w):
            one = 1.0 / max(y[i], _LEAST)
            lam[i] = one * one
    elif alpha == 0.5:
        for i in range(w):
            lam[i] = 1.0 / np.sqrt(max(y[i], _LEAST))
    elif alpha == 0.0:
        lam[:w] = 1.0
    else:
        for i in range(w):
            lam[i] = max(y[i], _LEAST) ** -alpha


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def value_at(y: Array, alpha: float, w: int, bits: Array, phi: Array) -> None:
    """phi(y); `bits` (w,) of int64 is overwritten."""
    if alpha == 1.0:
        _logs(y, w, bits, phi)
    elif alpha == 0.0:
        phi[:w] = y[:w]
    elif alpha == 2.0:
        for i in range(w):
            phi[i] = -1.0 / max(y[i], _LEAST)
    elif alpha == 0.5:
        for i in range(w):
            phi[i] = 2.0 * np.sqrt(y[i])
    else:
        for i in range(w):
            phi[i] = max(y[i], _LEAST) ** (1.0 - alpha) / (1.0 - alpha)


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def surplus_at(lam: Array, y: Array, alpha: float, w: int, bits: Array, most: Array) -> None:
    """max over y of phi(y) - lam y, given the y that `demand_at` found; 0 for alpha = 0 and lam >= 1."""
    if alpha == 0.0:
        most[:w] = 0.0
    elif alpha == 1.0:
        _logs(y, w, bits, most)
        for i in range(w):
            most[i] -= 1.0
    else:
        factor = alpha / (1.0 - alpha)
        for i in range(w):
            most[i] = factor * lam[i] * y[i]


@njit(cache=True, nogil=True, fastmath=IN_ORDER, error_model="numpy")
def _logs(values: Array, w: int, bits: Array, out: Array) -> None:
    """Natural logarithms to about 1e-15: x = m 2^k, m near 1, and log m = 2 artanh((m - 1) / (m + 1)) as a series."""
    as_bits = values.view(np.int64)
    mantissa = bits.view(np.float64)
    for i in range(w):
        out[i] = float((as_bits[i] >> 52) - 1023)
    for i in range(w):
        bits[i] = (as_bits[i] & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000
    for i in range(w):
        m, k = mantissa[i], out[i]
        large = m > _SQRT2
        m = 0.5 * m if large else m
        k = k + 1.0 if large else k
        s = (m - 1.0) / (m + 1.0)
        z = s * s
        series = 1.0 / 19.0
        series = series * z + 1.0 / 17.0
        series = series * z + 1.0 / 15.0
        series = series * z + 1.0 / 13.0
        series = series * z + 1.0 / 11.0
        series = series * z + 1.0 / 9.0
        series = series * z + 1.0 / 7.0
        series = series * z + 1.0 / 5.0
        series = series * z + 1.0 / 3.0
        out[i] = k * _LN2_HIGH + (k * _LN2_LOW + 2.0 * s * (1.0 + z * series))
