"""Fairness over time as a picture (SVG): who was below its part of the machines, how even shares were, how far off.

Drawn without a plotting library: three panels over one axis of time, lines with at most two points per pixel. The same
numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from simulations.sharing_summary import (
    BOUND,
    HOUR,
    Sharing,
    error_over_time,
    hourly,
    jain_over_time,
    worst_over_time,
)

Floats = NDArray[np.float64]

WIDTH, PANEL, GAP = 960, 180, 58
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 72, 40
COLOURS = ("#0072b2", "#d55e00")
"""Told apart by everybody: Okabe and Ito."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_DAY = 24 * HOUR


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """`values` (T,) at `times` (T,) seconds, NaN where there is none."""

    name: str
    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """`low` and `high` are what the axis at least shows; `mark`: a level that is drawn as a dashed line."""

    title: str
    lines: tuple[Line, ...]
    low: float
    high: float
    percent: bool
    mark: float | None = None


def fairness_plot(found: Sharing, title: str) -> str:
    """The document."""
    times = found.times - (found.times[0] if len(found.times) else 0.0)
    windows = hourly(found)
    hours = np.unique(windows.hour)
    ran = np.array([windows.violation[windows.hour == hour].max() for hour in hours.tolist()], dtype=np.float64)
    follows, even = jain_over_time(found)
    panels = (
        Panel(
            "Sharing incentive: by how much the worst queue is below its part of the machines",
            (
                Line("in the optimum, each round", times, worst_over_time(found)),
                Line("in what ran, hour by hour", (hours.astype(np.float64) + 0.5) * HOUR, ran),
            ),
            0.0,
            2 * BOUND,
            percent=True,
            mark=BOUND,
        ),
        Panel(
            "Jain's index over queues (1: all alike)",
            (
                Line("share held / share in the optimum", times, follows),
                Line("machine time in the optimum / entitlement, of queues that want more", times, even),
            ),
            0.9,
            1.0,
            percent=False,
        ),
        Panel(
            "Fairness error: mean over queues of |share held - share in the optimum|",
            (Line("part of the cluster", times, error_over_time(found)),),
            0.0,
            1e-4,
            percent=True,
        ),
    )
    return "\n".join(_document(panels, title, float(times[-1]) if len(times) else 0.0)) + "\n"


def _document(panels: Sequence[Panel], title: str, end: float) -> Iterator[str]:
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM + 16
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#222">'
    )
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    yield f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>'
    span, unit, unit_name = (end, _DAY, "days") if end > 2 * _DAY else (end, HOUR, "hours")
    for number, panel in enumerate(panels):
        yield from _panel(panel, TOP + number * (PANEL + GAP), max(span, 1.0), unit)
    yield (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{height - 10}" text-anchor="middle">'
        f"{unit_name} since the first round</text>"
    )
    yield "</svg>"


def _panel(panel: Panel, top: float, span: float, unit: float) -> Iterator[str]:
    seen = [line.values[np.isfinite(line.values)] for line in panel.lines]
    low = min([panel.low, *(float(values.min()) for values in seen if len(values))])
    high = max([panel.high, *(float(values.max()) for values in seen if len(values))])
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def across(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * time / span

    def down(value: float) -> float:
        return top + PANEL * (high - value) / (high - low)

    yield f'<text x="{LEFT}" y="{top - 24:g}" font-weight="bold">{escape(panel.title)}</text>'
    for tick in ticks:
        yield _rule(LEFT, down(tick), WIDTH - RIGHT, down(tick), "#ddd")
        label = f"{tick * 100:.6g} %" if panel.percent else f"{tick:.6g}"
        yield f'<text x="{LEFT - 6}" y="{down(tick) + 4:.1f}" text-anchor="end">{label}</text>'
    for tick in _ticks(0.0, span / unit):
        if tick * unit <= span * (1 + 1e-9):
            yield _rule(across(tick * unit), top, across(tick * unit), top + PANEL, "#eee")
            yield f'<text x="{across(tick * unit):.1f}" y="{top + PANEL + 15:g}" text-anchor="middle">{tick:.6g}</text>'
    if panel.mark is not None:
        yield _rule(LEFT, down(panel.mark), WIDTH - RIGHT, down(panel.mark), "#555", dashed=True)
    legend = float(LEFT)
    for line, colour in zip(panel.lines, COLOURS, strict=False):
        yield f'<rect x="{legend:g}" y="{top - 15:g}" width="14" height="4" fill="{colour}"/>'
        yield f'<text x="{legend + 19:g}" y="{top - 8:g}">{escape(line.name)}</text>'
        legend += 40 + 6.6 * len(line.name)
        for points in _pieces(line, across, down):
            yield f'<polyline fill="none" stroke="{colour}" stroke-width="1.3" points="{points}"/>'


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    pattern = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{pattern}/>'


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from at or below `low` to at or above `high`."""
    rough = max(high - low, 1e-12) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in _STEPS if factor * size >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _pieces(line: Line, across: Callable[[float], float], down: Callable[[float], float]) -> Iterator[str]:
    """Runs of points without gaps; where there are more than pixels, the least and the largest of each pixel."""
    there = np.isfinite(line.values)
    pixel = np.array([math.floor(across(time)) for time in line.times.tolist()], dtype=np.int64)
    kept = np.flatnonzero(there)
    if len(kept) > 2 * WIDTH:
        chosen = set()
        for members in _grouped(pixel[kept], kept):
            values = line.values[members]
            chosen |= {int(members[values.argmin()]), int(members[values.argmax()])}
        kept = np.array(sorted(chosen), dtype=np.int64)
    gap_before = np.concatenate([[0], np.cumsum(~there)])[kept] if len(kept) else kept
    for members in _grouped(gap_before, kept):
        points = ((across(float(line.times[at])), down(float(line.values[at]))) for at in members.tolist())
        yield " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grouped(key: NDArray[np.int64], members: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Consecutive `members` with the same `key`."""
    if len(members):
        yield from np.split(members, np.flatnonzero(np.diff(key)) + 1)
