"""The same problem stated a second time, in cvxpy: another formulation of the cones, and HiGHS where it is an LP."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.formulation import Problem

cp: Any = importlib.import_module("cvxpy")  # its types are incomplete


def optimum(problem: Problem) -> float:
    """The optimal value of `problem`, from its arrays alone."""
    alpha = problem.fairness
    n, width = problem.throughput.shape
    shares = cp.Variable((n, width), nonneg=True)
    rate = np.where(problem.eligible, problem.throughput, 0.0) / problem.reference[:, None]
    utility = cp.sum(cp.multiply(rate, shares), axis=1)
    constraints = [cp.sum(shares, axis=1) <= 1, cp.multiply(~problem.eligible, shares) == 0]
    everybody = np.ones(n, dtype=bool)
    constraints += [
        _use(problem, shares, f, r, everybody) <= problem.capacity[f, r]
        for f in range(problem.flavor_count)
        for r in range(problem.resource_count)
    ]
    for position in range(problem.limit_count):
        members = np.zeros(n, dtype=bool)
        first, last = problem.limit_starts[position], problem.limit_starts[position + 1]
        members[problem.limit_members[first:last]] = True
        flavor, resource = int(problem.limit_flavor[position]), int(problem.limit_resource[position])
        constraints.append(_use(problem, shares, flavor, resource, members) <= problem.limit_amount[position])
    earned = problem.weight * problem.count
    if np.isinf(alpha):
        value = cp.min(cp.multiply(1 / problem.weight, utility))
    elif alpha == 0:
        value = earned @ utility
    elif alpha == 1:
        value = earned @ cp.log(utility)
    else:
        value = earned @ cp.power(utility, 1 - alpha) / (1 - alpha)
    program = cp.Problem(cp.Maximize(value), constraints)
    if alpha in (0.0, np.inf):
        program.solve(solver=cp.HIGHS)
    else:
        program.solve(solver=cp.CLARABEL)
    assert program.status == cp.OPTIMAL, program.status
    return float(program.value)


def _use(problem: Problem, shares: Any, flavor: int, resource: int, rows: NDArray[np.bool_]) -> Any:
    counted = (problem.flavor == flavor) & problem.eligible & rows[:, None]
    per_share = np.where(counted, problem.demand[:, :, resource], 0.0) * problem.count[:, None]
    return cp.sum(cp.multiply(per_share, shares))
