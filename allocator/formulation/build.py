"""Snapshot to Problem: the one place where integers become floats.

Amounts become display units (cores, GPUs, GiB, GB/s), so a price is per display unit. In order:

1. Running jobs that stay where they are, whatever the optimum would say, are pinned: they leave the problem, and what
   they hold on nodes that take new work leaves its capacity.
2. Of the other jobs, those that cannot run in any configuration leave it too, each with its reason.
3. The rest get budgets (formulation.budgets) and are grouped into rows (formulation.grouping).

Pinned jobs go on claiming their part of their queue's budget, though it buys nothing here: otherwise a queue would have
more for its other jobs the more of the cluster it holds for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.remembered import remembered
from allocator.domain.resources import Resources, display_unit, resource_names
from allocator.domain.snapshot import LimitName, Memory, Snapshot
from allocator.formulation.budgets import queue_budgets
from allocator.formulation.catalogue import Catalogue, Eligible, forget_catalogue, last_catalogue
from allocator.formulation.eligibility import OpenNodes, Verdict, blocked, open_nodes_of, shortages_of, why_never
from allocator.formulation.grouping import Candidates, Groups, group
from allocator.formulation.problem import Floats, Integers, Problem


@dataclass(frozen=True, slots=True)
class Formulation:
    """A problem, and the way back from its indices to names.

    Every job of the snapshot is in exactly one of `rows`, `pinned` and `never`.
    """

    problem: Problem
    flavors: tuple[str, ...]
    """Names of the rows of `problem.capacity`."""
    resources: tuple[str, ...]
    """Names of its columns; amounts are in display units (`domain.resources.display_unit`)."""
    groups: tuple[tuple[str, ...], ...]
    """Job ids of each row, in order of sequence."""
    configurations: tuple[tuple[int, ...], ...]
    """Per row and column: index into the `spec.configurations` of its jobs; -1 where the column is padding."""
    pinned: frozenset[str]
    """Running jobs that stay where they are, and whose capacity is not in the problem."""
    never: Mapping[str, PendingReason]
    """Jobs that have no row because no configuration can run, and why: never in the cluster as it is, or (cause
    INSUFFICIENT_CAPACITY) not before pinned jobs end, which hold all of something that each configuration needs.
    """
    rows: Mapping[str, int]
    """Row of each job in the problem."""
    limits: tuple[LimitName, ...] = ()
    """Names of the problem's limits, in its order."""

    def warm_prices(self, memory: Memory) -> Floats:
        """(F, R) what is remembered of the price of each flavor and resource; NaN of one never seen."""
        unknown = float("nan")
        return np.array(
            [[memory.prices.get((flavor, resource), unknown) for resource in self.resources] for flavor in self.flavors]
        ).reshape(len(self.flavors), len(self.resources))

    def warm_limit_prices(self, memory: Memory) -> Floats:
        """(L,) what is remembered of the price of each limit; NaN of one never seen."""
        unknown = float("nan")
        return np.array([memory.limit_prices.get(name, unknown) for name in self.limits], dtype=np.float64)

    def price_map(self, prices: Floats) -> dict[tuple[str, str], float]:
        """`prices` (F, R) by (flavor, resource), per display unit of the resource."""
        names = [(flavor, resource) for flavor in self.flavors for resource in self.resources]
        return dict(zip(names, prices.ravel().tolist(), strict=True))

    def prices_to_remember(self, prices: Floats, memory: Memory) -> dict[tuple[str, str], float]:
        """`price_map`, with the last price of whatever there is nothing of now: without capacity nothing has a price,
        and when its nodes come back, the old one is the best guess. What no node has any more is forgotten.
        """
        return _priced(self.price_map(prices), self.price_map(self.problem.capacity), memory.prices)

    def limit_prices_to_remember(self, prices: Floats, memory: Memory) -> dict[LimitName, float]:
        """`prices` (L,) by name, per display unit of the limit's resource; the last one where the limit is 0 now."""
        amounts = dict(zip(self.limits, self.problem.limit_amount.tolist(), strict=True))
        return _priced(dict(zip(self.limits, prices.tolist(), strict=True)), amounts, memory.limit_prices)


Name = TypeVar("Name")


def _priced(
    prices: Mapping[Name, float], amounts: Mapping[Name, float], before: Mapping[Name, float]
) -> dict[Name, float]:
    """Prices of what there is now, and for what there is nothing of, those from before that are known."""
    there = {name: price for name, price in prices.items() if amounts[name] > 0}
    return there | {name: before[name] for name in prices if name not in there and name in before}


