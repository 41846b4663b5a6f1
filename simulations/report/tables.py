"""What a report shows, as tables for those who plot it themselves: the very numbers, with their units.

`figures`: one row per workload, variant, seed and figure. `lines`: every point of every line. `points`: what is one
point per variant, with its bounds. `bars`: who waited and ran when. Times are in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from simulations.columns import Column, Kind, Table
from simulations.report.figures import FIGURES
from simulations.report.plots import Panel
from simulations.report.sections import Section

_WHERE = (
    Column("workload", Kind.TEXT, "", "name of the workload"),
    Column("plot", Kind.TEXT, "", "which plot of the report"),
    Column("panel", Kind.TEXT, "", "title of the panel in it"),
)
FIGURE_COLUMNS = (
    Column("workload", Kind.TEXT, "", "name of the workload"),
    Column("variant", Kind.TEXT, "", "name of the variant"),
    Column("seed", Kind.INTEGER, "", "of the replay"),
    Column("folder", Kind.TEXT, "", "name of the replay's folder"),
    Column("figure", Kind.TEXT, "", "name of the figure"),
    Column("unit", Kind.TEXT, "", "s, 1 for a part of a whole, ratio, count or 1/h"),
    Column("better", Kind.TEXT, "", "lower, higher or empty"),
    Column("value", Kind.FLOAT, "", "in that unit"),
)
LINE_COLUMNS = (
    *_WHERE,
    Column("line", Kind.TEXT, "", "name of the line, such as the variant"),
    Column("x", Kind.FLOAT, "", "seconds, or as the plot says"),
    Column("y", Kind.FLOAT, "", "as the plot says; the mean where there are bounds"),
    Column("low", Kind.FLOAT, "", "the least value that the point stands for"),
    Column("high", Kind.FLOAT, "", "the largest value that the point stands for"),
)
POINT_COLUMNS = (
    *_WHERE,
    Column("variant", Kind.TEXT, "", "name of the variant"),
    Column("x", Kind.FLOAT, "s", "mean over seeds"),
    Column("x_low", Kind.FLOAT, "s", "lower bound of the mean, 95 % confidence"),
    Column("x_high", Kind.FLOAT, "s", "upper bound of the mean, 95 % confidence"),
    Column("y", Kind.FLOAT, "1", "mean over seeds"),
    Column("y_low", Kind.FLOAT, "1", "lower bound of the mean, 95 % confidence"),
    Column("y_high", Kind.FLOAT, "1", "upper bound of the mean, 95 % confidence"),
)
BAR_COLUMNS = (
    *_WHERE,
    Column("row", Kind.INTEGER, "", "number of the job in the panel, from the top"),
    Column("waiting", Kind.INTEGER, "", "1 from its submission to its end, 0 while it runs"),
    Column("start_s", Kind.FLOAT, "s", "since the workload's start"),
    Column("end_s", Kind.FLOAT, "s", "since the workload's start, at most the end of the panel"),
    Column("about", Kind.TEXT, "", "which job, in words"),
)


def tables(sections: Sequence[Section]) -> Iterator[Table]:
    """All four, also where one is empty."""
    yield _figures(sections)
    lines, points, bars = (
        Table(name, columns)
        for name, columns in (("lines", LINE_COLUMNS), ("points", POINT_COLUMNS), ("bars", BAR_COLUMNS))
    )
    for section in sections:
        for plot in section.plots:
            for panel in plot.panels:
                _add(panel, (section.comparison.name, plot.key, panel.title), lines, points, bars)
    yield from (lines, points, bars)


def _figures(sections: Sequence[Section]) -> Table:
    table = Table("figures", FIGURE_COLUMNS)
    for section in sections:
        for variant in section.comparison.variants:
            for seed, result in variant.by_seed.items():
                for figure in FIGURES:
                    value = figure.of(result.summary)
                    if value is not None:
                        where = (section.comparison.name, variant.name, seed, result.name)
                        table.add(*where, figure.name, figure.unit.value, figure.better.value, value)
    return table


def _add(panel: Panel, where: tuple[str, str, str], lines: Table, points: Table, bars: Table) -> None:
    for line in panel.lines:
        curve = line.curve
        nothing = [math.nan] * len(curve.x)
        low = nothing if curve.low is None else curve.low.tolist()
        high = nothing if curve.high is None else curve.high.tolist()
        for row in zip(curve.x.tolist(), curve.y.tolist(), low, high, strict=True):
            lines.add(*where, line.name, *row)
    for dot in panel.dots:
        x, y = dot.x_bounds or (math.nan, math.nan), dot.y_bounds or (math.nan, math.nan)
        points.add(*where, dot.name, dot.x, *x, dot.y, *y)
    for bar in panel.bars:
        bars.add(*where, bar.row, int(bar.waiting), bar.start, bar.end, bar.about)
