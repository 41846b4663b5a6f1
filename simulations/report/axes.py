"""Axes: from values to parts of the width or height, and the values that are written beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.report.wording import digits

Floats = NDArray[np.float64]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_SPANS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
_DECADES = (1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 86400.0, 864000.0, 8640000.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """`kind`: time (seconds), part (a percentage) or number. A logarithmic one shows what is below `low` at low."""

    title: str
    kind: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, values: Floats) -> Floats:
        """Parts of the way from low to high; NaN stays."""
        if self.log:
            values = np.log(np.maximum(values, self.low))
            low, high = math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        found: Floats = (values - low) / (high - low)
        return found

    def at(self, value: float) -> float:
        """`place` of one value."""
        return float(self.place(np.array([value]))[0])


def linear(title: str, kind: str, low: float, high: float, *, wanted: int = 5, tight: bool = False) -> Axis:
    """From round numbers at or around `low` to `high`; `tight`: from exactly low to exactly high."""
    high = high if high > low else low + (abs(low) or 1.0)
    unit, size = _unit(kind, high)
    step = _step((high - low) / size / wanted, kind, size)
    first, last = math.floor(low / size / step + 1e-9), math.ceil(high / size / step - 1e-9)
    values = [number * step for number in range(first, last + 1)]
    if tight:
        values = [value for value in values if low / size - 1e-9 <= value <= high / size * (1 + 1e-9)]
        bounds = low, high
    else:
        bounds = values[0] * size, values[-1] * size
    ticks = tuple((value * size, f"{value:.6g}{unit}") for value in values)
    return Axis(title, kind, *bounds, ticks)


def _unit(kind: str, high: float) -> tuple[str, float]:
    if kind == "part":
        return " %", 0.01
    if kind == "time":
        return next(((f" {name}", size) for name, size in _SPANS if high >= 2 * size), (" s", 1.0))
    return "", 1.0


def _step(rough: float, kind: str, size: float) -> float:
    if kind == "time" and size in (60.0, 3600.0):
        whole = [clock / size for clock in _CLOCK if clock / size >= rough * (1 - 1e-9)]
        if whole:
            return whole[0]
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-300)))
    return next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))


def logarithmic(title: str, kind: str, low: float, high: float) -> Axis:
    """From `low` (above 0) to `high`, with a few round numbers."""
    high = max(high, low * 10)
    if kind == "time":
        values = [value for value in _DECADES if low <= value <= high]
        ticks = tuple((value, _span_name(value)) for value in values)
    else:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        factors = (1, 2, 5) if len(powers) <= 4 else (1,)
        values = [factor * 10.0**power for power in powers for factor in factors]
        ticks = tuple((value, digits_of(value)) for value in values if low <= value <= high)
    return Axis(title, kind, low, high, ticks, log=True)


def _span_name(seconds: float) -> str:
    name, size = next((name, size) for name, size in _SPANS if seconds >= size)
    return f"{seconds / size:.6g} {name}"


def digits_of(value: float) -> str:
    """A round number."""
    return f"{value:,.6g}" if value >= 1e-4 else digits(value)
