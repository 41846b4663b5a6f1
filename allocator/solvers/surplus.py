"""The exact shortcut when nothing is scarce: every job gets its best configuration all the time.

Prices are zero then, and no solver has to start.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Integers, Problem
from allocator.solvers.candidate import Candidate

_ROUNDING = 1e-12
"""Overuse, relative to the capacity, that is taken for rounding; the certificate's repair removes it."""


def surplus(problem: Problem) -> Candidate | None:
    """Everybody's best column, the least crowding one of several equal ones; None when that does not fit."""
    shares = np.zeros(problem.throughput.shape)
    if problem.row_count:
        shares[np.arange(problem.row_count), _best_columns(problem)] = 1.0
    usage = problem.coupled_usage(shares)
    if (usage > problem.available * (1 + _ROUNDING)).any():
        return None
    return Candidate.free(problem, shares, "everything fits")


def _best_columns(problem: Problem) -> Integers:
    """(n,) of each row the column of highest utility; of equal ones that which takes least of its tightest capacity."""
    room = problem.capacity[problem.flavor]
    part = np.divide(problem.demand, room, out=np.zeros_like(problem.demand), where=room > 0).max(axis=2, initial=0.0)
    best = problem.eligible & (problem.utility >= problem.utility.max(axis=1, keepdims=True))
    columns: Integers = np.where(best, part, np.inf).argmin(axis=1)
    return columns
