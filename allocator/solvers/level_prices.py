"""Lexicographic weighted max-min of many rows: level after level by prices, as price discovery finds them.

`level_path.py` finds the highest common level of the rows that still rise, with prices. Rows for which more would cost
something are settled where they are; they may still move between the columns that cost them least, the others go on
rising over columns without a price. Each level uses up a capacity or limit that the levels before did not. What
`max_min.py` does exactly, one linear program per level, this does to the accuracy asked for, in a few passes over the
rows per level.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.formulation.chunks import Run, usual_threads, workers
from allocator.formulation.problem import Floats, Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.level_path import WINDOWS, Aim, Evaluation, LevelPath
from allocator.solvers.price_layout import Layout
from allocator.solvers.solution import WarmStart

_SAMPLE = 4096
"""Rows, drawn as `Layout.sample` does, whose level and prices a solve of many rows begins with."""
_SAMPLED_FROM = 2 * _SAMPLE
_SAMPLE_PASSES = 200
_WIDEST, _FIRST_REACH = 0.3, 0.5
_WARM_WIDTH, _WARM_REACH = 0.03, 0.3
_TIGHTEST = 1e-8
_SAMPLE_GAP = 1e-4
_SETTLING = 3e-4
"""Width of the smoothing at which it is decided who is settled."""
_MOST_PASSES = 150
"""For one level after the first."""
_SETTLED_BY, _CLEAR = 5.0, 1e-3
"""A level found with more than this many times the width, or with a larger gap, settles nobody."""
_TELLING = 10.0
"""Prices, in widths of the smoothing and what rows have to pay with, from which on they are believed."""


def max_min_by_prices(
    problem: Problem,
    iterations: int,
    gap: float,
    warm_start: WarmStart | None = None,
    threads: int | None = None,
) -> Candidate:
    """Shares of all levels that `iterations` passes reach, each to about `gap` relatively, and prices of the first.

    Needs rows. `threads` changes no bit; by default as `formulation.chunks.usual_threads`. A solve of many rows
    also makes passes over a sample of 4,096, which `iterations` leaves out.
    """
    with np.errstate(all="ignore"):
        wished = max(gap, _TIGHTEST)
        with workers(usual_threads(problem.row_count) if threads is None else threads) as run:
            layout = Layout.of(replace(problem, fairness=1.0), run)
            climb = _Climb(problem, layout, run, wished)
            outcome, complete = climb.through(iterations, warm_start)
            shares = climb.shares()
    prices = climb.first_prices()
    size = problem.capacity.size
    return Candidate(
        shares=shares,
        prices=prices[:size].reshape(problem.capacity.shape),
        limit_prices=prices[size:],
        iterations=climb.path.passes,
        outcome=outcome,
        complete=complete,
    )


class _Climb:
    """How far the levels have come."""

    def __init__(self, problem: Problem, layout: Layout, run: Run, wished: float) -> None:
        self.problem, self.layout, self.wished = problem, layout, wished
        self._run = run
        self.aim = Aim(wished, _SETTLING)
        self.path = LevelPath(problem, layout, run)
        self.first: Evaluation | None = None
        self.found: Evaluation | None = None
        self._shares = np.zeros(problem.throughput.shape)

    def through(self, iterations: int, warm_start: WarmStart | None) -> tuple[str, bool]:
        """Climb until all are settled, a level is not found, or `iterations` passes are made; in words; if all are."""
        path, m, n = self.path, self.layout.scarce.size, self.layout.size
        left = n
        ends = self.all_at_their_ends() if m == 0 else None
        now = ends or path.follow(*self.begin(warm_start), self.aim, iterations)
        self.first = self.found = now
        for levels in range(1, 2 * m + 4):
            clear = now.width <= _SETTLED_BY * _SETTLING and now.gap <= _CLEAR
            if now.rising and not clear:
                self.found = self.safest(now)
                break
            left -= path.settle(now, self.believed(now), self._shares)
            self.found = now
            if left == 0:
                return f"{path.passes} passes, all {n} rows settled in {levels} levels", True
            if path.passes >= iterations:
                break
            now = self.all_at_their_ends() or path.follow(
                *self.onward(), self.aim, min(iterations, path.passes + _MOST_PASSES)
            )
        return f"{path.passes} passes: {n - left} of {n} rows settled", False

    def all_at_their_ends(self) -> Evaluation | None:
        """Where nothing stops anybody any more."""
        at = self.path.evaluate(np.zeros(self.path.room.size), 2 * self.path.top, _SETTLING, fresh=True)
        return at if at.over <= self.aim.gap else None

    def safest(self, now: Evaluation) -> Evaluation:
        """The answer for rows that are not settled: `now`, a level that was not found, or the level before."""
        if self.found is None or self.found is now:
            return now
        before = self.path.evaluate(self.found.prices, self.path.bottom, self.found.width, fresh=True)
        return before if before.over < now.over or now.over > self.aim.gap else now

    def believed(self, now: Evaluation) -> Floats:
        """(m,) the prices, 0 where smoothing alone may have made them."""
        telling = now.prices > _TELLING * now.width * self.path.price_scale(now)
        largest = now.prices >= 0.5 * now.prices.max(initial=0.0)
        return np.where(telling if telling.any() else largest, now.prices, 0.0)

    def begin(self, warm_start: WarmStart | None) -> tuple[Floats, float, float, float]:
        """Prices, level, width and reach to begin with."""
        prices, width, reach = self.known(warm_start), _WARM_WIDTH, _WARM_REACH
        if prices is None:
            prices, width, reach = np.full(self.path.room.size, 1 / max(self.path.room.size, 1)), _WIDEST, _FIRST_REACH
        if self.layout.size < _SAMPLED_FROM:
            return *self.path.afford(prices, 1.0), width, reach
        sample = LevelPath(self.problem, self.layout.sample(_SAMPLE), self._run)
        roughly = Aim(max(self.wished, _SAMPLE_GAP), 1.0)
        guess = sample.follow(*sample.afford(prices, 1.0), width, reach, roughly, _SAMPLE_PASSES)
        return guess.prices, guess.level, guess.width, WINDOWS * guess.width

    def known(self, warm_start: WarmStart | None) -> Floats | None:
        """(m,) the warm start's prices, of sum 1; None where it knows nothing or nothing was scarce."""
        if warm_start is None or warm_start.prices.shape != self.problem.capacity.shape:
            return None
        scarce = self.layout.scarce
        prices = warm_start.together(self.problem.limit_count)[scarce] * self.problem.available[scarce]
        prices = np.where(np.isfinite(prices) & (prices >= 0), prices, 0.0)
        total = float(prices.sum())
        return prices / total if 0 < total < np.inf else None

    def onward(self) -> tuple[Floats, float, float, float]:
        """The same for the next level."""
        prices = np.where(self.path.room > 0, 1.0, 0.0)
        prices, level = self.path.afford(prices / max(prices.sum(), 1.0), self.path.bottom)
        return prices, max(level, self.path.bottom), _WIDEST, _FIRST_REACH

    def shares(self) -> Floats:
        """(n, K) of all rows, scaled by what is overused."""
        assert self.found is not None
        self.path.write(self.found, self._shares)
        return self._shares

    def first_prices(self) -> Floats:
        """(all coupling rows,) per unit of level; 0 where the first level is some row's own end."""
        prices = np.zeros(self.problem.available.size)
        assert self.first is not None
        own = float((self.problem.utility.max(axis=1) / self.problem.weight).min())
        if self.first.level < own * (1 - 1e-9) and self.first.exact_rate > 0:
            scarce = self.layout.scarce
            prices[scarce] = self.first.prices / self.problem.available[scarce] / self.first.exact_rate
        return prices
