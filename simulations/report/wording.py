"""Numbers as people read them: spans of time, percentages, and how many digits mean something."""

from __future__ import annotations

import math

from simulations.report.figures import Unit

_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
NOTHING = "–"
OPEN, CLOSE = "\x02", "\x03"


def span(seconds: float) -> str:
    """`12 s`, `3.4 min`, `5.6 h`, `7.8 d`."""
    for size, unit in _SPANS:
        if abs(seconds) >= 2 * size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds)} s"


def digits(value: float) -> str:
    """Three digits that mean something, with thousands apart; `0` for nothing."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else NOTHING
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    if places > 6:
        return f"{value:.1e}"
    return f"{value:,.{places}f}"


def percent(part: float) -> str:
    """`12.3 %`."""
    return f"{digits(100 * part)} %"


def written(value: float | None, unit: Unit) -> str:
    """A figure in its unit; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit is Unit.SECONDS:
        return span(value)
    if unit is Unit.PART:
        return percent(value)
    if unit is Unit.COUNT:
        return f"{value:,.0f}" if value == round(value) else digits(value)
    return f"{digits(value)} /h" if unit is Unit.PER_HOUR else digits(value)


def give_or_take(value: float, half: float | None, unit: Unit) -> str:
    """`12.3 ± 0.4 min`: both in the unit of the first; without the second where nothing is known of it."""
    if half is None or not math.isfinite(half):
        return written(value, unit)
    scale, name = 1.0, ""
    if unit is Unit.SECONDS:
        scale, name = next(((size, each) for size, each in _SPANS if abs(value) >= 2 * size), (1.0, "s"))
    elif unit is Unit.PART:
        scale, name = 0.01, "%"
    elif unit is Unit.PER_HOUR:
        name = "/h"
    places = max(0, min(6, 2 - math.floor(math.log10(abs(value / scale))))) if value else 2
    return f"{value / scale:,.{places}f} ± {half / scale:,.{places}f} {name}".rstrip()


def by_how_much(ratio: float) -> str:
    """A ratio as `12 % lower`, `34 % higher`, `2.1 times as high`."""
    if ratio >= 2:
        return f"{ratio:,.{0 if ratio >= 20 else 1}f} times as high"
    change = 100 * abs(ratio - 1)
    if change < 0.05:
        return "equal"
    return f"{change:.{0 if change >= 9.95 else 1}f} % {'higher' if ratio > 1 else 'lower'}"


def between(low: float, high: float) -> str:
    """Two ratios as a range, the smaller change first: `2.6 to 20 % higher`, `1.0 % lower to 4.0 % higher`."""
    one, other = by_how_much(low), by_how_much(high)
    if high < 1:
        one, other = other, one
    same = one.split(" ", 1)[-1] == other.split(" ", 1)[-1]
    return f"{one.split(' ')[0]} to {other}" if same else f"{one} to {other}"


def marked(name: str) -> str:
    """The name of a variant inside a sentence, so that whoever shows it can tell it from the rest: between OPEN and
    CLOSE, which no name keeps.
    """
    return f"{OPEN}{name.replace(OPEN, '').replace(CLOSE, '')}{CLOSE}"


def plain(sentence: str) -> str:
    """Without the marks."""
    return sentence.replace(OPEN, "").replace(CLOSE, "")


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
