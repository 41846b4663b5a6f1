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

_QUOTA_ROLES: Mapping[str, str] = {
    "used": "Held by the queue's running jobs, those of queues below it included, where it has a quota.",
    "optimum": "What the optimum gives it there.",
    "quota": "Its nominal quota: guaranteed when it asks for it.",
    "most": "The most it may use, with what it may borrow; absent where there is no limit.",
    "lent": "What it leaves of its nominal quota to others.",
    "borrowed": "What it uses beyond its nominal quota.",
}


def _quota_family(key: str, role: str) -> Family:
    unit = RESOURCE_UNITS[key]
    labels = ("queue", *_resource_labels(key))
    return _gauge(f"queue_{key}_{role}_{unit.suffix}", unit.words, labels, _QUOTA_ROLES[role])


QUOTAS: Mapping[tuple[str, str], Family] = {
    (key, role): _quota_family(key, role) for key in RESOURCE_UNITS for role in _QUOTA_ROLES
}
"""By (resource or `extra`, one of used, optimum, quota, most, lent, borrowed)."""

QUOTA_PRICE = _gauge(
    "queue_quota_price",
    "objective per display unit (core, GPU, GiB, GB/s, unit)",
    ("queue", "flavor", "resource", "limit"),
    "What one display unit more that it may borrow, or lends, would add to the objective; 0 where that does not bind.",
)

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
PROMISES = _gauge(
    "jobs_promised",
    "jobs",
    ("state",),
    "Live jobs with a deadline or a minimum throughput. State is kept; at_risk: the optimum gives less than is needed; "
    "or missed: the deadline has passed.",
)
MISDECLARED = _gauge(
    "jobs_misdeclared",
    "jobs",
    (),
    "Live jobs that run at another throughput than they declared, by their own reports or their class's.",
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

ENTITLEMENT = _gauge(
    "queue_entitlement_ratio",
    "part of all money",
    ("queue",),
    "What weights give it, down the tree, among queues that want something now.",
)
BUDGET = _gauge(
    "queue_budget_ratio",
    "part of all money",
    ("queue",),
    "What it may spend: more than its entitlement where others cannot spend theirs, less where it cannot.",
)
SPENT = _gauge("queue_spent_ratio", "part of all money", ("queue",), "What it pays for capacity.")
DEMAND = _gauge("queue_demand_ratio", "dominant share", ("queue",), "What its jobs ask for, each where it is fastest.")
WEIGHT_SHARE = _gauge(
    "queue_share_by_weight_ratio",
    "dominant share",
    ("queue",),
    "Its entitlement, or what it could use if that is less: `fair share` in `allocator explain queue`.",
)
FAIRNESS_ERROR = _gauge(
    "queue_fairness_error_ratio",
    "dominant share",
    ("queue",),
    "What it holds less what the optimum gives it: below 0 it has too little.",
)
GUARANTEED = _gauge(
    "queue_guaranteed_ratio",
    "dominant share",
    ("queue",),
    "What its nominal quotas guarantee to its jobs now; 0 while they ask for none of it.",
)
GUARANTEE_KEPT = _gauge(
    "queue_guarantee_kept_ratio",
    "held / guaranteed, in worth",
    ("queue",),
    "What its running jobs hold of what is guaranteed to them, or what serves them as well, at most 1: less is a "
    "guarantee that is broken.",
)
GUARANTEE_OPTIMUM = _gauge(
    "queue_guarantee_optimum_ratio",
    "optimum / guaranteed, in worth",
    ("queue",),
    "The same of what the optimum gives: below 1 where all guarantees together are more than there is.",
)

LIMIT_USED = _gauge(
    "side_constraint_used_units",
    "the constraint's own unit",
    ("constraint",),
    "What the jobs that run after the last round take of it.",
)
LIMIT_MOST = _gauge(
    "side_constraint_most_units", "the constraint's own unit", ("constraint",), "What it allows them together."
)
LIMIT_PRICE = _gauge(
    "side_constraint_price",
    "objective per unit of the constraint",
    ("constraint",),
    "What one unit more would add to the objective; 0 where it does not bind.",
)
LIMIT_BUDGET = _gauge(
    "side_constraint_price_budget_ratio",
    "price x most / total budget",
    ("constraint",),
    "Price of all that it allows as part of all budgets: comparable between constraints, and with those of capacity.",
)

PIECES_PRICE = _gauge(
    "pieces_price",
    "objective per piece",
    ("flavor", "size"),
    "What one more piece of so many GPUs on one node would add to the objective, where they are fewer than GPUs alone "
    "would allow; the highest, where some jobs may have only those of some nodes. 0 where that does not bind.",
)
NODES_PRICE = _gauge(
    "admitting_nodes_price",
    "objective per display unit (core, GPU, GiB, GB/s, unit)",
    ("flavor", "resource"),
    "What one display unit more, on nodes that admit jobs whom labels or taints keep off others, would add to the "
    "objective beside its price; the highest. 0 where that does not bind.",
)
PIECES_BUDGET = _gauge(
    "pieces_price_budget_ratio",
    "prices x amounts / total budget",
    ("flavor",),
    "Price of all pieces, and of all that is on nodes that admit some jobs only, as part of all budgets: comparable "
    "with those of capacity.",
)

ROUNDS = _counter("rounds", "rounds", ("outcome",), "Rounds by how far their answer can be trusted.")
BROKEN_ROUNDS = _counter("rounds_broken", "rounds", (), "Rounds that an error ended before they were recorded.")
LAST_ROUND = _gauge("last_round_timestamp_seconds", "seconds since the Unix epoch", (), "When the last round looked.")
ROUND_INTERVAL = _gauge("round_interval_seconds", "seconds", (), "From one round to the next, as configured, at most.")
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
    "gap_ratio",
    "(bound - objective) / what all utilities are worth",
    (),
    "Proven distance of the last round from the optimum: what part of everybody's utility that is.",
)
BUDGETS_MOVED = _gauge(
    "budgets_moved_ratio",
    "part of all budgets",
    (),
    "What changed hands when the last round's budgets and prices were last adapted to one another, in the priority "
    "class where that was most. Above 0.01 they do not agree: shares are optimal for budgets that are off by so much.",
)
POLICY_VERSION = _gauge(
    "policy_version", "number", (), "Of the policy that the last round decided by; 0 until one is applied."
)
ROUNDING_LOSS = _gauge(
    "rounding_loss_ratio",
    "part of the optimum's value",
    (),
    "What whole gangs on whole nodes lose against the optimum.",
)

