"""Jobs that wait or run in Slurm, with all that they ask for, as ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from allocator.domain.cluster import Node
from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.slurm.observed import MIB, hosts
from allocator.slurm.translation import PARTITION_LABEL

FIELDS = (
    "JobArrayID:60|,State:20|,UserName:64|,Account:64|,Partition:256|,NumNodes:20|,tres-alloc:256|,NodeList:1024|,"
    "TimeLimit:20|,SubmitTime:30|,Reason:64|,Name:128"
)
"""Of `squeue -O`."""
QUEUE_BY = ("account", "partition", "user")
_COUNT = FIELDS.count(",") + 1
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_HELD = ("JobHeld", "Dependency", "BeginTime", "JobArrayTaskLimit")
_NOBODY = "none"


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """`cpus`, `memory_bytes` and `gpus` are of the whole job; `models` of GPUs are those it named."""

    id: str
    state: str
    user: str
    account: str
    partitions: tuple[str, ...]
    node_count: int
    cpus: int
    memory_bytes: int
    gpus: int
    models: tuple[str, ...]
    nodes: tuple[str, ...]
    limit_seconds: float | None
    submit_time: float
    reason: str
    name: str

    @property
    def runs(self) -> bool:
        return self.state in ("RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING")

    @property
    def wants(self) -> bool:
        """Whether it waits for nothing but a place."""
        return self.state == "PENDING" and not self.reason.startswith(_HELD)

    def queue(self, by: str) -> str:
        """Its queue's name, by one of QUEUE_BY."""
        value = {
            "account": self.account,
            "user": self.user,
            "partition": self.partitions[0] if self.partitions else "",
        }[by]
        return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in value).strip("-") or _NOBODY


def queued_of(text: str) -> tuple[QueuedJob, ...]:
    """From `squeue --noheader --all --array -O FIELDS`. Lines that cannot be read are passed over."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split("|", _COUNT - 1)]
        if len(parts) == _COUNT:
            found.append(_queued(parts))
    return tuple(found)


def _queued(parts: Sequence[str]) -> QueuedJob:
    job_id, state, user, account, partition, count, tres, nodes, limit, submitted, reason, name = parts
    amounts = dict(part.partition("=")[::2] for part in tres.split(","))
    models = {key.removeprefix("gres/gpu:").lower() for key in amounts if key.startswith("gres/gpu:")}
    return QueuedJob(
        job_id,
        state,
        user,
        "" if account == "(null)" else account,
        tuple(part for part in partition.split(",") if part),
        max(1, _whole(count)),
        _whole(amounts.get("cpu", "0")),
        _memory(amounts.get("mem", "0")),
        _whole(amounts.get("gres/gpu", "0")),
        tuple(sorted(models)),
        hosts(nodes),
        _seconds(limit),
        float(_whole(submitted)),
        reason,
        name,
    )


def spec_of(job: QueuedJob, nodes: Iterable[Node], by: str) -> JobSpec | None:
    """As a job of ours, with a replica per node; None if no flavor has what it names. Where more cores than a node has
    are asked of one, it takes as many nodes as it needs.
    """
    largest: dict[str, int] = {}
    for node in nodes:
        if not job.partitions or any(node.label(f"{PARTITION_LABEL}/{name}") for name in job.partitions):
            largest[node.flavor] = max(largest.get(node.flavor, 0), node.capacity.cpu_millicores // 1000)
    ways = []
    for flavor, cores in sorted(largest.items()):
        if set(job.models) <= set(flavor.split(".")) or not job.models:
            replicas = max(job.node_count, -(-job.cpus // max(1, cores)))
            ways.append(Configuration(flavor, replicas, _each(job, replicas)))
    if not ways:
        return None
    rules = tuple(NodeRule(f"{PARTITION_LABEL}/{name}", ("yes",)) for name in job.partitions[:1])
    return JobSpec(
        job.queue(by),
        tuple(ways),
        name=job.id,
        preemptible=False,
        expected_duration_seconds=job.limit_seconds,
        constraints=Constraints(nodes=rules),
    )


def _each(job: QueuedJob, replicas: int) -> Resources:
    return Resources(
        cpu_millicores=max(1, -(-job.cpus // replicas)) * 1000,
        gpu_millis=-(-job.gpus // replicas) * GPU_MILLIS,
        memory_bytes=-(-job.memory_bytes // replicas) // MIB * MIB,
    )


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _memory(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "M")
    try:
        return round(float(number) * _UNITS[unit])
    except ValueError:
        return 0


def _seconds(text: str) -> float | None:
    """Of 1-02:03:04, 02:03:04 or 03:04; None if it is no duration."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or (dash and not days.isdecimal()):
        return None
    seconds = 0.0
    for part in parts if len(parts) > 1 or dash else [*parts, "0"]:
        seconds = seconds * 60 + int(part)
    if dash:
        seconds = seconds * 60 ** (3 - len(parts)) + int(days) * 86400.0
    return seconds or None
