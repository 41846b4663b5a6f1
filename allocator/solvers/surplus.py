"""The exact shortcut when nothing is scarce: every job gets its best configuration all the time.

Prices are zero then, and no solver has to start.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Floats, Integers, Problem
from allocator.solvers.candidate import Candidate

_BLOCK = 16_384
"""Rows looked at together."""
_ROUNDING = 1e-12
"""Overuse, relative to the capacity, that is taken for rounding; the certificate's repair removes it."""


def surplus(problem: Problem) -> Candidate | None:
    """Everybody's best column, the least crowding one of several equal ones; None when that does not fit."""
    size = problem.row_count
    shares = np.zeros(problem.throughput.shape)
    usage = np.zeros(problem.available.size)
    for first in range(0, size, _BLOCK):  # what does not fit is mostly seen early
        rows = slice(first, min(first + _BLOCK, size))
        columns = _best_columns(problem, rows)
        shares[np.arange(rows.start, rows.stop), columns] = 1.0
        usage += _use(problem, np.arange(rows.start, rows.stop) * problem.column_count + columns)
        if (usage > problem.available * (1 + _ROUNDING)).any():
            return None
    return Candidate.free(problem, shares, "everything fits")


def _use(problem: Problem, columns: Integers) -> Floats:
    """(F R + L,) what the whole of each of `columns`, numbers of columns of the coupling, uses."""
    coupling = problem.coupling
    starts = coupling.indptr[columns].astype(np.int64)
    counts = coupling.indptr[columns + 1] - starts
    before = np.cumsum(counts) - counts
    chosen = np.arange(counts.sum()) + np.repeat(starts - before, counts)
    used = np.bincount(coupling.indices[chosen], coupling.data[chosen], minlength=problem.available.size)
    return used.astype(np.float64, copy=False)


def _best_columns(problem: Problem, rows: slice) -> Integers:
    """Of each row the column of highest utility; of equal ones that which takes least of its tightest capacity."""
    room, demand, utility = problem.capacity[problem.flavor[rows]], problem.demand[rows], problem.utility[rows]
    part = np.divide(demand, room, out=np.zeros_like(demand), where=room > 0).max(axis=2, initial=0.0)
    best = problem.eligible[rows] & (utility >= utility.max(axis=1, keepdims=True))
    columns: Integers = np.where(best, part, np.inf).argmin(axis=1)
    return columns
