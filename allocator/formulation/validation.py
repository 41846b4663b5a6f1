"""Checks on arrays: each raises ValueError that names the array and the index, and says what would be right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Shape = tuple[int | None, ...]
"""Expected lengths; None accepts any."""


def float_array(name: str, values: ArrayLike, shape: Shape, *, copy: bool = True) -> NDArray[np.float64]:
    """`values` as contiguous finite float64 of `shape`. A copy, so that later writes to the input change nothing; with
    `copy` False only where the input is not such an array already.
    """
    array = np.array(_numbers(name, values), dtype=np.float64, order="C", copy=copy or None)
    _require_shape(name, array, shape)
    if not _spans(array, -np.inf, np.inf, strictly=True):
        _refuse(name, array, ~np.isfinite(array), "a finite number")
    return array


def integer_array(name: str, values: ArrayLike, shape: Shape, *, copy: bool = True) -> NDArray[np.int64]:
    """`values` as contiguous int64 of `shape`; floats that are whole numbers are accepted. `copy` as for floats."""
    array = _numbers(name, values)
    _require_shape(name, array, shape)
    if array.dtype.kind == "f":
        _refuse(name, array, ~(np.isfinite(array) & (array == np.rint(array))), "a whole number")
        _refuse(name, array, np.abs(array) > 2.0**53, "a whole number of at most 2**53")
    elif array.dtype.kind == "u":
        _refuse(name, array, array > 2**53, "a whole number of at most 2**53")
    return np.array(array, dtype=np.int64, order="C", copy=copy or None)


def require_at_least(name: str, array: NDArray[Any], least: float) -> None:
    """Every element is `least` or more."""
    if not _spans(array, least, np.inf):
        _refuse(name, array, array < least, f"at least {least:g}")


def require_above(name: str, array: NDArray[Any], bound: float) -> None:
    """Every element is above `bound`."""
    if not _spans(array, bound, np.inf, strictly=True):
        _refuse(name, array, array <= bound, f"above {bound:g}")


def require_index(name: str, array: NDArray[np.int64], length: int, meaning: str) -> None:
    """Every element is a valid index into something of `length`."""
    if not _spans(array, 0, length - 1):
        wrong = (array < 0) | (array >= length)
        _refuse(name, array, wrong, f"{meaning}: 0 to {length - 1}" if length else f"{meaning}")


def fairness_value(value: float) -> float:
    """alpha as a float from 0 to inf. Within 1e-6 of 1 it is 1: the powers would lose every digit to their constant."""
    try:
        fairness = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"fairness: must be a number from 0 to inf, got {value!r}") from None
    if not fairness >= 0:
        raise ValueError(f"fairness: must be a number from 0 to inf, got {value!r}")
    return 1.0 if abs(fairness - 1) < 1e-6 else fairness


def _numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: must be a rectangular array of numbers; rows differ in length") from None
    if array.size == 0 and array.dtype.kind not in "iuf":
        array = array.astype(np.float64)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"{name}: must be an array of numbers, got elements of type {array.dtype}")
    return array.astype(np.int64) if array.dtype.kind == "b" else array


def _require_shape(name: str, array: NDArray[Any], shape: Shape) -> None:
    fits = array.ndim == len(shape) and all(
        expected is None or actual == expected for actual, expected in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise ValueError(f"{name}: must have shape ({wanted}), got {array.shape}")


def _spans(array: NDArray[Any], least: float, most: float, *, strictly: bool = False) -> bool:
    """Whether every element is within these bounds, told without a mask as large as the array. False for NaN."""
    if not array.size:
        return True
    low, high = array.min(), array.max()
    return bool(least < low and high < most) if strictly else bool(least <= low and high <= most)


def _refuse(name: str, array: NDArray[Any], wrong: NDArray[np.bool_], right: str) -> None:
    if wrong.any():
        index = tuple(int(position) for position in np.argwhere(wrong)[0])
        raise ValueError(f"{name}{list(index)}: must be {right}, got {array[index]}")