NODES = _gauge("nodes", "nodes", ("flavor", "health", "availability"), "Registered nodes as the last round saw them.")
NODES_IN_TROUBLE = _gauge(
    "nodes_in_trouble",
    "nodes",
    ("flavor",),
    "Ready nodes whose engine says that it can begin nothing (a full disk), as the last round saw them.",
)
HEARTBEAT_AGE = _gauge(
    "oldest_heartbeat_age_seconds",
    "seconds",
    (),
    "Since the last heartbeat of the ready node that has been silent longest.",
)

WAITING_FOR_DEPARTURE = _gauge(
    "jobs_waiting_for_departure",
    "jobs",
    (),
    "Jobs that were placed and may not begin, because an earlier start of them may still run on other nodes.",
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
    "Jobs": (
        JOBS, WAITING, WAIT, SUBMITTED, FINISHED, STARTS, MOVES, RESIZES, PREEMPTIONS, REJECTED, PROMISES, MISDECLARED,
    ),
    "Queues": (
        QUEUE_WEIGHT, FAIR_SHARE, ACTUAL_SHARE, ENTITLEMENT, BUDGET, SPENT, DEMAND, WEIGHT_SHARE, FAIRNESS_ERROR,
        GUARANTEED, GUARANTEE_KEPT, GUARANTEE_OPTIMUM,
    ),
    "Quotas": (*QUOTAS.values(), QUOTA_PRICE),
    "Capacity": (*AMOUNTS.values(), UTILIZATION, *LOST.values()),
    "Prices": (PRICE, PRICE_BUDGET),
    "Side constraints": (LIMIT_USED, LIMIT_MOST, LIMIT_PRICE, LIMIT_BUDGET),
    "What lies in pieces": (PIECES_PRICE, NODES_PRICE, PIECES_BUDGET),
    "Rounds": (
        ROUNDS, BROKEN_ROUNDS, LAST_ROUND, ROUND_INTERVAL, ROUND_DURATION, STAGE_DURATION, SOLVES, ITERATIONS,
        OBJECTIVE, BOUND, GAP, BUDGETS_MOVED, ROUNDING_LOSS, POLICY_VERSION,
    ),
    "Nodes": (NODES, NODES_IN_TROUBLE, HEARTBEAT_AGE, WAITING_FOR_DEPARTURE),
    "Intake, store, push and API": (
        COMMANDS, BATCH_COMMANDS, BATCH_DURATION, WATCHERS, PUSHES, COALESCED, RPCS, RPC_DURATION,
    ),
    "The program itself": (BUILD, SOURCE_FAILURES),
}  # fmt: skip
"""The table, in reading order."""

FAMILIES: tuple[Family, ...] = tuple(family for families in SECTIONS.values() for family in families)

LABEL_MEANINGS: Mapping[str, str] = {
    "queue": f"name of a queue; `{OTHER}` sums those beyond the bound (1,000; in the section on quotas 250)",
    "flavor": f"name of a flavor; `{OTHER}` beyond 200",
    "resource": f"`cpu`, `gpu`, `memory`, `bandwidth`, `disk` or an extra's name; extras beyond 50 are `{OTHER}`",
    "constraint": "name of a side constraint of the policy, at most 256",
    "size": "GPUs of one piece, such as `8` or `0.5`; at most 64 in a round",
    "limit": "`borrowing` or `lending`: which limit of the quota; only where there is one",
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
    "source": "part that was asked: `push`, `nodes` or `departures`",
}
"""What the values of each label are: the README prints it, and a label that is not here is a defect."""
