"""Curves over time: how full the machines were, what was free and useless, how fair it was, and what things cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulations.columns import Table
from simulations.judging.evenness import error_by_round
from simulations.judging.shares import QueueShares
from simulations.report.axes import Axis, linear
from simulations.report.plots import Line, Numbers, Panel, Plot
from simulations.report.results import Result
from simulations.report.thinning import Curve, steps
from simulations.report.wording import digits, percent, span

Floats = NDArray[np.float64]

BINS = 160
COARSE = 48
"""Bins of what jumps from round to round."""
SLICES = 8
"""Stretches of time in the tables."""
PRICES = 6
"""Most prices in one panel."""
NEXT_TO_NOTHING = 1e-3
"""Of the dearest: what is cheaper is not drawn."""
PRICED = 4
"""Most panels of prices."""
RESOURCES = ("gpu", "cpu", "memory", "bandwidth", "disk")
"""In the order in which they are shown; others after them."""
NAMES = {"gpu": "GPUs", "cpu": "cores", "memory": "memory", "bandwidth": "bandwidth", "disk": "disk"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A variant that is drawn: its number, its name, and the replay that stands for it."""

    number: int
    name: str
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """`values` (T,) from each of `times` (T,), in seconds since the workload's start, until `end`."""

    shown: Shown
    times: Floats
    values: Floats
    end: float

    bins: int = BINS

    def line(self) -> Line:
        return Line(self.shown.name, self.curve(), self.shown.number, self.shown.number)

    def curve(self) -> Curve:
        return steps(self.times, self.values, self.end, self.bins)


def utilization(shown: Sequence[Shown]) -> Plot | None:
    """A panel for each resource that anybody held."""
    names = {
        column.name.removeprefix("utilization_")
        for one in shown
        if (rounds := one.result.table("rounds")) is not None
        for column in rounds.columns
        if column.name.startswith("utilization_") and (rounds.numbers(column.name) > 0).any()
    }
    panels, numbers = [], _Numbers(percent)
    for resource in _in_order(names):
        found = [
            _of_rounds(one, rounds, rounds.numbers(f"utilization_{resource}"))
            for one in shown
            if (rounds := one.result.table("rounds")) is not None and rounds.has(f"utilization_{resource}")
        ]
        title = f"{named(resource)} in use"
        panels.append(_panel(title, linear("part of all ready nodes", "part", 0.0, 1.0), found))
        numbers.add(title, found)
    about = "What gangs hold of what ready nodes have, after each round."
    return _plot("utilization", "Utilization over time", about, panels, numbers)


def fragments(shown: Sequence[Shown]) -> Plot | None:
    """A panel for cores and GPUs."""
    panels, numbers = [], _Numbers(percent)
    for resource in ("gpu", "cpu"):
        found = []
        for one in shown:
            table = one.result.table("fragmentation")
            if table is None:
                continue
            mine = np.array([str(name) == resource for name in table.values("resource")], dtype=np.bool_)
            times, values = table.numbers("time_s")[mine], table.numbers("fragmentation")[mine]
            if np.isfinite(values).any():
                times = times - one.result.start
                end = float(2 * times[-1] - times[-2]) if len(times) > 1 else 1.0
                found.append(Series(one, times, values, end, COARSE))
        if found:
            title = f"Free {named(resource)} of no use"
            panels.append(_panel(title, linear("part of what is free", "part", 0.0, 1.0), found))
            numbers.add(title, found)
    about = (
        "Fragmentation while jobs arrive: the part of what is free that lies on nodes where the workload's commonest "
        "replicas do not fit."
    )
    return _plot("fragmentation", "Fragmentation over time", about, panels, numbers)


def fairness(shown: Sequence[Shown]) -> Plot | None:
    """The error and Jain's index of each round."""
    errors, indices = [], []
    for one in shown:
        rounds, queues = one.result.table("rounds"), one.result.table("queues")
        if rounds is None or queues is None or not queues.has("entitled_share"):
            continue
        error, index = error_by_round(_shares(rounds, queues), len(rounds))
        errors.append(replace(_of_rounds(one, rounds, error), bins=COARSE))
        indices.append(replace(_of_rounds(one, rounds, index), bins=COARSE))
    panels, error_numbers, index_numbers = [], _Numbers(percent), _Numbers(digits)
    if errors:
        top = _largest(errors)
        panels = [
            _panel("Fairness error (lower is better)", linear("dominant share", "part", 0.0, max(top, 0.01)), errors),
            _panel(
                "Jain index (1: all alike)",
                linear("over queues", "number", math.floor(10 * _least(indices)) / 10, 1.0),
                indices,
            ),
        ]
        error_numbers.add("fairness error", errors)
        index_numbers.add("Jain index", indices)
    about = (
        "Between queues, against what each is entitled to by weights and demands (water-filling): the mean of |share "
        "held - share entitled to| over queues that want something, and Jain's index of their ratio."
    )
    rows = (*error_numbers.rows, *index_numbers.rows)
    return _plot("fairness", "Fairness over time", about, panels, error_numbers, rows)


