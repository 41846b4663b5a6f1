"""How sure a mean over seeds is: Student's t, exact for means of independent normal values.

Replays that differ only in the seed are independent draws of one workload. Two variants that were replayed with the
same seeds are compared pair by pair: what a seed makes hard is hard for both, and falls out of their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `count` values, and between which bounds the true mean is with CONFIDENCE; without bounds for one
    value, which says nothing of how much values differ.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def inverse(self) -> Interval:
        """Of a ratio: of the other over the one."""
        low, high = (None if bound is None else 1 / bound for bound in (self.high, self.low))
        return Interval(1 / self.mean, low, high, self.count)

    @property
    def half_width(self) -> float | None:
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_interval(values: Sequence[float]) -> Interval | None:
    """None for no values."""
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Interval(mean, None, None, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)


def ratio_interval(ones: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Of `ones` over `others`, pair by pair: geometric mean of the ratios, with bounds. None unless all are above 0."""
    if not ones or any(value <= 0 for value in (*ones, *others)):
        return None
    found = mean_interval([math.log(one / other) for one, other in zip(ones, others, strict=True)])
    assert found is not None
    if found.low is None or found.high is None:
        return Interval(math.exp(found.mean), None, None, 1)
    return Interval(math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.count)
