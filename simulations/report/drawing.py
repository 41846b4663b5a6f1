"""Panels as HTML: an SVG that stretches with the page, and text beside it that does not.

The SVG has a fixed view of 1000 x 1000 and is stretched to the size of its box; lines keep their width, and dots their
shape, because they are strokes that do not scale. Titles and numbers are text of the page, so they are as large on a
phone as on a screen. The same panel gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from simulations.report.axes import Axis
from simulations.report.plots import Bar, Dot, Line, Panel

Floats = NDArray[np.float64]

SIZE = 1000.0
COLOURS = 8
LINE = 0.085
"""Of the height, what a line of text takes."""
LETTER = 0.02
"""Of the width, about what a letter of a name takes."""
SIDE = 0.5
"""Dots further right have their names on their left."""
EDGE = 0.04
"""So near to the ends of an axis, a number is written inside."""
APART = 0.18
"""A number nearer to one that is written inside the right end is left out."""
FEW_TICKS = 5
"""On a narrow page every second tick is left out where there are more."""


def drawn(panel: Panel) -> str:
    """One figure, with its own accessible name."""
    attributes = _switch(panel.variant)
    axes = " ".join(
        f'data-{name}="{axis.kind}" data-{name}-low="{axis.low!r}" data-{name}-high="{axis.high!r}"'
        f"{f' data-{name}-log' if axis.log else ''}"
        for name, axis in (("x", panel.x), ("y", panel.y))
    )
    height = f' style="--rows:{panel.rows}"' if panel.rows else ""
    return "".join(
        (
            f'<figure class="panel{" gantt" if panel.rows else ""}"{attributes}{height}>',
            f"<figcaption>{escape(panel.title)}</figcaption>",
            f'<div class="frame"><div class="ticks-y" aria-hidden="true">{"".join(_ticks_y(panel))}</div>',
            f'<div class="area" {axes}>',
            '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="',
            escape(_described(panel), quote=True),
            '">',
            *_grid(panel),
            *_marks(panel),
            "</svg>",
            *map(_dot_name, _apart(panel)),
            "</div>",
            f'<div class="ticks-x" aria-hidden="true">{"".join(_ticks_x(panel.x))}</div></div>',
            f'<div class="axis-title" aria-hidden="true">{escape(panel.x.title)}</div>' if panel.x.title else "",
            _legend(panel),
            "</figure>",
        )
    )


def _described(panel: Panel) -> str:
    text = f"{panel.title}. {panel.y.title} against {panel.x.title}." if panel.y.title else f"{panel.title}."
    names = [line.name for line in panel.lines] + [dot.name for dot in panel.dots]
    return f"{text} {', '.join(names)}." if names else text


def _switch(variant: int | None) -> str:
    return "" if variant is None else f' data-variant="{variant}"'


def _ticks_y(panel: Panel) -> Iterator[str]:
    if panel.rows:
        return
    for value, label in panel.y.ticks:
        yield f'<span style="bottom:{100 * panel.y.at(value):.2f}%">{escape(label)}</span>'


def _ticks_x(axis: Axis) -> Iterator[str]:
    ends = [place for value, _ in axis.ticks if (place := axis.at(value)) > 1 - EDGE]
    for index, (value, label) in enumerate(axis.ticks):
        place = axis.at(value)
        if ends and 1 - EDGE >= place > ends[0] - APART:
            continue
        kinds = ["second"] if len(axis.ticks) > FEW_TICKS and index % 2 else []
        kinds += ["first"] if place < EDGE else ["last"] if place > 1 - EDGE else []
        style = f' class="{" ".join(kinds)}"' if kinds else ""
        yield f'<span{style} style="left:{100 * place:.2f}%">{escape(label)}</span>'


def _grid(panel: Panel) -> Iterator[str]:
    if not panel.rows:
        for value, _ in panel.y.ticks:
            y = SIZE * (1 - panel.y.at(value))
            yield f'<path class="grid" d="M0,{y:.1f}H1000"/>'
    for value, _ in panel.x.ticks:
        yield f'<path class="grid" d="M{SIZE * panel.x.at(value):.1f},0V1000"/>'


def _marks(panel: Panel) -> Iterator[str]:
    for line in panel.lines:
        yield from _line(line, panel)
    if panel.front:
        points = np.array(panel.front, dtype=np.float64)
        corners = _path(_stairs(panel, points[:, 0], points[:, 1]))
        yield f'<path class="front" d="{corners}"/>'
    for dot in panel.dots:
        yield from _dot(dot, panel)
    for bar in panel.bars:
        yield _bar(bar, panel)


def _stairs(panel: Panel, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """From point to point to the right and then down, and on to the edges of the panel."""
    xs, ys = panel.x.place(x), panel.y.place(y)
    return (
        np.concatenate([[xs[0]], np.repeat(xs, 2)[1:], [1.0]]),
        np.concatenate([[1.0], np.repeat(ys, 2)[:-1], [ys[-1]]]),
    )


def _line(line: Line, panel: Panel) -> Iterator[str]:
    x = panel.x.place(line.curve.x)
    style = f'class="c{line.colour % COLOURS}{" dashed" if line.dashed else ""}'
    switch = _switch(line.variant)
    if panel.banded and line.curve.low is not None and line.curve.high is not None:
        low, high = panel.y.place(line.curve.low), panel.y.place(line.curve.high)
        shape = "".join(
            _path((np.concatenate([x[part], x[part][::-1]]), np.concatenate([high[part], low[part][::-1]]))) + "Z"
            for part in _unbroken(low)
        )
        if shape:
            yield f'<path {style} band"{switch} d="{shape}"/>'
    y = panel.y.place(line.curve.y)
    shape = "".join(_path((x[part], y[part])) for part in _unbroken(y))
    yield f'<path {style} line"{switch} data-name="{escape(line.name, quote=True)}" d="{shape or "M0,1000"}"/>'


def _unbroken(values: Floats) -> Iterator[slice]:
    """Stretches without gaps."""
    there = np.concatenate([[False], np.isfinite(values), [False]])
    edges = np.flatnonzero(there[1:] != there[:-1])
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield slice(first, last)


def _path(points: tuple[Floats, Floats]) -> str:
    """Parts of width and height as a path; points that are the same when rounded, once."""
    x = np.round(SIZE * np.clip(points[0], -0.01, 1.01), 1)
    y = np.round(SIZE * (1 - np.clip(points[1], -0.01, 1.01)), 1)
    written: list[str] = []
    before = None
    for point in zip(x.tolist(), y.tolist(), strict=True):
        if point != before:
            written.append(f"{point[0]:g},{point[1]:g}")
            before = point
    return "M" + "L".join(written) if written else ""


def _dot(dot: Dot, panel: Panel) -> Iterator[str]:
    x, y = SIZE * panel.x.at(dot.x), SIZE * (1 - panel.y.at(dot.y))
    style, switch = f'class="c{dot.colour % COLOURS}', _switch(dot.variant)
    if dot.x_bounds is not None:
        low, high = (SIZE * min(1.0, max(0.0, panel.x.at(bound))) for bound in dot.x_bounds)
        yield f'<path {style} bound"{switch} d="M{low:.1f},{y:.1f}H{high:.1f}"/>'
    if dot.y_bounds is not None:
        low, high = (SIZE * (1 - min(1.0, max(0.0, panel.y.at(bound)))) for bound in dot.y_bounds)
        yield f'<path {style} bound"{switch} d="M{x:.1f},{low:.1f}V{high:.1f}"/>'
    name = escape(dot.name, quote=True)
    yield f'<path {style} dot"{switch} data-name="{name}" d="M{x:.1f},{y:.1f}h0.01"><title>{name}</title></path>'


def _apart(panel: Panel) -> Iterator[tuple[Dot, float, float]]:
    """Dots with where their names go, as parts of width and height: beside them, and not over one another."""
    places = sorted((panel.y.at(dot.y), panel.x.at(dot.x), number) for number, dot in enumerate(panel.dots))
    taken: list[tuple[float, float]] = []
    for height, x, number in places:
        name = (len(panel.dots[number].name) + 2) * LETTER
        near = [at for other, at in taken if (x > SIDE) == (other > SIDE) and abs(x - other) < 0.35]
        near += [at for at, other, _ in places if 0 < (other - x if x <= SIDE else x - other) < name]
        tried = [height + sign * step * LINE / 4 for step in range(40) for sign in (1, -1)]
        free = (y for y in tried if LINE / 2 <= y <= 1 - LINE / 2 and all(abs(y - at) >= LINE for at in near))
        y = next(free, height)
        taken.append((x, y))
        yield panel.dots[number], x, y


def _dot_name(placed: tuple[Dot, float, float]) -> str:
    dot, x, y = placed
    side = " left" if x > SIDE else ""
    return (
        f'<span class="dot-name c{dot.colour % COLOURS}{side}"{_switch(dot.variant)} aria-hidden="true" '
        f'style="left:{100 * x:.2f}%;bottom:{100 * y:.2f}%">{escape(dot.name)}</span>'
    )


def _bar(bar: Bar, panel: Panel) -> str:
    left, right = (SIZE * min(1.0, max(0.0, panel.x.at(value))) for value in (bar.start, bar.end))
    row = SIZE / max(panel.rows, 1)
    thick = 0.16 if bar.waiting else 0.78
    top = row * (bar.row + (1 - thick) / 2)
    kind = "waiting" if bar.waiting else f"run c{bar.colour % COLOURS}"
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.8):.1f}" '
        f'height="{row * thick:.1f}"><title>{escape(bar.about)}</title></rect>'
    )


def _legend(panel: Panel) -> str:
    if not panel.legend:
        return ""
    keys = "".join(
        f'<li><span class="key c{colour % COLOURS}"></span>{escape(name)}</li>' for name, colour in panel.legend
    )
    return f'<ul class="legend">{keys}</ul>'
