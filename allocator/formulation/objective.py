"""The value of shares, as the problem states it."""

from __future__ import annotations

import numpy as np

from allocator.formulation.fairness import phi
from allocator.formulation.problem import Floats, Problem


def objective(problem: Problem, shares: Floats) -> float:
    """sum_i c_i w_i phi_alpha(u_i) of `shares` (n, K); for alpha = inf, min_i u_i / w_i. 0 when there are no rows.

    -inf when alpha >= 1 and some utility is 0.
    """
    if problem.row_count == 0:
        return 0.0
    utility = problem.utilities(shares)
    if np.isinf(problem.fairness):
        return float((utility / problem.weight).min())
    return float((problem.weight * problem.count * phi(utility, problem.fairness)).sum())
