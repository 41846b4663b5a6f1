"""Small clusters and jobs in a few words each, and what applying a plan makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.plan import Plan, Preempt, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, Snapshot, WorkKind
from allocator.formulation.build import Formulation, build
from allocator.placement import place

NOW = 1_000_000.0
LONG_AGO = NOW - 100_000.0
OPEN, CORDONED, DRAINING = NodeAvailability.OPEN, NodeAvailability.CORDONED, NodeAvailability.DRAINING
LOST = NodeHealth.LOST
POLICY = Policy(lag_tolerance=0.0)
"""The default, but that jobs are no more patient the older they are: most of those here are very old."""


def node(
    name: str,
    *,
    flavor: str = "a",
    cpu: int = 8,
    gpu: int = 0,
    availability: NodeAvailability = OPEN,
    health: NodeHealth = NodeHealth.READY,
    rack: str = "",
    **more: Any,
) -> Node:
    """`cpu` cores and `gpu` whole GPUs."""
    capacity = Resources(cpu_millicores=cpu * 1000, gpu_millis=gpu * 1000)
    if rack:
        more["labels"] = tuple(sorted((*more.get("labels", ()), ("rack", rack))))
    return Node(name, flavor, capacity, availability=availability, health=health, **more)


def way(
    *, flavor: str = "a", replicas: int = 1, cpu: int = 0, gpu: float = 0, extra: int = 0, throughput: float = 1.0
) -> Configuration:
    """A configuration: `cpu` cores and `gpu` GPUs per replica, `extra` licences."""
    named = (("licence", extra),) if extra else ()
    demand = Resources(cpu_millicores=cpu * 1000, gpu_millis=round(gpu * 1000), extra=named)
    return Configuration(flavor, replicas, demand, throughput)


def waiting(
    sequence: int,
    *ways: Configuration,
    priority_class: str = "normal",
    preemptible: bool = True,
    restart_cost: float = 0.0,
    weight: float | None = None,
    **more: Any,
) -> Job:
    """A pending job; its id is "j" and its sequence. Unless told, its weight is its own, so that its row is, too."""
    spec = JobSpec(
        "q",
        ways or (way(cpu=8),),
        weight=1.0 + sequence if weight is None else weight,
        priority_class=priority_class,
        preemptible=preemptible,
        restart_cost_seconds=restart_cost,
        **more,
    )
    return Job(f"j{sequence}", sequence, spec, submit_time=LONG_AGO)


def running(job: Job, *places: str, configuration: int = 0, since: float = LONG_AGO) -> Job:
    """The same job, running: each place is a node name, followed by ":" and its GPUs ("n1:0,1") if it has any."""
    replicas = []
    for where in places:
        name, _, gpus = where.partition(":")
        replicas.append(ReplicaPlacement(name, tuple(int(gpu) for gpu in gpus.split(",") if gpu)))
    placement = Placement(job.id, configuration, tuple(replicas))
    return replace(
        job,
        state=JobState.RUNNING,
        allocation=Allocation(placement, Epoch(1, 1), since),
        first_start_time=since,
        last_start_time=since,
    )


def snapshot(nodes: Iterable[Node], jobs: Iterable[Job], now: float = NOW) -> Snapshot:
    return Snapshot(
        revision=7,
        round=3,
        time=now,
        queues=(Queue("q"),),
        nodes=tuple(sorted(nodes, key=lambda n: n.name)),
        jobs=tuple(sorted(jobs, key=lambda j: j.sequence)),
    )


Shares = Mapping[str, Sequence[float]]
"""By job id, the share of each of its spec's configurations."""


def share_matrix(formulation: Formulation, shares: Shares, otherwise: float = 0.5) -> NDArray[np.float64]:
    """`shares` in the shape of the problem; jobs that are not mentioned have `otherwise` in every configuration."""
    matrix = np.zeros(formulation.problem.throughput.shape)
    for row, (group, columns) in enumerate(zip(formulation.groups, formulation.configurations, strict=True)):
        for k, index in enumerate(columns):
            if index >= 0:
                matrix[row, k] = shares[group[0]][index] if group[0] in shares else otherwise
    return matrix


def decide(
    world: Snapshot,
    shares: Shares | None = None,
    credits_owed: Mapping[str, float] | None = None,
    policy: Policy = POLICY,
    otherwise: float = 0.5,
    work: tuple[WorkKind, ...] = (),
) -> Plan:
    """The plan for a world, with credits in seconds by job id, and what work is expected to come."""
    formulation = build(world, policy)
    owed = credits_owed or {}
    memory = Memory.of(world.time, {job.sequence: owed[job.id] for job in world.jobs if job.id in owed}, work=work)
    return place(world, formulation, share_matrix(formulation, shares or {}, otherwise), memory, policy)


def applied(world: Snapshot, plan: Plan, now: float | None = None) -> Snapshot:
    """The world after every change of `plan` became true."""
    time = world.time if now is None else now
    changes = {change.job_id: change for change in plan.changes}
    jobs = []
    for job in world.jobs:
        change = changes.get(job.id)
        if change is None:
            jobs.append(job)
        elif isinstance(change, Preempt):
            jobs.append(replace(job, state=JobState.PENDING, allocation=None, last_preemption=change.reason))
        elif isinstance(change, Resize):
            assert job.allocation is not None
            jobs.append(replace(job, allocation=replace(job.allocation, placement=change.placement)))
        else:
            allocation = Allocation(change.placement, Epoch(world.round, world.revision), time)
            first = time if job.first_start_time is None else job.first_start_time
            jobs.append(
                replace(
                    job, state=JobState.RUNNING, allocation=allocation, first_start_time=first, last_start_time=time
                )
            )
    return replace(world, jobs=tuple(jobs), time=time, round=world.round + 1)


def told(plan: Plan) -> dict[str, str]:
    """A plan as a story: what it says about each job, by job id."""
    story = dict.fromkeys(plan.kept, "kept")
    story |= {job_id: f"waits: {reason.cause.value}" for job_id, reason in plan.waiting}
    for change in plan.changes:
        if isinstance(change, Preempt):
            story[change.job_id] = f"stops for {change.reason.value}"
            continue
        where = " ".join(
            replica.node + (":" + ",".join(map(str, replica.gpus)) if replica.gpus else "")
            for replica in change.placement.replicas
        )
        if isinstance(change, Resize):
            part = f" at {change.placement.millis}" if change.placement.millis < 1000 else ""
            story[change.job_id] = f"resizes to {where}{part}"
            continue
        story[change.job_id] = (
            f"starts on {where}" if isinstance(change, Start) else f"moves to {where} for {change.reason.value}"
        )
    return story
