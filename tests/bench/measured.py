"""One case on one seed: everything that the table says about it, all through the same door.

The door: a Problem in, a certified Solution out (`ChainSolver().solve`), wall seconds; for peers the peer and then the
same certificate. Short ones are repeated, ours and the peers' in turn, and the median counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from allocator.formulation.certificate import Certificate, certify
from allocator.formulation.chunks import usual_threads, workers
from allocator.formulation.merging import merged
from allocator.formulation.problem import Problem
from allocator.solvers import ChainSolver, Solution, Status, WarmStart
from allocator.solvers.price import price_discovery
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_pass import Passes
from tests.bench.cases import Case
from tests.bench.instances import ONE_DEMAND, churned, instance
from tests.bench.memory import Memory, solve_memory
from tests.bench.overuse import overuse, unrounded_overuse
from tests.bench.peers import Clarabel, highs
from tests.bench.unit import UnitPass

_T = TypeVar("_T")
_UNGROUPED_ITERATIONS = 200
_REPEATED_SECONDS = 0.3
"""A measurement is repeated until it has taken so long, but no more often than this:"""
_MOST_REPEATS = 25
_OWN_PASS_WIDTH = 0.005
"""A window of smoothing as it is near the end."""


@dataclass(frozen=True, slots=True)
class Peer:
    seconds: float
    gap: float
    times_slower: float | None
    """Than ours, in the same turns; None where its answer is not within the gap asked for."""


@dataclass(frozen=True, slots=True)
class Warm:
    """After 1 % of churn, from the prices before it; what does not start from prices starts anew."""

    seconds: float
    passes: int
    good: bool


@dataclass(frozen=True, slots=True)
class Grouping:
    merging_seconds: float
    rows: int
    after_seconds: float
    """The rest of the solve."""
    ungrouped_seconds: float
    ungrouped_passes: int
    ungrouped_gap: float
    ungrouped_good: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds are wall seconds."""

    seed: int
    building: float
    """From plain arrays to a Problem, checked."""
    seconds: float
    solver: str
    merged: bool
    passes: int
    gap: float
    within: bool
    """Certified within the gap that was asked for."""
    relative: bool
    """Only in the certificate's sense, as a part of what a relative change of all utilities is worth."""
    overuse: float
    """As floats add up."""
    unrounded_overuse: float
    limit_bytes: int
    """What one pass has to read, in float32."""
    warm: Warm
    unit_seconds: float | None = None
    own_pass_seconds: float | None = None
    clarabel: Peer | None = None
    highs: Peer | None = None
    memory: Memory | None = None
    grouping: Grouping | None = None

    @property
    def good(self) -> bool:
        return self.within and self.overuse == 0

    @property
    def units(self) -> float | None:
        """Cold seconds in unit passes."""
        return None if self.unit_seconds is None else self.seconds / self.unit_seconds


def measured(case: Case, seed: int) -> Measurement:
    """All figures of one row on one seed; `memory` on the first seed alone."""
    begin = time.perf_counter()
    problem = instance(case.jobs, case.columns, seed, case.fairness, case.family)
    building = time.perf_counter() - begin
    gap = case.wished

    actions: list[Callable[[], Solution | Certificate]] = [lambda: _solved(case, problem)]
    if seed < case.clarabel:
        peer = Clarabel.for_gap(problem, gap) if case.jobs < 100_000 else Clarabel(gap / 100)
        actions.append(lambda: peer.solve(problem))
    if seed < case.highs:
        actions.append(lambda: highs(problem))
    answers, taken = _in_turns(actions)
    solution, ours = answers[0], statistics.median(taken[0])
    assert isinstance(solution, Solution)
    theirs = []
    for answer, seconds in zip(answers[1:], map(statistics.median, taken[1:]), strict=True):
        good = isinstance(answer, Certificate) and answer.within(gap)
        theirs.append(Peer(seconds, answer.gap, seconds / ours if good else None))
    by_price = solution.solver == "price" and not solution.attempts[0].startswith("merged")
    return Measurement(
        seed=seed,
        building=building,
        seconds=ours,
        solver=solution.solver,
        merged=solution.attempts[0].startswith("merged"),
        passes=solution.iterations,
        gap=solution.gap,
        within=solution.status is Status.OPTIMAL,
        relative=solution.gap > gap,
        overuse=overuse(problem, solution.shares),
        unrounded_overuse=unrounded_overuse(problem, solution.shares),
        limit_bytes=_limit_bytes(problem),
        warm=_warm(case, problem, solution, seed),
        unit_seconds=_unit_seconds(problem, solution) if _has_unit(case) and by_price else None,
        own_pass_seconds=_own_pass_seconds(problem, solution) if by_price else None,
        clarabel=theirs[0] if seed < case.clarabel else None,
        highs=theirs[-1] if seed < case.highs else None,
        memory=solve_memory(case) if case.memory and seed == 0 else None,
        grouping=_grouping(problem, gap, ours) if case.ungrouped else None,
    )


