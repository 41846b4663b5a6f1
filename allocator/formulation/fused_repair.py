"""Any shares of many rows made strictly feasible, in compiled passes that write nothing but the result.

The steps are those of `repair.py`. Two passes suffice where nobody starves and nothing is worth filling:

- *weigh*: what the cleaned shares use (13 bytes read per column, 12 per coupled amount);
- *settle*: scale by what is overused, write the result, add up what that uses and what it is worth (21 bytes read per
  column, 12 per coupled amount, 16 per row; 8 written per column).

Each time that shares grow into what is left over costs three more, two of which write: more of what a row has, what
idle rows wish for, and that granted. Sums are made per fixed chunk of rows, so that no bit depends on the threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from allocator.formulation import fused_shares as passes
from allocator.formulation.chunks import Run, chunk_bounds, usual_threads, workers
from allocator.formulation.problem import Floats, Problem
from allocator.formulation.repair import FILL_PASSES, MIXTURES, SAME_LEVEL

_EPSILON = float(np.finfo(np.float64).eps)
_STALLED = 0.01
"""Filling ends when a round of it gains less than this part of what the first one gained."""


def feasible(
    problem: Problem,
    shares: Floats,
    enough: Callable[[float], bool],
    *,
    overwrite: bool = False,
    threads: int | None = None,
) -> tuple[Floats, float]:
    """Strictly feasible shares (n, K) near `shares` (n, K), which may hold anything, and their objective.

    Growing ends when `enough(objective)` says so, or when it gains next to nothing, after FILL_PASSES at the latest.
    With `overwrite` the result takes the place of `shares` if they are contiguous and writable.
    """
    given = np.ascontiguousarray(shares, dtype=np.float64)
    if given.shape != problem.throughput.shape:
        raise ValueError(f"shares: must have shape {problem.throughput.shape}, got {given.shape}")
    with workers(usual_threads(problem.row_count) if threads is None else threads) as run:
        work = _Repair(problem, run, given if overwrite and given.flags.writeable else np.empty_like(given))
        work.fit(given)
        if problem.fairness >= 1 and work.starved:
            work.feed()
        first = 0.0
        for _ in range(FILL_PASSES):
            if enough(work.objective):
                break
            before = work.objective
            work.grow()
            gain = work.objective - before
            first = first or gain
            if np.isfinite(problem.fairness) and gain <= _STALLED * first:
                break
        return work.result, work.objective


class _Repair:
    """`result` (n, K), what it uses, what it is worth, and whether a row of it might be starved."""

    def __init__(self, problem: Problem, run: Run, result: Floats) -> None:
        n, width = problem.throughput.shape
        self._problem, self._run = problem, run
        self._bounds = chunk_bounds(n)
        self._top = 1 - 4 * _EPSILON * (width + 2)
        margin = 2 * _EPSILON * (n * width + 8)
        self._target = problem.available * (1 - margin)
        """To which use is scaled; by any order of summation it is then within `_most`, ..."""
        self._most = problem.available * (1 - margin / 2)
        """... and whatever we add up to be within this, is within what is available by any order of summation."""
        self._margin = margin
        coupling = problem.coupling
        self._entries: tuple[Any, ...] = (coupling.indptr, coupling.indices, coupling.data)
        self._values: tuple[Any, ...] = (problem.utility, problem.weight, problem.count)
        self.result = result
        self.usage = np.zeros(problem.available.size)
        self.objective = 0.0
        self.starved = False

    def fit(self, shares: Floats) -> None:
        """Clean `shares`, scale them to each row's time and to what is available."""
        problem = self._problem

        def weigh(a: int, b: int, usage: Floats, _tally: Floats) -> None:
            arguments: tuple[Any, ...] = (self._top, problem.eligible, *self._entries, a, b, usage)
            passes.weigh(shares, *arguments)

        self.usage, _ = self._pass(weigh)
        self._settle(shares, self._scale(self.usage))
        self._keep_within()

    def _settle(self, shares: Floats, factor: Floats) -> None:
        problem = self._problem

        def settle(a: int, b: int, usage: Floats, tally: Floats) -> None:
            rows: tuple[Any, ...] = (problem.eligible, *self._entries, *self._values, a, b, self.result, usage, tally)
            passes.settle(shares, self._top, factor, problem.fairness, *rows)

        self._accept(*self._pass(settle))

    def feed(self) -> None:
        """The best mixture with a positive split, if somebody has next to nothing."""
        problem = self._problem

        def weigh_split(a: int, b: int, usage: Floats, _tally: Floats) -> None:
            arguments: tuple[Any, ...] = (self._top, problem.eligible, *self._entries, a, b, usage)
            passes.weigh_split(*arguments)

        factor = self._scale(self._pass(weigh_split)[0])
        tried = np.array([0.0, *MIXTURES, 1.0])
        tallies = np.zeros((self._bounds.size - 1, tried.size, 5))
        tallies[:, :, 2] = np.inf
        starts, touched, _ = self._entries

        def mixtures(chunk: int) -> None:
            a, b = self._bounds[chunk : chunk + 2]
            rows: tuple[Any, ...] = (problem.eligible, starts, touched, *self._values, a, b, tallies[chunk])
            passes.mixtures(self.result, tried, self._top, factor, problem.fairness, *rows)

        self._run(mixtures, len(tallies))
        if not tallies[:, 0, 4].any():
            return
        values = [self._value(tallies[:, place]) for place in range(tried.size)]
        best = int(np.argmax(values))
        if best == 0 or (np.isinf(problem.fairness) and values[best] <= values[0] * (1 + SAME_LEVEL)):
            return

        def mix(a: int, b: int, usage: Floats, tally: Floats) -> None:
            rows: tuple[Any, ...] = (problem.eligible, *self._entries, *self._values, a, b, usage, tally)
            passes.mix(self.result, tried[best], self._top, factor, problem.fairness, *rows)

        self._accept(*self._pass(mix))
        self._keep_within()

    def grow(self) -> None:
        """Every row takes more of what it has, then idle time in its best column, as far as there is room for all."""
        problem, top = self._problem, self._top
        granted = self._affordable(self.usage)

        def grow_own(a: int, b: int, usage: Floats, _tally: Floats) -> None:
            arguments: tuple[Any, ...] = (top, granted, *self._entries, a, b, usage)
            passes.grow_own(self.result, *arguments)

        self.usage, _ = self._pass(grow_own)
        room = problem.available - self.usage > self._margin * problem.available

        def weigh_idle(a: int, b: int, usage: Floats, _tally: Floats) -> None:
            arguments: tuple[Any, ...] = (top, room, *self._entries, problem.utility, a, b, usage)
            passes.weigh_idle(self.result, *arguments)

        factor = self._affordable(self._pass(weigh_idle)[0])

        def grant_idle(a: int, b: int, usage: Floats, tally: Floats) -> None:
            rows: tuple[Any, ...] = (*self._entries, *self._values, a, b, usage, tally)
            passes.grant_idle(self.result, top, room, factor, problem.fairness, *rows)

        self._accept(*self._pass(grant_idle))
        self._keep_within()

    def _keep_within(self) -> None:
        """Undo what rounding has added; close what rounding alone overuses (amounts near the smallest float)."""
        for scale in (self._scale, self._scale, self._closed):
            if (self.usage <= self._most).all():
                break
            self._settle(self.result, scale(self.usage))

    def _scale(self, usage: Floats) -> Floats:
        """(F R + L,) what brings `usage` to what is available; 1 where it is within that."""
        over = ~(usage <= self._most)
        factor = np.ones_like(usage)
        with np.errstate(invalid="ignore"):
            factor[over] = np.nan_to_num(self._target[over] / usage[over], nan=0.0)
        return factor

    def _closed(self, usage: Floats) -> Floats:
        return np.where(usage <= self._most, 1.0, 0.0)

    def _affordable(self, wanted: Floats) -> Floats:
        """(F R + L,) how many times `wanted` fits beside what is used; inf where nothing is wanted."""
        room = np.maximum(self._target - self.usage, 0.0)
        factor = np.divide(room, wanted, out=np.full_like(room, np.inf), where=~(wanted <= 0))
        known: Floats = np.where(np.isnan(factor), 0.0, factor)
        return known

    def _accept(self, usage: Floats, tallies: Floats) -> None:
        self.usage, self.objective = usage, self._value(tallies)
        self.starved = bool(tallies[:, 4].any())

    def _value(self, tallies: Floats) -> float:
        """The objective, from the tallies (C, 5) of all chunks."""
        if np.isinf(self._problem.fairness):
            return float(tallies[:, 2].min())
        if tallies[:, 3].any():
            return float(tallies[:, 3].sum())
        return math.fsum(tallies[:, :2].ravel())

    def _pass(self, kernel: Callable[[int, int, Floats, Floats], None]) -> tuple[Floats, Floats]:
        """Run `kernel(first row, one past the last, usage, tally)` for every chunk: what is used, and the tallies."""
        count = self._bounds.size - 1
        usage, tallies = np.zeros((count, self._problem.available.size)), np.zeros((count, 5))
        tallies[:, 2] = np.inf

        def task(chunk: int) -> None:
            kernel(int(self._bounds[chunk]), int(self._bounds[chunk + 1]), usage[chunk], tallies[chunk])

        self._run(task, count)
        total = np.zeros(self._problem.available.size)
        for part in usage:
            total += part
        return total, tallies
