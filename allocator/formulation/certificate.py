"""How good an answer is, without trusting whoever made it.

Any shares, repaired, give a lower bound on the optimum; any prices >= 0 give an upper bound, because the dual function
separates by job and each job's part has a closed form:

    D(p) = p . available + sum_i c_i max over feasible x_i of [ w_i phi(u_i(x_i)) - cost_i(p) . x_i ]

For alpha = inf: D(p) = p . available + max over t of [ t - sum_i c_i cost_i(w_i t) ]. (Lagrangian duality; Boyd and
Vandenberghe, Convex Optimization, chapter 5.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.formulation.fairness import phi
from allocator.formulation.objective import objective
from allocator.formulation.problem import Floats, Problem
from allocator.formulation.repair import positive_split, repair
from allocator.formulation.response import demanded_level, demanded_utility, hull, job_costs

_ROUNDING = 8 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """objective <= optimum <= bound. `shares` (n, K) are strictly feasible, `prices` (F, R) and `limit_prices` (L,) are
    >= 0 in objective units per unit of capacity. `gap` is (bound - objective) / `gap_unit`.
    """

    shares: Floats
    prices: Floats
    limit_prices: Floats
    objective: float
    bound: float
    gap: float

    def within(self, problem: Problem, gap: float) -> bool:
        """Whether this is as close to the optimum as was asked.

        What a relative change of everybody's utility is worth is the weighted mean of u^(1-alpha): 1 at alpha = 1, of
        any size above. Where it is more than 1, the gap asked for is read as a part of it.
        """
        alpha = problem.fairness
        if np.isfinite(alpha) and np.isfinite(self.objective):
            gap *= max(1.0, abs((1 - alpha) * self.objective) / gap_unit(problem))
        return self.gap <= gap


def gap_unit(problem: Problem) -> float:
    """What gaps are relative to: the total weight. For alpha = inf, where the objective is a level u / w, its inverse
    per job: a gap is then in normalised throughput of a job of average weight.
    """
    if problem.row_count == 0:
        return 1.0
    if np.isinf(problem.fairness):
        return float(problem.count.sum()) / problem.total_weight
    return problem.total_weight


def dual_bound(problem: Problem, prices: Floats, limit_prices: Floats | None = None) -> float:
    """Upper bound on the optimum from any `prices` (F, R) and `limit_prices` (L,), all finite and >= 0 (ValueError
    otherwise). Rounded up by more than its own summation can err; inf where the numbers overflow.
    """
    duties = np.zeros(problem.limit_count) if limit_prices is None else limit_prices
    for name, values, shape in (
        ("prices", prices, problem.capacity.shape),
        ("limit_prices", duties, problem.limit_amount.shape),
    ):
        if values.shape != shape:
            raise ValueError(f"{name}: must have shape {shape}, got {values.shape}")
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name}: must be finite numbers, at least 0")
    if problem.row_count == 0:
        return 0.0
    together = np.concatenate([prices.ravel(), duties])
    shape_at_cost = hull(problem, job_costs(problem, prices, duties))
    utility = demanded_utility(problem, shape_at_cost)
    income = together * problem.available
    spending = problem.count * shape_at_cost.cost_at(utility)
    if np.isinf(problem.fairness):
        value = np.array([demanded_level(problem, shape_at_cost)])
    else:
        value = problem.weight * problem.count * phi(utility, problem.fairness)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = income.sum() + value.sum() - spending.sum()
        bound += _ROUNDING * (income.sum() + np.abs(value).sum() + spending.sum())
    return float(bound) if np.isfinite(bound) else float("inf")


def certify(problem: Problem, shares: Floats, prices: Floats, limit_prices: Floats | None = None) -> Certificate:
    """Repair `shares`, clip `prices` to >= 0 (what is not a number becomes 0), and say how far apart the bounds are."""
    clean = _non_negative(prices)
    clean_limits = np.zeros(problem.limit_count) if limit_prices is None else _non_negative(limit_prices)
    feasible = repair(problem, shares)
    value = objective(problem, feasible)
    bound = max(value, dual_bound(problem, clean, clean_limits))
    gap = (bound - value) / gap_unit(problem) if np.isfinite(value) and np.isfinite(bound) else float("inf")
    return Certificate(feasible, clean, clean_limits, value, bound, gap)


def _non_negative(values: Floats) -> Floats:
    return np.where(np.isfinite(values), np.maximum(values, 0.0), 0.0)


__all__ = [
    "Certificate",
    "certify",
    "dual_bound",
    "gap_unit",
    "objective",
    "positive_split",
    "repair",
]
