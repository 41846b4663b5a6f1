"""Small clusters and jobs in a few words each, and what applying a plan makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.plan import Move, Plan, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.resources import Resources, display_unit
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.formulation.problem import Problem

NOW = 1_000_000.0
LONG_AGO = NOW - 100_000.0
OPEN, CORDONED, DRAINING = NodeAvailability.OPEN, NodeAvailability.CORDONED, NodeAvailability.DRAINING
LOST = NodeHealth.LOST
POLICY = Policy()


def node(
    name: str,
    *,
    flavor: str = "a",
    cpu: int = 8,
    gpu: int = 0,
    availability: NodeAvailability = OPEN,
    health: NodeHealth = NodeHealth.READY,
) -> Node:
    """`cpu` cores and `gpu` whole GPUs."""
    capacity = Resources(cpu_millicores=cpu * 1000, gpu_millis=gpu * 1000)
    return Node(name, flavor, capacity, availability=availability, health=health)


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
) -> Job:
    """A pending job; its id is "j" and its sequence."""
    spec = JobSpec(
        "q",
        ways or (way(cpu=8),),
        priority_class=priority_class,
        preemptible=preemptible,
        restart_cost_seconds=restart_cost,
    )
    return Job(f"j{sequence}", sequence, spec, submit_time=LONG_AGO)


def running(job: Job, *places: str, configuration: int = 0, since: float = LONG_AGO) -> Job:
    """The same job, running: each place is a node name, followed by ":" and its GPUs ("n1:0,1") if it has any."""
    replicas = []
    for place in places:
        name, _, gpus = place.partition(":")
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


def formulate(world: Snapshot) -> Formulation:
    """One row per job, a column per configuration on a flavor with an open node: enough of a problem to place by."""
    flavors = world.flavors
    resources = ("cpu", "gpu", "licence")
    open_flavors = {n.flavor for n in world.nodes if n.takes_new_work}
    cordoned = {n.name for n in world.nodes if n.availability is CORDONED}
    pinned: set[str] = set()
    never: dict[str, PendingReason] = {}
    rows: dict[str, int] = {}
    columns: list[list[int]] = []
    jobs: list[Job] = []
    for job in world.jobs:
        eligible = [
            index for index, c in enumerate(job.spec.configurations) if c.throughput > 0 and c.flavor in open_flavors
        ]
        if job.allocation and (not job.spec.preemptible or cordoned & set(job.allocation.placement.nodes)):
            pinned.add(job.id)
        elif not eligible:
            never[job.id] = PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)
        else:
            rows[job.id] = len(jobs)
            jobs.append(job)
            columns.append(eligible)
    width = max((len(row) for row in columns), default=1)
    padded = [row + [-1] * (width - len(row)) for row in columns]
    shape = (len(jobs), width)
    throughput, flavor, demand = np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros((*shape, len(resources)))
    for i, (job, row) in enumerate(zip(jobs, padded, strict=True)):
        for k, index in enumerate(row):
            if index >= 0:
                c = job.spec.configurations[index]
                throughput[i, k] = c.throughput
                flavor[i, k] = flavors.index(c.flavor)
                demand[i, k] = [c.total_demand.get(name) / display_unit(name)[1] for name in resources]
    capacity = np.array(
        [
            [
                sum(n.capacity.get(name) for n in world.nodes if n.flavor == f) / display_unit(name)[1] + 1e6
                for name in resources
            ]
            for f in flavors
        ]
    )
    problem = Problem.from_arrays(throughput=throughput, flavor=flavor, demand=demand, capacity=capacity)
    return Formulation(
        problem=problem,
        flavors=flavors,
        resources=resources,
        groups=tuple((job.id,) for job in jobs),
        configurations=tuple(tuple(row) for row in padded),
        pinned=frozenset(pinned),
        never=never,
        rows=rows,
    )
