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

from allocator.formulation import response
from allocator.formulation.kernels import compiled
from allocator.formulation.objective import objective
from allocator.formulation.problem import Floats, Problem
from allocator.formulation.repair import feasible, positive_split, repair


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

    def within(self, gap: float) -> bool:
        """Whether this is as close to the optimum as was asked."""
        return self.gap <= gap


def gap_unit(problem: Problem, value: float = 0.0) -> float:
    """What gaps are relative to: what everybody's utility is worth, to first order, at an objective of `value`. So a
    gap of 1e-4 is as much as if everybody had a part of 1e-4 less than in the optimum.

    That is the sum of w_i c_i u_i^(1-alpha), which is |1 - alpha| |value|: the total weight at alpha = 1, of any size
    above. Near nothing a utility is worth more than any other then, and a few rows that can reach hardly anything make
    up most of the sum: so much of a gap as is beyond rounding is about them. Below alpha = 1 it is the total weight at
    least, for the sake of an objective near 0. For alpha = inf, where the objective is a level u / w, it is the inverse
    of the weight per job: a gap is then in normalised throughput of a job of average weight.
    """
    if problem.row_count == 0:
        return 1.0
    if np.isinf(problem.fairness):
        return float(problem.count.sum(dtype=np.float64)) / problem.total_weight
    worth = abs((1 - problem.fairness) * value)
    return max(problem.total_weight, worth) if np.isfinite(worth) else problem.total_weight


def relative_gap(problem: Problem, value: float, bound: float) -> float:
    """(bound - value) / `gap_unit`; inf where one of them is not finite."""
    if not (np.isfinite(value) and np.isfinite(bound)):
        return float("inf")
    return float((bound - value) / gap_unit(problem, value))


def dual_bound(
    problem: Problem, prices: Floats, limit_prices: Floats | None = None, *, threads: int | None = None
) -> float:
    """Upper bound on the optimum from any `prices` (F, R) and `limit_prices` (L,), all finite and >= 0 (ValueError
    otherwise). Rounded up by more than its own summation can err; inf where the numbers overflow. `threads` as in
    `certify`.
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
    income = float((together * problem.available).sum())
    value, size, spending = _value_and_spending(problem, prices, duties, threads)
    with np.errstate(over="ignore", invalid="ignore"):
        bound = income + value - spending
        bound += _rounding(problem) * (income + size + spending)
    return float(bound) if np.isfinite(bound) else float("inf")


def _value_and_spending(
    problem: Problem, prices: Floats, limit_prices: Floats, threads: int | None
) -> tuple[float, float, float]:
    if compiled(problem.row_count) and np.isfinite(problem.fairness):
        from allocator.formulation import fused_bound  # noqa: PLC0415 - loads numba

        together = np.concatenate([prices.ravel(), limit_prices])
        sums = fused_bound.value_and_spending(problem, together, threads)
        if np.isfinite(sums).all():
            return sums
    return response.value_and_spending(problem, prices, limit_prices)


def _rounding(problem: Problem) -> float:
    """More than any of the sums of a bound errs by, relatively: a column's cost has at most R + L terms, the sums over
    rows are pairwise or exact, and what a row reaches costs a handful of roundings.
    """
    return (16 + problem.resource_count + problem.limit_count) * float(np.finfo(np.float64).eps)


def certify(
    problem: Problem,
    shares: Floats,
    prices: Floats,
    limit_prices: Floats | None = None,
    *,
    enough: float = 0.0,
    overwrite: bool = False,
    threads: int | None = None,
) -> Certificate:
    """Repair `shares`, clip `prices` to >= 0 (what is not a number becomes 0), and say how far apart the bounds are.

    Shares within a gap of `enough` are left as they are; others grow into what is
    left over. For alpha = inf all do, for the sake of the levels above the lowest. `overwrite` allows to repair many
    rows' `shares` in place. `threads` changes no bit; by default one for few rows, up to four for many.
    """
    clean = _non_negative(prices)
    clean_limits = np.zeros(problem.limit_count) if limit_prices is None else _non_negative(limit_prices)
    bound = dual_bound(problem, clean, clean_limits, threads=threads)

    def good_enough(value: float) -> bool:
        return enough > 0 and np.isfinite(problem.fairness) and relative_gap(problem, value, bound) <= enough

    feasible_shares, value = feasible(problem, shares, good_enough, overwrite=overwrite, threads=threads)
    bound = max(value, bound)
    return Certificate(feasible_shares, clean, clean_limits, value, bound, relative_gap(problem, value, bound))


def _non_negative(values: Floats) -> Floats:
    return np.where(np.isfinite(values), np.maximum(values, 0.0), 0.0)


__all__ = [
    "Certificate",
    "certify",
    "dual_bound",
    "gap_unit",
    "objective",
    "positive_split",
    "relative_gap",
    "repair",
]
