"""The figures a replay is told by: where each stands in a summary, in what unit, and which way is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Better(Enum):
    """Which way a figure is better."""

    LOW = "lower"
    HIGH = "higher"
    NEITHER = ""


class Unit(Enum):
    """How a figure is written."""

    SECONDS = "s"
    PART = "1"
    """A part of a whole; read as a percentage."""
    RATIO = "ratio"
    COUNT = "count"
    PER_HOUR = "1/h"


@dataclass(frozen=True, slots=True)
class Figure:
    """`path` of keys in a summary; `headline` ones stand in the first table. `about` says what it is, in a sentence."""

    name: str
    path: tuple[str, ...]
    unit: Unit
    better: Better = Better.NEITHER
    headline: bool = False
    about: str = ""

    def of(self, summary: Mapping[str, Any]) -> float | None:
        """Its value; None where there is none."""
        value: Any = summary
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


LOW, HIGH = Better.LOW, Better.HIGH
SECONDS, PART, RATIO, COUNT, PER_HOUR = Unit.SECONDS, Unit.PART, Unit.RATIO, Unit.COUNT, Unit.PER_HOUR

COMPLETION = Figure(
    "mean completion time",
    ("jobs", "completion_s", "mean"),
    SECONDS,
    LOW,
    headline=True,
    about="End minus submission, mean over jobs that ended.",
)
STAY = Figure(
    "mean time in the system",
    ("throughput", "mean_time_in_system_s"),
    SECONDS,
    LOW,
    headline=True,
    about="End minus submission, mean over all jobs; one that had not ended counts with the time it had until then.",
)
MAKESPAN = Figure(
    "makespan", ("jobs", "makespan_s"), SECONDS, LOW, headline=True, about="First submission to last end."
)
UNFAIRNESS = Figure(
    "fairness error, hourly", ("entitlement", "error_hourly"), PART, LOW, headline=True,
    about="Mean over hours and busy queues of |share held - share entitled to|, in dominant shares.",
)  # fmt: skip

FIGURES: tuple[Figure, ...] = (
    COMPLETION,
    STAY,
    Figure("completion time p95", ("jobs", "completion_s", "p95"), SECONDS, LOW),
    Figure("mean queueing delay", ("jobs", "wait_s", "mean"), SECONDS, LOW, headline=True,
           about="First start minus submission."),
    Figure("queueing delay p95", ("jobs", "wait_s", "p95"), SECONDS, LOW, headline=True),
    Figure("queueing delay p99", ("jobs", "wait_s", "p99"), SECONDS, LOW),
    Figure(
        "mean bounded slowdown", ("jobs", "bounded_slowdown", "mean"), RATIO, LOW, headline=True,
        about="Completion over ideal run time, of which at least 10 s count; at least 1.",
    ),
    Figure("bounded slowdown p95", ("jobs", "bounded_slowdown", "p95"), RATIO, LOW),
    UNFAIRNESS,
    Figure("fairness error, each round", ("entitlement", "error"), PART, LOW),
    Figure("fairness error, altogether", ("entitlement", "error_altogether"), PART, LOW),
    Figure("shortfall, each round", ("entitlement", "shortfall"), PART, LOW),
    Figure(
        "Jain index", ("entitlement", "jain_index"), RATIO, HIGH, headline=True,
        about="Of share held / share entitled to, over queues; 1 when all are alike.",
    ),
    Figure(
        "late beyond their part", ("entitlement", "violated"), PART, LOW, headline=True,
        about="Jobs whose finish-time fairness rho is above 1.1: later than in their part of the machines.",
    ),
    Figure("rho mean", ("jobs", "rho", "mean"), RATIO, LOW),
    Figure("rho p95", ("jobs", "rho", "p95"), RATIO, LOW),
    Figure("rho max", ("jobs", "rho", "max"), RATIO, LOW),
    MAKESPAN,
    Figure("GPUs in use while jobs arrive", ("utilization", "while_jobs_arrive", "gpu"), PART, HIGH, headline=True),
    Figure("cores in use while jobs arrive", ("utilization", "while_jobs_arrive", "cpu"), PART, HIGH, headline=True),
    Figure("memory in use while jobs arrive", ("utilization", "while_jobs_arrive", "memory"), PART, HIGH),
    Figure("bandwidth in use while jobs arrive", ("utilization", "while_jobs_arrive", "bandwidth"), PART, HIGH),
    Figure("GPUs in use to the end", ("utilization", "to_the_end", "gpu"), PART, HIGH),
    Figure("cores in use to the end", ("utilization", "to_the_end", "cpu"), PART, HIGH),
    Figure(
        "free GPUs of no use", ("fragmentation", "gpu"), PART, LOW, headline=True,
        about="Fragmentation: part of what is free on nodes where the workload's commonest replicas do not fit.",
    ),
    Figure("free cores of no use", ("fragmentation", "cpu"), PART, LOW),
    Figure("jobs per hour while they arrive", ("throughput", "while_jobs_arrive", "jobs_per_hour"), PER_HOUR, HIGH),
    Figure("jobs per hour to the end", ("throughput", "to_the_end", "jobs_per_hour"), PER_HOUR, HIGH),
    *(
        Figure(f"{name} hours of work done {when}", ("throughput", part, key), PER_HOUR, HIGH)
        for name, key in (("GPU", "gpu_hours_per_hour"), ("core", "core_hours_per_hour"))
        for when, part in (("while jobs arrive", "while_jobs_arrive"), ("to the end", "to_the_end"))
    ),
    Figure("preemptions per job", ("preemptions", "per_job"), RATIO, LOW, headline=True,
           about="Stops and moves that were chosen."),
    Figure("jobs stopped", ("preemptions", "stopped"), COUNT, LOW),
    Figure("jobs moved", ("preemptions", "moved"), COUNT, LOW),
    Figure("jobs moved to make room", ("preemptions", "moved_by_reason", "consolidated"), COUNT, LOW),
    Figure("restart seconds", ("preemptions", "restart_job_seconds"), SECONDS, LOW),
    Figure("GPU seconds lost", ("preemptions", "resource_seconds_lost", "gpu (GPUs x s)"), COUNT, LOW),
    Figure("core seconds lost", ("preemptions", "resource_seconds_lost", "cpu (cores x s)"), COUNT, LOW),
    Figure("gap, mean", ("rounds", "gap_mean"), RATIO, LOW),
    Figure("rounding loss, mean of rounds", ("rounds", "rounding_loss_mean"), PART, LOW),
    Figure("rounding loss, time averages", ("service", "rounding_loss"), PART, LOW),
    Figure("shortfall, time averages", ("service", "shortfall"), PART, LOW),
    Figure("fairness error against the optimum", ("fairness", "fairness_error"), PART, LOW),
    Figure("fairness error of means against the optimum", ("fairness", "fairness_error_of_means"), PART, LOW),
    Figure("Jain index against the optimum", ("fairness", "jain_index"), RATIO, HIGH),
    Figure("lag p95", ("service", "lag_s", "p95"), SECONDS, LOW),
    Figure("lag max", ("service", "lag_s", "max"), SECONDS, LOW),
    Figure("behind p95", ("service", "behind_s", "p95"), SECONDS, LOW),
    Figure("behind max", ("service", "behind_s", "max"), SECONDS, LOW),
    Figure("long-lived jobs", ("service", "long_lived", "jobs"), COUNT),
    Figure("of them within 2 %", ("service", "long_lived", "close"), PART, HIGH),
    Figure("of them not 2 % behind", ("service", "long_lived", "not_behind"), PART, HIGH),
    Figure("largest difference", ("service", "long_lived", "largest_difference"), PART, LOW),
    Figure("largest shortfall", ("service", "long_lived", "largest_shortfall"), PART, LOW),
    Figure("slowdown mean", ("jobs", "slowdown", "mean"), RATIO, LOW),
    Figure("slowdown p95", ("jobs", "slowdown", "p95"), RATIO, LOW),
    Figure("jobs that succeeded", ("jobs", "by_state", "succeeded"), COUNT, HIGH),
)  # fmt: skip


def known(summaries: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Those that any of the summaries has."""
    for figure in FIGURES:
        if any(figure.of(summary) is not None for summary in summaries):
            yield figure


def not_ended(summary: Mapping[str, Any]) -> float:
    """Part of the jobs that had not ended when the replay did."""
    states = summary["jobs"]["by_state"]
    total = sum(states.values())
    return (states.get("pending", 0) + states.get("running", 0)) / total if total else 0.0


def headlines(summaries: Sequence[Mapping[str, Any]]) -> tuple[Figure, ...]:
    """Those that tell such replays in short. Where some left jobs unfinished, a mean over jobs that ended and the last
    end would be those of whoever left the longest: then the time that all jobs were there counts.
    """
    left_out = (COMPLETION, MAKESPAN) if time_figure(summaries) is STAY else (STAY,)
    return tuple(figure for figure in FIGURES if figure.headline and figure not in left_out)


def time_figure(summaries: Sequence[Mapping[str, Any]]) -> Figure:
    """What tells how soon jobs end: over all jobs where some replay left any, which are to be known for it."""
    cut = any(not_ended(summary) > 0 for summary in summaries)
    return STAY if cut and all(STAY.of(summary) is not None for summary in summaries) else COMPLETION