def prices(shown: Sequence[Shown]) -> Plot | None:
    """A panel for each of the first variants that have any."""
    panels: list[Panel] = []
    numbers = _Numbers(digits)
    for one in shown:
        table, rounds = one.result.table("prices"), one.result.table("rounds")
        if table is None or rounds is None or not len(table) or len(panels) == PRICED:
            continue
        found = _dearest(one, table)
        lines = tuple(Line(name, each.curve(), colour) for colour, (name, each) in enumerate(found))
        y = linear("objective per unit", "number", 0.0, _largest([each for _, each in found]))
        title = one.name
        legend = tuple((line.name, line.colour) for line in lines)
        x = _time_axis([each for _, each in found])
        panels.append(Panel(title, x, y, lines, legend=legend, variant=one.number))
        for name, each in found:
            numbers.add(f"{title}: {name}", [each], alone=True)
    about = (
        "The dual variables of the optimum: what one more GPU, core, GiB or GB/s of a flavor would be worth. The "
        f"{PRICES} largest. Schedulers without an optimum have none."
    )
    return _plot("prices", "Prices over time", about, panels, numbers)


def named(resource: str) -> str:
    return NAMES.get(resource, resource)


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (RESOURCES.index(name) if name in RESOURCES else len(RESOURCES), name))


def _of_rounds(one: Shown, rounds: Table, values: Floats) -> Series:
    start = one.result.start
    return Series(one, rounds.numbers("time_s") - start, values, float(one.result.summary["run"]["end_s"]) - start)


def _shares(rounds: Table, queues: Table) -> QueueShares:
    at = np.searchsorted(rounds.numbers("round"), queues.numbers("round"))
    _, queue = np.unique(np.array([str(name) for name in queues.values("queue")]), return_inverse=True)
    columns = (queues.numbers(name) for name in ("demand_share", "entitled_share", "held_share"))
    return QueueShares(at, queue.ravel(), *columns)


def _dearest(one: Shown, table: Table) -> list[tuple[str, Series]]:
    """By mean over time, dearest first."""
    keys = np.array([f"{flavor} {resource}" for flavor, resource in zip(
        table.values("flavor"), table.values("resource"), strict=True)])  # fmt: skip
    times, values = table.numbers("time_s") - one.result.start, table.numbers("price")
    end = float(one.result.summary["run"]["end_s"]) - one.result.start
    found = [(str(key), Series(one, times[keys == key], values[keys == key], end)) for key in np.unique(keys)]
    found.sort(key=lambda each: -_mean(each[1]))
    least = NEXT_TO_NOTHING * _mean(found[0][1]) if found else 0.0
    return [each for each in found[:PRICES] if _mean(each[1]) > least]


def _mean(series: Series) -> float:
    """Over time, of what there is."""
    lasted = np.diff(np.append(series.times, max(series.end, series.times[-1]))) if len(series.times) else series.times
    there = np.isfinite(series.values)
    total = float(lasted[there].sum())
    return float((series.values * lasted)[there].sum()) / total if total else float("nan")


def _largest(found: Sequence[Series]) -> float:
    """Of what is drawn."""
    curves = [series.curve() for series in found]
    tops = [np.nanmax(curve.y if curve.high is None else curve.high, initial=0.0) for curve in curves]
    return float(max(tops, default=1.0))


def _least(found: Sequence[Series]) -> float:
    curves = [series.curve() for series in found]
    return float(min([np.nanmin(curve.y if curve.low is None else curve.low, initial=1.0) for curve in curves]))


def _time_axis(found: Sequence[Series]) -> Axis:
    end = max((series.end for series in found), default=1.0)
    return linear("time since the start", "time", 0.0, end, wanted=6, tight=True)


def _panel(title: str, y: Axis, found: Sequence[Series]) -> Panel:
    return Panel(title, _time_axis(found), y, tuple(series.line() for series in found))


class _Numbers:
    """Rows of a table: of each series, its mean and bounds, and its means in SLICES stretches of time."""

    def __init__(self, write: Callable[[float], str]) -> None:
        self.rows: list[tuple[str, ...]] = []
        self.end = 0.0
        self._write = write

    def add(self, title: str, found: Sequence[Series], *, alone: bool = False) -> None:
        self.end = max([self.end, *(series.end for series in found)])
        for series in found:
            finite = series.values[np.isfinite(series.values)]
            figures = [_mean(series), *((float(finite.min()), float(finite.max())) if len(finite) else (np.nan,) * 2)]
            name = title if alone else f"{title}: {series.shown.name}"
            cells = [*figures, *self._slices(series)]
            self.rows.append((name, *(self._write(value) if np.isfinite(value) else "–" for value in cells)))

    def _slices(self, series: Series) -> Iterator[float]:
        edges = np.append(series.times, max(series.end, series.times[-1])) if len(series.times) else np.zeros(1)
        bounds = np.linspace(0.0, self.end, SLICES + 1)
        there = np.isfinite(series.values)
        lasted = np.diff(edges)

        def within(areas: Floats) -> Floats:
            return np.diff(np.interp(bounds, edges, np.concatenate([[0.0], np.cumsum(areas)])))

        time = within(there * lasted)
        area = within(np.where(there, series.values, 0.0) * lasted)
        yield from np.divide(area, time, out=np.full(SLICES, np.nan), where=time > 0).tolist()


def _plot(
    key: str,
    title: str,
    about: str,
    panels: Sequence[Panel],
    numbers: _Numbers,
    rows: Sequence[tuple[str, ...]] | None = None,
) -> Plot | None:
    if not panels:
        return None
    binned = max(
        (line.curve.bin_seconds for panel in panels for line in panel.lines if line.curve.bin_seconds), default=0.0
    )
    if binned:
        about += f" Lines are means over {span(binned)}"
        about += "; bands, the least and the largest in them." if any(panel.banded for panel in panels) else "."
    heads = [f"until {span(numbers.end * (index + 1) / SLICES)}" for index in range(SLICES)]
    table = Numbers(("", "mean", "least", "largest", *heads), tuple(numbers.rows if rows is None else rows))
    return Plot(key, title, about, tuple(panels), table, wide=len(panels) > 1)
