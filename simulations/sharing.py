"""Sharing incentive: does every queue fare at least as well as with its part of the machines for itself alone?

An Observer of the rounds. The part is by weight among the queues that want something: so much of each resource of each
flavor, and of each limit. With it alone, a queue would do what is best for its own jobs by their weights, each at most
satisfied; that is one more problem per queue and round, and solved like any other. Its utility is the mean of its jobs'
utilities by weight, of the kind that the objective adds up (at alpha = 1 the geometric one). A violation is by what
part the optimum's utility is below that.

What really ran has no such mean: a job that waits would make it 0. So it is compared in machine time: what the jobs'
utilities take where each is fastest, as a dominant share of the cluster, added up over time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from allocator.domain.policy import Policy
from allocator.explain.finished import Finished
from allocator.formulation.problem import Floats, Integers, Problem
from allocator.rounds.report import RoundOutcome, RoundReport
from allocator.solvers.chain import DEFAULT_ITERATIONS, ChainSolver
from allocator.solvers.solution import Status
from simulations.columns import Column, Kind, Table

FLOAT, INTEGER, TEXT = Kind.FLOAT, Kind.INTEGER, Kind.TEXT

COLUMNS = (
    Column("round", INTEGER, "", "number of the round"),
    Column("time_s", FLOAT, "s", "virtual time of the round"),
    Column("queue", TEXT, "", "name of the queue, one whose jobs want something"),
    Column("entitlement", FLOAT, "1", "its part of everything, by weights, among those that want something"),
    Column("utility", FLOAT, "1", "mean of its jobs' utilities in the optimum, by weight"),
    Column("split_utility", FLOAT, "1", "the same with its part of the machines for itself; at most 1"),
    Column("violation", FLOAT, "1", "1 - utility / split_utility, at least 0"),
    Column("wanted_share", FLOAT, "1", "machine time that would satisfy all its jobs, as a part of the cluster"),
    Column("split_share", FLOAT, "1", "machine time that it would use with its part for itself"),
    Column("optimum_share", FLOAT, "1", "machine time that the optimum gives it"),
    Column("ran_share", FLOAT, "1", "machine time that it has after the commit"),
)
_GAP = 1e-6
_SATISFIED = 1 - 1e-6


class Means(NamedTuple):
    """Of one queue's jobs: see COLUMNS."""

    utility: float
    split_utility: float
    wanted: float
    split: float
    optimum: float
    ran: float

    @property
    def violation(self) -> float:
        return max(0.0, 1 - self.utility / self.split_utility) if self.split_utility > 0 else 0.0


class SharingMeter:
    """One row per round and queue with jobs that want something; none for rounds without an answer, or where money
    does not decide (alpha = 0 and inf).
    """

    def __init__(self, policy: Policy) -> None:
        self.table = Table("sharing", COLUMNS)
        self._fairness = policy.fairness
        self._solver = ChainSolver()

    def observe(self, report: RoundReport) -> None:
        """Add one round."""
        decided = 0 < self._fairness < math.inf and report.market is not None
        if not decided or report.summary.outcome is RoundOutcome.STALE or not report.formulation.problem.row_count:
            return
        finished = Finished.of(report)
        parts = finished.queues.entitlement
        for leaf, means in self._each(finished, parts):
            self.table.add(
                report.summary.round,
                report.summary.time,
                finished.market.tree.names[leaf],
                float(parts[leaf]),
                means.utility,
                means.split_utility,
                means.violation,
                means.wanted,
                means.split,
                means.optimum,
                means.ran,
            )

    def _each(self, finished: Finished, parts: Floats) -> Iterator[tuple[int, Means]]:
        report, problem = finished.report, finished.report.formulation.problem
        everything, held = finished.queues.everything, finished.held
        weight = report.formulation.claims.weight * problem.count
        size = finished.queues.machine_time * problem.count
        utility = problem.utilities(report.solution.shares)
        placed = finished.served / problem.count
        for leaf in np.unique(finished.leaf_of_row).tolist():
            rows = np.flatnonzero(finished.leaf_of_row == leaf)
            bundle = np.maximum(parts[leaf] * everything - held[leaf], 0.0)
            split = self._alone(problem, rows, weight[rows] / problem.count[rows], bundle, float(parts[leaf]))
            if split is None:
                continue
            yield (
                leaf,
                Means(
                    utility=_mean(utility[rows], weight[rows], self._fairness),
                    split_utility=_mean(split, weight[rows], self._fairness),
                    wanted=float(size[rows].sum()),
                    split=float(size[rows] @ split),
                    optimum=float(size[rows] @ utility[rows]),
                    ran=float(size[rows] @ placed[rows]),
                ),
            )

    def _alone(self, problem: Problem, rows: Integers, weight: Floats, bundle: Floats, part: float) -> Floats | None:
        """(n',) utilities of `rows` with `bundle` (F, R), and that `part` of every limit, for themselves; None if no
        solver answers.
        """
        demand, flavor = problem.demand[rows], problem.flavor[rows]
        lacking = ((demand > 0) & (bundle[flavor] <= 0)).any(axis=2)
        throughput = np.where(lacking | ~problem.eligible[rows], 0.0, problem.throughput[rows])
        able = (throughput > 0).any(axis=1)
        found = np.zeros(len(rows))
        if not able.any():
            return found
        place = np.full(problem.row_count, -1, dtype=np.int64)
        place[rows[able]] = np.arange(int(able.sum()))
        alone = Problem.from_arrays(
            throughput=throughput[able],
            flavor=flavor[able],
            demand=demand[able],
            capacity=bundle,
            weight=weight[able] / weight[able].max(),
            count=problem.count[rows][able],
            fairness=problem.fairness,
            reference=problem.reference[rows][able],
            limits=[limit.among(place)._replace(amount=limit.amount * part) for limit in problem.limits],
        )
        solution = self._solver.solve(alone, gap=_GAP, iterations=DEFAULT_ITERATIONS, warm_start=None)
        if solution.status is Status.FAILED:
            return None
        found[able] = np.minimum(alone.utilities(solution.shares), 1.0)
        return found


def _mean(utility: Floats, weight: Floats, fairness: float) -> float:
    """The utility that, had by all, would be worth as much: (sum w u^(1-alpha) / sum w)^(1 / (1-alpha))."""
    if (utility <= 0).any() and fairness >= 1:
        return 0.0
    part = weight / weight.sum()
    if fairness == 1:
        return float(np.exp(part @ np.log(utility)))
    return float((part @ utility ** (1 - fairness)) ** (1 / (1 - fairness)))
