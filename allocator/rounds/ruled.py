"""A round decided by rules instead of an optimum: what schedulers that ours is compared with hand over.

There are no shares, prices, gap and fair shares then, and none are made up: where numbers are wanted they are NaN, and
the report's formulation has no rows. What is held after the round, the scheduler counts itself while it decides; where
the commit refused something it is counted again from the facts. Only replays decide like this.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from allocator.domain.cluster import Node, NodeHealth
from allocator.domain.job import Job, JobState
from allocator.domain.placement import WHOLE, Placement, held
from allocator.domain.plan import Commit, Move, Plan, Preempt, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause
from allocator.domain.remembered import remembered
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import Formulation, build
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.solvers.solution import Solution, Status

Amounts = Mapping[tuple[str, str], int]
"""Integer amount by (flavor, resource)."""


@dataclass(slots=True)
class QueueTally:
    """Of one queue's jobs: how many wait and run, and what those that run hold, by resource."""

    pending: int = 0
    running: int = 0
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(slots=True)
class Tally:
    """Who runs and what that takes, counted by whoever decides; not to be changed by anybody else.

    `held`: by jobs that run; `requested`: by all live jobs, each in its fastest configuration, both in integer units by
    (flavor, resource). `causes`: waiting jobs by cause.
    """

    held: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    requested: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    queues: dict[str, QueueTally] = field(default_factory=lambda: defaultdict(QueueTally))
    causes: Counter[PendingCause] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    """Queues that changed since `usages` was right."""
    usages: list[QueueUsage] = field(default_factory=list)
    """The queues for people, as they were when they were asked for last, of `facts`."""
    facts: tuple[tuple[Queue, ...], tuple[Node, ...]] = ((), ())

    def ask(self, job: Job, sign: int) -> None:
        """The job is there (1), or no more (-1); it counts as waiting."""
        self.queues[job.spec.queue].pending += sign
        self.changed.add(job.spec.queue)
        fastest = max(job.spec.configurations, key=lambda configuration: configuration.throughput)
        for resource, amount in fastest.demand.items():
            self.requested[fastest.flavor, resource] += sign * amount * fastest.replicas

    def run(self, job: Job, which: int, sign: int, millis: int = WHOLE) -> None:
        """The job, which waited, runs in the configuration of this index (1); or waits again (-1)."""
        configuration = job.spec.configurations[which]
        queue = self.queues[job.spec.queue]
        self.changed.add(job.spec.queue)
        queue.pending -= sign
        queue.running += sign
        for resource, amount in held(configuration.demand, millis).items():
            taken = sign * amount * configuration.replicas
            self.held[configuration.flavor, resource] += taken
            queue.held[resource] += taken


@dataclass(frozen=True, slots=True)
class Ruled:
    """A decision by rules. `tally` is how things are once the whole plan is true."""

    plan: Plan
    scheduler: str
    """Its name."""
    tally: Tally
    again: float = math.inf
    """When it wants to be asked again if nothing happens before; inf: it would decide the same until something does."""


@cache
def without_optimum() -> tuple[Formulation, Solution]:
    """What stands in a report where nothing was formulated and nothing solved: no rows, no flavors, no numbers."""
    nothing = np.zeros((0, 0))
    solution = Solution(nothing, nothing, np.zeros(0), math.nan, math.nan, math.nan, Status.FAILED, "", 0)
    return build(Snapshot(0, 0, 0.0, (), (), ()), Policy()), solution


def tallied(jobs: Iterable[Job], placements: Mapping[str, Placement]) -> Tally:
    """Counted anew: these live jobs, of which those with a placement run there."""
    tally = Tally()
    for job in jobs:
        tally.ask(job, 1)
        placement = placements.get(job.id)
        if placement is not None:
            tally.run(job, placement.configuration, 1, placement.millis)
    return tally


def summarize_ruled(
    snapshot: Snapshot, decision: Ruled, commit: Commit, policy: Policy, stages: tuple[tuple[str, float], ...]
) -> RoundSummary:
    """The summary of a round that was decided by rules and has been committed."""
    tally = decision.tally if not commit.rejected else _as_committed(snapshot, commit)
    done = [applied.change for applied in commit.applied]
    started, moved = (sum(isinstance(change, kind) for change in done) for kind in (Start, Move))
    running = sum(queue.running for queue in tally.queues.values())
    refused_starts = sum(isinstance(refused.change, Start) for refused in commit.rejected)
    causes = Counter({cause.value: count for cause, count in tally.causes.items() if count > 0})
    causes += Counter({PendingCause.CHANGED_SINCE_SNAPSHOT.value: refused_starts})
    return RoundSummary(
        round=snapshot.round,
        revision=commit.revision,
        time=snapshot.time,
        outcome=RoundOutcome.RULED,
        solver=decision.scheduler,
        iterations=0,
        fairness=policy.fairness,
        objective=math.nan,
        bound=math.nan,
        gap=math.nan,
        rounding_loss=math.nan,
        started=started,
        moved=moved,
        kept=running - started - moved,
        rejected=len(commit.rejected),
        preempted=tuple(sorted(Counter(c.reason.value for c in done if isinstance(c, Preempt)).items())),
        waiting=tuple(sorted(causes.items())),
        lost=_lost(snapshot, commit) if any(isinstance(change, Preempt | Move) for change in done) else (),
        flavors=_flavor_usage(snapshot.nodes, tally),
        queues=_queue_usage(snapshot.queues, snapshot.nodes, tally),
        stages=stages,
        resized=sum(isinstance(change, Resize) for change in done),
        policy_version=0 if snapshot.applied is None else snapshot.applied.version,
    )


