"""What one method proposes, before the certificate has looked at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.problem import Floats, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Shares (n, K) and prices (F, R), (L,) that nobody has checked; they may hold anything, NaN included.

    `iterations` were spent on it; `outcome` says in a few words how the method ended.
    """

    shares: Floats
    prices: Floats
    limit_prices: Floats
    iterations: int
    outcome: str
    complete: bool = True
    """False if the method knows that what the certificate does not judge, later levels of max-min, is missing."""

    @classmethod
    def free(cls, problem: Problem, shares: Floats, outcome: str) -> Candidate:
        """Shares for which nothing is scarce: every price is 0."""
        return cls(shares, np.zeros(problem.capacity.shape), np.zeros(problem.limit_count), 0, outcome)
