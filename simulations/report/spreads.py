"""How delays and slowdowns are spread over jobs, and what fairness costs in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulations.report.axes import linear, logarithmic
from simulations.report.figures import UNFAIRNESS, Figure
from simulations.report.plots import Dot, Line, Numbers, Panel, Plot
from simulations.report.thinning import distribution_curve
from simulations.report.variants import Variant
from simulations.report.wording import NOTHING, digits, give_or_take, span

Floats = NDArray[np.float64]

POINTS = 300
LEFT = frozenset({"pending", "running"})
"""States of jobs that had not ended when the replay did."""
PARTS = (10, 25, 50, 75, 90, 95, 99, 100)


def delays(variants: Sequence[tuple[int, Variant]]) -> Plot | None:
    """Cumulative distribution of the queueing delay, over the jobs of all seeds."""
    about = (
        "Each point: the part of jobs that waited at most so long for their first start. Further up and to the left is "
        "better. Jobs of all seeds together."
    )
    return _spread("delay", "Queueing delay", about, "wait_s", variants, span)


def slowdowns(variants: Sequence[tuple[int, Variant]]) -> Plot | None:
    """Cumulative distribution of the bounded slowdown."""
    about = (
        "Each point: the part of jobs whose bounded slowdown, max(1, completion / max(ideal run time, 10 s)), is at "
        "most so large. Further up and to the left is better. Jobs of all seeds together."
    )
    return _spread("slowdown", "Bounded slowdown", about, "bounded_slowdown", variants, digits)


def lateness(variants: Sequence[tuple[int, Variant]]) -> Plot | None:
    """Cumulative distribution of rho."""
    about = (
        "Finish-time fairness: completion over what it would have been in the job's part of the machines (ideal run "
        "time x its queue's mean demand / entitlement). Above 1, sharing has cost the job time."
    )
    return _spread("rho", "Finish-time fairness (rho)", about, "rho", variants, digits)


def _spread(
    key: str,
    title: str,
    about: str,
    column: str,
    variants: Sequence[tuple[int, Variant]],
    write: Callable[[float], str],
) -> Plot | None:
    found = [(number, variant, _values(variant, column)) for number, variant in variants]
    found = [each for each in found if np.isfinite(each[2]).any()]
    if not found:
        return None
    everything = np.concatenate([values[np.isfinite(values)] for _, _, values in found])
    if any(np.isinf(values).any() for _, _, values in found):
        about += " A line ends below 100 % where jobs were left."
    positive = everything[everything > 0]
    time = write is span
    if len(positive):
        low = 10.0 ** np.floor(np.log10(max(np.percentile(positive, 2), 1.0 if time else 1e-2)))
        high = float(positive.max())
    else:
        low, high = 1.0, 10.0
    x = logarithmic("", "time" if time else "number", float(low), high)
    lines = tuple(
        Line(variant.name, distribution_curve(values, POINTS), number, number) for number, variant, values in found
    )
    panel = Panel(f"Part of jobs, by {title[0].lower()}{title[1:]}", x, linear("", "part", 0.0, 1.0), lines)
    rows = tuple(
        (variant.name, f"{len(values):,}", *(_or_never(value, write) for value in _percentiles(values)))
        for _, variant, values in found
    )
    heads = ("", "jobs", *(f"p{part}" if part < 100 else "max" for part in PARTS))
    return Plot(key, title, about, (panel,), Numbers(heads, rows))


def _values(variant: Variant, column: str) -> Floats:
    """Of all jobs that came; infinite for who had not got so far when the replay ended."""
    parts = []
    for result in variant.by_seed.values():
        table = result.table("jobs")
        if table is not None and table.has(column):
            values = table.numbers(column)
            left = np.array([state in LEFT for state in table.values("state")], dtype=np.bool_)
            came = table.numbers("submit_s") <= float(result.summary["run"]["end_s"])
            parts.append(np.where(np.isnan(values) & left & came, np.inf, values))
    values = np.concatenate(parts) if parts else np.zeros(0)
    return values[~np.isnan(values)]


def _percentiles(values: Floats) -> list[float]:
    """Between two values that are finite, in proportion."""
    with np.errstate(invalid="ignore"):
        found = np.percentile(values, PARTS)
    return [float(value) if np.isfinite(value) else float("inf") for value in found]


def _or_never(value: float, write: Callable[[float], str]) -> str:
    return write(value) if np.isfinite(value) else NOTHING


def tradeoff(variants: Sequence[tuple[int, Variant]], front: Sequence[Variant] | None, soon: Figure) -> Plot | None:
    """`soon`, such as the mean completion time, against fairness error, and the front."""
    dots, rows, ends = [], [], []
    for number, variant in variants:
        time, error = variant.interval(soon), variant.interval(UNFAIRNESS)
        if time is None or error is None:
            continue
        bounds = [None if each.low is None or each.high is None else (each.low, each.high) for each in (time, error)]
        dots.append(Dot(variant.name, time.mean, error.mean, number, number, bounds[0], bounds[1]))
        ends += [(time.mean, error.mean)]
        on = "yes" if front and variant in front else "no"
        rows.append((variant.name, _shown(variant, soon), _shown(variant, UNFAIRNESS), on))
    if len(dots) < 2:
        return None
    xs, ys = np.array([end[0] for end in ends]), np.array([end[1] for end in ends])
    x_low, x_high = _around(xs)
    panel = Panel(
        f"Fairness error, hourly, against {soon.name}",
        linear(soon.name, "time", x_low, x_high),
        linear("dominant share", "part", 0.0, float(ys.max()) * 1.4),
        dots=tuple(dots),
        front=tuple(
            (dot.x, dot.y)
            for dot in sorted(dots, key=lambda dot: dot.x)
            if any(variant.name == dot.name for variant in front or ())
        ),
    )
    about = (
        "Further down and to the left is better in both. The dashed line is the front: whoever is above and to the "
        "right of it is beaten in both at once. Thin lines: 95 % confidence over seeds."
    )
    table = Numbers(("", soon.name, UNFAIRNESS.name, "on the front"), tuple(rows))
    return Plot("front", "Time against fairness", about, (panel,), table)


def _around(values: Floats) -> tuple[float, float]:
    """A little more than the values' range, from 0 if that is near."""
    low, high = float(values.min()), float(values.max())
    room = max((high - low) * 0.2, high * 0.05)
    return max(0.0, low - room), high + room


def _shown(variant: Variant, figure: Figure) -> str:
    found = variant.interval(figure)
    return NOTHING if found is None else give_or_take(found.mean, found.half_width, figure.unit)
