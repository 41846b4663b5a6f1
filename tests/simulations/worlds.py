"""Small clusters and jobs for the tests of the simulations."""

from __future__ import annotations

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from simulations.workload import Arrival, Workload

GIB = 2**30


def amounts(cores: float = 1.0, gpus: float = 0.0, gib: float = 1.0) -> Resources:
    return Resources(cpu_millicores=round(cores * 1000), gpu_millis=round(gpus * 1000), memory_bytes=round(gib * GIB))


def node(name: str, flavor: str = "t4", *, cores: float = 8, gpus: int = 2, gib: float = 32) -> Node:
    return Node(name, flavor, amounts(cores, gpus, gib))


def spec(
    *configurations: Configuration, queue: str = "main", restart_cost: float = 0.0, preemptible: bool = True
) -> JobSpec:
    return JobSpec(queue, configurations, restart_cost_seconds=restart_cost, preemptible=preemptible)


def on(flavor: str = "t4", replicas: int = 1, throughput: float = 1.0, **demand: float) -> Configuration:
    return Configuration(flavor, replicas, amounts(**demand), throughput)


def workload(nodes: list[Node], arrivals: list[Arrival], queues: tuple[str, ...] = ("main",)) -> Workload:
    return Workload(
        name="made for a test",
        start=0.0,
        nodes=tuple(sorted(nodes, key=lambda member: member.name)),
        queues=tuple(Queue(name) for name in queues),
        arrivals=tuple(sorted(arrivals, key=lambda arrival: arrival.time)),
    )
