"""Price discovery: prices from an interior point that sees the jobs only in sums, cold or from known prices.

See `interior.py` for the method. Many rows begin with the prices of a sample of them, known prices with themselves.
"""

from __future__ import annotations

import os

import numpy as np

from allocator.formulation.certificate import gap_unit
from allocator.formulation.problem import Floats, Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.interior import Interior, Run, workers
from allocator.solvers.price_layout import Layout
from allocator.solvers.solution import WarmStart

_SAMPLE = 4096
_SAMPLED_FROM = 8 * _SAMPLE
_COLD = 0.1
_WARM = 1e-3
_TIGHTEST = 1e-9


def price_discovery(
    problem: Problem, iterations: int, gap: float, warm_start: WarmStart | None = None, threads: int | None = None
) -> Candidate:
    layout = Layout.of(problem)
    wished = max(gap * gap_unit(problem) / layout.money, _TIGHTEST)
    count = threads if threads is not None else min(4, len(os.sched_getaffinity(0)))
    with workers(count if layout.size > 20000 else 1) as run:
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
        outcome=f"estimated gap {state.gap:.1e}",
    )


def _known(problem: Problem, layout: Layout, warm_start: WarmStart | None) -> Floats | None:
    if warm_start is None or warm_start.prices.shape != problem.capacity.shape:
        return None
    together = np.concatenate([warm_start.prices.ravel(), np.full(problem.limit_count, np.nan)])[layout.scarce]
    if not np.isfinite(together).any():
        return None
    return np.where(np.isfinite(together) & (together >= 0), together / layout.price_unit, 1e-6)


def _solved(layout: Layout, wished: float, iterations: int, run: Run, known: Floats | None) -> Interior:
    m = layout.scarce.size
    method = Interior(layout, run)
    state = method.state
    final = 0.25 * wished / (layout.gain.shape[0] + 1 + m)
    begin = _COLD
    if known is None and layout.size >= _SAMPLED_FROM:
        chosen = np.linspace(0, layout.size - 1, _SAMPLE).astype(np.int64)
        known = _solved(layout.sample(chosen), wished, iterations, run, None).state.prices
    if known is None:
        known = np.full(m, 1 / max(m, 1))
    else:
        begin = final
    done = method.follow(known, begin, final, wished, iterations)
    V = "VERBOSE" in os.environ
    if V: print('follow', state.iterations, 'mu %.1e gap %.2e over %.1e final %.1e wished %.1e'%(method._mu, state.gap, state.overuse,final,wished))
    while not state.close(wished) and state.iterations < iterations:
        if not method.step():
            break
        if V: print(state.iterations, 'mu %.1e gap %.2e over %.1e'%(method._mu, state.gap, state.overuse))
    return method
