"""Amounts and times as people write them, to and from the integers the program counts in.

`parse_amount(resource, text)` is exact (Fractions, never floats) and refuses what is not a whole number of base units.
`format_amount` writes any amount so that `parse_amount` gives it back.

| resource  | written as                                                        | base unit           |
|-----------|-------------------------------------------------------------------|---------------------|
| cpu, gpu  | `4`, `0.5`, `500m`                                                | thousandths         |
| memory, disk | `16GiB`, `512Mi`, `2GB`, `2G`, `1024B`; a unit is required     | bytes               |
| bandwidth | `10Gbit/s`, `10Gbps`, `1GB/s`, `500MiB/s`; a unit is required     | bytes per second    |
| any other | a whole number                                                    | as the node says    |
"""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from fractions import Fraction

from allocator.domain.errors import InvalidInput
from allocator.domain.resources import MAX_AMOUNT

_NUMBER = r"(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
_AMOUNT = re.compile(rf"{_NUMBER}\s*(?P<unit>[A-Za-z/]*)\Z")
_DURATION_PART = re.compile(rf"{_NUMBER}\s*(?P<unit>[a-z]*)\s*")

_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY_PREFIXES = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


def _byte_units() -> dict[str, Fraction]:
    units = {}
    for prefix, factor in (_PREFIXES | _BINARY_PREFIXES).items():
        units[f"{prefix}B"] = Fraction(factor)
        if prefix:
            units[prefix] = Fraction(factor)
    return units


def _bandwidth_units() -> dict[str, Fraction]:
    units = {}
    for prefix, factor in (_PREFIXES | _BINARY_PREFIXES).items():
        units[f"{prefix}B/s"] = Fraction(factor)
        units[f"{prefix}bit/s"] = units[f"{prefix}bps"] = Fraction(factor, 8)
    return units


_UNITS: dict[str, dict[str, Fraction]] = {
    "cpu": {"": Fraction(1000), "m": Fraction(1)},
    "gpu": {"": Fraction(1000), "m": Fraction(1)},
    "memory": _byte_units(),
    "disk": _byte_units(),
    "bandwidth": _bandwidth_units(),
}
_COUNT = {"": Fraction(1)}

_EXAMPLES = {
    "cpu": "4, 0.5 or 500m",
    "gpu": "2, 0.5 or 500m",
    "memory": "16GiB, 2GB or 512Mi",
    "disk": "100GiB or 1TB",
    "bandwidth": "10Gbit/s or 1GB/s",
}
_FINEST = {
    "cpu": "a thousandth of a core",
    "gpu": "a thousandth of a GPU",
    "memory": "one byte",
    "disk": "one byte",
    "bandwidth": "one byte per second",
}
_WRITTEN: dict[str, tuple[tuple[str, int], ...]] = {
    "memory": (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)),
    "disk": (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)),
    "bandwidth": (("GB/s", 10**9), ("MB/s", 10**6), ("kB/s", 10**3), ("B/s", 1)),
    "cpu": (("", 1000),),
    "gpu": (("", 1000),),
}
_SECONDS = {
    "": Fraction(1),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
    "w": Fraction(604800),
}
_DURATION_EXAMPLES = "30s, 5m, 2h or 1h30m"


def parse_amount(resource: str, value: object, field: str | None = None) -> int:
    """The amount in base units of `resource`, from text (`16GiB`) or a bare number (as YAML and JSON give it).

    Errors: InvalidInput naming `field` (default: the resource) and saying what would be right.

    >>> parse_amount("cpu", "500m"), parse_amount("memory", "16GiB"), parse_amount("bandwidth", "10Gbit/s")
    (500, 17179869184, 1250000000)
    """
    field = field or resource
    examples = _EXAMPLES.get(resource, "a whole number such as 2")
    text = _as_text(value, field, examples)
    match = _AMOUNT.match(text)
    if match is None:
        raise InvalidInput.of(field, f"cannot read {text!r}; write {examples}")
    units = _UNITS.get(resource, _COUNT)
    number, unit = Fraction(match["number"]), match["unit"]
    if unit not in units:
        if number == 0 and not unit:
            return 0
        raise InvalidInput.of(field, f"{_unit_complaint(unit, units)} in {text!r}; write {examples}")
    amount = number * units[unit]
    if amount.denominator != 1:
        finest = _FINEST.get(resource)
        fault = f"is finer than {finest}" if finest else "is not a whole number"
        raise InvalidInput.of(field, f"{text!r} {fault}; write {examples}")
    if amount > MAX_AMOUNT:
        raise InvalidInput.of(field, f"{text!r} is more than {format_amount(resource, MAX_AMOUNT)}, the most accepted")
    return int(amount)


