"""What a solver answers: shares, prices, and how good they are, in the certificate's numbers, not the solver's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Status(Enum):
    """What can be claimed of a solution."""

    OPTIMAL = "optimal"
    """Feasible, and certified within the gap that was asked for."""
    INACCURATE = "inaccurate"
    """Feasible and certified, but the gap is larger than asked for."""
    FAILED = "failed"
    """No usable answer; shares are all zero."""


def _numbers(name: str, values: ArrayLike) -> Floats:
    """ValueError unless they are an array of numbers; not a number, below 0 and infinite all mean "not known"."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: must be an array of numbers, got {type(values).__name__}") from error


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Where to begin: `prices` (F, R) and `limit_prices` (L,), in objective units per unit of capacity, in the order of
    the problem that they are for. NaN where nothing is known; 0 means that something was left over, not that nobody
    knows. None for all limits: nothing is known of any. Prices of another shape than the problem's are not used.
    ValueError for what are not numbers.
    """

    prices: Floats
    limit_prices: Floats | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prices", _numbers("prices", self.prices))
        if self.limit_prices is not None:
            object.__setattr__(self, "limit_prices", _numbers("limit_prices", self.limit_prices))

    def together(self, limit_count: int) -> Floats:
        """(F R + L,) in the order of `Problem.available`; limits of another problem count as not known."""
        limits = self.limit_prices
        if limits is None or limits.shape != (limit_count,):
            limits = np.full(limit_count, np.nan)
        return np.concatenate([self.prices.ravel(), limits])


@dataclass(frozen=True, slots=True)
class Solution:
    """`shares` (n, K) are strictly feasible; `prices` (F, R) and `limit_prices` (L,) are >= 0, in objective units per
    unit of capacity. `objective` <= optimum <= `bound`; `gap` = (bound - objective) / `certificate.gap_unit`:
    what everybody's utility is worth. `solver` names the method whose shares these are, `attempts` every one that was
    tried with its outcome in words.
    """

    shares: Floats
    prices: Floats
    limit_prices: Floats
    objective: float
    bound: float
    gap: float
    status: Status
    solver: str
    iterations: int
    attempts: tuple[str, ...] = ()
    fallback: bool = False
    """A method of the chain's first choice failed, and another one's answer is this."""
