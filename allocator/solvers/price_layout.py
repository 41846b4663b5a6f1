"""Rows laid out for compiled loops: of one pattern side by side, in numbers of about 1, shares as the last axis.

A pattern is which columns of a row are eligible and which coupling rows each of them touches. The numbers of a row are
relative to a guess of what it will get (its `unit` of utility) and to its part of all money (its `omega`), the coupling
rows to what is available; rows of the coupling that nobody can fill are left out. See `interior.py` for the symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.solvers.price_centre import TILE

CHUNK = 4096
"""Least rows whose sums are added up before they meet those of others."""
MOST_CHUNKS = 16
Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """K columns, n rows in an order of their own, m coupling rows that can bind, E coupled amounts at most per row."""

    alpha: float
    order: Integers
    """(n,) which row of the problem each one here is."""
    tiles: Integers
    """(T, 3) pattern, first row, one past the last."""
    chunks: Integers
    """(C + 1,): chunk c is tiles[chunks[c] : chunks[c + 1]]. Depends on nothing but the problem."""
    columns: Integers
    """(patterns, K) the eligible columns first."""
    column_count: Integers
    """(patterns,)"""
    entries: Integers
    """(patterns, E, 3) position in `columns`, coupling row, place in `amount`; in order of the position."""
    entry_count: Integers
    """(patterns,)"""
    pattern: Integers
    """(n,)"""
    amount: Floats
    """(E, n) what a share uses of a coupling row, relative to what is available and to omega."""
    gain: Floats
    """(K, n) what a share adds to y."""
    omega: Floats
    """(n,) part of all money, sum 1."""
    scarce: Integers
    """(m,) index of each coupling row here among the problem's."""
    price_unit: Floats
    """(m,) price of the problem per price here."""
    money: float
    """Objective of the problem per objective here."""

    @property
    def size(self) -> int:
        return self.omega.size

    @classmethod
    def of(cls, problem: Problem) -> Layout:
        """Needs a finite alpha and rows."""
        width, alpha = problem.column_count, problem.fairness
        by_column = problem.coupling.tocsc()
        by_column.sort_indices()
        indptr, indices = by_column.indptr.astype(np.int64), by_column.indices.astype(np.int64)
        eligible = problem.eligible
        pattern, first = _patterns(indptr, indices, eligible)
        order = np.argsort(pattern, kind="stable") if first.size > 1 else np.arange(pattern.size)
        most, unit = _most_and_unit(problem, indptr, indices, by_column.data)
        scarce = np.flatnonzero(most > problem.available)
        place = np.full(problem.available.size, -1, dtype=np.int64)
        place[scarce] = np.arange(scarce.size)
        columns, column_count, entries, entry_count, depth = _tables(first, indptr, indices, eligible, place)
        worth = problem.weight * problem.count * unit ** (1 - alpha)
        money = float(worth.sum())
        omega = (worth / money)[order]
        amount, gain = np.zeros((depth, order.size)), np.empty((width, order.size))
        relative = by_column.data / np.maximum(problem.available, 1e-300)[indices]
        _gather(order, indptr, relative, problem.utility, unit[order], omega, amount, gain)
        by_row = pattern[order]
        tiles, chunks = _tiles(by_row)
        return cls(
            alpha, order, tiles, chunks, columns, column_count, entries, entry_count, by_row, amount, gain, omega,
            scarce, money / problem.available[scarce], money,
        )  # fmt: skip

    def sample(self, chosen: Integers) -> Layout:
        """The rows `chosen` (ascending) alone, standing for all."""
        tiles, chunks = _tiles(self.pattern[chosen])
        omega = self.omega[chosen]
        part = float(omega.sum())
        return Layout(
            self.alpha, self.order[chosen], tiles, chunks, self.columns, self.column_count, self.entries,
            self.entry_count, self.pattern[chosen], np.ascontiguousarray(self.amount[:, chosen]),
            np.ascontiguousarray(self.gain[:, chosen]), omega / part, self.scarce, self.price_unit, self.money,
        )  # fmt: skip

    def shares(self, x: Floats, shape: tuple[int, ...]) -> Floats:
        """(n, K) in the problem's order, from x (K, n) here."""
        result = np.empty(shape)
        result[self.order] = x.T
        return result


def _patterns(indptr: Integers, indices: Integers, eligible: Booleans) -> tuple[Integers, Integers]:
    """(n,) number of each row's pattern; (patterns,) the first row that has it."""
    n = len(eligible)
    if _same_as(np.zeros(n, dtype=np.int64), indptr, indices, eligible):
        return np.zeros(n, dtype=np.int64), np.zeros(1, dtype=np.int64)
    hashes = np.empty(n, dtype=np.uint64)
    _row_hashes(indptr, indices, eligible, hashes)
    _, first, pattern = np.unique(hashes, return_index=True, return_inverse=True)
    if not _same_as(first[pattern], indptr, indices, eligible):  # two patterns, one fingerprint: tell them all apart
        first = pattern = np.arange(n)
    return pattern.astype(np.int64), first.astype(np.int64)


def _most_and_unit(problem: Problem, indptr: Integers, indices: Integers, amounts: Floats) -> tuple[Floats, Floats]:
    """(all coupling rows,) what everybody could use of each at most; (n,) utility at an equal split that fits."""
    most, used = np.zeros(problem.available.size), np.zeros(problem.available.size)
    scratch, unit = np.zeros(problem.available.size), np.empty(problem.row_count)
    _largest_use(indptr, indices, amounts, problem.eligible, most, used, scratch)
    fits = np.minimum(1.0, problem.available / np.maximum(used, 1e-300))
    _split_utility(indptr, indices, problem.eligible, problem.utility, fits, unit)
    return most, unit


