"""Kubernetes' quantities (100m, 1.5Gi, 12e3) as exact numbers, and back. Pure."""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)\Z", re.ASCII)
_UNITS = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", 1)},
}
_MOST_EXPONENT = 30


def amount(text: object) -> Fraction:
    """What a quantity, or a number, says; zero where it is none, so that one strange object spoils nothing."""
    if isinstance(text, int | Fraction):
        return Fraction(text)
    found = _QUANTITY.match(str(text))
    if found is None:
        return Fraction(0)
    number, exponent, unit = found.groups()
    if exponent is None:
        return Fraction(number) * _UNITS[unit or ""]
    power = int(exponent[1:])
    return Fraction(number) * Fraction(10) ** power if abs(power) <= _MOST_EXPONENT else Fraction(0)


def of_millis(millis: int) -> str:
    """Thousandths as Kubernetes writes them: 1500m, 2."""
    return f"{millis}m" if millis % 1000 else str(millis // 1000)
