"""Decides captured rounds again, and says where the answer is another one than it was.

Three things are compared to the bit: shares and prices, the plan, and the memory that the round hands on. A fourth is
about the capture: the memory handed to a round is the one that the round before handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest

import allocator
from allocator.domain.plan import Change, Move, Plan, Preempt, Resize, Start
from allocator.rounds.captured import memory_digest, plan_digest, solution_digest
from allocator.rounds.decide import Decider, Decision
from allocator.rounds.machine import machine
from allocator.rounds.ruled import Ruled
from allocator.rounds.settle import settle
from allocator.solvers import ChainSolver
from allocator.wire.recording import CaptureBegin, Captured, CapturedRound, CaptureEnd, CaptureGap
from simulations.schedulers import scheduler_named
from simulations.schedulers.scheduler import SchedulerOptions


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was in a round, in words."""

    round: int
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`elsewhere`: by name of what bits may depend on, (there, here) where they differ. `ended`: in good order."""

    rounds: int
    jobs: int
    """Live jobs, over all rounds."""
    changes: int
    """Planned changes, over all rounds."""
    differences: tuple[Difference, ...]
    elsewhere: dict[str, tuple[str, str]]
    gaps: tuple[CaptureGap, ...]
    ended: bool


def check(captured: Iterable[Captured], on_round: Callable[[CapturedRound], None] | None = None) -> CheckResult:
    """Decide every round again. Raises what reading `captured` raises; InvalidInput for a scheduler nobody knows."""
    checker = _Checker()
    for one in captured:
        match one:
            case CaptureBegin():
                checker.begin(one)
            case CapturedRound():
                if on_round is not None:
                    on_round(one)
                checker.round(one)
            case CaptureGap():
                checker.gaps.append(one)
            case CaptureEnd():
                pass
        checker.ended = isinstance(one, CaptureEnd)
    return checker.result()


class _Checker:
    def __init__(self) -> None:
        self.gaps: list[CaptureGap] = []
        self.ended = False
        self._solver = ChainSolver()
        self._here = machine() | {"allocator": allocator.__version__}
        self._elsewhere: dict[str, tuple[str, str]] = {}
        self._differences: list[Difference] = []
        self._rounds = self._jobs = self._changes = 0
        self._decider: Decider | None = None
        self._begin: CaptureBegin | None = None
        self._before: CapturedRound | None = None

    def begin(self, begin: CaptureBegin) -> None:
        there = {**begin.machine, "allocator": begin.version}
        for name in sorted(there.keys() | self._here.keys()):
            pair = there.get(name, "not told"), self._here.get(name, "not told")
            if pair[0] != pair[1]:
                self._elsewhere[name] = pair
        self._begin, self._before, self._decider = begin, None, None

    def round(self, captured: CapturedRound) -> None:
        self._rounds += 1
        self._jobs += len(captured.snapshot.jobs)
        self._changes += len(captured.changes)
        found = self._handed_over(captured)
        decision = self._decide(captured)
        if not isinstance(decision, Ruled):
            found += _solution_differences(captured, decision)
        found += _plan_differences(captured, decision.plan)
        if not found and not isinstance(decision, Ruled):  # what is handed on follows from these
            after = settle(captured.memory, captured.snapshot, decision, captured.commit, captured.policy)
            if memory_digest(after) != captured.memory_digest:
                found.append("the memory that it hands on differs: credits, prices, or what it knows of work to come")
        if found:
            self._differences.append(Difference(captured.snapshot.round, tuple(found)))
        self._before = captured

    def _decide(self, captured: CapturedRound) -> Decision | Ruled:
        if self._decider is None:
            assert self._begin is not None
            scheduler = scheduler_named(self._begin.scheduler)
            options = SchedulerOptions(seed=self._begin.seed, placement=self._begin.placement)
            self._decider = scheduler.make(options)
        return self._decider(captured.snapshot, captured.memory, captured.policy, self._solver, _unheard)

    def _handed_over(self, captured: CapturedRound) -> list[str]:
        before = self._before
        if before is None or before.snapshot.round + 1 != captured.snapshot.round:
            return []
        if memory_digest(captured.memory) == before.memory_digest:
            return []
        return ["the memory handed to it is not the one that the round before handed on"]

    def result(self) -> CheckResult:
        return CheckResult(
            self._rounds,
            self._jobs,
            self._changes,
            tuple(self._differences),
            self._elsewhere,
            tuple(self.gaps),
            self.ended,
        )


def _unheard(stage: str) -> None:
    """Nobody wants to know how long stages take."""


def _solution_differences(captured: CapturedRound, decision: Decision) -> list[str]:
    solution, was = decision.solution, captured.summary
    if solution_digest(solution) == captured.solution_digest:
        return []
    pairs = (
        ("solver", was.solver, solution.solver),
        ("iterations", was.iterations, solution.iterations),
        ("objective", was.objective, float(solution.objective)),
        ("bound", was.bound, float(solution.bound)),
    )
    for name, there, here in pairs:
        if there != here:
            return [f"shares or prices differ: {name} was {there!r} and is {here!r}"]
    return ["bits of shares or prices differ; objective and bound are the same"]


def _plan_differences(captured: CapturedRound, plan: Plan) -> list[str]:
    if plan_digest(plan) == captured.plan_digest:
        return []
    for index, (there, here) in enumerate(zip_longest(captured.changes, plan.changes), start=1):
        if there != here:
            return [f"change {index} was {_said(there)} and is {_said(here)}"]
    return ["the same changes, but who waits, or why, differs"]


def _said(change: Change | None) -> str:
    match change:
        case None:
            return "none"
        case Preempt():
            return f"job {change.job_id} stopped ({change.reason.value})"
        case Start():
            what = "started"
        case Move():
            what = f"moved ({change.reason.value})"
        case Resize():
            what = "resized"
    placement = change.placement
    places = ", ".join(
        replica.node + (f" GPU {' '.join(map(str, replica.gpus))}" if replica.gpus else "")
        for replica in placement.replicas[:4]
    )
    more = f" and {len(placement.replicas) - 4} more" if len(placement.replicas) > 4 else ""
    return f"job {change.job_id} {what} in configuration {placement.configuration} on {places}{more}"
