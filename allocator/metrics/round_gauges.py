"""The gauges of one round, computed once when it ends and served unchanged until the next one ends.

A stale round has no answer of a solver: whatever is derived from one (prices, objective, bound, gap, rounding loss,
fair shares) is left out instead of being shown as zero.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.job import JobState
from allocator.domain.reason import PendingCause
from allocator.domain.resources import display_unit
from allocator.metrics import names
from allocator.metrics.bounded import BoundedLabel
from allocator.metrics.instruments import gauge
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundReport, RoundSummary
from allocator.rounds.standings import standings

QUEUE_LIMIT = 1000
FLAVOR_LIMIT = 200
EXTRA_LIMIT = 50
OWNER_LIMIT = 250
"""Queues with quotas that have series of their own for them: each has up to seven for each quota."""


class RoundLabels:
    """The label values of rounds whose number is up to users: queues, flavors and extra resources."""

    def __init__(
        self,
        queues: int = QUEUE_LIMIT,
        flavors: int = FLAVOR_LIMIT,
        extras: int = EXTRA_LIMIT,
        owners: int = OWNER_LIMIT,
    ) -> None:
        self.queue = BoundedLabel(queues)
        self.owner = BoundedLabel(owners)
        """Queues with quotas, in the metrics of those."""
        self.flavor = BoundedLabel(flavors)
        self.extra = BoundedLabel(extras)

    def resource(self, resource: str) -> str:
        """Standard resources keep their names; extras are bounded."""
        return resource if names.resource_key(resource) == resource else self.extra.of(resource)

    def settle(self, report: RoundReport) -> dict[str, set[str]]:
        """Forget the values that do not exist any more; returns them by label."""
        summary = report.summary
        pairs = {(usage.flavor, usage.resource) for usage in summary.flavors}
        pairs |= {(flavor, resource) for flavor, resource, _ in summary.lost}
        flavors = {flavor for flavor, _ in pairs} | {node.flavor for node in report.snapshot.nodes}
        self.owner.retain(queue.name for queue in report.snapshot.queues if queue.quotas)
        return {
            "queue": self.queue.retain(usage.queue for usage in summary.queues),
            "flavor": self.flavor.retain(flavors),
            "resource": self.extra.retain(resource for _, resource in pairs),
        }


@dataclass(slots=True)
class _Amounts:
    """Sums over everything with the same flavor and resource labels, in integer units; `worth` is price x capacity."""

    capacity: int = 0
    requested: int = 0
    allocated: int = 0
    worth: float = 0.0

    def add(self, usage: FlavorUsage) -> None:
        self.capacity += usage.capacity
        self.requested += usage.requested
        self.allocated += usage.allocated
        self.worth += usage.price * usage.capacity / display_unit(usage.resource)[1]

    def price(self, resource: str) -> float:
        """Per display unit: the price at which the whole sum is worth what its parts are."""
        return self.worth / self.capacity * display_unit(resource)[1] if self.capacity else 0.0


@dataclass(slots=True)
class _Members:
    """Sums over the queues with the same label."""

    weight: float = 0.0
    pending: int = 0
    running: int = 0
    fair_share: float = 0.0
    actual_share: float = 0.0

    def add(self, usage: QueueUsage) -> None:
        self.weight += usage.weight
        self.pending += usage.pending
        self.running += usage.running
        self.fair_share += usage.fair_share
        self.actual_share += usage.actual_share


def round_gauges(report: RoundReport, labels: RoundLabels) -> tuple[Metric, ...]:
    """Every gauge that a round determines, one metric per family. `labels` has been settled with the same report."""
    summary = report.summary
    solved = summary.outcome is not RoundOutcome.STALE
    found = [*_capacity_gauges(report, labels, solved), *_queue_gauges(summary, labels, solved)]
    waiting = Counter(dict(summary.waiting))
    held = report.snapshot.held
    waiting[PendingCause.DEPENDENCY.value] = sum(1 for job in held if job.waits_for)
    waiting[PendingCause.BACKOFF.value] = len(held) - waiting[PendingCause.DEPENDENCY.value]
    found.append(gauge(names.WAITING, (((cause.value,), waiting[cause.value]) for cause in PendingCause)))
    promised = standings(report.formulation, report.solution.shares).counts()
    found.append(gauge(names.PROMISES, [((state.value,), count) for state, count in promised.items()]))
    found.append(gauge(names.MISDECLARED, [((), int(report.formulation.live.jobs.misdeclared.sum()))]))
    found.append(gauge(names.NODES, _node_counts(report, labels)))
    found.append(gauge(names.NODES_IN_TROUBLE, _in_trouble(report, labels)))
    found.append(gauge(names.LAST_ROUND, [((), summary.time)]))
    found.append(gauge(names.POLICY_VERSION, [((), summary.policy_version)]))
    if solved:
        found += [
            gauge(names.OBJECTIVE, [((), summary.objective)]),
            gauge(names.BOUND, [((), summary.bound)]),
            gauge(names.GAP, [((), summary.gap)]),
            gauge(names.ROUNDING_LOSS, [((), summary.rounding_loss)]),
        ]
        moved = [] if report.market is None else [stage.moved for stage in report.market.stages]
        found.append(gauge(names.BUDGETS_MOVED, [((), max(moved, default=0.0))]))
    return tuple(found)


def _capacity_gauges(report: RoundReport, labels: RoundLabels, solved: bool) -> Iterator[Metric]:
    amounts: defaultdict[tuple[str, str], _Amounts] = defaultdict(_Amounts)
    for usage in report.summary.flavors:
        amounts[labels.flavor.of(usage.flavor), labels.resource(usage.resource)].add(usage)
    for (key, role), family in names.AMOUNTS.items():
        per_unit = names.RESOURCE_UNITS[key].per_unit
        yield gauge(
            family,
            [
                ((flavor, resource) if key == names.EXTRA else (flavor,), getattr(sums, role) / per_unit)
                for (flavor, resource), sums in amounts.items()
                if names.resource_key(resource) == key
            ],
        )
    yield gauge(
        names.UTILIZATION,
        [(pair, sums.allocated / sums.capacity if sums.capacity else 0.0) for pair, sums in amounts.items()],
    )
    if solved:
        budget = report.formulation.problem.total_weight
        yield gauge(names.PRICE, [(pair, sums.price(pair[1])) for pair, sums in amounts.items()])
        yield gauge(
            names.PRICE_BUDGET, [(pair, sums.worth / budget if budget else 0.0) for pair, sums in amounts.items()]
        )


def _queue_gauges(summary: RoundSummary, labels: RoundLabels, solved: bool) -> Iterator[Metric]:
    members: defaultdict[str, _Members] = defaultdict(_Members)
    for usage in summary.queues:
        members[labels.queue.of(usage.queue)].add(usage)
    yield gauge(
        names.JOBS,
        [
            ((queue, state), getattr(sums, state))
            for queue, sums in members.items()
            for state in (JobState.PENDING.value, JobState.RUNNING.value)
        ],
    )
    yield gauge(names.QUEUE_WEIGHT, [((queue,), sums.weight) for queue, sums in members.items()])
    yield gauge(names.ACTUAL_SHARE, [((queue,), sums.actual_share) for queue, sums in members.items()])
    if solved:
        yield gauge(names.FAIR_SHARE, [((queue,), sums.fair_share) for queue, sums in members.items()])


def _node_counts(report: RoundReport, labels: RoundLabels) -> list[tuple[tuple[str, ...], float]]:
    """Every combination of health and availability for each flavor, zeros included."""
    counts = Counter((labels.flavor.of(node.flavor), node.health, node.availability) for node in report.snapshot.nodes)
    return [
        ((flavor, health.value, availability.value), counts[flavor, health, availability])
        for flavor in sorted({flavor for flavor, _, _ in counts})
        for health in NodeHealth
        for availability in NodeAvailability
    ]


def _in_trouble(report: RoundReport, labels: RoundLabels) -> list[tuple[tuple[str, ...], float]]:
    """Of each flavor, zeros included."""
    counts: Counter[str] = Counter()
    for node in report.snapshot.nodes:
        counts[labels.flavor.of(node.flavor)] += bool(node.trouble) and node.health is NodeHealth.READY
    return [((flavor,), count) for flavor, count in sorted(counts.items())]
