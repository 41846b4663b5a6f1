"""Rows laid out by the groups that local limits make of them: a group's rows are side by side, and in one chunk.

Capacities are laid out as in `price_layout.py`. Limits are listed row by row instead: which of them a row touches
differs from queue to queue, and a pattern of its own for each would leave nothing to loop over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.chunks import Run
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.solvers.local_limits import count_entries, few_share, grouped, list_entries, masses, numbered
from allocator.solvers.price_layout import MOST_CHUNKS, Layout
from allocator.solvers.price_rows import Rows
from allocator.solvers.price_sums import TILE

_CHUNK = 1024
"""Least rows of a chunk."""


@dataclass(frozen=True, slots=True, eq=False)
class LocalLayout:
    """Of n rows and L local limits; m capacities and wide limits that can bind."""

    rows: Layout
    """`scarce` are the capacities and, after them, the wide limits; `entries` and `amount` only of capacities."""
    capacities: int
    """How many of the m are capacities."""
    groups: Integers
    """(G, 4) first tile, one past the last, first local limit, one past the last."""
    chunks: Integers
    """(C + 1,): chunk c is groups[chunks[c] : chunks[c + 1]]."""
    starts: Integers
    """(n + 1,): row i has what is listed at starts[i] to starts[i + 1] in the three arrays that follow."""
    position: Integers
    """Of the column among the row's eligible ones."""
    number: Integers
    """Of a local limit in its group; of a wide limit -1 less its place among these."""
    listed: Floats
    """What a share uses, relative to what is available and to omega."""
    local: Integers
    """(L,) index of each local limit among the problem's coupling rows."""
    local_unit: Floats
    """(L,) price of the problem per price here."""
    mass: Floats
    """(L,) the part of all money of those who share the limit."""
    wide_mass: Floats
    """(m - capacities,) the same of wide limits."""

    @classmethod
    def of(cls, problem: Problem, run: Run) -> LocalLayout | None:
        """None where few rows share hardly any limit. Needs a finite alpha and rows."""
        if not few_share(problem):
            return None
        rows, size = Rows(problem, run), problem.capacity.size
        most, used = rows.largest_use()
        binding = most > problem.available
        grouping = grouped(problem, binding[size:])
        unit, worth = rows.split(np.minimum(1.0, problem.available / np.maximum(used, 1e-300)))
        money = float(worth.sum())
        worth /= money
        plain = Rows(problem, run, limits=False)
        pattern, first_row = plain.patterns()
        order = np.lexsort((pattern, grouping.group))
        scarce = np.append(np.flatnonzero(binding[:size]), size + grouping.wide)
        columns, column_count, entries, entry_count, depth = plain.tables(first_row, scarce)
        omega, by_row = worth[order], pattern[order]
        amount, gain = plain.gathered(order, depth, unit, omega)
        tiles, groups, chunks = _cut(by_row, grouping.group[order], grouping.first)
        layout = Layout(
            problem.fairness, order, tiles, chunks, columns, column_count, entries, entry_count, by_row, amount, gain,
            omega, scarce, money / problem.available[scarce], money,
        )  # fmt: skip
        coupling, number = problem.coupling, numbered(grouping, problem.limit_count)
        counts = np.zeros(order.size, dtype=np.int64)
        count_entries(order, coupling.indptr, coupling.indices, problem.column_count, size, number, counts)
        starts = np.append(0, np.cumsum(counts))
        position, numbers, listed = (np.empty(starts[-1], dtype=kind) for kind in (np.int64, np.int64, np.float64))
        inverse = 1 / np.maximum(problem.available, 1e-300)
        list_entries(
            order, coupling.indptr, coupling.indices, coupling.data, problem.eligible, size, number, inverse, omega,
            starts, position, numbers, listed,
        )  # fmt: skip
        local = size + grouping.local
        mass, wide_mass = masses(grouping, problem, worth)
        return cls(
            layout, int(binding[:size].sum()), groups, chunks, starts, position, numbers, listed, local,
            money / problem.available[local], mass, wide_mass,
        )  # fmt: skip


def _cut(pattern: Integers, group: Integers, first: Integers) -> tuple[Integers, Integers, Integers]:
    """Tiles as in `Layout`, groups and their chunks. Rows without a group are cut into groups without local limits."""
    n, grouped_rows = pattern.size, int(np.searchsorted(group, first.size - 1))
    chunk = max(_CHUNK, -(-n // (MOST_CHUNKS * TILE)) * TILE)
    begins = np.flatnonzero(np.diff(group[:grouped_rows], prepend=-1))
    free = np.arange(grouped_rows, n, chunk)
    begins = np.append(begins, free)
    ends = np.append(begins[1:], n)
    sizes = ends - begins
    within = np.arange(n) - np.repeat(begins, sizes)
    cuts = (np.diff(pattern, prepend=-1) != 0) | (within == 0)
    of_run = np.flatnonzero(cuts)
    within = np.arange(n) - np.repeat(of_run, np.diff(np.append(of_run, n)))
    starts = np.flatnonzero(within % TILE == 0)
    tiles = np.column_stack([pattern[starts], starts, np.append(starts[1:], n), np.ones(starts.size)]).astype(np.int64)
    limits = np.append(first, np.full(free.size, first[-1]))
    groups = np.column_stack(
        [np.searchsorted(starts, begins), np.searchsorted(starts, ends), limits[:-1], limits[1:]]
    ).astype(np.int64)
    chunks = np.searchsorted(begins, np.arange(0, n, chunk))
    return tiles, groups, np.append(np.unique(chunks), begins.size).astype(np.int64)
