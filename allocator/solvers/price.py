"""Price discovery: prices from Newton's method on a smoothed dual function, begun with a sample or with known prices.

The method is in `price_path.py`, its passes over the rows in `price_sums.py` and `price_response.py`, the arrays that
they run on in `price_layout.py`. Importing this module loads the compiled kernels, which takes about half a second;
the chain imports it only for problems that are large enough.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.formulation.chunks import Run, usual_threads, workers
from allocator.formulation.problem import Floats, Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.local_layout import LocalLayout
from allocator.solvers.local_limits import few_share
from allocator.solvers.local_pass import LocalPasses
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_pass import Evaluation, Passes
from allocator.solvers.price_path import FIRST_REACH, WIDEST, WINDOWS, Aim, follow, narrow_enough
from allocator.solvers.solution import WarmStart

_SAMPLE = 4096
"""Least rows of the sample whose prices a cold solve of many rows begins with."""
_THINNED = 16
"""A sample is larger if it would be a smaller part than this of all rows; it then begins with a sample of its own."""
_SAMPLED_FROM = 2 * _SAMPLE
_TIGHTEST = 1e-9
"""The smallest gap that is worth asking floats for."""
_SAMPLE_GAP = 1e-5
"""What is worth asking of a sample, whose prices are only about as good as 1 / sqrt(rows)."""
_DEARER = 4
"""How many rows one row with local limits is worth, when threads are counted."""
_UNKNOWN = 0.01
"""First price of a row that a warm start does not know, as a part of an equal division of all money."""
_LEAST_BILL, _LARGEST_BILL = 1e-3, 1e3
"""Prices by which everything together costs so little or so much, relative to all money, are of another problem."""
_WARM_WIDTH = 0.5
"""First window of a warm start, in square roots of the gap asked for."""
_FAR, _WIDER = 200.0, 10.0
"""With local limits: how many times as large as the gap asked for is too large for that window, and how much wider the
first one then is.
"""


def price_discovery(
    problem: Problem,
    iterations: int,
    gap: float,
    warm_start: WarmStart | None = None,
    threads: int | None = None,
) -> Candidate:
    """Shares and prices whose certified gap should be at most `gap`, or what `iterations` passes have reached.

    Needs rows and a finite alpha; ArithmeticError when the powers of utilities overflow. `threads` changes no bit; by
    default as many as there are processors, at most four, and one for few rows. A solve of 8,192 rows and more also
    makes passes over a sample of max(4096, rows / 16): up to `iterations`, which these do not count in, to as
    good a gap as asked for but 1e-5 at least. A sample of so many rows begins with one of its own. With limits that few
    rows share there is no sample: their prices are found inside each pass (`local_sums.py`).
    """
    with np.errstate(all="ignore"):
        few_or_many = _threads(problem) if threads is None else threads
        with workers(few_or_many) as run:
            return _discovered(problem, iterations, max(gap, _TIGHTEST), warm_start, run)


def _threads(problem: Problem) -> int:
    return usual_threads(problem.row_count * (_DEARER if few_share(problem) else 1))


def _discovered(problem: Problem, iterations: int, gap: float, warm_start: WarmStart | None, run: Run) -> Candidate:
    local = LocalLayout.of(problem, run)
    layout = Layout.of(problem, run) if local is None else local.rows
    if not (np.isfinite(layout.money) and np.isfinite(layout.price_unit).all() and (layout.omega > 0).all()):
        raise ArithmeticError("powers of the utilities overflow: use alpha = inf")
    aim = Aim(gap, problem.fairness, problem.total_weight / layout.money)
    shares = np.zeros(problem.throughput.shape)
    together = None if warm_start is None else _known(problem, warm_start)
    budget = max(iterations - 1, 1)
    if local is None:
        passes = Passes(layout, run, shares)
        found = _followed(passes, run, aim, budget, _usable(layout, together))
    else:
        near = _near(local, together)
        passes = LocalPasses(local, run, near, gap, shares)
        found = _followed_locally(passes, aim, budget, _usable(layout, together, float(near.sum())))
    answered = passes.answer(found)
    prices = np.zeros(problem.available.size)
    prices[layout.scarce] = answered.prices * layout.price_unit
    if local is not None:
        prices[local.local] = answered.near * local.local_unit
    size = problem.capacity.size
    return Candidate(
        shares=shares,
        prices=prices[:size].reshape(problem.capacity.shape),
        limit_prices=prices[size:],
        iterations=passes.count,
        outcome=f"{passes.count} passes",
    )


def _known(problem: Problem, warm_start: WarmStart) -> Floats | None:
    """(F R + L,) the warm start's prices; None where they are of another problem."""
    return warm_start.together(problem.limit_count) if warm_start.prices.shape == problem.capacity.shape else None


def _usable(layout: Layout, together: Floats | None, elsewhere: float = 0.0) -> Floats | None:
    """(m,) known prices in the layout's units; None where nothing is known. `elsewhere` is paid for local limits."""
    if together is None:
        return None
    usable = np.isfinite(together[layout.scarce]) & (together[layout.scarce] >= 0)
    prices = np.where(usable, together[layout.scarce] / layout.price_unit, 0.0)
    if not _LEAST_BILL < prices.sum() + elsewhere < _LARGEST_BILL:
        return None
    return np.where(usable, prices, _UNKNOWN / together.size)


def _near(local: LocalLayout, together: Floats | None) -> Floats:
    """(L,) known prices of local limits, at most all the money of those who share them; 0 where nothing is known."""
    if together is None:
        return np.zeros(local.local.size)
    known = together[local.local] / local.local_unit
    return np.where(np.isfinite(known) & (known >= 0), np.minimum(known, local.mass), 0.0)


def _followed_locally(passes: LocalPasses, aim: Aim, iterations: int, known: Floats | None) -> Evaluation:
    """Without samples: what a few rows share does not stand for what others do."""
    if known is None:
        return follow(passes, passes.evaluate(passes.typical, WIDEST), FIRST_REACH, aim, iterations)
    begun = narrow_enough(passes, known, _WARM_WIDTH * aim.gap**0.5, aim)
    if begun.gap > _FAR * aim.at(begun):
        begun = passes.evaluate(known, min(_WIDER * begun.width, WIDEST))
    return follow(passes, begun, WINDOWS * begun.width, aim, iterations)


def _followed(passes: Passes, run: Run, aim: Aim, iterations: int, known: Floats | None) -> Evaluation:
    layout = passes.layout
    large = layout.size >= _SAMPLED_FROM
    if known is None and not large:
        return follow(passes, passes.evaluate(passes.typical, WIDEST), FIRST_REACH, aim, iterations)
    sample = Passes(layout.sample(max(_SAMPLE, layout.size // _THINNED)), run) if large else passes
    if known is None:
        guess = _followed(sample, run, replace(aim, gap=max(aim.gap, _SAMPLE_GAP)), iterations, None)
        prices = guess.prices
    else:
        prices, guess = known, narrow_enough(sample, known, _WARM_WIDTH * aim.gap**0.5, aim)
    begun = passes.evaluate(prices, guess.width) if large else guess
    return follow(passes, begun, WINDOWS * begun.width, aim, iterations)
