"""The demonstration's cluster, queues and kinds of job: small, heterogeneous, and busier than it can serve."""

from __future__ import annotations

import random
from dataclasses import dataclass

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources

GIB = 2**30
GB_PER_SECOND = 10**9


def _resources(cores: float, gpus: float = 0, memory_gib: float = 0, gb_per_second: float = 0) -> Resources:
    return Resources(
        cpu_millicores=round(cores * 1000),
        gpu_millis=round(gpus * 1000),
        memory_bytes=round(memory_gib * GIB),
        bandwidth_bytes_per_second=round(gb_per_second * GB_PER_SECOND),
    )


QUEUES = (Queue("research", weight=3.0), Queue("production", weight=2.0), Queue("batch", weight=1.0))


def nodes() -> tuple[Node, ...]:
    """Ten nodes of four flavors; every one is `simulated`, and has a label that says so."""
    kinds = (
        ("a100", 2, _resources(96, 8, 1024, 25)),
        ("v100", 3, _resources(48, 4, 384, 12.5)),
        ("t4", 2, _resources(32, 4, 192, 3.125)),
        ("cpu", 3, _resources(64, 0, 256, 3.125)),
    )
    return tuple(
        Node(
            f"{flavor}-{index}",
            flavor,
            capacity,
            labels=(("demo", "simulated"), ("rack", f"r{index % 2}")),
            simulated=True,
        )
        for flavor, count, capacity in kinds
        for index in range(1, count + 1)
    )


@dataclass(frozen=True, slots=True)
class JobKind:
    """`speed`: throughput by flavor; `work_seconds`: mean run time at throughput 1."""

    name: str
    likelihood: float
    replicas: int
    demand: Resources
    speed: dict[str, float]
    work_seconds: float
    restart_cost_seconds: float = 2.0
    preemptible: bool = True


KINDS = (
    JobKind("train", 3, 1, _resources(8, 1, 64, 1), {"a100": 3.0, "v100": 1.6, "t4": 0.6}, 60.0),
    JobKind("train-gang", 1.5, 4, _resources(8, 2, 96, 3), {"a100": 3.2, "v100": 1.5}, 80.0, 5.0),
    JobKind(
        "serve", 3, 1, _resources(2, 0.25, 8, 0.2), {"a100": 1.2, "v100": 1.1, "t4": 1.0}, 40.0, 0.0, preemptible=False
    ),
    JobKind("etl", 4, 1, _resources(8, 0, 24, 0.8), {"cpu": 1.0, "v100": 0.9}, 25.0),
    JobKind("shuffle", 1, 2, _resources(16, 0, 64, 2.0), {"cpu": 1.0, "a100": 1.0}, 30.0),
)

PREFERENCE = {"research": ("train", "train-gang"), "production": ("serve", "etl"), "batch": ("etl", "shuffle", "train")}
"""Kinds that a queue submits three times as often as the others."""


def draw(random_source: random.Random) -> tuple[JobSpec, float]:
    """One more job: what is submitted, and the work (seconds at throughput 1) that it pretends to do."""
    queue = random_source.choice(QUEUES).name
    weights = [kind.likelihood * (3 if kind.name in PREFERENCE[queue] else 1) for kind in KINDS]
    (kind,) = random_source.choices(KINDS, weights)
    configurations = tuple(
        Configuration(flavor, kind.replicas, kind.demand, throughput) for flavor, throughput in kind.speed.items()
    )
    spec = JobSpec(
        queue=queue,
        configurations=configurations,
        name=kind.name,
        preemptible=kind.preemptible,
        restart_cost_seconds=kind.restart_cost_seconds,
        labels=(("kind", kind.name),),
    )
    return spec, kind.work_seconds * random_source.lognormvariate(0.0, 0.5)
