"""What else can solve these problems, through the same door: the peer, its prices, then our certificate.

Clarabel's tolerance is the gap that was asked for, or a hundredth of it where the first answer is not certified within
the gap; only the run with the tolerance that is chosen counts, and it may still miss the gap. For max-min it
finds the lowest level only. HiGHS, for alpha = 0 alone, has its own tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from allocator.formulation.certificate import Certificate, certify
from allocator.formulation.problem import Problem
from allocator.formulation.repair import positive_split, repair
from allocator.solvers import conic
from allocator.solvers.candidate import Candidate

_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Clarabel:
    """Clarabel with one tolerance for everything."""

    tolerance: float

    def solve(self, problem: Problem) -> Certificate:
        if np.isinf(problem.fairness):  # two programs, of which only the first is a level
            return _certified(problem, conic.conic(problem, _ITERATIONS))
        scaled = conic._Scaled.of(problem, problem.utilities(repair(problem, positive_split(problem))))
        found = conic.Program.finite(scaled).run(_ITERATIONS, 0.99, self.tolerance)
        return _certified(problem, scaled.candidate(found, scaled.objective_unit, found.iterations))

    @classmethod
    def for_gap(cls, problem: Problem, gap: float) -> Clarabel:
        """The loosest that gives an answer certified within `gap`, or the tightest that is tried."""
        loose = cls(gap)
        return loose if loose.solve(problem).within(gap) else cls(gap / 100)


def highs(problem: Problem) -> Certificate:
    """alpha = 0 as a linear program over the eligible shares."""
    columns = np.flatnonzero(problem.eligible.ravel())
    owner = columns // problem.column_count
    time = sp.csr_array((np.ones(columns.size), (owner, np.arange(columns.size))))
    worth = (problem.utility * (problem.weight * problem.count)[:, None]).ravel()[columns]
    matrix: Any = sp.vstack([problem.coupling[:, columns], time])  # sparse ones are not in the stubs
    answer = linprog(
        -worth,
        A_ub=matrix,
        b_ub=np.concatenate([problem.available, np.ones(problem.row_count)]),
        method="highs",
    )
    shares = np.zeros(problem.eligible.size)
    shares[columns] = answer.x
    prices = -answer.ineqlin.marginals[: problem.available.size]
    size = problem.capacity.size
    candidate = Candidate(
        shares=shares.reshape(problem.eligible.shape),
        prices=prices[:size].reshape(problem.capacity.shape),
        limit_prices=prices[size:],
        iterations=int(answer.nit),
        outcome=str(answer.message),
    )
    return _certified(problem, candidate)


def _certified(problem: Problem, candidate: Candidate) -> Certificate:
    return certify(problem, candidate.shares, candidate.prices, candidate.limit_prices)
