"""Replicas as a daemon wants them, for tests of the agent."""

from __future__ import annotations

import sys

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.domain.resources import Resources

CPU = "cpu"
SMALL = Resources(cpu_millicores=500, memory_bytes=256 * 2**20)


def python(*lines: str, grace: float = 5.0, **fields: str) -> Process:
    """A process that runs these lines."""
    return Process((sys.executable, "-S", "-c", "\n".join(lines)), grace_seconds=grace, **fields)  # type: ignore[arg-type] # the fields that are given are texts


def shell(script: str, grace: float = 5.0, **fields: str) -> Process:
    return Process(("/bin/sh", "-c", script), grace_seconds=grace, **fields)  # type: ignore[arg-type] # as above


def replica(
    job_id: str = "j1",
    process: Process | None = None,
    *,
    number: int = 0,
    replicas: int = 1,
    epoch: int = 1,
    start: int | None = None,
    demand: Resources = SMALL,
    gpus: tuple[int, ...] = (),
) -> DesiredReplica:
    return DesiredReplica(
        job_id=job_id,
        replica=number,
        replicas=replicas,
        epoch=Epoch(epoch, 0),
        flavor=CPU,
        demand=demand,
        gpus=gpus,
        start_epoch=Epoch(epoch if start is None else start, 0),
        process=process,
        peers=("n",) * replicas,
        queue="q",
    )


def desired(*replicas: DesiredReplica, epoch: int = 1) -> NodeDesired:
    return NodeDesired("n", Epoch(epoch, 0), replicas)
