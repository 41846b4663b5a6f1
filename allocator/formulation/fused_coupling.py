"""What a Problem of many rows derives from its arrays, in two compiled passes without temporaries.

The first finds the columns that can carry a share and counts the entries of the coupling, the second writes utilities
and entries. The results are bit for bit those of the plain functions in `problem.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.chunks import chunk_bounds, usual_threads, workers
from allocator.formulation.problem import Booleans, Floats, Integers, LimitArrays, index_type

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns of all rows, as far as they are known before the unit of utility is."""

    eligible: Booleans
    """(n, K)"""
    best: Floats
    """(n,) highest eligible throughput; 0 where there is none."""
    entry_starts: Integers
    """(C + 1,): entries of the coupling before each chunk of rows."""
    limits: tuple[Array, ...]
    """For the kernels: the limits of row i are of_row[starts[i] : starts[i + 1]]; flavor and resource by limit."""


def columns(throughput: Floats, flavor: Integers, demand: Floats, capacity: Floats, limits: LimitArrays) -> Columns:
    """The first pass: reads throughput, flavor and demand once, writes `eligible` and `best`."""
    n, width = throughput.shape
    bounds = chunk_bounds(n)
    eligible, best = np.empty((n, width), dtype=np.bool_), np.empty(n)
    counts = np.zeros(bounds.size, dtype=np.int64)
    by_row = _limits_by_row(limits, n)
    closed = np.ascontiguousarray(capacity == 0)

    def task(chunk: int) -> None:
        rows: tuple[Any, ...] = (*by_row, limits.amount, bounds[chunk], bounds[chunk + 1], eligible, best)
        counts[chunk + 1] = _open_columns(throughput, flavor, demand, closed, *rows)

    with workers(usual_threads(n)) as run:
        run(task, bounds.size - 1)
    return Columns(eligible, best, np.cumsum(counts), by_row)


def utility_and_entries(
    found: Columns, throughput: Floats, flavor: Integers, demand: Floats, count: Integers, unit: Floats, size: int
) -> tuple[Floats, tuple[Floats, Array, Array]]:
    """The second pass: (n, K) utility in units of `unit` (n,), and data, indices, indptr of the coupling by column.

    `size` is the number of capacities, after which limits are numbered.
    """
    n, width = throughput.shape
    bounds, entries = chunk_bounds(n), int(found.entry_starts[-1])
    index = index_type(entries, n * width, size + found.limits[2].size)
    utility, data = np.empty((n, width)), np.empty(entries)
    indices, indptr = np.empty(entries, dtype=index), np.empty(n * width + 1, dtype=index)
    indptr[-1] = entries

    def task(chunk: int) -> None:
        place = (bounds[chunk], bounds[chunk + 1], found.entry_starts[chunk])
        given: tuple[Any, ...] = (found.eligible, size, *found.limits, *place, utility, data, indices, indptr)
        _list_entries(throughput, flavor, demand, count, unit, *given)

    with workers(usual_threads(n)) as run:
        run(task, bounds.size - 1)
    return utility, (data, indices, indptr)


def _limits_by_row(limits: LimitArrays, n: int) -> tuple[Array, ...]:
    if not limits.amount.size:  # an empty list of starts says so
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, limits.flavor, limits.resource
    numbers = np.repeat(np.arange(limits.amount.size), np.diff(limits.starts))
    starts = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(limits.members, minlength=n), out=starts[1:])
    return starts, numbers[np.argsort(limits.members, kind="stable")], limits.flavor, limits.resource


@njit(cache=True, nogil=True, error_model="numpy")
def _open_columns(
    throughput: Array, flavor: Array, demand: Array, closed: Array, limit_starts: Array, limits: Array,
    limit_flavor: Array, limit_resource: Array, limit_amount: Array, a: int, b: int, eligible: Array, best: Array,
) -> int:  # fmt: skip
    """Fill `eligible` and `best` for rows a to b; how many entries their columns have in the coupling."""
    width, resources = throughput.shape[1], demand.shape[2]
    limited = limit_starts.size > 0
    entries = 0
    for i in range(a, b):
        highest = 0.0
        for k in range(width):
            able, used, f = throughput[i, k] > 0.0, 0, flavor[i, k]
            if able:
                for r in range(resources):
                    if demand[i, k, r] > 0.0:
                        used += 1
                        if closed[f, r]:
                            able = False
                if limited:
                    for e in range(limit_starts[i], limit_starts[i + 1]):
                        limit = limits[e]
                        if limit_flavor[limit] == f and demand[i, k, limit_resource[limit]] > 0.0:
                            used += 1
                            if limit_amount[limit] == 0.0:
                                able = False
            eligible[i, k] = able
            if able:
                entries += used
                highest = max(highest, throughput[i, k])
        best[i] = highest
    return entries


@njit(cache=True, nogil=True, error_model="numpy")
def _list_entries(
    throughput: Array, flavor: Array, demand: Array, count: Array, unit: Array, eligible: Array, size: int,
    limit_starts: Array, limits: Array, limit_flavor: Array, limit_resource: Array, a: int, b: int,
    first: int, utility: Array, data: Array, indices: Array, indptr: Array,
) -> None:  # fmt: skip
    """Fill the rest for rows a to b, whose entries begin at `first`."""
    width, resources = throughput.shape[1], demand.shape[2]
    limited = limit_starts.size > 0
    e = first
    for i in range(a, b):
        jobs = float(count[i])
        for k in range(width):
            indptr[i * width + k] = e
            if not eligible[i, k]:
                utility[i, k] = 0.0
                continue
            utility[i, k] = throughput[i, k] / unit[i]
            f = flavor[i, k]
            for r in range(resources):
                if demand[i, k, r] > 0.0:
                    data[e] = demand[i, k, r] * jobs
                    indices[e] = f * resources + r
                    e += 1
            if limited:
                for j in range(limit_starts[i], limit_starts[i + 1]):
                    limit = limits[j]
                    if limit_flavor[limit] == f and demand[i, k, limit_resource[limit]] > 0.0:
                        data[e] = demand[i, k, limit_resource[limit]] * jobs
                        indices[e] = size + limit
                        e += 1
