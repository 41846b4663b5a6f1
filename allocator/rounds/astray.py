"""Jobs that a plan puts where the optimum gave them nothing, at the cost of lower classes.

Whoever finds no place for its share takes any other configuration, and stops lower classes for it. These were promised
what is left beside its share, and not beside what it really took: somebody of theirs might be moved now, as one that
is to run all the time, and be stopped as soon as the next round knows that it is not. So the round is solved again,
with those jobs where they went.
"""

from __future__ import annotations

import numpy as np

from allocator.domain.plan import Change, Move, Plan, Preempt, Start
from allocator.domain.reason import PreemptionReason
from allocator.formulation.build import Formulation
from allocator.formulation.problem import Floats, Problem
from allocator.placement.contenders import SHARE_FLOOR


def as_they_went(formulation: Formulation, shares: Floats, plan: Plan) -> Problem | None:
    """The problem with rows whose jobs all went astray kept to where they went. None where there are none, or no lower
    class lost anything by it. `shares` (n, K) of the problem.
    """
    if not any(_lost_to_priority(change) for change in plan.changes):
        return None
    problem = formulation.problem
    taken = np.zeros(problem.throughput.shape, dtype=np.int64)
    for change in plan.changes:
        row = formulation.rows.get(change.job_id)
        if row is not None and isinstance(change, Start | Move):
            taken[row] += (formulation.index[row] == change.placement.configuration) & problem.eligible[row]
    astray = (taken > 0) & (shares <= SHARE_FLOOR)
    rows = np.flatnonzero(np.where(astray, taken, 0).sum(axis=1) == problem.count)
    if not rows.size:
        return None
    throughput = problem.throughput.copy()
    throughput[rows] = np.where(astray[rows], throughput[rows], 0.0)
    return _with(problem, throughput)


def _lost_to_priority(change: Change) -> bool:
    return isinstance(change, Preempt | Move) and change.reason is PreemptionReason.PRIORITY


def _with(problem: Problem, throughput: Floats) -> Problem:
    return Problem.from_arrays(
        throughput=throughput,
        flavor=problem.flavor,
        demand=problem.demand,
        capacity=problem.capacity,
        weight=problem.weight,
        count=problem.count,
        fairness=problem.fairness,
        reference=problem.reference,
        limits=problem.limits,
        copy=False,
    )
