"""A problem whose identical rows are one: as small as there are different rows, with the same optimum, exactly.

Rows are identical when their eligible columns are the same in any order (flavor, utility and demand to the last bit),
with the same weight, held by the same limits by the same terms. Whatever else stands in columns that are not eligible,
and throughput and reference beyond their quotient, makes no difference. Counts add up. Equality is verified word by
word; fingerprints only say where to look.

What is proven. Let row j of the merged problem stand for the rows i in G_j, with the sum of their counts, an integer of
at most 2^53 and so exact.

- Same optimum: given any shares of the original problem, their mean over G_j, weighted by counts, uses as much of
  everything and, phi being concave, is worth at least as much; for alpha = inf its lowest level is at least as high.
  So some optimum has equal shares within each group, and these are the merged problem's shares and objective. The same
  argument holds for every level of the lexicographic optimum, whose utilities are unique.
- Same bound: the dual function is a sum of one equal term for each job of a group, so the merged problem has the same
  function of the prices. A bound computed there, with the room it leaves for its own rounding, holds for the original.
- Feasible as floats add up: what the merged and the original problem use of a capacity is one real number. A sum of m
  terms, each rounded twice, errs relatively by at most about (m + 1) u, u = 2^-53, in any order. `Merged.with_room`
  keeps 8 u (n K + 4) of every capacity and limit free: more than sums over N K and over n K terms can err by together.
  (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, chapter 4.)
- Same numbers: the objective of the shares is the same real number in both problems. It is computed on the merged one,
  after room was made, where its sum has fewer terms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from allocator.formulation.chunks import Run, chunk_bounds, usual_threads, workers
from allocator.formulation.kernels import compiled
from allocator.formulation.problem import Floats, Integers, Limit, Problem

if TYPE_CHECKING:
    from allocator.formulation.merging_kernels import Rows

LARGEST_PART = 0.2
"""Of the rows: with more different ones than that merging saves less than it is likely to cost."""
_SAMPLE_FACTOR = 4
"""Times the square root of the rows are looked at first: with LARGEST_PART as many different rows as rows, 40 pairs of
equal ones are then to be expected among them, with none repeated none, however many rows there are."""
_MASK = 2**64 - 1
"""Which bits of fingerprints count. Fewer make collisions, which change nothing but the time."""
_EXACT_INTEGERS = 2.0**53
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """`problem` has N rows for the n rows of `original`, in order of the first of each."""

    problem: Problem
    original: Problem
    row: Integers
    """(n,) which row of `problem` each row of `original` is."""
    first: Integers
    """(N,) the first row of `original` that each row of `problem` is."""
    moved: bool
    """Some rows have their columns in another order than the first of their kind."""
    margin: float
    """Relative room that floats need to add up the original's rows in any order."""
    _rows: Rows = field(repr=False)

    def with_room(self, shares: Floats) -> Floats:
        """(N, K) strictly feasible `shares` of `problem`, all scaled by 1 - 2 `margin` if what they use comes nearer
        than `margin` to a capacity or a limit. What `spread` makes of them is strictly feasible in `original`, in any
        order of summation. The same object if nothing is near.
        """
        near = (self.problem.usage(shares) > self.problem.capacity * (1 - self.margin)).any()
        near |= (self.problem.limit_usage(shares) > self.problem.limit_amount * (1 - self.margin)).any()
        if self.moved:  # two shares add up to the same time in both orders, three need not
            near |= ((shares.sum(axis=1) > 1 - self.margin) & ((shares > 0).sum(axis=1) > 2)).any()
        return shares * (1 - 2 * self.margin) if near else shares

    def spread(self, shares: Floats, threads: int | None = None) -> Floats:
        """(n, K) shares of `original` that are the `shares` (N, K) of `problem`, column by column."""
        from allocator.formulation.merging_kernels import spread, spread_matched  # noqa: PLC0415 - loads numba

        bounds = chunk_bounds(self.row.size)
        result = np.empty((self.row.size, shares.shape[1]))

        def task(chunk: int) -> None:
            a, b = int(bounds[chunk]), int(bounds[chunk + 1])
            if self.moved:
                spread_matched(self._rows, a, self.first, shares, self.row[a:b], result[a:b])
            else:
                spread(shares, self.row[a:b], result[a:b])

        with workers(usual_threads(self.row.size) if threads is None else threads) as run:
            run(task, bounds.size - 1)
        return result


def merged(problem: Problem, threads: int | None = None) -> Merged | None:
    """One row for all that are identical; None where that does not pay: fewer than COMPILED_ROWS rows, or more
    different ones than LARGEST_PART of them. The latter is first guessed from a few rows.

    `threads` changes no bit; by default as many as there are processors, at most four, and one for few rows.
    """
    n = problem.row_count
    if not compiled(n) or problem.column_count == 0:
        return None
    most = int(n * LARGEST_PART)
    rows = _rows(problem)
    if not _likely(rows, n, most) or problem.count.sum(dtype=np.float64) > _EXACT_INTEGERS:
        return None
    if problem.limit_count:
        rows = _with_limits(problem, rows)
        if not _likely(rows, n, most):
            return None
    with workers(usual_threads(n) if threads is None else threads) as run:
        groups = _groups(rows, problem.count, most, run)
    if groups is None:
        return None
    first, count, row, moved = groups
    small = _taken(problem, rows, first, count)
    return Merged(small, problem, row, first, moved, 4 * _EPSILON * (problem.throughput.size + 4), rows)