def _tables(
    first: Integers, indptr: Integers, indices: Integers, eligible: Booleans, place: Integers
) -> tuple[Integers, Integers, Integers, Integers, int]:
    """Each pattern's columns and entries, from the first row that has it."""
    width = eligible.shape[1]
    sizes = indptr[(first + 1) * width] - indptr[first * width]
    depth = int(sizes.max(initial=0))
    columns = np.zeros((first.size, width), dtype=np.int64)
    entries = np.zeros((first.size, depth, 3), dtype=np.int64)
    column_count, entry_count = np.zeros(first.size, dtype=np.int64), np.zeros(first.size, dtype=np.int64)
    _list_patterns(first, indptr, indices, eligible, place, columns, column_count, entries, entry_count)
    return columns, column_count, entries, entry_count, depth


def _tiles(pattern: Integers) -> tuple[Integers, Integers]:
    """Cut rows at every change of pattern, at every chunk, and every TILE rows."""
    n = pattern.size
    chunk = max(CHUNK, -(-n // (MOST_CHUNKS * TILE)) * TILE)
    starts = np.union1d(np.arange(0, n, TILE), np.flatnonzero(np.diff(pattern, prepend=pattern[:1] - 1)))
    tiles = np.column_stack([pattern[starts], starts, np.append(starts[1:], n)])
    chunks = np.searchsorted(starts, np.arange(0, n, chunk))
    return np.ascontiguousarray(tiles, dtype=np.int64), np.append(chunks, starts.size).astype(np.int64)


@njit(cache=True, nogil=True)
def _row_hashes(indptr: Array, indices: Array, eligible: Array, hashes: Array) -> None:
    """(n,) 64-bit fingerprints of each row's eligible columns and of the coupling rows that they touch."""
    n, width = eligible.shape
    for i in range(n):
        mixed = np.uint64(1469598103934665603)
        for k in range(width):
            mixed = (mixed ^ np.uint64(eligible[i, k])) * np.uint64(1099511628211)
            for e in range(indptr[i * width + k], indptr[i * width + k + 1]):
                mixed = (mixed ^ np.uint64(indices[e] + 2)) * np.uint64(1099511628211)
                mixed ^= mixed >> np.uint64(29)
            mixed = (mixed ^ np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        hashes[i] = mixed


@njit(cache=True, nogil=True)
def _same_as(first: Array, indptr: Array, indices: Array, eligible: Array) -> bool:
    """Whether every row has exactly the pattern of row `first[i]`."""
    n, width = eligible.shape
    for i in range(n):
        j = first[i]
        for k in range(width):
            begin, other = indptr[i * width + k], indptr[j * width + k]
            length = indptr[i * width + k + 1] - begin
            if eligible[i, k] != eligible[j, k] or indptr[j * width + k + 1] - other != length:
                return False
            for e in range(length):
                if indices[begin + e] != indices[other + e]:
                    return False
    return True


@njit(cache=True, nogil=True)
def _list_patterns(
    first: Array, indptr: Array, indices: Array, eligible: Array, place: Array, columns: Array, column_count: Array,
    entries: Array, entry_count: Array,
) -> None:  # fmt: skip
    width = eligible.shape[1]
    for pattern in range(first.size):
        i = first[pattern]
        for k in range(width):
            if not eligible[i, k]:
                continue
            for e in range(indptr[i * width + k], indptr[i * width + k + 1]):
                if place[indices[e]] >= 0:
                    entries[pattern, entry_count[pattern], 0] = column_count[pattern]
                    entries[pattern, entry_count[pattern], 1] = place[indices[e]]
                    entries[pattern, entry_count[pattern], 2] = e - indptr[i * width]
                    entry_count[pattern] += 1
            columns[pattern, column_count[pattern]] = k
            column_count[pattern] += 1


@njit(cache=True, nogil=True)
def _largest_use(
    indptr: Array, indices: Array, amounts: Array, eligible: Array, most: Array, used: Array, scratch: Array
) -> None:
    """Per coupling row, the sum over rows of their largest use, and the use of an equal split of everybody's time."""
    n, width = eligible.shape
    for i in range(n):
        wide = 0
        for k in range(width):
            wide += eligible[i, k]
        for e in range(indptr[i * width], indptr[(i + 1) * width]):
            r = indices[e]
            scratch[r] = max(scratch[r], amounts[e])
            used[r] += amounts[e] / wide
        for e in range(indptr[i * width], indptr[(i + 1) * width]):
            most[indices[e]] += scratch[indices[e]]
            scratch[indices[e]] = 0.0


@njit(cache=True, nogil=True)
def _split_utility(indptr: Array, indices: Array, eligible: Array, utility: Array, fits: Array, unit: Array) -> None:
    n, width = eligible.shape
    for i in range(n):
        wide, reached = 0, 0.0
        for k in range(width):
            if eligible[i, k]:
                wide += 1
                least = 1.0
                for e in range(indptr[i * width + k], indptr[i * width + k + 1]):
                    least = min(least, fits[indices[e]])
                reached += utility[i, k] * least
        unit[i] = reached / wide


@njit(cache=True, nogil=True)
def _gather(
    order: Array, indptr: Array, amounts: Array, utility: Array, unit: Array, omega: Array, amount: Array, gain: Array
) -> None:
    """Fill amount (E, n) and gain (K, n) for the rows in `order`."""
    width = gain.shape[0]
    for j in range(order.size):
        i = order[j]
        for k in range(width):
            gain[k, j] = utility[i, k] / unit[j]
        begin = indptr[i * width]
        for e in range(indptr[(i + 1) * width] - begin):
            amount[e, j] = amounts[begin + e] / omega[j]