def build(snapshot: Snapshot, policy: Policy) -> Formulation:
    """The problem of this round. The snapshot's facts are taken as valid; there may be none of any kind."""
    nodes = {node.name: node for node in snapshot.nodes}
    pinned, current = _standings(snapshot.jobs, nodes)
    open_nodes = open_nodes_of(snapshot.nodes)
    free = _free({flavor: open_nodes.capacity(flavor) for flavor in snapshot.flavors}, pinned.values(), nodes)
    jobs = [job for job in snapshot.jobs if job.id not in pinned] if pinned else snapshot.jobs
    with last_catalogue() as catalogue:
        numbers, shape = np.unique(catalogue.numbers(jobs), return_inverse=True)
        shapes = _judged(catalogue, numbers, open_nodes, free, _resources(snapshot.nodes))
    if catalogue.is_mostly_stale(in_use=len(jobs)):
        forget_catalogue()
    never = {jobs[index].id: shapes.never[shape[index]] for index in np.flatnonzero(shapes.eligible.count[shape] == 0)}
    candidates = [job for job in jobs if job.id not in never] if never else jobs
    taking_part = shape[shapes.eligible.count[shape] > 0]
    groups = group(
        Candidates(
            ids=[job.id for job in candidates],
            shape=taking_part,
            current=shapes.eligible.position(
                taking_part, np.array([current.get(job.id, -1) for job in candidates], dtype=np.int64)
            ),
            choices=shapes.eligible.count[taking_part],
            restart_cost=np.array([job.spec.restart_cost_seconds for job in candidates], dtype=np.float64),
            budget=_budgets(snapshot.queues, candidates, pinned.values()),
        ),
        policy.horizon_seconds,
    )
    index = [tuple(row) for row in shapes.eligible.index.tolist()]
    return Formulation(
        problem=_problem(groups, shapes, policy.fairness),
        flavors=snapshot.flavors,
        resources=shapes.resources,
        groups=groups.members,
        configurations=tuple([index[number] for number in groups.shape.tolist()]),
        pinned=frozenset(pinned),
        never=never,
        rows={job_id: row for row, members in enumerate(groups.members) for job_id in members},
    )