def format_amount(resource: str, amount: int) -> str:
    """The amount in the largest unit that needs at most three decimals; `parse_amount` reads it back exactly.

    >>> format_amount("memory", 1610612736), format_amount("cpu", 500), format_amount("bandwidth", 1250000000)
    ('1.5GiB', '0.5', '1.25GB/s')
    """
    if amount < 0:
        return f"-{format_amount(resource, -amount)}"
    written = _WRITTEN.get(resource, (("", 1),))
    for unit, size in written:
        thousandths = Fraction(amount * 1000, size)
        if thousandths.denominator == 1 and (amount >= size or size == 1 or len(written) == 1):
            return f"{_decimal(int(thousandths))}{unit}"
    raise AssertionError("unreachable: the last unit holds one base unit")


def parse_duration(value: object, field: str) -> float:
    """Seconds, from `30s`, `1h30m`, `250ms`, or a bare number of seconds. Errors: InvalidInput naming `field`.

    >>> parse_duration("1h30m", "expected_duration")
    5400.0
    """
    text = _as_text(value, field, _DURATION_EXAMPLES)
    total, position, seen = Fraction(0), 0, False
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None or (seen and not match["unit"]):
            raise InvalidInput.of(field, f"cannot read {text!r}; write {_DURATION_EXAMPLES}")
        if match["unit"] not in _SECONDS:
            complaint = _unit_complaint(match["unit"], _SECONDS)
            raise InvalidInput.of(field, f"{complaint} in {text!r}; write {_DURATION_EXAMPLES}")
        total += Fraction(match["number"]) * _SECONDS[match["unit"]]
        position, seen = match.end(), True
        if not match["unit"] and position < len(text):
            raise InvalidInput.of(field, f"cannot read {text!r}; write {_DURATION_EXAMPLES}")
    if not seen:
        raise InvalidInput.of(field, f"is empty; write {_DURATION_EXAMPLES}")
    return float(total)


def format_duration(seconds: float) -> str:
    """To the nanosecond; `parse_duration` reads it back. Whole seconds as `1h30m`, others as decimal seconds.

    >>> format_duration(5400.0), format_duration(0.25), format_duration(0)
    ('1h30m', '0.25s', '0s')
    """
    if seconds == int(seconds):
        return "".join(_parts(int(seconds))) or "0s"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _parts(seconds: int) -> list[str]:
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return parts


def _plain(value: float) -> str:
    """A finite float without an exponent, with all the digits that identify it."""
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2]) - int(exponent)
    return f"{value:.{max(0, digits)}f}"


def _as_text(value: object, field: str, examples: str) -> str:
    """Text as it stands; a number as the decimal that a person would have written."""
    if isinstance(value, str):
        return value.strip()
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, float) and math.isnan(value))
    ):
        raise InvalidInput.of(field, f"must be an amount such as {examples}; got {value!r}")
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
    return _plain(value) if math.isfinite(value) else str(value)


def _unit_complaint(unit: str, units: dict[str, Fraction]) -> str:
    if not unit:
        return "a unit is missing"
    same = [known for known in units if known.lower() == unit.lower()]
    close = same or get_close_matches(unit, [known for known in units if known], n=1)
    return f"unknown unit {unit!r}" + (f" (did you mean {' or '.join(close)}?)" if close else "")


def _decimal(thousandths: int) -> str:
    whole, rest = divmod(thousandths, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