def _as_committed(snapshot: Snapshot, commit: Commit) -> Tally:
    placements = {
        job.id: job.allocation.placement
        for job in snapshot.jobs
        if job.state is JobState.RUNNING and job.allocation is not None
    }
    for applied in commit.applied:
        placements.pop(applied.change.job_id, None)
        if applied.allocation is not None:
            placements[applied.change.job_id] = applied.allocation.placement
    return tallied(snapshot.jobs, placements)


@remembered
def _capacity(nodes: tuple[Node, ...]) -> dict[tuple[str, str], int]:
    """What ready nodes have; not to be changed."""
    amounts: dict[tuple[str, str], int] = defaultdict(int)
    for node in nodes:
        if node.health is NodeHealth.READY:
            for resource, amount in node.capacity.items():
                amounts[node.flavor, resource] += amount
    return dict(amounts)


def _flavor_usage(nodes: tuple[Node, ...], tally: Tally) -> tuple[FlavorUsage, ...]:
    capacity = _capacity(nodes)
    return tuple(
        FlavorUsage(
            flavor=flavor,
            resource=resource,
            capacity=capacity.get((flavor, resource), 0),
            requested=tally.requested.get((flavor, resource), 0),
            allocated=tally.held.get((flavor, resource), 0),
            price=math.nan,
        )
        for flavor, resource in sorted(capacity.keys() | {key for key, amount in tally.held.items() if amount})
    )


def _queue_usage(queues: tuple[Queue, ...], nodes: tuple[Node, ...], tally: Tally) -> tuple[QueueUsage, ...]:
    """What has not changed since it was asked for last is the same object: a round changes few of many queues."""
    if tally.facts[0] is not queues or tally.facts[1] is not nodes:
        tally.facts, tally.changed = (queues, nodes), {queue.name for queue in queues}
        tally.usages = [QueueUsage(queue.name, queue.weight, 0, 0, math.nan, 0.0) for queue in queues]
    positions = _positions(queues)
    for name in tally.changed:
        position = positions.get(name)
        if position is not None:
            tally.usages[position] = _usage_of(queues[position], tally.queues[name], _whole(nodes))
    tally.changed = set()
    return tuple(tally.usages)


@remembered
def _positions(queues: tuple[Queue, ...]) -> dict[str, int]:
    return {queue.name: position for position, queue in enumerate(queues)}


@remembered
def _whole(nodes: tuple[Node, ...]) -> dict[str, int]:
    """What ready nodes have of each resource; not to be changed."""
    whole: dict[str, int] = defaultdict(int)
    for (_, resource), amount in _capacity(nodes).items():
        whole[resource] += amount
    return dict(whole)


def _usage_of(queue: Queue, tally: QueueTally, whole: Mapping[str, int]) -> QueueUsage:
    parts = [amount / whole[resource] for resource, amount in tally.held.items() if whole.get(resource)]
    return QueueUsage(
        queue=queue.name,
        weight=queue.weight,
        pending=tally.pending,
        running=tally.running,
        fair_share=math.nan,
        actual_share=max(parts, default=0.0),
    )


def _lost(snapshot: Snapshot, commit: Commit) -> tuple[tuple[str, str, float], ...]:
    """Resource-seconds that preemptions and moves throw away: what each victim held, for its restart cost."""
    stopped = {applied.change.job_id for applied in commit.applied if isinstance(applied.change, Preempt | Move)}
    lost: dict[tuple[str, str], float] = defaultdict(float)
    for job in snapshot.jobs:
        if job.id not in stopped or job.state is not JobState.RUNNING or job.allocation is None:
            continue
        configuration = job.spec.configurations[job.allocation.placement.configuration]
        for resource, amount in configuration.total_demand.items():
            lost[configuration.flavor, resource] += amount * job.spec.restart_cost_seconds
    return tuple((flavor, resource, amount) for (flavor, resource), amount in sorted(lost.items()) if amount)
