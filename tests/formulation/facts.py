"""Snapshots in a few words, for tests."""

from __future__ import annotations

from typing import Any

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Snapshot

GIB = 2**30


def amounts(cpu: float = 0, gpu: float = 0, memory: float = 0) -> Resources:
    """Cores, GPUs, GiB."""
    return Resources(int(cpu * 1000), int(gpu * 1000), int(memory * GIB))


def node(
    name: str,
    flavor: str = "a100",
    capacity: Resources | None = None,
    *,
    availability: NodeAvailability = NodeAvailability.OPEN,
    health: NodeHealth = NodeHealth.READY,
) -> Node:
    """8 GPUs, 64 cores, 512 GiB unless said otherwise."""
    return Node(name, flavor, amounts(64, 8, 512) if capacity is None else capacity, (), availability, health)


def way(flavor: str = "a100", demand: Resources | None = None, replicas: int = 1, speed: float = 1.0) -> Configuration:
    """One configuration; a replica takes 1 GPU, 4 cores, 32 GiB unless said otherwise."""
    return Configuration(flavor, replicas, amounts(4, 1, 32) if demand is None else demand, speed)


def job(sequence: int, *ways: Configuration, queue: str = "q", runs_on: tuple[str, ...] = (), **changes: Any) -> Job:
    """Job `j<sequence>`; with `runs_on`, running in `configuration` (0 unless given) with a replica on each node."""
    configuration, finished = changes.pop("configuration", 0), changes.pop("finished", frozenset())
    measured = changes.pop("measured", ())
    identity = f"j{sequence}"
    allocation = None
    if runs_on:
        placement = Placement(identity, configuration, tuple(ReplicaPlacement(name) for name in runs_on))
        allocation = Allocation(placement, Epoch(1, 1), 0.0, finished)
    return Job(
        id=identity,
        sequence=sequence,
        spec=JobSpec(queue, ways or (way(),), **changes),
        submit_time=0.0,
        state=JobState.RUNNING if runs_on else JobState.PENDING,
        allocation=allocation,
        measured_throughput=measured,
    )


def snapshot(nodes: list[Node], jobs: list[Job], queues: tuple[Queue, ...] = (Queue("q"),)) -> Snapshot:
    return Snapshot(
        revision=1,
        round=1,
        time=0.0,
        queues=tuple(sorted(queues, key=lambda queue: queue.name)),
        nodes=tuple(sorted(nodes, key=lambda one: one.name)),
        jobs=tuple(sorted(jobs, key=lambda one: one.sequence)),
    )
