"""What the integer placement loses against the fluid optimum."""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Floats, Problem


def rounding_loss(problem: Problem, fluid_shares: Floats, placed_shares: Floats) -> float:
    """The part of the optimum's value, at its own marginal utilities, that the placement does not reach; 0 is none.

        1 - sum_i c_i w_i phi'(u*_i) u^_i / sum_i c_i w_i phi'(u*_i) u*_i,   at least 0

    u* from `fluid_shares`, u^ from `placed_shares`, both (n, K), the latter averaged over the jobs of a row: 0.5 where
    one of two runs. At alpha = inf, where nobody but the worst off has a marginal utility, every job counts alike.
    0 when there is nothing to lose.
    """
    fluid, placed = problem.utilities(fluid_shares), problem.utilities(placed_shares)
    served = fluid > 0
    if not served.any():
        return 0.0
    worth = problem.count.astype(np.float64)
    if np.isfinite(problem.fairness):
        logarithm = np.log(problem.weight) - problem.fairness * np.log(np.where(served, fluid, 1.0))
        worth = worth * np.exp(logarithm - logarithm[served].max())  # only ratios matter, and powers overflow
    worth = np.where(served, worth, 0.0)
    return max(0.0, float(1 - (worth @ placed) / (worth @ fluid)))
