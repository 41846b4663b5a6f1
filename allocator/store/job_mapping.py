"""Jobs as rows and back, exactly, as in `mapping`: specs, allocations, and why they wait.

Jobs that are alike share their configurations, labels and constraints: equal texts are read as the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from functools import lru_cache
from typing import Any

from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import WHOLE, Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.process import NO_RETRIES, Condition, Dependency, Process, Retries
from allocator.domain.reason import (
    Examined,
    LimitExcess,
    PendingCause,
    PendingReason,
    PreemptionReason,
    QuotaExcess,
    Refusal,
    Shortage,
)
from allocator.domain.resources import Resources
from allocator.store.mapping import Row, pairs, read, read_labels, write

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
    "work_done_seconds",
    "work_counted_time",
    "failures",
    "not_before",
    "waits_for",
)
"""What changes in a job while its spec stays the same. Of these, `end_time` changes once: when the job ends."""


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
        "job_class": write(spec.job_class) if spec.job_class else '""',
        "deadline": spec.deadline,
        "minimum_throughput": spec.minimum_throughput,
        "process": None if spec.process is None else _write_process(spec.process),
        "retries": None if spec.retries == NO_RETRIES else write(astuple(spec.retries)),
        "after": write([[each.job_id, each.condition.value] for each in spec.after]) if spec.after else None,
        "array_index": spec.array_index,
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
        "work_done_seconds": job.work_done_seconds,
        "work_counted_time": job.work_counted_time,
        "failures": job.failures,
        "not_before": job.not_before,
        "waits_for": write(job.waits_for) if job.waits_for else None,
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
    "work_done_seconds",
    "work_counted_time",
    "failures",
    "not_before",
    "waits_for",
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
    "job_class",
    "deadline",
    "minimum_throughput",
    "process",
    "retries",
    "after",
    "array_index",
)
"""In the order in which `job_from` takes them: by position, because by name takes as long as all the rest."""

SPEC_COLUMN = JOB_COLUMNS.index("queue")
"""From here on they belong to the spec."""


def job_from(row: Sequence[Any]) -> Job:
    """From the values of JOB_COLUMNS."""
    job_id, sequence, submit_time, state, revision, allocation, reason = row[:7]
    first_start_time, last_start_time, end_time, preemption_count, preemption, measured, message = row[7:14]
    work_done, work_counted, failures, not_before, waits_for = row[14:SPEC_COLUMN]
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
        work_done,
        work_counted,
        failures,
        not_before,
        () if waits_for is None else tuple(read(waits_for)),
    )


def _spec_from(row: Sequence[Any]) -> JobSpec:
    queue, configurations, name, weight, priority_class, preemptible, restart_cost, expected_duration = row[:8]
    labels, constraints, resizable, divisible, job_class, deadline, minimum_throughput = row[8:15]
    process, retries, after, array_index = row[15:]
    return JobSpec(
        _same(queue),
        _read_configurations(configurations),
        _read_text(name),
        weight,
        _same(priority_class),
        preemptible,
        restart_cost,
        expected_duration,
        read_labels(labels),
        UNCONSTRAINED if constraints is None else _read_constraints(constraints),
        resizable,
        divisible,
        _same(_read_text(job_class)),
        deadline,
        minimum_throughput,
        None if process is None else _read_process(process),
        NO_RETRIES if retries is None else _read_retries(retries),
        () if after is None else tuple(Dependency(job_id, Condition(how)) for job_id, how in read(after)),
        array_index,
    )


def _write_process(process: Process) -> str:
    return write({field.name: getattr(process, field.name) for field in fields(process)})


@lru_cache(maxsize=4096)
def _read_process(text: str) -> Process:
    content = read(text)
    content["command"], content["environment"] = tuple(content["command"]), pairs(content["environment"])
    return Process(**content)


@lru_cache(maxsize=256)
def _read_retries(text: str) -> Retries:
    return Retries(*read(text))


_STATES = {state.value: state for state in JobState}


def _read_text(text: str) -> str:
    """A JSON string. Without a backslash it is what stands between the quotes."""
    return str(read(text)) if "\\" in text else text[1:-1]


@lru_cache(maxsize=4096)
def _same(text: str) -> str:
    """One object per distinct text."""
    return text


def _write_configurations(configurations: tuple[Configuration, ...]) -> str:
    """What nobody declared is null: 1 stands for it."""
    return write(
        [
            {
                "flavor": configuration.flavor,
                "replicas": configuration.replicas,
                "demand": dict(configuration.demand.items()),
                "throughput": configuration.throughput if configuration.declared else None,
            }
            for configuration in configurations
        ]
    )


@lru_cache(maxsize=65536)
def _read_configurations(text: str) -> tuple[Configuration, ...]:
    return tuple(
        Configuration(
            part["flavor"],
            part["replicas"],
            Resources.of(part["demand"]),
            1.0 if part["throughput"] is None else part["throughput"],
            declared=part["throughput"] is not None,
        )
        for part in read(text)
    )


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
        tuple(AtMost(part["replicas"], part["per"], pairs(part["of"])) for part in content["at_most"]),
        tuple(Near(part["per"], pairs(part["of"])) for part in content["near"]),
        content["within"],
        pairs(content["tolerations"]),
    )


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
    """What few reasons have is left out of the others: who has the place reserved."""
    content: Row = {
        "cause": reason.cause.value,
        "shortages": [(short.flavor, short.resource, short.missing, short.held) for short in reason.shortages],
        "examined": [
            (
                examined.flavor,
                examined.nodes,
                [(refusal.value, nodes) for refusal, nodes in examined.refused],
                examined.lacking,
                examined.replicas,
                examined.room,
                examined.places,
            )
            for examined in reason.examined
        ],
    }
    if reason.reserved_for:
        content["reserved_for"] = reason.reserved_for
    if reason.reserved_until is not None:
        content["reserved_until"] = reason.reserved_until
    if reason.excesses:
        content["excesses"] = [astuple(excess) for excess in reason.excesses]
    if reason.limits:
        content["limits"] = [astuple(excess) for excess in reason.limits]
    return write(content)


@lru_cache(maxsize=4096)
def _read_reason(text: str) -> PendingReason:
    """Older records say only what is missing, and not who holds it."""
    content = read(text)
    return PendingReason(
        PendingCause(content["cause"]),
        tuple(Shortage(*part) for part in content["shortages"]),
        tuple(_read_examined(part) for part in content.get("examined", ())),
        tuple(content.get("reserved_for", ())),
        content.get("reserved_until"),
        tuple(QuotaExcess(*part) for part in content.get("excesses", ())),
        tuple(LimitExcess(*part) for part in content.get("limits", ())),
    )


def _read_examined(part: Sequence[Any]) -> Examined:
    flavor, nodes, refused, lacking, *sizes = part
    return Examined(
        flavor,
        nodes,
        tuple((Refusal(refusal), count) for refusal, count in refused),
        tuple((resource, count) for resource, count in lacking),
        *sizes,
    )
