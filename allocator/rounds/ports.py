"""What a round needs from the outside world; declared here, by the consumer. Adapters implement, `run_rounds` calls.

The daemon wires SystemClock, SqlStore, the push hub and the metrics; a replay wires VirtualClock, MemoryStore, the
simulated cluster and the measures. Nothing else differs between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from allocator.domain.placement import NodeDesired
from allocator.domain.plan import Commit, Plan
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.problem import Problem
from allocator.rounds.report import RoundReport, RoundSummary
from allocator.solvers.solution import Solution, WarmStart


class Clock(Protocol):
    """Time, given to the core as numbers."""

    def now(self) -> float:
        """Seconds since the epoch; what decisions see."""
        ...

    def wait(self, until: float, *, quiet_until: float) -> bool:
        """Return at `until`, or earlier with False if the loop shall end.

        No round before `quiet_until` would change anything unless some fact changes: it is infinite where only a fact
        can, and not after now where the very next round may. A virtual clock may go on to the first later fact, or to
        `quiet_until`; a system clock keeps the pace, because dashboards want to see rounds.
        """
        ...

    def stopwatch(self) -> float:
        """Seconds from an arbitrary start, for reporting how long stages took; never for deciding."""
        ...


class Store(Protocol):
    """The facts, durable."""

    def snapshot(self, now: float) -> Snapshot:
        """All facts at one revision. Never blocks on writers."""
        ...

    def commit(self, plan: Plan, now: float) -> Commit:
        """Make true, in one transaction, every change of `plan` that still is possible; say why of the others.

        A gang is applied whole or refused whole; no node is ever over capacity afterwards. Also keeps the reason why
        each job waits. Durable when it returns.
        """
        ...

    def record(self, summary: RoundSummary, memory: Memory) -> None:
        """Append the round's record and keep `memory` for the next one, also across a restart."""
        ...

    def memory(self) -> Memory:
        """What the last recorded round handed on; empty at first."""
        ...


class Pusher(Protocol):
    """Whoever carries desired state to nodes. May drop anything but the newest epoch of a node."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Publish the whole desired state of each node that changed. Must not block on slow readers."""
        ...


class Observer(Protocol):
    """Sees every round after the fact; cannot change anything. An exception ends the loop, so that a replay stops at a
    broken invariant; the daemon passes observers in that only log.
    """

    def observe(self, report: RoundReport) -> None: ...


class Solver(Protocol):
    """Problem to Solution. Never raises for a valid Problem: a failure is a Solution with status FAILED.

    `iterations` is the whole budget: seconds would make the answer depend on the machine.
    """

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution: ...


Lap = Callable[[str], None]
"""Called with a stage's name when the stage ends."""
