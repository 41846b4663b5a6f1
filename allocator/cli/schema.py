"""The JSON that `--json` prints: the API's messages, with the API's field names (README.md has the table).

Beyond protobuf's own JSON mapping: every field is always there (null when absent), names stay in snake_case, integers
are numbers, an enum's value is its short name in lower case (`pending`), and a number that is not finite is null.
Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from allocator.client import ClusterStatus, EndOfSnapshot, JobEvent, PolicyRecord, QueueStatus
from allocator.domain.cluster import Labels, Node
from allocator.domain.constraints import Constraints
from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.domain.job import Job, JobSpec
from allocator.domain.placement import Allocation, Epoch
from allocator.domain.process import Dependency, Process
from allocator.domain.queue import Queue
from allocator.domain.reason import Examined, PendingReason
from allocator.domain.resources import FIELD_BY_RESOURCE, Resources, display_unit
from allocator.intake.commands import ItemResult
from allocator.rounds.report import FlavorUsage, LimitUsage, QueueUsage, RoundSummary

Json = dict[str, Any]


def time_text(seconds: float | None) -> str | None:
    """RFC 3339, UTC, microseconds.

    >>> time_text(0.5)
    '1970-01-01T00:00:00.500000Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def resources(amounts: Resources) -> Json:
    fields: Json = {field: getattr(amounts, field) for field in FIELD_BY_RESOURCE.values()}
    return fields | {"extra": dict(amounts.extra)}


def spec(job_spec: JobSpec) -> Json:
    return {
        "queue": job_spec.queue,
        "configurations": [
            {
                "flavor": configuration.flavor,
                "replicas": configuration.replicas,
                "demand": resources(configuration.demand),
                "throughput": finite(configuration.throughput) if configuration.declared else None,
            }
            for configuration in job_spec.configurations
        ],
        "name": job_spec.name,
        "weight": finite(job_spec.weight),
        "priority_class": job_spec.priority_class,
        "preemptible": job_spec.preemptible,
        "restart_cost_seconds": finite(job_spec.restart_cost_seconds),
        "expected_duration_seconds": finite(job_spec.expected_duration_seconds),
        "labels": labels(job_spec.labels),
        "constraints": constraints(job_spec.constraints),
        "resizable": job_spec.resizable,
        "divisible": job_spec.divisible,
        "job_class": job_spec.job_class,
        "deadline": time_text(job_spec.deadline),
        "minimum_throughput": finite(job_spec.minimum_throughput),
        "process": process(job_spec.process) if job_spec.process else None,
        "retries": {
            "limit": job_spec.retries.limit,
            "backoff_seconds": finite(job_spec.retries.backoff_seconds),
            "most_backoff_seconds": finite(job_spec.retries.most_backoff_seconds),
        },
        "after": many(dependency, job_spec.after),
        "array_index": job_spec.array_index,
    }


def process(run: Process) -> Json:
    return {
        "command": list(run.command),
        "environment": dict(run.environment),
        "directory": run.directory,
        "output": run.output,
        "errors": run.errors,
        "checkpoint_signal": run.checkpoint_signal,
        "grace_seconds": finite(run.grace_seconds),
    }


def dependency(after: Dependency) -> Json:
    return {"job_id": after.job_id, "condition": after.condition.value}


def constraints(wanted: Constraints) -> Json:
    return {
        "nodes": [{"key": rule.key, "values": list(rule.values), "negated": rule.negated} for rule in wanted.nodes],
        "at_most": [{"replicas": limit.replicas, "per": limit.per, "of": labels(limit.of)} for limit in wanted.at_most],
        "near": [{"per": near.per, "of": labels(near.of)} for near in wanted.near],
        "within": wanted.within,
        "tolerations": [{"key": key, "value": value} for key, value in wanted.tolerations],
    }


