"""A whole replay in one document: plain numbers, with their units in the names, the same for the same seed.

Times are virtual seconds. What has no value (a mean over nothing) is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allocator.domain.reason import PreemptionReason
from allocator.domain.resources import display_unit
from simulations.columns import Table
from simulations.judging.evenness import jain_index
from simulations.judging.judge import SIZES
from simulations.measures import Measures
from simulations.sums import Sum

Floats = NDArray[np.float64]

DISTRIBUTIONS = ("wait_s", "completion_s", "slowdown", "bounded_slowdown", "rho")
"""Columns of jobs that are summed up as distributions."""

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
    """Counts by final state, and distributions of waiting, completion, slowdown and lateness, also by size."""
    submitted, ended = jobs.numbers("submit_s"), jobs.numbers("end_s")
    finite = ended[np.isfinite(ended)]
    by_size = times_by(jobs, "size")
    return {
        "by_state": dict(sorted(Counter(map(str, jobs.values("state"))).items())),
        "makespan_s": number(float(finite.max() - submitted.min())) if len(finite) else None,
        "by_size": {size: by_size[size] for size in SIZES if size in by_size},
    } | {name: distribution(jobs.numbers(name)) for name in DISTRIBUTIONS}


def times_by(jobs: Table, column: str) -> dict[str, dict[str, Any]]:
    """By the text in a column: how many `jobs` have it, and the distributions that they are judged by."""
    columns = {name: jobs.numbers(name) for name in DISTRIBUTIONS}
    return {
        text: {"jobs": len(mine)} | {name: distribution(values[mine]) for name, values in columns.items()}
        for text, mine in _rows_by(jobs, column).items()
    }


def _rows_by(table: Table, column: str) -> dict[str, NDArray[np.int64]]:
    """By text in a column, sorted: the rows that have it, in their order."""
    return dict(sorted(_rows_with(*table.numbered(column)).items()))


def _rows_with(texts: Sequence[str], which: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
    """By text that some row has: the rows, of which each has `texts[which]`, in their order."""
    order = np.argsort(which, kind="stable").astype(np.int64)
    bounds = np.searchsorted(which[order], np.arange(len(texts) + 1)).tolist()
    found = zip(texts, bounds[:-1], bounds[1:], strict=True)
    return {text: order[first:last] for text, first, last in found if last > first}


def by_queue_summary(
    jobs: Table, queues: Table, rounds: Table, weights: Floats
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(per queue, over all queues). `weights` are the seconds that each of `rounds` lasted.

    A queue counts while it has live jobs. Satisfaction is the mean actual share over the mean fair share; Jain's index
    (sum x)^2 / (n sum x^2) of it is 1 when all queues are equally satisfied. The fairness error is the mean of
    |actual - fair| in dominant shares, over time and over the queues that count; that of one queue is its own mean over
    time. The error of the means compares |mean actual - mean fair| instead: what one round took and another gave back
    is no error there.
    """
    sums = _queue_sums(queues, rounds, weights)
    per_queue: dict[str, Any] = {}
    satisfactions, errors_of_means = [], []
    times, nothing = times_by(jobs, "queue"), distribution(np.zeros(0))
    for name, mine in sorted(sums.items()):
        time = mine.seconds.value
        mean_fair = mine.fair.value / time if time else 0.0
        mean_actual = mine.actual.value / time if time else 0.0
        satisfaction = mean_actual / mean_fair if mean_fair else math.nan
        if math.isfinite(satisfaction):
            satisfactions.append(satisfaction)
        errors_of_means.append(time * abs(mean_actual - mean_fair))
        per_queue[name] = {
            "busy_s": time,
            "fair_share": number(mean_fair),
            "actual_share": number(mean_actual),
            "satisfaction": number(satisfaction),
            "fairness_error": number(mine.error.value / time) if time else 0.0,
        } | times.get(name, {"jobs": 0} | dict.fromkeys(DISTRIBUTIONS, nothing))
    total = math.fsum(part for mine in sums.values() for part in mine.seconds.parts)
    error = math.fsum(part for mine in sums.values() for part in mine.error.parts)
    return per_queue, {
        "jain_index": jain_index(satisfactions),
        "fairness_error": number(error / total) if total else 0.0,
        "fairness_error_of_means": number(math.fsum(errors_of_means) / total) if total else 0.0,
    }


@dataclass(frozen=True, slots=True)
class _QueueSums:
    """Over the time in which a queue had live jobs: that time, and integrals over it."""

    seconds: Sum = field(default_factory=Sum)
    fair: Sum = field(default_factory=Sum)
    actual: Sum = field(default_factory=Sum)
    error: Sum = field(default_factory=Sum)


def _queue_sums(queues: Table, rounds: Table, weights: Floats) -> dict[str, _QueueSums]:
    """By name of the queue, some rows at a time: this table is the longest of all."""
    numbers = rounds.numbers("round")
    names, parts = queues.numbered_blocks("queue")
    columns = [queues.blocks(name) for name in ("round", "pending", "running", "fair_share", "actual_share")]
    found = {name: _QueueSums() for name in names}
    for which, at, pending, running, fair, actual in zip(parts, *columns, strict=True):
        seconds = np.where(pending + running > 0, weights[np.searchsorted(numbers, at)], 0.0)
        values = (seconds, seconds * fair, seconds * actual, seconds * np.abs(actual - fair))
        for name, mine in _rows_with(names, which).items():
            sums = found[name]
            for total, column in zip((sums.seconds, sums.fair, sums.actual, sums.error), values, strict=True):
                total.add(column[mine])
    return found


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
        "gap_max": _largest(gap),
        "rounding_loss_mean": _mean(loss),
        "rounding_loss_max": _largest(loss),
        "pending_mean": number(math.fsum((pending * weights).tolist()) / total) if total else None,
        "pending_max": int(pending.max()) if len(pending) else 0,
        "live_max": int(rounds.numbers("live").max()) if len(rounds) else 0,
        "rejected_changes": int(rounds.numbers("rejected").sum()),
    }


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)].tolist()
    return math.fsum(finite) / len(finite) if finite else None


def _largest(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else None


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
