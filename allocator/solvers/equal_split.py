"""The last resort, plain arithmetic that always answers: an equal split, improved by letting prices move a few times.

Everybody answers the prices in closed form; an overused capacity becomes dearer, an idle one cheaper. The certificate
keeps the best shares and the best prices seen, so stopping early costs accuracy, never feasibility.
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.certificate import dual_bound, objective, positive_split, repair
from allocator.formulation.fairness import slope
from allocator.formulation.problem import Floats, Problem
from allocator.formulation.response import demanded_utility, hull, job_costs
from allocator.solvers.candidate import Candidate
from allocator.solvers.solution import WarmStart

PASSES = 60
_FASTEST = 2.0
"""A price changes at most by this factor in a pass."""
_FLOOR = 1e-9
"""Smallest price, relative to its first value: a capacity that became scarce must be able to come back."""


def equal_split(problem: Problem, warm_start: WarmStart | None = None, passes: int = PASSES) -> Candidate:
    """The best of the positive split, the last response and the mean response after `passes`; needs rows."""
    split = repair(problem, positive_split(problem))
    first = _first_prices(problem, split, warm_start)
    prices = first
    best_prices, best_bound = np.zeros_like(first), _bound(problem, np.zeros_like(first))
    mean, last, weights = np.zeros_like(split), split, 0.0
    for step in range(passes):
        bound = _bound(problem, prices)
        if bound < best_bound:
            best_prices, best_bound = prices, bound
        last = _response(problem, prices)
        weights += step + 1.0  # later answers count more
        mean = mean + (step + 1.0) / weights * (last - mean)
        pressure = np.divide(
            problem.coupled_usage(last),
            problem.available,
            out=np.zeros_like(prices),
            where=problem.available > 0,
        )
        pace = _pace(problem.fairness) / (1 + step / 8)
        change = np.clip(np.maximum(pressure, 1e-6) ** pace, 1 / _FASTEST, _FASTEST)
        prices = np.maximum(prices * change, _FLOOR * first)
    tried = [split, *(repair(problem, shares) for shares in (last, mean) if passes)]
    shares = max(tried, key=lambda candidate: objective(problem, candidate))
    capacity = problem.capacity
    return Candidate(
        shares=shares,
        prices=best_prices[: capacity.size].reshape(capacity.shape),
        limit_prices=best_prices[capacity.size :],
        iterations=passes,
        outcome="passes used up",
    )


def _first_prices(problem: Problem, split: Floats, warm_start: WarmStart | None) -> Floats:
    """(F R + L,): what everybody's utility is worth at the split, spread evenly over whatever anybody uses; the warm
    start's prices where they are known and above 0.
    """
    utility = problem.utilities(split)
    if np.isinf(problem.fairness):
        worth = float((utility / problem.weight).min())
    else:
        worth = float((problem.weight * problem.count * slope(utility, problem.fairness) * utility).sum())
    used = np.bincount(problem.coupling.indices, minlength=problem.available.size) > 0
    each = worth / max(int(used.sum()), 1)
    prices = np.divide(each, problem.available, out=np.zeros_like(problem.available), where=used)
    if warm_start is not None and warm_start.prices.shape == problem.capacity.shape:
        known = warm_start.together(problem.limit_count)
        usable = np.isfinite(known) & (known > 0) & used
        prices[usable] = known[usable]
    return prices


def _split_prices(problem: Problem, prices: Floats) -> tuple[Floats, Floats]:
    size = problem.capacity.size
    return prices[:size].reshape(problem.capacity.shape), prices[size:]


def _bound(problem: Problem, prices: Floats) -> float:
    return dual_bound(problem, *_split_prices(problem, prices))


def _response(problem: Problem, prices: Floats) -> Floats:
    corners = hull(problem, job_costs(problem, *_split_prices(problem, prices)))
    return corners.shares_at(demanded_utility(problem, corners))


def _pace(alpha: float) -> float:
    """How strongly prices answer: demand moves as price^(-1/alpha), so the smaller alpha, the gentler."""
    return min(0.7, max(alpha, 0.1) * 0.7)
