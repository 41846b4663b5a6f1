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
from allocator.formulation.limits import Booleans, Floats, Integers, LimitArrays
from allocator.formulation.problem import index_type

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
    """For the kernels: row i is counted by the tariffs of_row[starts[i] : starts[i + 1]]; the limit of each tariff; and
    of the tariffs on each flavor where rates begin, their resources, and they themselves.
    """
    limit_count: int


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
    return Columns(eligible, best, np.cumsum(counts), by_row, limits.amount.size)


def utility_and_entries(
    found: Columns, throughput: Floats, flavor: Integers, demand: Floats, count: Integers, unit: Floats, flavors: int
) -> tuple[Floats, tuple[Floats, Array, Array]]:
    """The second pass: (n, K) utility in units of `unit` (n,), and data, indices, indptr of the coupling by column,
    where limits are numbered after the capacities of the `flavors`.
    """
    n, width = throughput.shape
    bounds, entries = chunk_bounds(n), int(found.entry_starts[-1])
    index = index_type(entries, n * width, flavors * demand.shape[2] + found.limit_count)
    utility, data = np.empty((n, width)), np.empty(entries)
    indices, indptr = np.empty(entries, dtype=index), np.empty(n * width + 1, dtype=index)
    indptr[-1] = entries

    def task(chunk: int) -> None:
        place = (bounds[chunk], bounds[chunk + 1], found.entry_starts[chunk])
        given: tuple[Any, ...] = (found.eligible, flavors, *found.limits, *place, utility, data, indices, indptr)
        _list_entries(throughput, flavor, demand, count, unit, *given)

    with workers(usual_threads(n)) as run:
        run(task, bounds.size - 1)
    return utility, (data, indices, indptr)


def _limits_by_row(limits: LimitArrays, n: int) -> tuple[Array, ...]:
    rates = limits.tariff_limit, limits.rate_starts, limits.rate_resource, limits.rate
    if not limits.amount.size:  # an empty list of starts says so
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, *rates
    starts = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(limits.members, minlength=n), out=starts[1:])
    return starts, limits.tariff[np.argsort(limits.members, kind="stable")], *rates


@njit(cache=True, nogil=True, error_model="numpy")
def _counted(
    demand: Array, i: int, k: int, first: int, last: int, resource: Array, rate: Array
) -> tuple[bool, float]:  # fmt: skip
    """Whether the rates from `first` to `last` count anything of column k of row i, and how much they count."""
    counts, amount = False, 0.0
    for e in range(first, last):
        need = demand[i, k, resource[e]]
        if need > 0.0:
            counts = True
            amount += need * rate[e]
    return counts, amount


@njit(cache=True, nogil=True, error_model="numpy")
def _open_columns(
    throughput: Array, flavor: Array, demand: Array, closed: Array, tariff_starts: Array, tariffs: Array,
    limit: Array, rate_starts: Array, resource: Array, rate: Array, limit_amount: Array, a: int, b: int,
    eligible: Array, best: Array,
) -> int:  # fmt: skip
    """Fill `eligible` and `best` for rows a to b; how many entries their columns have in the coupling."""
    width, resources, flavors = throughput.shape[1], demand.shape[2], closed.shape[0]
    limited = tariff_starts.size > 0
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
                    for e in range(tariff_starts[i], tariff_starts[i + 1]):
                        cell = tariffs[e] * flavors + f
                        counts, _ = _counted(demand, i, k, rate_starts[cell], rate_starts[cell + 1], resource, rate)
                        if counts:
                            used += 1
                            if limit_amount[limit[tariffs[e]]] == 0.0:
                                able = False
            eligible[i, k] = able
            if able:
                entries += used
                highest = max(highest, throughput[i, k])
        best[i] = highest
    return entries


@njit(cache=True, nogil=True, error_model="numpy")
def _list_entries(
    throughput: Array, flavor: Array, demand: Array, count: Array, unit: Array, eligible: Array, flavors: int,
    tariff_starts: Array, tariffs: Array, limit: Array, rate_starts: Array, resource: Array, rate: Array, a: int,
    b: int, first: int, utility: Array, data: Array, indices: Array, indptr: Array,
) -> None:  # fmt: skip
    """Fill the rest for rows a to b, whose entries begin at `first`."""
    width, resources = throughput.shape[1], demand.shape[2]
    limited = tariff_starts.size > 0
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
                for j in range(tariff_starts[i], tariff_starts[i + 1]):
                    cell = tariffs[j] * flavors + f
                    counts, amount = _counted(
                        demand, i, k, rate_starts[cell], rate_starts[cell + 1], resource, rate
                    )  # fmt: skip
                    if counts:
                        data[e] = amount * jobs
                        indices[e] = flavors * resources + limit[tariffs[j]]
                        e += 1
