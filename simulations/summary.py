"""A whole replay in one document: plain numbers, with their units in the names, the same for the same seed.

Times are virtual seconds. What has no value (a mean over nothing) is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import display_unit
from simulations.columns import Table
from simulations.measures import Measures

Floats = NDArray[np.float64]

FORCED = frozenset(
    reason.value
    for reason in (PreemptionReason.NODE_LOST, PreemptionReason.NODE_DRAINING, PreemptionReason.CAPACITY_SHRUNK)
)
"""Reasons for which a job stops whatever the policy is."""


def number(value: float) -> float | None:
    """For JSON, which has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None


def distribution(values: Floats) -> dict[str, float | None]:
    """Count, mean, median, tail and maximum of the values that are there."""
    values = values[np.isfinite(values)]
    if not len(values):
        return {"count": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    # math.fsum rounds once: the mean does not depend on how numpy orders its additions on this machine.
    mean = math.fsum(values.tolist()) / len(values)
    return {"count": len(values), "mean": mean, "p50": p50, "p95": p95, "p99": p99, "max": float(values.max())}


def jobs_summary(jobs: Table) -> dict[str, Any]:
    """Counts by final state, and distributions of waiting, completion and slowdown."""
    submitted, ended = jobs.numbers("submit_s"), jobs.numbers("end_s")
    finite = ended[np.isfinite(ended)]
    return {
        "by_state": dict(sorted(Counter(map(str, jobs.values("state"))).items())),
        "wait_s": distribution(jobs.numbers("wait_s")),
        "completion_s": distribution(jobs.numbers("completion_s")),
        "slowdown": distribution(jobs.numbers("slowdown")),
        "makespan_s": number(float(finite.max() - submitted.min())) if len(finite) else None,
    }


def by_queue_summary(jobs: Table, queues: Table, weights: Floats) -> tuple[dict[str, Any], dict[str, Any]]:
    """(per queue, over all queues). `weights` (rounds,) are the seconds each round lasted.

    A queue counts while it has live jobs. Satisfaction is the mean actual share over the mean fair share; Jain's index
    (sum x)^2 / (n sum x^2) of it is 1 when all queues are equally satisfied. The fairness error is the mean of
    |actual - fair| in dominant shares, over time and over the queues that count; that of one queue is its own mean over
    time. The error of the means compares |mean actual - mean fair| instead: what one round took and another gave back
    is no error there.
    """
    names = [str(name) for name in queues.values("queue")]
    rounds = queues.numbers("round").astype(np.int64)
    seconds = weights[np.searchsorted(np.unique(rounds), rounds)] if len(rounds) else np.zeros(0)
    live = queues.numbers("pending") + queues.numbers("running") > 0
    fair, actual = queues.numbers("fair_share"), queues.numbers("actual_share")
    seconds = np.where(live, seconds, 0.0)
    order = np.array(names)
    job_queues = np.array([str(name) for name in jobs.values("queue")])
    per_queue: dict[str, Any] = {}
    satisfactions, errors_of_means = [], []
    error = np.abs(actual - fair)
    for name in sorted(set(names)):
        mine = order == name
        time = math.fsum(seconds[mine].tolist())
        mean_fair = math.fsum((seconds * fair)[mine].tolist()) / time if time else 0.0
        mean_actual = math.fsum((seconds * actual)[mine].tolist()) / time if time else 0.0
        satisfaction = mean_actual / mean_fair if mean_fair else math.nan
        if math.isfinite(satisfaction):
            satisfactions.append(satisfaction)
        errors_of_means.append(time * abs(mean_actual - mean_fair))
        per_queue[name] = {
            "jobs": int((job_queues == name).sum()),
            "busy_s": time,
            "fair_share": mean_fair,
            "actual_share": mean_actual,
            "satisfaction": number(satisfaction),
            "fairness_error": math.fsum((seconds * error)[mine].tolist()) / time if time else 0.0,
            "wait_s": distribution(jobs.numbers("wait_s")[job_queues == name]),
            "slowdown": distribution(jobs.numbers("slowdown")[job_queues == name]),
        }
    total = math.fsum(seconds.tolist())
    return per_queue, {
        "jain_index": jain_index(satisfactions),
        "fairness_error": math.fsum((seconds * error).tolist()) / total if total else 0.0,
        "fairness_error_of_means": math.fsum(errors_of_means) / total if total else 0.0,
    }


def jain_index(values: list[float]) -> float | None:
    """(sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything. None for no values."""
    squares = math.fsum(value * value for value in values)
    return math.fsum(values) ** 2 / (len(values) * squares) if squares else None


def rounds_summary(rounds: Table, weights: Floats) -> dict[str, Any]:
    """How good the rounds' answers were. Means of gap and loss are over rounds with live jobs."""
    live = rounds.numbers("live") > 0
    outcome = Counter(str(outcome) for outcome in rounds.values("outcome"))
    answered = np.array([outcome != "stale" for outcome in rounds.values("outcome")], dtype=bool)
    gap = rounds.numbers("gap")[live & answered]
    loss = rounds.numbers("rounding_loss")[live & answered]
    pending = rounds.numbers("pending")
    total = math.fsum(weights.tolist())
    return {
        "count": len(rounds),
        "by_outcome": dict(sorted(outcome.items())),
        "gap_mean": _mean(gap),
        "gap_max": number(float(gap.max())) if len(gap) else None,
        "rounding_loss_mean": _mean(loss),
        "rounding_loss_max": number(float(loss.max())) if len(loss) else None,
        "pending_mean": number(math.fsum((pending * weights).tolist()) / total) if total else None,
        "pending_max": int(pending.max()) if len(pending) else 0,
        "live_max": int(rounds.numbers("live").max()) if len(rounds) else 0,
        "rejected_changes": int(rounds.numbers("rejected").sum()),
    }


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)].tolist()
    return math.fsum(finite) / len(finite) if finite else None


def preemption_summary(measures: Measures, restart_seconds: Floats) -> dict[str, Any]:
    """Jobs stopped and moved, and what that cost. `per_job` leaves out what nodes forced, and divides by all jobs."""
    lost = {
        f"{resource} ({display_unit(resource)[0]} x s)": amount / display_unit(resource)[1]
        for resource, amount in sorted(measures.lost_seconds.items())
    }
    return {
        "stopped": sum(measures.preemptions.values()),
        "stopped_by_reason": dict(sorted(measures.preemptions.items())),
        "moved": sum(measures.moves.values()),
        "moved_by_reason": dict(sorted(measures.moves.items())),
        "per_job": _chosen(measures) / len(restart_seconds) if len(restart_seconds) else None,
        "resource_seconds_lost": lost,
        "restart_job_seconds": math.fsum(restart_seconds.tolist()),
    }


def _chosen(measures: Measures) -> int:
    """Stops and moves that the scheduler could have left undone."""
    return sum(
        count
        for counts in (measures.preemptions, measures.moves)
        for reason, count in counts.items()
        if reason not in FORCED
    )


def utilization_summary(totals: tuple[Mapping[str, float], Mapping[str, float]]) -> dict[str, float]:
    """By resource, what was held over what was offered, both integrated over time."""
    held, offered = totals
    return {resource: held.get(resource, 0.0) / amount for resource, amount in sorted(offered.items()) if amount}


def round_lengths(times: Floats, end: float) -> Floats:
    """(rounds,) seconds until the next round; the last one lasts until `end`."""
    return np.diff(np.append(times, max(end, times[-1] if len(times) else end))) if len(times) else np.zeros(0)