def job(job: Job) -> Json:
    return {
        "id": job.id,
        "sequence": job.sequence,
        "spec": spec(job.spec),
        "submit_time": time_text(job.submit_time),
        "state": job.state.value,
        "revision": job.revision,
        "allocation": allocation(job.allocation) if job.allocation else None,
        "pending_reason": pending_reason(job.pending_reason) if job.pending_reason else None,
        "first_start_time": time_text(job.first_start_time),
        "last_start_time": time_text(job.last_start_time),
        "end_time": time_text(job.end_time),
        "preemption_count": job.preemption_count,
        "last_preemption": job.last_preemption.value if job.last_preemption else None,
        "measured_throughput": {flavor: finite(value) for flavor, value in job.measured_throughput},
        "message": job.message,
        "work_done_seconds": finite(job.work_done_seconds),
        "work_counted_time": time_text(job.work_counted_time),
        "failures": job.failures,
        "not_before": time_text(job.not_before),
        "waits_for": list(job.waits_for),
    }


def allocation(held: Allocation) -> Json:
    return {
        "configuration": held.placement.configuration,
        "replicas": [{"node": replica.node, "gpus": list(replica.gpus)} for replica in held.placement.replicas],
        "epoch": epoch(held.epoch),
        "start_time": time_text(held.start_time),
        "finished_replicas": sorted(held.finished),
        "millis": held.placement.millis,
        "start_epoch": epoch(held.start_epoch),
    }


def epoch(when: Epoch) -> Json:
    return {"round": when.round, "revision": when.revision}


def pending_reason(reason: PendingReason) -> Json:
    return {
        "cause": reason.cause.value,
        "shortages": [
            {
                "flavor": shortage.flavor,
                "resource": shortage.resource,
                "missing": shortage.missing,
                "held": shortage.held,
            }
            for shortage in reason.shortages
        ],
        "examined": many(examined, reason.examined),
        "reserved_for": list(reason.reserved_for),
        "reserved_until": time_text(reason.reserved_until),
        "excesses": [asdict(excess) for excess in reason.excesses],
        "limits": [asdict(excess) for excess in reason.limits],
    }


def examined(found: Examined) -> Json:
    return {
        "flavor": found.flavor,
        "nodes": found.nodes,
        "refused": [{"refusal": refusal.value, "nodes": nodes} for refusal, nodes in found.refused],
        "lacking": [{"resource": resource, "nodes": nodes} for resource, nodes in found.lacking],
        "replicas": found.replicas,
        "room": found.room,
        "places": found.places,
    }


def error(refusal: AllocatorError) -> Json:
    """`kind` is the name of the exception; `violations` only for InvalidInput."""
    found: Json = {"kind": type(refusal).__name__, "message": str(refusal)}
    if isinstance(refusal, InvalidInput):
        found["violations"] = [
            {"field": violation.field, "description": violation.description} for violation in refusal.violations
        ]
    return found


def item(result: ItemResult) -> Json:
    """One of `job` and `error`, the other null."""
    if isinstance(result, AllocatorError):
        return {"job": None, "error": error(result)}
    return {"job": job(result), "error": None}


def queue(queue: Queue) -> Json:
    return {
        "name": queue.name,
        "weight": finite(queue.weight),
        "cordoned": queue.cordoned,
        "max_live_jobs": queue.max_live_jobs,
        "priority": queue.priority,
        "quotas": [
            {
                "flavor": quota.flavor,
                "resource": quota.resource,
                "nominal": quota.nominal,
                "borrowing_limit": quota.borrowing_limit,
                "lending_limit": quota.lending_limit,
            }
            for quota in queue.quotas
        ],
        "discipline": queue.discipline.value,
    }


def queue_status(status: QueueStatus) -> Json:
    return queue(status.queue) | {"pending_jobs": status.pending_jobs, "running_jobs": status.running_jobs}


def node(node: Node) -> Json:
    return {
        "name": node.name,
        "flavor": node.flavor,
        "capacity": resources(node.capacity),
        "labels": labels(node.labels),
        "availability": node.availability.value,
        "health": node.health.value,
        "simulated": node.simulated,
        "taints": labels(node.taints),
        "capabilities": (
            None if node.capabilities is None else {"can": sorted(each.value for each in node.capabilities)}
        ),
        "trouble": node.trouble,
    }