def _rows(problem: Problem) -> Rows:
    from allocator.formulation.merging_kernels import Rows  # noqa: PLC0415 - loads numba

    n = problem.row_count
    none = np.zeros(0, dtype=np.int64)
    return Rows(
        utility=problem.utility.view(np.uint64),
        flavor=problem.flavor,
        demand=problem.demand.reshape(n, -1).view(np.uint64),
        eligible=problem.eligible,
        weight=problem.weight.view(np.uint64),
        tariff_starts=none,
        tariff_counts=none,
        tariffs=none,
    )


def _with_limits(problem: Problem, rows: Rows) -> Rows:
    """Also with the limits that hold each row back, and by which tariff."""
    from allocator.formulation.merging_kernels import tariffs_by_row  # noqa: PLC0415 - loads numba

    n = problem.row_count
    held = problem.limit_arrays
    starts = np.concatenate([[0], np.cumsum(np.bincount(held.members, minlength=n))])
    counts = np.zeros(n, dtype=np.int64)
    tariffs = np.empty(held.members.size, dtype=np.int64)
    tariffs_by_row(
        rows, held.members, held.tariff, problem.flavor_count, held.rate_starts, held.rate_resource, starts, counts,
        tariffs,
    )  # fmt: skip
    return rows._replace(tariff_starts=starts, tariff_counts=counts, tariffs=tariffs)


def _likely(rows: Rows, n: int, most: int) -> bool:
    """Whether a few rows suggest at most `most` different ones among all n.

    With d different rows among the few, a of them once and b twice, there are about d + a (a - 1) / (2 (b + 1)) in all.
    (Chao, Nonparametric estimation of the number of classes in a population, Scandinavian J. of Statistics 11, 1984.)
    The few are scattered without any order: evenly spaced ones miss equal rows that stand side by side.
    """
    from allocator.formulation.merging_kernels import group  # noqa: PLC0415 - loads numba

    chosen = _scattered(n, int(_SAMPLE_FACTOR * n**0.5))
    ones = np.ones(chosen.size, dtype=np.int64)
    label = np.empty(chosen.size, dtype=np.int64)
    first, total, _ = group(rows, 0, chosen, ones, np.uint64(_MASK), chosen.size, label)
    once, twice = int((total == 1).sum()), int((total == 2).sum())
    return bool(first.size + once * (once - 1) / (2 * (twice + 1)) <= most)


def _scattered(n: int, size: int) -> Integers:
    """At most `size` different numbers below n, ascending, always the same: a counter, its bits well mixed."""
    mixed = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.unique(mixed % np.uint64(n)).astype(np.int64)


def _groups(rows: Rows, count: Integers, most: int, run: Run) -> tuple[Integers, Integers, Integers, bool] | None:
    """(first, count, row, moved) of all rows, None for more than `most` groups: each chunk by itself, then the groups
    of the chunks. A group's first row is the first of all, however rows are cut into chunks.
    """
    from allocator.formulation.merging_kernels import group, relabel  # noqa: PLC0415 - loads numba

    n, mask = count.size, np.uint64(_MASK)
    nothing = np.zeros(0, dtype=np.int64)
    bounds = chunk_bounds(n)
    row = np.empty(n, dtype=np.int64)
    parts: list[Any] = [None] * (bounds.size - 1)

    def find(chunk: int) -> None:
        a, b = int(bounds[chunk]), int(bounds[chunk + 1])
        parts[chunk] = group(rows, a, nothing, count[a:b], mask, most, row[a:b])

    run(find, len(parts))
    chosen, tally = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    label = np.empty(chosen.size, dtype=np.int64)
    first, total, moved = group(rows, 0, chosen, tally, mask, most, label)
    if first.size > most:
        return None
    ends = np.cumsum([part[0].size for part in parts])

    def rename(chunk: int) -> None:
        names = label[ends[chunk] - parts[chunk][0].size : ends[chunk]]
        relabel(row[bounds[chunk] : bounds[chunk + 1]], names)

    run(rename, len(parts))
    return first, total, row, bool(moved or any(part[2] for part in parts))


def _taken(problem: Problem, rows: Rows, first: Integers, count: Integers) -> Problem:
    """The rows `first` alone. Columns that are not eligible have no throughput there: what closed them in `problem` may
    be a limit that counts nothing else of the row.
    """
    limits: tuple[Limit, ...] = ()
    if problem.limit_count:
        sizes = rows.tariff_counts[first]
        member = np.repeat(np.arange(first.size), sizes)
        inside = np.arange(member.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        limits = problem.limit_arrays.limits(rows.tariffs[rows.tariff_starts[first][member] + inside], member)
    return Problem.from_arrays(
        throughput=np.where(problem.eligible[first], problem.throughput[first], 0.0),
        flavor=problem.flavor[first],
        demand=problem.demand[first],
        capacity=problem.capacity,
        weight=problem.weight[first],
        count=count,
        fairness=problem.fairness,
        reference=problem.reference[first],
        limits=limits,
    )
