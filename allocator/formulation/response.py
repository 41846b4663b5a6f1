"""What each job would buy at given prices: the lower convex hull of its configurations, walked in closed form.

At prices p a share of column k costs job i `cost_ik = sum_r d_ikr p_fr` (limits add theirs). The cheapest way to
reach utility u mixes at most two neighbouring corners of the lower convex hull of the points (0, 0) and
(utility_ik, cost_ik).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.fairness import phi, utility_at_slope
from allocator.formulation.problem import Floats, Integers, Problem


def job_costs(problem: Problem, prices: Floats, limit_prices: Floats) -> Floats:
    """(n, K) what one job of each row pays for a whole share of each column."""
    together = np.concatenate([prices.ravel(), limit_prices])
    return problem.coupled_costs(together) / problem.count[:, None]


@dataclass(frozen=True, slots=True)
class Hull:
    """Corners of every row's hull in ascending utility, K + 1 wide; where a row has fewer, its last one repeats."""

    utility: Floats
    """(n, K + 1), the first 0."""
    cost: Floats
    """(n, K + 1), the first 0."""
    column: Integers
    """(n, K + 1) which column is the corner; -1 is the origin."""
    slope: Floats
    """(n, K) cost per utility from each corner to the next, ascending; inf beyond the last."""

    def cost_at(self, utility: Floats) -> Floats:
        """(n,) least cost of reaching `utility` (n,), each within its hull: the largest of the segments' lines."""
        finite = np.isfinite(self.slope)
        rate = np.where(finite, self.slope, 0.0)
        lines = self.cost[:, :-1] + rate * (utility[:, None] - self.utility[:, :-1])
        least: Floats = np.where(finite, lines, 0.0).max(axis=1, initial=0.0)
        return least

    def shares_at(self, utility: Floats) -> Floats:
        """(n, K) the shares that reach `utility` (n,) at least cost."""
        rows = np.arange(utility.size)
        width = self.slope.shape[1]
        segment = np.clip((self.utility[:, 1:] < utility[:, None]).sum(axis=1), 0, max(width - 1, 0))
        low, high = self.utility[rows, segment], self.utility[rows, segment + 1]
        span = high - low
        part = np.clip(np.divide(utility - low, span, out=np.ones_like(span), where=span > 0), 0.0, 1.0)
        shares = np.zeros((utility.size, width + 1))
        shares[rows, self.column[rows, segment]] += 1 - part
        shares[rows, self.column[rows, segment + 1]] += part
        return shares[:, :-1]  # the last column collects what stays at the origin, index -1


def hull(problem: Problem, cost: Floats) -> Hull:
    """The lower convex hull of every row of `problem` at `cost` (n, K) >= 0."""
    return hull_of(problem.utility, cost)


def hull_of(utility: Floats, cost: Floats) -> Hull:
    """The lower convex hull of every row of `utility` (n, K) at `cost` (n, K), both >= 0: from corner to corner along
    the least slope. A column of utility 0 is never a corner.
    """
    n, width = utility.shape
    corner_utility = np.zeros((n, width + 1))
    corner_cost = np.zeros((n, width + 1))
    column = np.full((n, width + 1), -1, dtype=np.int64)
    slopes = np.full((n, width), np.inf)
    rows = np.arange(n)
    for step in range(width):
        rise = utility - corner_utility[:, step, None]
        ahead = rise > 0
        with np.errstate(over="ignore"):
            rate = np.divide(cost - corner_cost[:, step, None], rise, out=np.full_like(cost, np.inf), where=ahead)
        least = rate.min(axis=1, initial=np.inf)
        moves = np.isfinite(least)
        if not moves.any():
            corner_utility[:, step + 1 :] = corner_utility[:, step, None]
            corner_cost[:, step + 1 :] = corner_cost[:, step, None]
            column[:, step + 1 :] = column[:, step, None]
            break
        ties = ahead & (rate <= least[:, None])
        chosen = np.where(ties, utility, -1.0).argmax(axis=1)
        corner_utility[:, step + 1] = np.where(moves, utility[rows, chosen], corner_utility[:, step])
        corner_cost[:, step + 1] = np.where(moves, cost[rows, chosen], corner_cost[:, step])
        column[:, step + 1] = np.where(moves, chosen, column[:, step])
        slopes[:, step] = np.maximum(least, slopes[:, step - 1]) if step else least
    return Hull(corner_utility, corner_cost, column, slopes)


def demanded_utility(problem: Problem, shape: Hull) -> Floats:
    """(n,) the utility that maximises w phi(u) - cost(u), or for alpha = inf the common level w_i t that maximises
    t - total cost.
    """
    if problem.row_count == 0:
        return np.zeros(0)
    if np.isinf(problem.fairness):
        return problem.weight * demanded_level(problem, shape)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = problem.weight[:, None] / shape.slope  # a free segment is bought whole, one beyond the end never
    wanted = np.minimum(shape.utility[:, 1:], utility_at_slope(ratio, problem.fairness))
    bought: Floats = wanted.max(axis=1, initial=0.0)
    return bought


def demanded_level(problem: Problem, shape: Hull) -> float:
    """For alpha = inf: the t >= 0 that maximises t - sum_i c_i cost_i(w_i t), concave and piecewise linear in t."""
    most = float((shape.utility[:, -1] / problem.weight).min())
    scale = (problem.weight * problem.count)[:, None]
    finite = np.isfinite(shape.slope)
    starts = (shape.utility[:, :-1] / problem.weight[:, None])[finite]
    rate = np.where(finite, shape.slope, 0.0)
    steps = (scale * np.diff(rate, axis=1, prepend=0.0))[finite]
    order = np.argsort(starts, kind="stable")
    total = np.cumsum(steps[order])
    too_dear = np.flatnonzero(total > 1.0)
    return most if too_dear.size == 0 else min(most, float(starts[order][too_dear[0]]))


def value_and_spending(problem: Problem, prices: Floats, limit_prices: Floats) -> tuple[float, float, float]:
    """Sums over rows of what they reach, of its size, and of what they pay for it."""
    if np.isfinite(problem.fairness) and not prices.any() and not limit_prices.any():  # everybody has the best there is
        value = problem.weight * problem.count * phi(problem.utility.max(axis=1, initial=0.0), problem.fairness)
        return float(value.sum()), float(np.abs(value).sum()), 0.0
    shape_at_cost = hull(problem, job_costs(problem, prices, limit_prices))
    utility = demanded_utility(problem, shape_at_cost)
    if np.isinf(problem.fairness):
        value = np.array([demanded_level(problem, shape_at_cost)])
    else:
        value = problem.weight * problem.count * phi(utility, problem.fairness)
    spending = problem.count * shape_at_cost.cost_at(utility)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(value.sum()), float(np.abs(value).sum()), float(spending.sum())
