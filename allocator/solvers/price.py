"""Price discovery: prices from an interior point that sees the jobs only in sums, from a sample or from known prices.

The method is in `interior.py`, its passes over the rows in `price_centre.py` and `price_newton.py`, the arrays that
they run on in `price_layout.py`. Importing this module loads the compiled kernels, which takes about half a second;
the chain imports it only for problems that are large enough.
"""

from __future__ import annotations

import os

import numpy as np

from allocator.formulation.certificate import gap_unit
from allocator.formulation.problem import Floats, Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.interior import COLD, Interior, Run, workers
from allocator.solvers.price_layout import Layout
from allocator.solvers.solution import WarmStart

_SAMPLE = 4096
"""Rows, evenly spaced, whose prices a cold solve of many rows begins with."""
_SAMPLED_FROM = 8 * _SAMPLE
_THREADED_FROM = 4 * _SAMPLE
_MOST_THREADS = 4
_TIGHTEST = 1e-9
"""The smallest gap that is worth asking floats for."""
_UNKNOWN = 0.01
"""First price of a row that a warm start does not know, as a part of an equal division of all money."""


_MOST_STUCK = 3
"""How often an iteration that leads nowhere is begun again from a larger barrier."""
_LEAST_BILL, _LARGEST_BILL = 1e-3, 1e3
"""Prices by which everything together costs so little or so much, relative to all money, are of another problem."""


def price_discovery(
    problem: Problem,
    iterations: int,
    gap: float,
    warm_start: WarmStart | None = None,
    threads: int | None = None,
) -> Candidate:
    """Shares and prices whose certified gap should be at most `gap`, or what `iterations` passes have reached.

    Needs rows and a finite alpha; ArithmeticError when the powers of utilities overflow. `threads` changes no bit; by
    default as many as there are processors, at most four, and one for few rows. A cold solve of many rows also makes
    up to `iterations` passes over a sample of 4096, which are not counted.
    """
    with np.errstate(all="ignore"):
        layout = Layout.of(problem)
        if not (np.isfinite(layout.money) and np.isfinite(layout.price_unit).all() and (layout.omega > 0).all()):
            raise ArithmeticError("powers of the utilities overflow: use alpha = inf")
        wished = max(gap * gap_unit(problem) / layout.money, _TIGHTEST)
        if threads is None:
            threads = min(_MOST_THREADS, len(os.sched_getaffinity(0))) if layout.size >= _THREADED_FROM else 1
        with workers(threads) as run:
            method = _solved(layout, wished, iterations, run, _known(problem, layout, warm_start))
    state = method.state
    prices = np.zeros(problem.available.size)
    prices[layout.scarce] = state.prices * layout.price_unit
    size = problem.capacity.size
    return Candidate(
        shares=layout.shares(state.x, problem.throughput.shape),
        prices=prices[:size].reshape(problem.capacity.shape),
        limit_prices=prices[size:],
        iterations=state.iterations,
        outcome=f"{state.iterations} passes",
    )


def _known(problem: Problem, layout: Layout, warm_start: WarmStart | None) -> Floats | None:
    """(m,) the warm start's prices in the layout's units; None where it knows nothing."""
    if warm_start is None or warm_start.prices.shape != problem.capacity.shape:
        return None
    together = np.concatenate([warm_start.prices.ravel(), np.full(problem.limit_count, np.nan)])[layout.scarce]
    usable = np.isfinite(together) & (together >= 0)
    prices = np.where(usable, together / layout.price_unit, 0.0)
    if not _LEAST_BILL < prices.sum() < _LARGEST_BILL:
        return None
    return np.where(usable, prices, _UNKNOWN / together.size)


def _solved(layout: Layout, wished: float, iterations: int, run: Run, known: Floats | None) -> Interior:
    method, m = Interior(layout, run), layout.scarce.size
    final = 0.25 * wished / (layout.gain.shape[0] + 1 + m)  # the gap on the central path is mu x the products
    if known is None and layout.size >= _SAMPLED_FROM:
        chosen = np.linspace(0, layout.size - 1, _SAMPLE).astype(np.int64)
        known = _solved(layout.sample(chosen), wished, iterations, run, None).state.prices
    if known is None:
        finished = method.follow(np.full(m, 1 / max(m, 1)), COLD, final, wished, iterations)
    else:
        finished = method.follow(known, min(final, COLD), final, wished, iterations)
    stuck = 0
    while not finished and method.state.iterations < iterations and not method.state.close(wished):
        if not method.step():
            if stuck == _MOST_STUCK or not np.isfinite(method.state.gap):
                break
            stuck += 1
            method.recentre()
    return method
