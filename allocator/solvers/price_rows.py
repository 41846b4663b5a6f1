"""What price discovery needs to know about the rows of a problem, in compiled passes over chunks of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.chunks import Run, chunk_bounds
from allocator.formulation.problem import Booleans, Floats, Integers, Problem

Array = NDArray[Any]


class Rows:
    """The rows of one problem; `run` runs the chunks."""

    def __init__(self, problem: Problem, run: Run, *, limits: bool = True) -> None:
        """Without `limits` as if there were only capacities."""
        self._problem = problem
        self._run = run
        self._bounds = chunk_bounds(problem.row_count)
        self._chunks = self._bounds.size - 1
        coupling = problem.coupling
        self._starts, self._places, self._amounts = coupling.indptr, coupling.indices, coupling.data
        if not limits:
            kept = self._places < problem.capacity.size
            before = np.append(0, np.cumsum(kept))
            self._starts, self._places = before[self._starts], self._places[kept]
            self._amounts = self._amounts[kept]

    def patterns(self) -> tuple[Integers, Integers]:
        """(n,) number of each row's pattern; (patterns,) the first row that has it."""
        n = self._problem.row_count
        if self._alike(np.zeros(n, dtype=np.int64)):
            return np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64)
        hashes = np.empty(n, dtype=np.uint64)
        _row_hashes(self._starts, self._places, self._problem.eligible, hashes)
        _, first, pattern = np.unique(hashes, return_index=True, return_inverse=True)
        if not self._alike(first[pattern]):  # two patterns, one fingerprint: tell all rows apart
            first = pattern = np.arange(n)
        return pattern.astype(np.int64), first.astype(np.int64)

    def _alike(self, first: Integers) -> bool:
        """Whether every row has the pattern of row first[i] (n,)."""
        same = np.zeros(self._chunks, dtype=np.bool_)

        def task(chunk: int) -> None:
            low, high = self._bounds[chunk], self._bounds[chunk + 1]
            same[chunk] = _same_as(first, self._starts, self._places, self._problem.eligible, low, high)

        self._run(task, self._chunks)
        return bool(same.all())

    def largest_use(self) -> tuple[Floats, Floats]:
        """Per coupling row, the sum over rows of their largest use, and the use of an equal split of all their time."""
        size = self._problem.available.size
        most, used = np.zeros((self._chunks, size)), np.zeros((self._chunks, size))

        def task(chunk: int) -> None:
            low, high = self._bounds[chunk], self._bounds[chunk + 1]
            rows: tuple[Any, ...] = (self._starts, self._places, self._amounts, self._problem.eligible, low, high)
            arguments: tuple[Any, ...] = (*rows, most[chunk], used[chunk], np.zeros(size))
            _largest_use(*arguments)

        self._run(task, self._chunks)
        return most.sum(axis=0), used.sum(axis=0)

    def split(self, fits: Floats) -> tuple[Floats, Floats]:
        """(n,) what rows get by an equal split of all time, of which the part `fits` of each coupling row can be had,
        and (n,) what that is worth.
        """
        problem = self._problem
        unit, worth = np.empty(problem.row_count), np.empty(problem.row_count)
        rows: tuple[Any, ...] = (self._starts, self._places, problem.eligible, problem.utility)

        def task(chunk: int) -> None:
            low, high = self._bounds[chunk], self._bounds[chunk + 1]
            weights: tuple[Any, ...] = (problem.weight, problem.count, problem.fairness)
            arguments: tuple[Any, ...] = (*rows, *weights, low, high, fits, unit, worth)
            _split(*arguments)

        self._run(task, self._chunks)
        return unit, worth

    def tables(self, first: Integers, scarce: Integers) -> tuple[Integers, Integers, Integers, Integers, int]:
        """Each pattern's columns and entries in `scarce` coupling rows, from the first row that has it."""
        width = self._problem.column_count
        place = np.full(self._problem.available.size, -1, dtype=np.int64)
        place[scarce] = np.arange(scarce.size)
        sizes = self._starts[(first + 1) * width] - self._starts[first * width]
        depth = int(sizes.max(initial=0))
        columns = np.zeros((first.size, width), dtype=np.int64)
        entries = np.zeros((first.size, depth, 3), dtype=np.int64)
        column_count, entry_count = np.zeros(first.size, dtype=np.int64), np.zeros(first.size, dtype=np.int64)
        found: tuple[Any, ...] = (columns, column_count, entries, entry_count)
        _list_patterns(first, self._starts, self._places, self._problem.eligible, place, *found)
        return columns, column_count, entries, entry_count, depth

    def gathered(self, order: Integers, depth: int, unit: Floats, omega: Floats) -> tuple[Floats, Floats]:
        """amount (depth, n) relative to what is available and to omega, gain (K, n) in `unit`; rows in `order`."""
        problem = self._problem
        width = problem.column_count
        amount, gain = np.zeros((depth, order.size)), np.empty((width, order.size))
        inverse = 1 / np.maximum(problem.available, 1e-300)

        def task(chunk: int) -> None:
            low, high = self._bounds[chunk], self._bounds[chunk + 1]
            rows: tuple[Any, ...] = (self._starts, self._places, self._amounts, problem.utility, inverse)
            arguments: tuple[Any, ...] = (order, *rows, unit, omega, low, high, amount, gain)
            _gather(*arguments)

        self._run(task, self._chunks)
        return amount, gain