def flavor_usage(usage: FlavorUsage) -> Json:
    return {
        "flavor": usage.flavor,
        "resource": usage.resource,
        "capacity": usage.capacity,
        "requested": usage.requested,
        "allocated": usage.allocated,
        "price": finite(usage.price),
    }


def price(usage: FlavorUsage) -> Json:
    """Per `unit`: cores, GPUs, GiB, GB/s or units."""
    return {
        "flavor": usage.flavor,
        "resource": usage.resource,
        "unit": display_unit(usage.resource)[0],
        "price": finite(usage.price),
    }


def limit_usage(usage: LimitUsage) -> Json:
    """Amounts in `unit`."""
    return {
        "kind": usage.kind.value,
        "name": usage.name,
        "queue": usage.queue,
        "flavor": usage.flavor,
        "resource": usage.resource,
        "unit": usage.unit,
        "used": finite(usage.used),
        "least": finite(usage.least),
        "most": finite(usage.most),
        "price": finite(usage.price),
    }


def queue_usage(usage: QueueUsage) -> Json:
    return {
        "queue": usage.queue,
        "weight": finite(usage.weight),
        "pending_jobs": usage.pending,
        "running_jobs": usage.running,
        "fair_share": finite(usage.fair_share),
        "actual_share": finite(usage.actual_share),
    }


def round_summary(summary: RoundSummary) -> Json:
    return {
        "round": summary.round,
        "revision": summary.revision,
        "time": time_text(summary.time),
        "outcome": summary.outcome.value,
        "solver": summary.solver,
        "iterations": summary.iterations,
        "fairness": finite(summary.fairness),
        "objective": finite(summary.objective),
        "bound": finite(summary.bound),
        "gap": finite(summary.gap),
        "rounding_loss": finite(summary.rounding_loss),
        "started_jobs": summary.started,
        "moved_jobs": summary.moved,
        "kept_jobs": summary.kept,
        "rejected_changes": summary.rejected,
        "preempted": [{"reason": reason, "jobs": count} for reason, count in summary.preempted],
        "waiting": [{"cause": cause, "jobs": count} for cause, count in summary.waiting],
        "lost": [
            {"flavor": flavor, "resource": resource, "amount_seconds": finite(amount)}
            for flavor, resource, amount in summary.lost
        ],
        "flavors": [flavor_usage(usage) for usage in summary.flavors],
        "queues": [queue_usage(usage) for usage in summary.queues],
        "stages": [{"stage": stage, "seconds": finite(seconds)} for stage, seconds in summary.stages],
        "resized_jobs": summary.resized,
        "policy_version": summary.policy_version,
    }


def policy(record: PolicyRecord) -> Json:
    """Version 0 is the daemon's own: none was applied."""
    return policy_in_short(record) | {"text": record.text, "sent_text": record.sent_text}


def policy_in_short(record: PolicyRecord) -> Json:
    """Without the file, which a list does not have."""
    return {
        "version": record.version,
        "time": time_text(record.time),
        "author": record.author,
        "comment": record.comment,
    }


def cluster_status(status: ClusterStatus) -> Json:
    return {
        "revision": status.revision,
        "nodes": {
            "open": status.nodes.open,
            "cordoned": status.nodes.cordoned,
            "draining": status.nodes.draining,
            "lost": status.nodes.lost,
            "in_trouble": status.nodes.in_trouble,
        },
        "pending_jobs": status.pending_jobs,
        "running_jobs": status.running_jobs,
        "flavors": many(flavor_usage, status.flavors),
        "queues": many(queue_usage, status.queues),
        "gap": finite(status.gap),
        "last_round": round_summary(status.last_round) if status.last_round else None,
    }


def job_event(event: JobEvent) -> Json:
    """As a message of WatchJobs: one of `job_change` and `end_of_snapshot`."""
    if isinstance(event, EndOfSnapshot):
        return {"end_of_snapshot": {"cursor": event.cursor}}
    return {"job_change": {"job": job(event.job), "cursor": event.cursor}}


def labels(pairs: Labels) -> Json:
    return dict(pairs)


def finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None


def many(encode: Any, values: Iterable[Any]) -> list[Json]:
    return [encode(value) for value in values]
