"""Which limits few rows share, and which rows hang together by them: these are solved for inside a pass.

A limit is local if the rows that share it, with all that hang on them by other local limits, are few. Rows and local
limits that hang together are a group; the limits of a group touch no row of another. All others are wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Booleans, Floats, Integers, Problem

Array = NDArray[Any]
_MOST_ROWS, _MOST_LIMITS, _PART = 1024, 48, 4
"""Of one group, and one of how many parts of all rows at most: beyond that a limit is wide."""
_LEAST_LOCAL = 8
"""With fewer limits that few rows share, all limits are laid out like capacities."""


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """G groups, numbered in the order of their first rows."""

    group: Integers
    """(n,) of each row; G where it is in none."""
    local: Integers
    """(L,) limits of the problem, group after group."""
    first: Integers
    """(G + 1,) group g has local[first[g] : first[g + 1]]."""
    wide: Integers
    """Limits of the problem that can bind and are not local, ascending."""


def few_share(problem: Problem) -> bool:
    """Whether there are limits to solve for group by group."""
    return int((np.diff(problem.limit_starts) <= _most_rows(problem)).sum()) >= _LEAST_LOCAL


def _most_rows(problem: Problem) -> int:
    return min(_MOST_ROWS, problem.row_count // _PART)


def wide_count(problem: Problem) -> int:
    """How many limits are not solved for group by group: those that weigh like capacities."""
    every = np.ones(problem.limit_count, dtype=np.bool_)
    return grouped(problem, every).wide.size if few_share(problem) else problem.limit_count


def grouped(problem: Problem, binding: Booleans) -> Grouping:
    """Of the limits that can bind (problem.limit_count,); small ones first, so that as many as possible are local."""
    sizes = np.diff(problem.limit_starts)
    order = np.argsort(sizes, kind="stable")
    order = order[binding[order] & (sizes[order] > 0)]
    root = np.arange(problem.row_count)
    is_local = np.zeros(problem.limit_count, dtype=np.bool_)
    _join(problem.limit_starts, problem.limit_members, order, _most_rows(problem), root, is_local)
    local = np.flatnonzero(is_local)
    of_limit = root[problem.limit_members[problem.limit_starts[local]]]
    roots, number = np.unique(of_limit, return_inverse=True)
    group_of_root = np.full(problem.row_count, roots.size)
    group_of_root[roots] = np.arange(roots.size)
    by_group = np.argsort(number, kind="stable")
    first = np.searchsorted(number[by_group], np.arange(roots.size + 1))
    return Grouping(group_of_root[root], local[by_group], first, np.flatnonzero(binding & ~is_local & (sizes > 0)))


@njit(cache=True, nogil=True)
def _join(starts: Array, members: Array, order: Array, most_rows: int, root: Array, is_local: Array) -> None:
    """Sets `is_local` of the limits in `order`, and `root` (n,) to the first row of each row's group."""
    n = root.size
    rows, limits, stamp = np.ones(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.full(n, -1)
    for limit in order:
        together, number, lowest = 0, 1, n
        for e in range(starts[limit], starts[limit + 1]):
            top = _top(root, members[e])
            if stamp[top] != limit:
                stamp[top] = limit
                together += rows[top]
                number += limits[top]
                lowest = min(lowest, top)
            if together > most_rows or number > _MOST_LIMITS:
                break
        if together > most_rows or number > _MOST_LIMITS:
            continue
        is_local[limit] = True
        for e in range(starts[limit], starts[limit + 1]):
            root[_top(root, members[e])] = lowest
        rows[lowest], limits[lowest] = together, number
    for i in range(n):
        root[i] = _top(root, i)


@njit(cache=True, nogil=True)
def _top(root: Array, i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


@njit(cache=True, nogil=True)
def count_entries(
    order: Array, starts: Array, places: Array, width: int, capacities: int, number: Array, counts: Array
) -> None:
    """counts (n,) how many limits that are numbered the columns of each row touch; rows in `order`."""
    for j in range(order.size):
        i = order[j]
        for e in range(starts[i * width], starts[(i + 1) * width]):
            if places[e] >= capacities and number[places[e] - capacities] != _NONE:
                counts[j] += 1


_NONE = np.iinfo(np.int64).min
"""Number of a limit that cannot bind."""


@njit(cache=True, nogil=True)
def list_entries(
    order: Array, starts: Array, places: Array, amounts: Array, eligible: Array, capacities: int, number: Array,
    inverse: Array, omega: Array, into: Array, position: Array, numbers: Array, amount: Array,
) -> None:  # fmt: skip
    """What each row's columns use of limits, row j's entries from into[j] on: position among the eligible columns,
    number of the limit, amount relative to what is available and to omega.
    """
    width = eligible.shape[1]
    for j in range(order.size):
        i, e_into, at = order[j], into[j], 0
        for k in range(width):
            for e in range(starts[i * width + k], starts[i * width + k + 1]):
                r = places[e]
                if r >= capacities and number[r - capacities] != _NONE:
                    position[e_into] = at
                    numbers[e_into] = number[r - capacities]
                    amount[e_into] = amounts[e] * inverse[r] / omega[j]
                    e_into += 1
            at += eligible[i, k]


def numbered(grouping: Grouping, limit_count: int) -> Integers:
    """(limit_count,) of a local limit its place in its group, of a wide one -1 less its place among them."""
    number = np.full(limit_count, _NONE)
    number[grouping.local] = np.arange(grouping.local.size) - np.repeat(grouping.first[:-1], np.diff(grouping.first))
    number[grouping.wide] = -1 - np.arange(grouping.wide.size)
    return number


def masses(grouping: Grouping, problem: Problem, worth: Floats) -> tuple[Floats, Floats]:
    """(L,) and (wide,) what is given to the members of each limit: nobody pays more than that for it, about."""
    of_member = np.repeat(np.arange(problem.limit_count), np.diff(problem.limit_starts))
    each: Floats = np.bincount(of_member, worth[problem.limit_members], minlength=problem.limit_count).astype(
        np.float64
    )
    return each[grouping.local], each[grouping.wide]