@remembered
def _resources(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """What any node has, in canonical order."""
    return resource_names([node.capacity for node in nodes])


class _Standing(Enum):
    """What the nodes under a running job mean for it."""

    PINNED = "pinned"
    FREE = "free to stay or leave"
    DISPLACED = "has to leave: counts as pending"


def _standings(jobs: Iterable[Job], nodes: Mapping[str, Node]) -> tuple[dict[str, Job], dict[str, int]]:
    """Pinned jobs by id, and the current configuration of the running ones that are free."""
    pinned: dict[str, Job] = {}
    current: dict[str, int] = {}
    ordinary = {name for name, node in nodes.items() if node.takes_new_work}
    for job in jobs:
        allocation = job.allocation
        if allocation is None:
            continue
        if job.spec.preemptible and ordinary.issuperset([replica.node for replica in allocation.standing]):
            standing = _Standing.FREE  # nearly everybody: the same as below, sooner
        else:
            standing = _standing(job, nodes)
        if standing is _Standing.PINNED:
            pinned[job.id] = job
        elif standing is _Standing.FREE:
            current[job.id] = allocation.placement.configuration
    return pinned, current


def _standing(job: Job, nodes: Mapping[str, Node]) -> _Standing:
    assert job.allocation is not None
    under = [nodes.get(replica.node) for replica in job.allocation.standing]
    if any(node is None or node.health is NodeHealth.LOST for node in under):
        return _Standing.DISPLACED
    if not job.spec.preemptible:
        return _Standing.PINNED
    availabilities = {node.availability for node in under if node is not None}
    if NodeAvailability.DRAINING in availabilities:
        return _Standing.DISPLACED
    return _Standing.PINNED if NodeAvailability.CORDONED in availabilities else _Standing.FREE


def _free(capacity: Mapping[str, Resources], pinned: Iterable[Job], nodes: Mapping[str, Node]) -> dict[str, Resources]:
    """By flavor, what pinned jobs leave of the nodes that take new work."""
    held: Counter[tuple[str, int]] = Counter()
    demands: dict[int, Resources] = {}
    for job in pinned:
        assert job.allocation is not None
        demand = job.spec.configurations[job.allocation.placement.configuration].demand
        demands[id(demand)] = demand
        for replica in job.allocation.standing:
            node = nodes.get(replica.node)
            if node is not None and node.takes_new_work:
                held[node.flavor, id(demand)] += 1
    free = dict(capacity)
    for (flavor, identity), count in held.items():
        free[flavor] = free[flavor] - demands[identity] * count
    return free


def _budgets(queues: Iterable[Queue], candidates: Sequence[Job], pinned: Iterable[Job]) -> Floats:
    """(n,) the budget of each candidate; pinned jobs claim their part."""
    live_weight: dict[str, float] = {}
    for job in (*candidates, *pinned):
        queue = job.spec.queue
        live_weight[queue] = live_weight.get(queue, 0.0) + job.spec.weight
    budgets = queue_budgets(queues, live_weight)
    with np.errstate(all="ignore"):  # weights that differ by more than floats can tell apart: `group` puts them right
        per_unit = np.array([budgets[job.spec.queue] / live_weight[job.spec.queue] for job in candidates])
        weights: Floats = per_unit * np.array([job.spec.weight for job in candidates])
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class _Shapes:
    """Everything about the shapes of one snapshot: what they can run as, and what that takes."""

    eligible: Eligible
    never: Mapping[int, PendingReason]
    """By position, why it cannot run, of those that cannot."""
    flavor_of_kind: Integers
    amounts_of_kind: Floats
    """(kinds, R) of the whole gang, in display units."""
    room: Floats
    """(F, R) what is free."""
    resources: tuple[str, ...]


def _judged(
    catalogue: Catalogue,
    numbers: Integers,
    open_nodes: OpenNodes,
    free: Mapping[str, Resources],
    resources: tuple[str, ...],
) -> _Shapes:
    """The shapes `numbers` of the catalogue."""
    room = np.array([_display_amounts(amounts, resources) for amounts in free.values()]).reshape(
        len(free), len(resources)
    )
    flavor = catalogue.flavor_of_kinds(tuple(free))
    amounts = catalogue.amounts_of_kinds(resources)
    able = catalogue.kinds_that_fit(open_nodes)
    if able.any():  # then there are flavors
        able = able & ~((amounts > 0) & (room[flavor] <= 0)).any(axis=1)
    eligible = Eligible.of(catalogue.columns(numbers), able)
    never = {
        position: _why_not(catalogue.shapes[numbers[position]], open_nodes, free)
        for position in np.flatnonzero(eligible.count == 0).tolist()
    }
    return _Shapes(eligible, never, flavor, amounts, room, resources)


def _why_not(
    configurations: tuple[Configuration, ...],
    open_nodes: OpenNodes,
    free: Mapping[str, Resources],
) -> PendingReason:
    """Why a job that can have a share in none of its configurations cannot."""
    judged = [(c, open_nodes.verdict(c)) for c in configurations if c.throughput > 0]
    fitting = [c for c, verdict in judged if verdict.cause is None]
    if not fitting:
        return why_never(judged)
    nearest: dict[str, Verdict] = {}
    for configuration in fitting:
        verdict, flavor = blocked(configuration, free[configuration.flavor]), configuration.flavor
        if verdict is not None and (flavor not in nearest or verdict.severity < nearest[flavor].severity):
            nearest[flavor] = verdict
    return PendingReason(PendingCause.INSUFFICIENT_CAPACITY, shortages_of(nearest))


def _problem(groups: Groups, shapes: _Shapes, fairness: float) -> Problem:
    """What the rows' shapes need and yield, spread over the rows."""
    eligible = shapes.eligible
    kind = eligible.kind[groups.shape]
    throughput = eligible.throughput[groups.shape]
    there = throughput > 0
    elsewhere = np.arange(throughput.shape[1]) != groups.current[:, None]
    kept = np.where(elsewhere, groups.kept[:, None], 1.0)
    return Problem.from_arrays(
        throughput=throughput * kept,
        flavor=np.where(there, shapes.flavor_of_kind[kind], 0),
        demand=np.where(there[:, :, None], shapes.amounts_of_kind[kind], 0.0),
        capacity=np.maximum(shapes.room, 0.0),
        weight=groups.weight,
        count=groups.count,
        fairness=fairness,
        reference=throughput.max(axis=1, initial=0.0),
    )


def _display_amounts(amounts: Resources, resources: tuple[str, ...]) -> list[float]:
    return [amounts.get(name) / display_unit(name)[1] for name in resources]