def _solved(case: Case, problem: Problem, warm_start: WarmStart | None = None) -> Solution:
    return ChainSolver().solve(problem, gap=case.wished, iterations=case.iterations, warm_start=warm_start)


def _in_turns(actions: list[Callable[[], _T]]) -> tuple[list[_T], list[list[float]]]:
    """Each one's last answer, and the seconds of its turns."""
    taken: list[list[float]] = [[] for _ in actions]
    most = _REPEATED_SECONDS * len(actions)
    for _ in range(_MOST_REPEATS):
        answers = []
        for action, seconds in zip(actions, taken, strict=True):
            begin = time.perf_counter()
            answers.append(action())
            seconds.append(time.perf_counter() - begin)
        together = sum(map(sum, taken))
        if together * (1 + 1 / len(taken[0])) > most:  # another turn would be too long
            break
    return answers, taken


def _repeated(action: Callable[[], _T]) -> tuple[_T, float]:
    """Its last answer, and the median of its seconds."""
    answers, taken = _in_turns([action])
    return answers[0], statistics.median(taken[0])


def _warm(case: Case, problem: Problem, solution: Solution, seed: int) -> Warm:
    after, start = churned(problem, seed + 1000), WarmStart(solution.prices, solution.limit_prices)
    found, seconds = _repeated(lambda: _solved(case, after, start))
    good = found.status is Status.OPTIMAL and overuse(after, found.shares) == 0
    return Warm(seconds, found.iterations, good)


def _has_unit(case: Case) -> bool:
    return case.family in ONE_DEMAND and case.fairness == 1


def _unit_seconds(problem: Problem, solution: Solution) -> float:
    """At the solution's prices, which for log utility and weights of 1 are those of a whole share."""
    return UnitPass(problem.throughput).seconds(solution.prices[:, 0])


def _own_pass_seconds(problem: Problem, solution: Solution) -> float:
    together = np.concatenate([solution.prices.ravel(), solution.limit_prices])
    with workers(usual_threads(problem.row_count)) as run:
        layout = Layout.of(problem, run)
        prices = together[layout.scarce] / layout.price_unit
        passes = Passes(layout, run)
        _, seconds = _repeated(lambda: passes.evaluate(prices, _OWN_PASS_WIDTH))
    return seconds


def _limit_bytes(problem: Problem) -> int:
    """In float32: every eligible throughput, and demands and weights unless all are 1."""
    numbers = int(np.count_nonzero(problem.eligible))
    if (problem.coupling.data != 1).any():
        numbers += problem.coupling.nnz
    if (problem.weight != 1).any():
        numbers += problem.row_count
    return 4 * numbers


def _grouping(problem: Problem, gap: float, ours: float) -> Grouping:
    together, merging = _repeated(lambda: merged(problem))
    begin = time.perf_counter()
    found = price_discovery(problem, _UNGROUPED_ITERATIONS, gap)
    judged = certify(problem, found.shares, found.prices, found.limit_prices, enough=gap)
    ungrouped = time.perf_counter() - begin
    return Grouping(
        merging_seconds=merging,
        rows=problem.row_count if together is None else together.problem.row_count,
        after_seconds=ours - merging,
        ungrouped_seconds=ungrouped,
        ungrouped_passes=found.iterations,
        ungrouped_gap=judged.gap,
        ungrouped_good=judged.within(gap) and overuse(problem, judged.shares) == 0,
    )
