"""The decision replayed forward: the facts right after a round, and what the rounds to come would decide of them.

The same `decide` and `settle` as in a real round, on a copy of the facts, with virtual time; everything that is decided
becomes true. Who ends, and when, the caller says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from allocator.domain.cyclic_garbage import cyclic_garbage_waits
from allocator.domain.giving_way import checkpoint
from allocator.domain.job import Job, JobState, revised
from allocator.domain.placement import Epoch
from allocator.domain.plan import Applied, Commit, Plan, Preempt
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.explain.finished import Finished
from allocator.rounds.commit import apply_change
from allocator.rounds.decide import Decision, decide
from allocator.rounds.ports import Solver
from allocator.rounds.settle import settle

GROWTH = 1.25
"""Of the time from now to a look, in sparse replays."""

Ends = Callable[[tuple[Job, ...], float], set[int]]
"""Which of these jobs have ended by then: their sequences."""


@dataclass(frozen=True, slots=True)
class World:
    """The facts between two rounds."""

    snapshot: Snapshot
    memory: Memory
    policy: Policy

    @property
    def cold(self) -> World:
        """Without the prices of earlier solutions."""
        return replace(self, memory=replace(self.memory, prices={}, limit_prices={}))


@dataclass(frozen=True, slots=True)
class Step:
    """One replayed round: what it saw (`snapshot`), what it decided, and the world after it."""

    snapshot: Snapshot
    decision: Decision
    world: World

    def starts(self, job_id: str) -> bool:
        """Whether the job runs afterwards."""
        plan = self.decision.plan
        if any(change.job_id == job_id and not isinstance(change, Preempt) for change in plan.changes):
            return True
        return job_id in plan.kept

    def reason(self, job_id: str) -> PendingReason | None:
        """Why the job waits afterwards."""
        return next((reason for waiting, reason in self.decision.plan.waiting if waiting == job_id), None)

    def share(self, job_id: str) -> float:
        """What the optimum gives the job; 0 if it cannot run."""
        row = self.decision.formulation.rows.get(job_id)
        if row is None:
            return 1.0 if job_id in self.decision.formulation.pinned else 0.0
        return float(self.decision.formulation.parts(self.decision.solution.shares)[row].sum())


def world_after(finished: Finished) -> World:
    """What became true of the last round, before anything else happens."""
    report = finished.report
    jobs = _changed(report.snapshot, finished.live.positions, report.commit)
    snapshot = Snapshot.of_sorted(
        report.commit.revision,
        report.snapshot.round,
        report.snapshot.time,
        report.snapshot.queues,
        report.snapshot.nodes,
        jobs,
        report.snapshot.estimates,
    )
    return World(snapshot, finished.after, finished.policy)


def every_round(now: float, interval: float, rounds: int) -> list[float]:
    """The times of the next rounds."""
    first = math.floor(now / interval) + 1
    return [(first + number) * interval for number in range(rounds)]


def sparse(now: float, interval: float, rounds: int) -> list[float]:
    """Times of so many of the next rounds: the first ones, then ever fewer."""
    first, number, found = math.floor(now / interval), 0, []
    for _ in range(rounds):
        number = max(number + 1, int(number * GROWTH))
        found.append((first + number) * interval)
    return found


def replayed(world: World, times: Iterable[float], solver: Solver, ends: Ends | None = None) -> Iterator[Step]:
    """The rounds at these times, one after the other, as long as somebody asks for the next."""
    for time in times:
        jobs = world.snapshot.jobs
        ended = ends(jobs, time) if ends is not None else set()
        if ended:
            jobs = tuple(job for job in jobs if job.sequence not in ended)
        before = world.snapshot
        number = before.round + 1
        facts = (before.queues, before.nodes)
        snapshot = Snapshot.of_sorted(before.revision + 1, number, time, *facts, jobs, before.estimates)
        checkpoint()
        with cyclic_garbage_waits():
            decision = decide(snapshot, world.memory, world.policy, solver)
        commit = committed(decision.plan, snapshot, decision)
        after = _changed(snapshot, decision.formulation.live.positions, commit)
        memory = settle(world.memory, snapshot, decision, commit, world.policy)
        world = World(
            Snapshot.of_sorted(commit.revision, number, time, *facts, after, before.estimates), memory, world.policy
        )
        yield Step(snapshot, decision, world)


def committed(plan: Plan, snapshot: Snapshot, decision: Decision) -> Commit:
    """The commit in which all of the plan becomes true."""
    epoch = Epoch(plan.round, snapshot.revision + 1)
    at = decision.formulation.live.positions(change.job_id for change in plan.changes).tolist()
    applied = [
        Applied(change, apply_change(change, snapshot.jobs[position], epoch, snapshot.time).allocation)
        for change, position in zip(plan.changes, at, strict=True)
    ]
    return Commit(snapshot.revision + 1, plan.round, tuple(applied), (), ())


def _changed(
    snapshot: Snapshot, positions: Callable[[Iterable[str]], Iterable[int]], commit: Commit
) -> tuple[Job, ...]:
    """The jobs with what was applied."""
    if not commit.applied:
        return snapshot.jobs
    jobs = list(snapshot.jobs)
    at = positions(applied.change.job_id for applied in commit.applied)
    for position, applied in zip(at, commit.applied, strict=True):
        epoch = Epoch(commit.round, commit.revision)
        job = apply_change(applied.change, jobs[int(position)], epoch, snapshot.time)
        jobs[int(position)] = revised(job, allocation=applied.allocation)
    return tuple(jobs)


def runs(job: Job) -> bool:
    return job.state is JobState.RUNNING
