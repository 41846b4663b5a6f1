"""Amounts and times as people read them. How they are written, to and from integers, is in `domain.quantities`."""

from __future__ import annotations

import math

from allocator.domain.quantities import format_amount, format_duration, parse_amount, parse_duration
from allocator.domain.resources import display_unit


def approximate(resource: str, amount: float, *, unit: bool = False) -> str:
    """The amount in the resource's display unit (cores, GPUs, GiB, GB/s), to three significant digits or all integer
    ones, optionally followed by the unit.

    >>> approximate("memory", 17179869184, unit=True), approximate("gpu", 500)
    ('16 GiB', '0.5')
    """
    name, size = display_unit(resource)
    text = significant(amount / size)
    return f"{text} {name}" if unit else text


def significant(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits, but never fewer than its integer ones, without an exponent where short
    (from 1e-5 up to 1e15).

    >>> significant(1234.5), significant(0.012345), significant(2.0)
    ('1234', '0.0123', '2')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -5 <= magnitude < 15:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - magnitude)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def age(seconds: float) -> str:
    """About how long, in the two largest units that matter: `45s`, `3m12s`, `2h05m`, `3d04h`. For tables.

    >>> age(192.4), age(7500), age(0.2)
    ('3m12s', '2h05m', '0s')
    """
    whole = max(0, round(seconds))
    for size, unit, smaller, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}{rest:02d}{small_unit}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


__all__ = [
    "age", "approximate", "format_amount", "format_duration", "parse_amount", "parse_duration", "significant",
]  # fmt: skip
