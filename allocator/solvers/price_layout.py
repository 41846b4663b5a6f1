"""Rows laid out for compiled loops: of one pattern side by side, in numbers of about 1, shares as the last axis.

A pattern is which columns of a row are eligible and which coupling rows each of them touches. The numbers of a row are
relative to a guess of what it will get (its `unit` of utility) and to its part of all money (its `omega`), the coupling
rows to what is available; rows of the coupling that nobody can fill are left out. See `price_path.py` for the symbols.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.chunks import Run
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.solvers.price_rows import Rows
from allocator.solvers.price_sums import TILE

CHUNK = 4096
"""Least rows whose sums are added up before they meet those of others."""
MOST_CHUNKS = 16
_CURVED = 256
"""Tiles of one pattern that make up the curvature, at least: with twice as many every second does, and so on."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """K columns, n rows in an order of their own, m coupling rows that can bind, E coupled amounts at most per row."""

    alpha: float
    order: Integers
    """(n,) which row of the problem each one here is."""
    tiles: Integers
    """(T, 4) pattern, first row, one past the last, and for how many tiles it stands where a few are enough."""
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
    def of(cls, problem: Problem, run: Run) -> Layout:
        """Needs a finite alpha and rows."""
        alpha = problem.fairness
        rows = Rows(problem, run)
        pattern, first = rows.patterns()
        order = np.argsort(pattern, kind="stable") if first.size > 1 else np.arange(pattern.size)
        most, used = rows.largest_use()
        scarce = np.flatnonzero(most > problem.available)
        columns, column_count, entries, entry_count, depth = rows.tables(first, scarce)
        unit, worth = rows.split(np.minimum(1.0, problem.available / np.maximum(used, 1e-300)))
        money = float(worth.sum())
        worth /= money
        omega = worth[order] if first.size > 1 else worth
        amount, gain = rows.gathered(order, depth, unit, omega)
        by_row = pattern[order]
        tiles, chunks = _tiles(by_row)
        return cls(
            alpha, order, tiles, chunks, columns, column_count, entries, entry_count, by_row, amount, gain, omega,
            scarce, money / problem.available[scarce], money,
        )  # fmt: skip

    def sample(self, size: int) -> Layout:
        """About `size` rows that stand for all: half of the chances are equal, half go by money, so that what weighs
        much is there with what it weighs. Systematic, in the order of rows; no randomness.
        """
        chance = 0.5 / self.size + 0.5 * self.omega
        ends = np.cumsum(chance)
        hits = np.searchsorted(ends, (np.arange(size) + 0.5) / size * ends[-1])
        chosen, times = np.unique(np.minimum(hits, self.size - 1), return_counts=True)
        tiles, chunks = _tiles(self.pattern[chosen])
        omega = times * self.omega[chosen] / chance[chosen]
        return Layout(
            self.alpha, self.order[chosen], tiles, chunks, self.columns, self.column_count, self.entries,
            self.entry_count, self.pattern[chosen], np.ascontiguousarray(self.amount[:, chosen]),
            np.ascontiguousarray(self.gain[:, chosen]), omega / omega.sum(), self.scarce, self.price_unit, self.money,
        )  # fmt: skip


def _tiles(pattern: Integers) -> tuple[Integers, Integers]:
    """Cut rows at every change of pattern, at every chunk, and every TILE rows."""
    n = pattern.size
    chunk = max(CHUNK, -(-n // (MOST_CHUNKS * TILE)) * TILE)
    starts = np.union1d(np.arange(0, n, TILE), np.flatnonzero(np.diff(pattern, prepend=pattern[:1] - 1)))
    of_pattern = pattern[starts]
    tiles = np.column_stack([of_pattern, starts, np.append(starts[1:], n), _stand_for(of_pattern)])
    chunks = np.searchsorted(starts, np.arange(0, n, chunk))
    return np.ascontiguousarray(tiles, dtype=np.int64), np.append(chunks, starts.size).astype(np.int64)


def _stand_for(of_pattern: Integers) -> Integers:
    """(T,) for how many tiles of its pattern each stands; 0: for none."""
    first = np.flatnonzero(np.diff(of_pattern, prepend=of_pattern[:1] - 1))
    size = np.diff(np.append(first, of_pattern.size))
    stride = np.maximum(1, size // _CURVED)
    place = np.arange(of_pattern.size) - np.repeat(first, size)
    every, number = np.repeat(stride, size), np.repeat(size, size)
    stands: Integers = np.where(place % every == 0, np.minimum(every, number - place), 0)
    return stands
