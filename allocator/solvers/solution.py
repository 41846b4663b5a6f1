"""What a solver answers: shares, prices, and how good they are, in the certificate's numbers, not the solver's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Status(Enum):
    """What can be claimed of a solution."""

    OPTIMAL = "optimal"
    """Feasible, and certified within the gap that was asked for."""
    INACCURATE = "inaccurate"
    """Feasible and certified, but the gap is larger than asked for."""
    FAILED = "failed"
    """No usable answer; shares are all zero."""


@dataclass(frozen=True, slots=True)
class WarmStart:
    """Where to begin: `prices` (F, R) in objective units per unit of capacity; NaN where nothing is known."""

    prices: Floats


@dataclass(frozen=True, slots=True)
class Solution:
    """`shares` (n, K) are strictly feasible; `prices` (F, R) and `limit_prices` (L,) are >= 0, in objective units per
    unit of capacity. `objective` <= optimum <= `bound`; `gap` = (bound - objective) / total weight (for alpha = inf, x
    weight per job). `solver` names the method whose shares these are, `attempts` every one that was tried with its
    outcome in words.
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
