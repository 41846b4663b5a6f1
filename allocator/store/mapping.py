"""Facts as rows and back, exactly: what is read equals what was written, floats to the last bit.

A row is a dictionary by column name. Nested parts are compact JSON with names, so that fields can be added later.
Equal texts are read as the same object: jobs that are alike share their configurations.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from allocator.domain.cluster import Labels, Node, NodeAvailability, NodeHealth
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import WHOLE, Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, WorkKind
from allocator.intake.ports import Receipt

Row = dict[str, Any]

_compact = json.JSONEncoder(separators=(",", ":"), check_circular=False)
write = _compact.encode
"""JSON without spaces, in ASCII."""
read = json.loads

MUTABLE_JOB_COLUMNS: tuple[str, ...] = (
    "revision",
    "state",
    "allocation",
    "pending_reason",
    "first_start_time",
    "last_start_time",
    "end_time",
    "preemption_count",
    "last_preemption",
    "measured_throughput",
    "message",
)
"""What changes in a job while its spec stays the same. Of these, `end_time` changes once: when the job ends."""


# --- jobs ---------------------------------------------------------------------------------------------------------


def job_row(job: Job) -> Row:
    """All columns."""
    spec = job.spec
    return {
        **job_changes(job),
        "sequence": job.sequence,
        "id": job.id,
        "queue": spec.queue,
        "name": write(spec.name),
        "weight": spec.weight,
        "priority_class": spec.priority_class,
        "preemptible": spec.preemptible,
        "restart_cost_seconds": spec.restart_cost_seconds,
        "expected_duration_seconds": spec.expected_duration_seconds,
        "configurations": _write_configurations(spec.configurations),
        "labels": write(spec.labels),
        "constraints": None if spec.constraints is UNCONSTRAINED else _write_constraints(spec.constraints),
        "resizable": spec.resizable,
        "divisible": spec.divisible,
        "submit_time": job.submit_time,
    }


def job_changes(job: Job) -> Row:
    """MUTABLE_JOB_COLUMNS."""
    return {
        "revision": job.revision,
        "state": job.state.value,
        "allocation": None if job.allocation is None else _write_allocation(job.allocation),
        "pending_reason": None if job.pending_reason is None else _write_reason(job.pending_reason),
        "first_start_time": job.first_start_time,
        "last_start_time": job.last_start_time,
        "end_time": job.end_time,
        "preemption_count": job.preemption_count,
        "last_preemption": None if job.last_preemption is None else job.last_preemption.value,
        "measured_throughput": write(job.measured_throughput) if job.measured_throughput else "[]",
        "message": write(job.message) if job.message else '""',
    }


JOB_COLUMNS: tuple[str, ...] = (
    "id",
    "sequence",
    "submit_time",
    "state",
    "revision",
    "allocation",
    "pending_reason",
    "first_start_time",
    "last_start_time",
    "end_time",
    "preemption_count",
    "last_preemption",
    "measured_throughput",
    "message",
    "queue",
    "configurations",
    "name",
    "weight",
    "priority_class",
    "preemptible",
    "restart_cost_seconds",
    "expected_duration_seconds",
    "labels",
    "constraints",
    "resizable",
    "divisible",
)
"""In the order in which `job_from` takes them: by position, because by name takes as long as all the rest."""

SPEC_COLUMN = JOB_COLUMNS.index("queue")
"""From here on they belong to the spec."""


def job_from(row: Sequence[Any]) -> Job:
    """From the values of JOB_COLUMNS."""
    job_id, sequence, submit_time, state, revision, allocation, reason = row[:7]
    first_start_time, last_start_time, end_time, preemption_count, preemption, measured, message = row[7:SPEC_COLUMN]
    return Job(
        job_id,
        sequence,
        _spec_from(row[SPEC_COLUMN:]),
        submit_time,
        _STATES[state],
        revision,
        None if allocation is None else _read_allocation(job_id, allocation),
        None if reason is None else _read_reason(reason),
        first_start_time,
        last_start_time,
        end_time,
        preemption_count,
        None if preemption is None else PreemptionReason(preemption),
        _read_measured(measured),
        _read_text(message),
    )


def _spec_from(row: Sequence[Any]) -> JobSpec:
    queue, configurations, name, weight, priority_class, preemptible, restart_cost, expected_duration = row[:8]
    labels, constraints, resizable, divisible = row[8:]
    return JobSpec(
        _same(queue),
        _read_configurations(configurations),
        _read_text(name),
        weight,
        _same(priority_class),
        preemptible,
        restart_cost,
        expected_duration,
        _read_labels(labels),
        UNCONSTRAINED if constraints is None else _read_constraints(constraints),
        resizable,
        divisible,
    )


_STATES = {state.value: state for state in JobState}


def _read_text(text: str) -> str:
    """A JSON string. Without a backslash it is what stands between the quotes."""
    return str(read(text)) if "\\" in text else text[1:-1]


@lru_cache(maxsize=4096)
def _same(text: str) -> str:
    """One object per distinct text."""
    return text


def _write_configurations(configurations: tuple[Configuration, ...]) -> str:
    return write(
        [
            {
                "flavor": configuration.flavor,
                "replicas": configuration.replicas,
                "demand": dict(configuration.demand.items()),
                "throughput": configuration.throughput,
            }
            for configuration in configurations
        ]
    )


@lru_cache(maxsize=65536)
def _read_configurations(text: str) -> tuple[Configuration, ...]:
    return tuple(
        Configuration(part["flavor"], part["replicas"], Resources.of(part["demand"]), part["throughput"])
        for part in read(text)
    )


@lru_cache(maxsize=4096)
def _read_labels(text: str) -> Labels:
    return _pairs(read(text))


@lru_cache(maxsize=4096)
def _write_constraints(constraints: Constraints) -> str | None:
    """None where there are none."""
    if constraints == UNCONSTRAINED:
        return None
    return write(
        {
            "nodes": [{"key": rule.key, "values": rule.values, "negated": rule.negated} for rule in constraints.nodes],
            "at_most": [
                {"replicas": limit.replicas, "per": limit.per, "of": limit.of} for limit in constraints.at_most
            ],
            "near": [{"per": near.per, "of": near.of} for near in constraints.near],
            "within": constraints.within,
            "tolerations": constraints.tolerations,
        }
    )


@lru_cache(maxsize=4096)
def _read_constraints(text: str) -> Constraints:
    content = read(text)
    return Constraints(
        tuple(NodeRule(part["key"], tuple(part["values"]), part["negated"]) for part in content["nodes"]),
        tuple(AtMost(part["replicas"], part["per"], _pairs(part["of"])) for part in content["at_most"]),
        tuple(Near(part["per"], _pairs(part["of"])) for part in content["near"]),
        content["within"],
        _pairs(content["tolerations"]),
    )


def _pairs(parts: Sequence[Sequence[str]]) -> Labels:
    return tuple((key, value) for key, value in parts)


@lru_cache(maxsize=4096)
def _read_measured(text: str) -> tuple[tuple[str, float], ...]:
    return tuple((flavor, throughput) for flavor, throughput in read(text))


def _write_allocation(allocation: Allocation) -> str:
    """What few allocations have is left out of the others: a part of the demand, another epoch at the start."""
    placement = allocation.placement
    content: Row = {
        "configuration": placement.configuration,
        "replicas": [(replica.node, replica.gpus) for replica in placement.replicas],
        "epoch": (allocation.epoch.round, allocation.epoch.revision),
        "start_time": allocation.start_time,
        "finished": sorted(allocation.finished),
    }
    if placement.millis != WHOLE:
        content["millis"] = placement.millis
    if allocation.started is not None:
        content["started"] = (allocation.started.round, allocation.started.revision)
    return write(content)


def _read_allocation(job_id: str, text: str) -> Allocation:
    content = read(text)
    replicas = tuple(ReplicaPlacement(_same(node), tuple(gpus)) for node, gpus in content["replicas"])
    started = content.get("started")
    return Allocation(
        placement=Placement(job_id, content["configuration"], replicas, content.get("millis", WHOLE)),
        epoch=Epoch(*content["epoch"]),
        start_time=content["start_time"],
        finished=frozenset(content["finished"]),
        started=None if started is None else Epoch(*started),
    )


@lru_cache(maxsize=1024)
def _write_reason(reason: PendingReason) -> str:
    shortages = [(shortage.flavor, shortage.resource, shortage.missing) for shortage in reason.shortages]
    return write({"cause": reason.cause.value, "shortages": shortages})


@lru_cache(maxsize=4096)
def _read_reason(text: str) -> PendingReason:
    content = read(text)
    return PendingReason(PendingCause(content["cause"]), tuple(Shortage(*part) for part in content["shortages"]))


# --- queues and nodes ---------------------------------------------------------------------------------------------


def queue_row(queue: Queue) -> Row:
    return {
        "name": queue.name,
        "weight": queue.weight,
        "cordoned": queue.cordoned,
        "max_live_jobs": queue.max_live_jobs,
    }


def queue_from(row: Any) -> Queue:
    """From a row with the columns of `QueueRow` as attributes."""
    return Queue(row.name, row.weight, row.cordoned, row.max_live_jobs)


def node_row(node: Node) -> Row:
    return {
        "name": node.name,
        "flavor": node.flavor,
        "cpu_millicores": node.capacity.cpu_millicores,
        "gpu_millis": node.capacity.gpu_millis,
        "memory_bytes": node.capacity.memory_bytes,
        "bandwidth_bytes_per_second": node.capacity.bandwidth_bytes_per_second,
        "disk_bytes": node.capacity.disk_bytes,
        "extra": write(node.capacity.extra),
        "labels": write(node.labels),
        "availability": node.availability.value,
        "health": node.health.value,
        "simulated": node.simulated,
        "taints": write(node.taints),
    }


def node_from(row: Any) -> Node:
    """From a row with the columns of `NodeRow` as attributes."""
    capacity = Resources(
        row.cpu_millicores,
        row.gpu_millis,
        row.memory_bytes,
        row.bandwidth_bytes_per_second,
        row.disk_bytes,
        tuple((name, amount) for name, amount in read(row.extra)),
    )
    return Node(
        name=row.name,
        flavor=row.flavor,
        capacity=capacity,
        labels=_read_labels(row.labels),
        availability=NodeAvailability(row.availability),
        health=NodeHealth(row.health),
        simulated=row.simulated,
        taints=_read_labels(row.taints),
    )


# --- receipts and memory ------------------------------------------------------------------------------------------


def receipt_row(receipt: Receipt) -> Row:
    return {
        "request_id": write(receipt.request_id),
        "digest": receipt.digest,
        "time": receipt.time,
        "answers": write(receipt.answers),
    }


def receipt_from(row: Any) -> Receipt:
    """From a row with the columns of `ReceiptRow` as attributes."""
    answers = tuple((kind, text) for kind, text in read(row.answers))
    return Receipt(read(row.request_id), row.digest, row.time, answers)


def memory_row(memory: Memory) -> Row:
    """All columns but the key. What there is one of per job is binary: it is written every round."""
    content = {
        "time": memory.time,
        "prices": [(*name, price) for name, price in memory.prices.items()],
        "limit_prices": [(*name, price) for name, price in memory.limit_prices.items()],
        "work": [(kind.flavor, dict(kind.demand.items()), kind.popularity, kind.value) for kind in memory.work],
    }
    columns = (memory.sequences, memory.credits, memory.pace)
    return {"content": write(content), "credits": b"".join([_little_endian(column) for column in columns])}


def memory_from(content: str, credits_and_pace: bytes | None, sequence_of: Callable[[str], int | None]) -> Memory:
    """From the columns of `MemoryRow`. Records from before there was a binary column name jobs by id:
    `sequence_of` tells their sequence, or None for those that live no more.
    """
    found = read(content)
    prices = {(flavor, resource): price for flavor, resource, price in found["prices"]}
    limit_prices = {
        (queue, flavor, resource): price
        for queue, flavor, resource, price in found.get("limit_prices", ())  # older records have none
    }
    work = tuple(
        WorkKind(flavor, Resources.of(demand), popularity, value)
        for flavor, demand, popularity, value in found.get("work", ())  # older records have none
    )
    if credits_and_pace is None:
        owed, pace = (_by_sequence(found[name], sequence_of) for name in ("credits", "pace"))
        return Memory.of(found["time"], owed, pace, prices, limit_prices, work)
    part = len(credits_and_pace) // 3
    columns = [credits_and_pace[at * part : (at + 1) * part] for at in range(3)]
    sequences = array("q", columns[0])
    credits_owed, pace_of_each = array("d", columns[1]), array("d", columns[2])
    for column in (sequences, credits_owed, pace_of_each):
        _swap_if_big_endian(column)
    return Memory(found["time"], sequences, credits_owed, pace_of_each, prices, limit_prices, work)


def _little_endian(column: array[Any]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        _swap_if_big_endian(column)
    return column.tobytes()


def _swap_if_big_endian(column: array[Any]) -> None:
    if sys.byteorder == "big":
        column.byteswap()


def _by_sequence(by_id: Mapping[str, float], sequence_of: Callable[[str], int | None]) -> dict[int, float]:
    found = ((sequence_of(job_id), value) for job_id, value in by_id.items())
    return {sequence: value for sequence, value in found if sequence is not None}
