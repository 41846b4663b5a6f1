"""Short ways to say what tests need: nodes, queues and jobs with sensible rest."""

from __future__ import annotations

from typing import Any

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.resources import Resources

GIB = 2**30


def resources(cpu: float = 0, gpu: float = 0, memory_gib: float = 0, **extra: int) -> Resources:
    """Cores, GPUs, GiB, and extras by name."""
    return Resources(
        cpu_millicores=round(cpu * 1000),
        gpu_millis=round(gpu * 1000),
        memory_bytes=round(memory_gib * GIB),
        extra=tuple(sorted(extra.items())),
    )


def node(name: str = "n1", flavor: str = "a100", cpu: float = 32, gpu: float = 4, memory_gib: float = 256) -> Node:
    return Node(name, flavor, resources(cpu, gpu, memory_gib))


def configuration(
    flavor: str = "a100",
    replicas: int = 1,
    cpu: float = 1,
    gpu: float = 1,
    memory_gib: float = 0,
    throughput: float = 1.0,
) -> Configuration:
    return Configuration(flavor, replicas, resources(cpu, gpu, memory_gib), throughput)


def spec(queue: str = "q", *configurations: Configuration, **fields: Any) -> JobSpec:
    return JobSpec(queue, configurations or (configuration(),), **fields)
