"""A small cluster, and short ways to change it, for the tests of stores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Commit, Plan, Preempt, Start
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake import commands as c
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.store.reads import Reads


class AnyStore(Reads, Protocol):
    """All that a store offers."""

    def execute(self, command: c.Command, now: float) -> Future[Any]: ...
    def snapshot(self, now: float) -> Snapshot: ...
    def commit(self, plan: Plan, now: float) -> Commit: ...
    def record(self, summary: RoundSummary, memory: Memory) -> None: ...
    def memory(self) -> Memory: ...


Reopen = Callable[[AnyStore], AnyStore]

QUEUE = "research"
FLAVOR = "a100"
WAITS = PendingReason(PendingCause.INSUFFICIENT_CAPACITY, (Shortage(FLAVOR, "cpu", 1000),))
"""Why a job may be left waiting."""


def spec(*, queue: str = QUEUE, cores: int = 1, replicas: int = 1, weight: float = 1.0, name: str = "") -> JobSpec:
    demand = Resources(cpu_millicores=1000 * cores)
    return JobSpec(queue, (Configuration(FLAVOR, replicas, demand, 1.0),), name=name, weight=weight)


def do(store: AnyStore, command: c.Command, now: float = 1.0) -> Any:
    """Execute and wait for the answer."""
    return store.execute(command, now).result(timeout=60)


def set_up(store: AnyStore, *, nodes: int = 2, cores: int = 4) -> None:
    """One queue and some nodes n0, n1, ..."""
    do(store, c.CreateQueue(Queue(QUEUE)))
    for index in range(nodes):
        do(store, c.RegisterNode(node(f"n{index}", cores=cores)))


def node(name: str, *, cores: int = 4) -> Node:
    return Node(name, FLAVOR, Resources(cpu_millicores=1000 * cores))


def submit(store: AnyStore, *specs: JobSpec, request_id: str = "", now: float = 1.0) -> tuple[Job, ...]:
    """Submit what must be admitted."""
    answer = do(store, c.SubmitJobs(specs, request_id), now)
    assert all(isinstance(item, Job) for item in answer), answer
    return tuple(answer)


def start(job: Job, *nodes: str) -> Start:
    return Start(Placement(job.id, 0, tuple(ReplicaPlacement(name) for name in nodes)))


def commit(
    store: AnyStore, *changes: Change, waiting: dict[str, PendingReason] | None = None, now: float = 5.0
) -> Commit:
    """Commit a plan made from how things are now."""
    return store.commit(plan(store.snapshot(now), *changes, waiting=waiting), now)


def plan(snapshot: Snapshot, *changes: Change, waiting: dict[str, PendingReason] | None = None) -> Plan:
    return Plan(snapshot.revision, snapshot.round, changes, (), tuple((waiting or {}).items()))


def preempt(job: Job, reason: Any, pending: PendingReason) -> Preempt:
    return Preempt(job.id, reason, pending)


def summary(number: int, *, revision: int = 0, time: float = 0.0) -> RoundSummary:
    return RoundSummary(
        round=number,
        revision=revision,
        time=time,
        outcome=RoundOutcome.OPTIMAL,
        solver="conic",
        iterations=17,
        fairness=1.0,
        objective=-1.0 / 3.0,
        bound=0.1 + 0.2,
        gap=1e-5,
        rounding_loss=0.0,
        started=1,
        moved=0,
        kept=2,
        rejected=0,
        preempted=(("priority", 1),),
        waiting=(("fragmented", 3),),
        lost=((FLAVOR, "gpu", 1e9 / 7.0),),
        flavors=(FlavorUsage(FLAVOR, "cpu", 8000, 5000, 4000, 0.7),),
        queues=(QueueUsage(QUEUE, 1.0, 3, 2, 0.5, 0.25),),
        stages=(("solve", 0.125),),
    )