@njit(cache=True, nogil=True)
def _row_hashes(starts: Array, places: Array, eligible: Booleans, hashes: Array) -> None:
    """(n,) 64-bit fingerprints of each row's eligible columns and of the coupling rows that they touch."""
    n, width = eligible.shape
    for i in range(n):
        mixed = np.uint64(1469598103934665603)
        for k in range(width):
            mixed = (mixed ^ np.uint64(eligible[i, k])) * np.uint64(1099511628211)
            for e in range(starts[i * width + k], starts[i * width + k + 1]):
                mixed = (mixed ^ np.uint64(places[e] + 2)) * np.uint64(1099511628211)
                mixed ^= mixed >> np.uint64(29)
            mixed = (mixed ^ np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashes[i] = mixed


@njit(cache=True, nogil=True)
def _same_as(first: Array, starts: Array, places: Array, eligible: Booleans, low: int, high: int) -> bool:
    width = eligible.shape[1]
    for i in range(low, high):
        j = first[i]
        begin, other = starts[i * width], starts[j * width]
        for k in range(width):
            length = starts[i * width + k + 1] - starts[i * width + k]
            if eligible[i, k] != eligible[j, k] or starts[j * width + k + 1] - starts[j * width + k] != length:
                return False
        for e in range(starts[(i + 1) * width] - begin):
            if places[begin + e] != places[other + e]:
                return False
    return True


@njit(cache=True, nogil=True)
def _list_patterns(
    first: Array, starts: Array, places: Array, eligible: Booleans, place: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array,
) -> None:  # fmt: skip
    width = eligible.shape[1]
    for pattern in range(first.size):
        i = first[pattern]
        for k in range(width):
            if not eligible[i, k]:
                continue
            for e in range(starts[i * width + k], starts[i * width + k + 1]):
                if place[places[e]] >= 0:
                    entries[pattern, entry_count[pattern], 0] = column_count[pattern]
                    entries[pattern, entry_count[pattern], 1] = place[places[e]]
                    entries[pattern, entry_count[pattern], 2] = e - starts[i * width]
                    entry_count[pattern] += 1
            columns[pattern, column_count[pattern]] = k
            column_count[pattern] += 1


@njit(cache=True, nogil=True)
def _largest_use(
    starts: Array, places: Array, amounts: Array, eligible: Booleans, low: int, high: int, most: Array, used: Array,
    scratch: Array,
) -> None:  # fmt: skip
    width = eligible.shape[1]
    for i in range(low, high):
        wide = 0
        for k in range(width):
            wide += eligible[i, k]
        part = 1.0 / wide
        for e in range(starts[i * width], starts[(i + 1) * width]):
            r = places[e]
            scratch[r] = max(scratch[r], amounts[e])
            used[r] += amounts[e] * part
        for e in range(starts[i * width], starts[(i + 1) * width]):
            most[places[e]] += scratch[places[e]]
            scratch[places[e]] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _split(
    starts: Array, places: Array, eligible: Booleans, utility: Array, weight: Array, count: Array, alpha: float,
    low: int, high: int, fits: Array, unit: Array, worth: Array,
) -> None:  # fmt: skip
    width = eligible.shape[1]
    for i in range(low, high):
        wide, reached = 0, 0.0
        for k in range(width):
            if eligible[i, k]:
                wide += 1
                least = 1.0
                for e in range(starts[i * width + k], starts[i * width + k + 1]):
                    least = min(least, fits[places[e]])
                reached += utility[i, k] * least
        unit[i] = reached / wide
        worth[i] = weight[i] * count[i]
        if alpha != 1.0:
            worth[i] *= unit[i] ** (1.0 - alpha)


@njit(cache=True, nogil=True)
def _gather(
    order: Array, starts: Array, places: Array, amounts: Array, utility: Array, inverse: Array, unit: Array,
    omega: Array, low: int, high: int, amount: Array, gain: Array,
) -> None:  # fmt: skip
    width = gain.shape[0]
    for j in range(low, high):
        i = order[j]
        per_unit, per_omega = 1.0 / unit[i], 1.0 / omega[j]
        for k in range(width):
            gain[k, j] = utility[i, k] * per_unit
        begin = starts[i * width]
        for e in range(starts[(i + 1) * width] - begin):
            amount[e, j] = amounts[begin + e] * inverse[places[begin + e]] * per_omega
