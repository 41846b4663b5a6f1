"""The gauges of a market: who is entitled to what, what quotas hold, lend and cost, whether guarantees are kept.

They are worked out at the first scrape after a round, not in the round: with many queues that takes as long as a part
of a round, and rounds are more frequent than scrapes. The labels are settled when the round ends.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from prometheus_client.metrics_core import Metric

from allocator.domain.queue import Queue
from allocator.domain.resources import display_unit
from allocator.explain.finished import Finished
from allocator.explain.own_limits import price_of_limits
from allocator.formulation.problem import Floats
from allocator.formulation.slots import told_by
from allocator.metrics import names
from allocator.metrics.instruments import gauge
from allocator.metrics.names import Family
from allocator.metrics.round_gauges import RoundLabels
from allocator.rounds.limit_usage import quota_prices
from allocator.rounds.report import LimitKind, RoundOutcome, RoundReport

Cell = tuple[str, str, str]
"""Labels of queue, flavor and resource."""

BORROWING, LENDING = "borrowing", "lending"
_LIMITS = {BORROWING: LimitKind.QUOTA, LENDING: LimitKind.LENDING}

_PARTS: tuple[Family, ...] = (
    names.ENTITLEMENT,
    names.BUDGET,
    names.SPENT,
    names.DEMAND,
    names.WEIGHT_SHARE,
    names.FAIRNESS_ERROR,
)
"""What every queue has, in the order of `_parts`."""


@dataclass(slots=True)
class _Quota:
    """Sums over the quotas with the same labels, in base units; `most` is None where one of them has no limit."""

    used: float = 0.0
    optimum: float = 0.0
    quota: float = 0.0
    most: float | None = 0.0
    lent: float = 0.0
    borrowed: float = 0.0
    prices: dict[str, float] = field(default_factory=dict)
    """The highest, by kind of limit."""


class MarketGauges:
    """Those of one round. `metrics` may be called from any thread."""

    def __init__(self, report: RoundReport, queues: Mapping[str, str], owners: Mapping[str, str], labels: RoundLabels):
        self._report = report
        self._queue = queues
        self._owner = owners
        flavors = {quota.flavor for queue in report.snapshot.queues for quota in queue.quotas}
        resources = {quota.resource for queue in report.snapshot.queues for quota in queue.quotas}
        flavors |= {flavor for _, flavor, _ in report.formulation.slot_names}
        resources |= {resource for _, _, resource in report.formulation.slot_names}
        self._flavor = {name: labels.flavor.of(name) for name in sorted(flavors)}
        self._resource = {name: labels.resource(name) for name in sorted(resources)}
        self._lock = threading.Lock()
        self._found: tuple[Metric, ...] | None = None

    @classmethod
    def of(cls, report: RoundReport, labels: RoundLabels) -> Self | None:
        """None for a round without an answer. `labels` has been settled with the same report."""
        if report.market is None or report.summary.outcome is RoundOutcome.STALE:
            return None
        queues = report.snapshot.queues
        return cls(
            report,
            {queue.name: labels.queue.of(queue.name) for queue in queues},
            {queue.name: labels.owner.of(queue.name) for queue in queues if queue.quotas},
            labels,
        )

    def metrics(self) -> tuple[Metric, ...]:
        """One metric per family; worked out once."""
        with self._lock:
            if self._found is None:
                finished = Finished.of(self._report)
                self._found = (
                    *self._parts(finished),
                    *self._guarantees(finished),
                    *self._quotas(finished),
                    *self._side_constraints(finished),
                    *self._pieces(finished),
                )
            return self._found

    def _parts(self, finished: Finished) -> Iterable[Metric]:
        every = finished.queues
        could, given, holds = (
            _dominant(finished, amounts) for amounts in (every.could_use, every.optimum, finished.running)
        )
        values = np.stack(
            [
                every.entitlement,
                every.budget,
                every.spends,
                _dominant(finished, every.demand),
                np.minimum(every.entitlement, could),
                holds - given,
            ]
        )
        sums: defaultdict[str, Floats] = defaultdict(lambda: np.zeros(len(_PARTS)))
        for queue, label in self._queue.items():
            at = finished.node_of_tree.get(queue)
            sums[label] += 0.0 if at is None else values[:, at]
        for position, family in enumerate(_PARTS):
            yield gauge(family, [((label,), float(found[position])) for label, found in sums.items()])

    def _guarantees(self, finished: Finished) -> Iterable[Metric]:
        every, solution = finished.queues, finished.report.solution
        problem = finished.report.formulation.problem
        promised = _dominant(finished, every.guaranteed)
        kept = every.kept(finished.running, finished.served)
        optimum = every.kept(every.optimum, problem.utilities(solution.shares) * problem.count)
        sums: defaultdict[str, Floats] = defaultdict(lambda: np.zeros(3))
        for queue in self._report.snapshot.queues:
            if any(quota.nominal for quota in queue.quotas):
                at = finished.node_of_tree.get(queue.name)
                found = sums[self._queue[queue.name]]
                if at is not None:
                    found += promised[at] * np.array([1.0, kept[at], optimum[at]])
        yield gauge(names.GUARANTEED, [((label,), float(found[0])) for label, found in sums.items()])
        for family, role in ((names.GUARANTEE_KEPT, 1), (names.GUARANTEE_OPTIMUM, 2)):
            ratios = ((label, found[role] / found[0] if found[0] > 0 else 1.0) for label, found in sums.items())
            yield gauge(family, [((label,), float(ratio)) for label, ratio in ratios])

    def _quotas(self, finished: Finished) -> Iterable[Metric]:
        cells: defaultdict[Cell, _Quota] = defaultdict(_Quota)
        prices = quota_prices(finished.market.limit_prices, self._report.formulation)
        for queue in self._report.snapshot.queues:
            for cell, found in self._of_queue(finished, queue, prices):
                _add(cells[cell], found)
        for (key, role), family in names.QUOTAS.items():
            yield gauge(family, list(_samples(cells, key, role)))
        yield gauge(
            names.QUOTA_PRICE,
            [((*cell, limit), price) for cell, sums in cells.items() for limit, price in sums.prices.items()],
        )

    def _side_constraints(self, finished: Finished) -> Iterable[Metric]:
        """Without bounds of their own: a policy has at most 256."""
        budget = finished.market.problem.total_weight
        found = finished.side_constraints.values()
        yield gauge(names.LIMIT_USED, [((each.name,), each.used or 0.0) for each in found])
        yield gauge(names.LIMIT_MOST, [((each.name,), each.most or 0.0) for each in found])
        yield gauge(names.LIMIT_PRICE, [((each.name,), each.price) for each in found])
        worth = (((each.name,), each.price * (each.most or 0.0) / budget if budget else 0.0) for each in found)
        yield gauge(names.LIMIT_BUDGET, worth)

    def _pieces(self, finished: Finished) -> Iterable[Metric]:
        """At most `slots.MOST_ROWS`, so the sizes need no bound."""
        problem, formulation = finished.market.problem, finished.report.formulation
        prices, amounts, budget = price_of_limits(finished), problem.limit_amount, problem.total_weight
        sizes: defaultdict[tuple[str, ...], float] = defaultdict(float)
        nodes: defaultdict[tuple[str, ...], float] = defaultdict(float)
        worth: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for number, (name, flavor, resource) in enumerate(
            formulation.slot_names, start=len(formulation.side_constraints)
        ):
            size, _ = told_by(name)
            price, where = float(prices[number]), self._flavor[flavor]
            of, key = (sizes, (where, f"{size:g}")) if size else (nodes, (where, self._resource[resource]))
            of[key] = max(of[key], price)
            worth[(where,)] += price * float(amounts[number]) / budget if budget else 0.0
        for family, found in ((names.PIECES_PRICE, sizes), (names.NODES_PRICE, nodes), (names.PIECES_BUDGET, worth)):
            yield gauge(family, found.items())

    def _of_queue(
        self, finished: Finished, queue: Queue, prices: Mapping[tuple[LimitKind, str, str, str], float]
    ) -> Iterable[tuple[Cell, _Quota]]:
        formulation, at = finished.report.formulation, finished.node_of_tree.get(queue.name)
        for quota in queue.quotas:
            used = optimum = 0.0
            if at is not None and quota.flavor in formulation.flavors and quota.resource in formulation.resources:
                where = (at, formulation.flavors.index(quota.flavor), formulation.resources.index(quota.resource))
                unit = display_unit(quota.resource)[1]
                used, optimum = (
                    float(amounts[where]) * unit for amounts in (finished.running, finished.queues.optimum)
                )
            key = names.resource_key(quota.resource)
            per_unit = names.RESOURCE_UNITS[key].per_unit
            limits = ((BORROWING, quota.borrowing_limit), (LENDING, quota.lending_limit))
            yield (
                (self._owner[queue.name], self._flavor[quota.flavor], self._resource[quota.resource]),
                _Quota(
                    used=used / per_unit,
                    optimum=optimum / per_unit,
                    quota=quota.nominal / per_unit,
                    most=None if quota.most is None else quota.most / per_unit,
                    lent=max(0.0, quota.nominal - used) / per_unit,
                    borrowed=max(0.0, used - quota.nominal) / per_unit,
                    prices={
                        limit: prices.get((_LIMITS[limit], queue.name, quota.flavor, quota.resource), 0.0)
                        for limit, amount in limits
                        if amount is not None
                    },
                ),
            )


def _dominant(finished: Finished, amounts: Floats) -> Floats:
    """(Q,) the largest part of any total that the amounts (Q, F, R) are."""
    there = finished.total > 0
    found: Floats = (amounts.sum(axis=1)[:, there] / finished.total[there]).max(axis=1, initial=0.0)
    return found


def _add(sums: _Quota, found: _Quota) -> None:
    for role in ("used", "optimum", "quota", "lent", "borrowed"):
        setattr(sums, role, getattr(sums, role) + getattr(found, role))
    sums.most = None if sums.most is None or found.most is None else sums.most + found.most
    for limit, price in found.prices.items():
        sums.prices[limit] = max(price, sums.prices.get(limit, 0.0))


def _samples(cells: Mapping[Cell, _Quota], key: str, role: str) -> Iterable[tuple[tuple[str, ...], float]]:
    for (queue, flavor, resource), sums in cells.items():
        amount = getattr(sums, role)
        if names.resource_key(resource) == key and amount is not None:
            yield ((queue, flavor, resource) if key == names.EXTRA else (queue, flavor)), amount
