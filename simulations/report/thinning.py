"""Long series in few points, honestly: a mean per bin of time, with the least and the largest value in it beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Points `x` (n,) and `y` (n,), NaN where there is a gap. With `low` and `high` (n,), each point stands for a bin
    of `bin_seconds`, and y is the mean over time in it; without them the points are all there is.
    """

    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    bin_seconds: float = 0.0


def steps(times: Floats, values: Floats, end: float, bins: int) -> Curve:
    """Of what is `values` (T,) from each of `times` (T,), ascending, until the next, the last one until `end`.

    Exact where there are at most `bins` times; otherwise in that many bins of equal length.
    """
    if not len(times):
        return Curve(times, values)
    edges = np.append(times, max(end, times[-1]))
    if len(times) <= bins:
        return Curve(np.repeat(edges, 2)[1:-1], np.repeat(values, 2))
    start, length = edges[0], (edges[-1] - edges[0]) / bins
    bounds = start + length * np.arange(bins + 1)
    there = np.isfinite(values)
    lasted = np.diff(edges)
    area = _integral(edges, np.where(there, values, 0.0) * lasted, bounds)
    time = _integral(edges, there * lasted, bounds)
    mean = np.divide(np.diff(area), np.diff(time), out=np.full(bins, np.nan), where=np.diff(time) > 1e-9 * length)
    first = np.maximum(np.searchsorted(times, bounds[:-1], side="right") - 1, 0)
    last = np.maximum(np.searchsorted(times, bounds[1:], side="left"), first + 1)
    low, high = _extremes(np.where(there, values, np.inf), np.where(there, values, -np.inf), first, last)
    gap = ~np.isfinite(mean)
    low[gap], high[gap] = np.nan, np.nan
    return Curve(bounds[:-1] + length / 2, mean, low, high, length)


def _integral(edges: Floats, areas: Floats, at: Floats) -> Floats:
    found: Floats = np.interp(at, edges, np.concatenate([[0.0], np.cumsum(areas)]))
    return found


def _extremes(lows: Floats, highs: Floats, first: NDArray[np.int64], last: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The least of `lows` and the largest of `highs` over [first, last) of each bin; bins may overlap by one."""
    low = np.array([lows[one:other].min() for one, other in zip(first, last, strict=True)])
    high = np.array([highs[one:other].max() for one, other in zip(first, last, strict=True)])
    return low, high


def distribution_curve(values: Floats, points: int) -> Curve:
    """x: values in ascending order, y: the part of them that is at most so large. At most so many points, evenly spaced
    in the part, and the tail to the last one in a thousand parts more finely. Infinite values count, and are no points.
    """
    values = np.sort(values[~np.isnan(values)])
    count, shown = len(values), int(np.isfinite(values).sum())
    if count <= points:
        return Curve(values[:shown], np.arange(1, shown + 1) / max(count, 1))
    tail = 1 - np.geomspace(1e-2, 1 / count, points // 4)
    parts = np.unique(np.concatenate([np.linspace(0, 1, points - points // 4), tail]))
    at = np.clip(np.ceil(parts * count).astype(np.int64) - 1, 0, count - 1)
    at = np.unique(np.minimum(at, shown - 1)) if shown < count else at
    return Curve(values[at], (at + 1) / count)
