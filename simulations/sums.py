"""Sums of columns that are never whole in memory, rounded once, whatever they are added in pieces of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


class Sum:
    """Grows by arrays; its value is `math.fsum` of all that was added. What rounding leaves of each array is kept as
    numbers of its own, mostly two or three, so that nothing is lost from one to the next.
    """

    def __init__(self) -> None:
        self.parts: list[float] = []
        """They add up to exactly what was added; or one that is not finite, if anything was not."""

    def add(self, values: NDArray[np.float64]) -> None:
        """Every one of `values` (n,)."""
        rest = [*values.tolist(), *self.parts]
        parts: list[float] = []
        while part := math.fsum(rest):
            parts.append(part)
            if not math.isfinite(part):
                parts = [part]
                break
            rest.append(-part)
        self.parts = parts

    @property
    def value(self) -> float:
        """0 for nothing."""
        return math.fsum(self.parts)
