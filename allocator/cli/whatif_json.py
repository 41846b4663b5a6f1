"""What-ifs and plans as JSON: the API's messages with the API's field names, under the rules of `schema`."""

from __future__ import annotations

from typing import Any

from allocator.cli import explain_json, schema
from allocator.client import CapacityPlan, Outcome
from allocator.domain.plan import Change, Move, Preempt, Resize, Start
from allocator.whatif.answers import Fate, JobView, View

_KINDS: tuple[tuple[type[Change], str], ...] = (
    (Start, "start"), (Preempt, "preempt"), (Move, "move"), (Resize, "resize"),
)  # fmt: skip


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """SimulateResponse."""
    return {
        "before": _round_json(outcome.before),
        "after": _round_json(outcome.after),
        "submitted": schema.many(schema.item, outcome.submitted),
        "jobs": [_job_json(view) for view in outcome.jobs],
        "rounds": outcome.rounds,
        "interval_seconds": outcome.interval,
    }


def plan_json(plan: CapacityPlan) -> dict[str, Any]:
    """PlanCapacityResponse."""
    return {
        "purchases": [
            {"flavor": each.flavor, "count": each.count, "cost": each.cost, "worth": schema.finite(each.worth)}
            for each in plan.purchases
        ],
        "spent": plan.spent,
        "left": plan.left,
        "welfare_before": schema.finite(plan.welfare_before),
        "welfare_after": schema.finite(plan.welfare_after),
        "gains": [{"queue": queue, "gain": schema.finite(gain)} for queue, gain in plan.gains],
        "before": _round_json(plan.before),
        "after": _round_json(plan.after),
        "solves": plan.solves,
        "complete": plan.complete,
    }


def _round_json(view: View) -> dict[str, Any]:
    return {
        "summary": schema.round_summary(view.summary),
        "queues": [
            {
                "queue": queue.queue,
                "money": schema.finite(queue.money),
                "amounts": [
                    {
                        "flavor": each.flavor,
                        "resource": each.resource,
                        "demand": each.demand,
                        "optimum": schema.finite(each.optimum),
                        "held": each.held,
                    }
                    for each in queue.amounts
                ],
            }
            for queue in view.queues
        ],
        "changes": [_change_json(change) for change in view.changes],
        "limits": schema.many(schema.limit_usage, view.limits),
    }


def _change_json(change: Change) -> dict[str, Any]:
    where = None if isinstance(change, Preempt) else change.placement
    return {
        "job_id": change.job_id,
        "kind": kind_of(change),
        "reason": change.reason.value if isinstance(change, Preempt | Move) else None,
        "allocation": None
        if where is None
        else {
            "configuration": where.configuration,
            "replicas": [{"node": replica.node, "gpus": list(replica.gpus)} for replica in where.replicas],
            "millis": where.millis,
        },
        "pending_reason": schema.pending_reason(change.pending) if isinstance(change, Preempt) else None,
    }


def _job_json(view: JobView) -> dict[str, Any]:
    return {
        "job": schema.job(view.job),
        "before": _fate_json(view.before),
        "after": _fate_json(view.after),
        "starts_before_seconds": view.starts_before,
        "starts_after_seconds": view.starts_after,
        "never": view.never,
    }


def _fate_json(fate: Fate | None) -> dict[str, Any] | None:
    if fate is None:
        return None
    return {
        "share": fate.share,
        "ran": fate.runs_before,
        "configuration": fate.configuration,
        "pending_reason": None if fate.reason is None else schema.pending_reason(fate.reason),
        "promise": None if fate.promise is None else explain_json.promise(fate.promise),
    }


def kind_of(change: Change) -> str:
    """What it does to a job: start, preempt, move or resize."""
    return next(name for kind, name in _KINDS if isinstance(change, kind))
