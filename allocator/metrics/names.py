"""Every metric this program exports, in one table: code, documentation and tests read it, nothing else names a metric.

Rules the table keeps (checked by its tests): prefix `allocator_`; base units, named last (`_seconds`, `_bytes`,
`_cores`, `_ratio`, and `_total` on counters); labels whose values are bounded, never a job, node or request; one unit
per family, so a sum over labels means something. Resources have different units, therefore one family per resource.

The tables below are keyed by the domain's resource names; `RESOURCE_UNITS` says how a domain
integer becomes a base unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from allocator.domain.resources import STANDARD_RESOURCES

PREFIX = "allocator_"

OTHER = "_other"
"""Label value for everything beyond a label's bound. No queue, flavor or resource can have this name."""

EXTRA = "extra"
"""Stands for every resource that is not a standard one; those share a family and carry a `resource` label."""


class Kind(Enum):
    """The Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `unit` is in words; `buckets` are upper bounds without +Inf, for histograms only."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


WAIT_BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0, 259200.0, 604800.0)
STAGE_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)


def _counter(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Family:
    return Family(f"{PREFIX}{name}_total", Kind.COUNTER, unit, labels, help_)


def _gauge(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Family:
    return Family(PREFIX + name, Kind.GAUGE, unit, labels, help_)


def _histogram(name: str, unit: str, labels: tuple[str, ...], help_: str, buckets: tuple[float, ...]) -> Family:
    return Family(PREFIX + name, Kind.HISTOGRAM, unit, labels, help_, buckets)


@dataclass(frozen=True, slots=True)
class ResourceUnit:
    """`per_unit` domain integers make one base unit, called `suffix` in amounts and `lost` in amounts x seconds."""

    suffix: str
    lost: str
    words: str
    lost_words: str
    per_unit: int


RESOURCE_UNITS: Mapping[str, ResourceUnit] = {
    "cpu": ResourceUnit("cores", "core_seconds", "cores", "core-seconds", 1000),
    "gpu": ResourceUnit("gpus", "gpu_seconds", "GPUs", "GPU-seconds", 1000),
    "memory": ResourceUnit("bytes", "byte_seconds", "bytes", "byte-seconds", 1),
    "bandwidth": ResourceUnit("bytes_per_second", "bytes", "bytes per second", "bytes", 1),
    "disk": ResourceUnit("bytes", "byte_seconds", "bytes", "byte-seconds", 1),
    EXTRA: ResourceUnit("units", "unit_seconds", "units, as the nodes count them", "unit-seconds", 1),
}
"""Base units by resource. What is lost of bandwidth over a time is a number of bytes."""

_ROLES: Mapping[str, str] = {
    "capacity": "Capacity of ready nodes, cordoned ones included.",
    "requested": "What live jobs ask for here, each in its fastest eligible configuration.",
    "allocated": "Held by running jobs after the last round.",
}


def resource_key(resource: str) -> str:
    """`resource` itself if it is a standard one, `extra` otherwise: which family it belongs to."""
    return resource if resource in STANDARD_RESOURCES else EXTRA


def _resource_labels(key: str) -> tuple[str, ...]:
    return ("flavor", "resource") if key == EXTRA else ("flavor",)


def _amount_family(key: str, role: str) -> Family:
    unit = RESOURCE_UNITS[key]
    return _gauge(f"{key}_{role}_{unit.suffix}", unit.words, _resource_labels(key), _ROLES[role])


def _lost_family(key: str) -> Family:
    unit = RESOURCE_UNITS[key]
    return _counter(
        f"{key}_lost_{unit.lost}",
        unit.lost_words,
        _resource_labels(key),
        "Work thrown away by preemptions and moves: amount held x seconds not saved.",
    )


AMOUNTS: Mapping[tuple[str, str], Family] = {
    (key, role): _amount_family(key, role) for key in RESOURCE_UNITS for role in _ROLES
}
"""By (resource or `extra`, one of capacity, requested, allocated)."""

LOST: Mapping[str, Family] = {key: _lost_family(key) for key in RESOURCE_UNITS}
"""By resource or `extra`."""

UTILIZATION = _gauge(
    "utilization_ratio", "allocated / capacity", ("flavor", "resource"), "Part of the capacity that running jobs hold."
)
PRICE = _gauge(
    "price",
    "objective per display unit (core, GPU, GiB, GB/s, unit)",
    ("flavor", "resource"),
    "What one more display unit would add to the objective: the dual of its capacity.",
)
PRICE_BUDGET = _gauge(
    "price_budget_ratio",
    "price x capacity / total budget",
    ("flavor", "resource"),
    "Price of the whole capacity as part of all budgets: comparable between resources, 0 where nothing binds.",
)

JOBS = _gauge("jobs", "jobs", ("queue", "state"), "Live jobs after the last round; state is pending or running.")
WAITING = _gauge("jobs_waiting", "jobs", ("cause",), "Pending jobs by why the last round gave them no place.")
WAIT = _histogram(
    "job_wait_seconds", "seconds", ("queue",), "From submission to the first start, once per job.", WAIT_BUCKETS
)
SUBMITTED = _counter(
    "jobs_submitted", "jobs", ("result",), "Jobs in submissions, one by one; result is admitted or refused."
)
FINISHED = _counter("jobs_finished", "jobs", ("state",), "Jobs that ended; state is succeeded, failed or cancelled.")
STARTS = _counter("job_starts", "jobs", (), "Pending jobs that got a place, restarts after a preemption included.")
RESIZES = _counter(
    "job_resizes",
    "jobs",
    (),
    "Running jobs that went on with another number of replicas, or another part of their demand.",
)
MOVES = _counter("job_moves", "jobs", ("reason",), "Running jobs that got another place and restarted there.")
PREEMPTIONS = _counter("preemptions", "jobs", ("reason",), "Running jobs that lost their place and wait again.")
REJECTED = _counter(
    "changes_rejected", "changes", (), "Planned changes that were no longer possible when they were committed."
)

QUEUE_WEIGHT = _gauge("queue_weight", "weight", ("queue",), "Weight of the queue relative to its siblings.")
FAIR_SHARE = _gauge(
    "queue_fair_share_ratio",
    "dominant share",
    ("queue",),
    "Dominant share of the cluster that the optimum gives its jobs.",
)
ACTUAL_SHARE = _gauge(
    "queue_actual_share_ratio", "dominant share", ("queue",), "Dominant share of the cluster that its jobs hold."
)

ROUNDS = _counter("rounds", "rounds", ("outcome",), "Rounds by how far their answer can be trusted.")
BROKEN_ROUNDS = _counter("rounds_broken", "rounds", (), "Rounds that an error ended before they were recorded.")
LAST_ROUND = _gauge("last_round_timestamp_seconds", "seconds since the Unix epoch", (), "When the last round looked.")
ROUND_INTERVAL = _gauge("round_interval_seconds", "seconds", (), "From one round to the next, as configured.")
ROUND_DURATION = _histogram(
    "round_duration_seconds", "seconds", (), "Whole round, from the snapshot to the push.", STAGE_BUCKETS
)
STAGE_DURATION = _histogram(
    "round_stage_duration_seconds", "seconds", ("stage",), "One stage of the round.", STAGE_BUCKETS
)
SOLVES = _counter("solves", "rounds", ("solver",), "Rounds by the solver whose answer was used.")
ITERATIONS = _counter("solver_iterations", "iterations", ("solver",), "Iterations spent by the solver that answered.")
OBJECTIVE = _gauge("objective", "weighted utility", (), "Objective of the last round's shares: a lower bound.")
BOUND = _gauge("objective_bound", "weighted utility", (), "Upper bound on the objective, from the prices.")
GAP = _gauge(
    "gap_ratio", "(bound - objective) / total weight", (), "Proven distance of the last round from the optimum."
)
ROUNDING_LOSS = _gauge(
    "rounding_loss_ratio",
    "part of the optimum's value",
    (),
    "What whole gangs on whole nodes lose against the optimum.",
)

NODES = _gauge("nodes", "nodes", ("flavor", "health", "availability"), "Registered nodes as the last round saw them.")
HEARTBEAT_AGE = _gauge(
    "oldest_heartbeat_age_seconds",
    "seconds",
    (),
    "Since the last heartbeat of the ready node that has been silent longest.",
)

COMMANDS = _counter("commands", "commands", ("kind", "code"), "Commands by what became of them; code ok is success.")
BATCH_COMMANDS = _histogram(
    "store_batch_commands", "commands", (), "Commands that were made durable by one commit.", BATCH_BUCKETS
)
BATCH_DURATION = _histogram(
    "store_batch_duration_seconds", "seconds", (), "One group commit, until it is durable.", LATENCY_BUCKETS
)
WATCHERS = _gauge("watchers", "streams", ("stream",), "Open watch streams.")
PUSHES = _counter("pushes", "messages", ("stream",), "Messages handed to watch streams.")
COALESCED = _counter(
    "pushes_coalesced", "messages", ("stream",), "Messages that a newer one replaced before a slow reader took them."
)
RPCS = _counter("rpc_requests", "requests", ("method", "code"), "Finished calls by gRPC status code.")
RPC_DURATION = _histogram(
    "rpc_duration_seconds", "seconds", ("method",), "Unary calls, from receipt to answer.", LATENCY_BUCKETS
)
BUILD = _gauge("build_info", "always 1", ("version", "python"), "What is running, in its labels.")
SOURCE_FAILURES = _counter(
    "metrics_source_failures",
    "scrapes",
    ("source",),
    "Scrapes that lack a metric because the part that knows it failed.",
)

SECTIONS: Mapping[str, tuple[Family, ...]] = {
    "Jobs": (JOBS, WAITING, WAIT, SUBMITTED, FINISHED, STARTS, MOVES, RESIZES, PREEMPTIONS, REJECTED),
    "Queues": (QUEUE_WEIGHT, FAIR_SHARE, ACTUAL_SHARE),
    "Capacity": (*AMOUNTS.values(), UTILIZATION, *LOST.values()),
    "Prices": (PRICE, PRICE_BUDGET),
    "Rounds": (
        ROUNDS, BROKEN_ROUNDS, LAST_ROUND, ROUND_INTERVAL, ROUND_DURATION, STAGE_DURATION, SOLVES, ITERATIONS,
        OBJECTIVE, BOUND, GAP, ROUNDING_LOSS,
    ),
    "Nodes": (NODES, HEARTBEAT_AGE),
    "Intake, store, push and API": (
        COMMANDS, BATCH_COMMANDS, BATCH_DURATION, WATCHERS, PUSHES, COALESCED, RPCS, RPC_DURATION,
    ),
    "The program itself": (BUILD, SOURCE_FAILURES),
}  # fmt: skip
"""The table, in reading order."""

FAMILIES: tuple[Family, ...] = tuple(family for families in SECTIONS.values() for family in families)

LABEL_MEANINGS: Mapping[str, str] = {
    "queue": f"name of a queue; `{OTHER}` sums those beyond the bound (1,000 unless configured)",
    "flavor": f"name of a flavor; `{OTHER}` beyond 200",
    "resource": f"`cpu`, `gpu`, `memory`, `bandwidth`, `disk` or an extra's name; extras beyond 50 are `{OTHER}`",
    "state": "see the metric",
    "cause": "PendingCause",
    "reason": "PreemptionReason",
    "result": "`admitted` or `refused`",
    "outcome": "RoundOutcome",
    "stage": "stage of a round, in order: snapshot, formulate, solve, place, commit, push",
    "solver": "method that answered",
    "health": "`ready` or `lost`",
    "availability": "`open`, `cordoned` or `draining`",
    "kind": "command, such as `submit_jobs`",
    "code": "for commands `ok` or the error's kind, such as `not_found`; for calls the gRPC status, such as `OK`",
    "stream": "which watch stream",
    "method": f"`service/method`; `{OTHER}` for methods that do not exist",
    "version": "version of this program",
    "python": "version of Python",
    "source": "part that was asked: `push` or `nodes`",
}
"""What the values of each label are: the README prints it, and a label that is not here is a defect."""
