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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.remembered import remembered
from allocator.domain.resources import Resources, display_unit, resource_names
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.budgets import queue_budgets
from allocator.formulation.eligibility import OpenNodes, Verdict, blocked, shortages_of, why_never
from allocator.formulation.grouping import Candidate, Column, Groups, Shape, Shapes, group
from allocator.formulation.problem import Floats, Problem


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

    def warm_prices(self, memory: Memory) -> Floats:
        """(F, R) prices of the last round where the same flavor and resource were priced; NaN elsewhere."""
        unknown = float("nan")
        return np.array(
            [[memory.prices.get((flavor, resource), unknown) for resource in self.resources] for flavor in self.flavors]
        ).reshape(len(self.flavors), len(self.resources))

    def price_map(self, prices: Floats) -> dict[tuple[str, str], float]:
        """`prices` (F, R) by (flavor, resource), per display unit of the resource."""
        return {
            (flavor, resource): float(prices[f, r])
            for f, flavor in enumerate(self.flavors)
            for r, resource in enumerate(self.resources)
        }


def build(snapshot: Snapshot, policy: Policy) -> Formulation:
    """The problem of this round. The snapshot's facts are taken as valid; there may be none of any kind."""
    nodes = {node.name: node for node in snapshot.nodes}
    pinned, current = _standings(snapshot.jobs, nodes)
    open_nodes = OpenNodes(snapshot.nodes)
    capacity = {flavor: open_nodes.capacity(flavor) for flavor in snapshot.flavors}
    free = _free(capacity, pinned.values(), nodes)
    shapes = Shapes(lambda job: _columns(job, open_nodes, free))
    candidates: list[Candidate] = []
    never: dict[str, PendingReason] = {}
    live_weight: dict[str, float] = {}
    for job in snapshot.jobs:
        if job.id not in pinned:
            shape = shapes.of(job)
            if shape.reason is not None:
                never[job.id] = shape.reason
                continue
            running_in = current.get(job.id, -1)
            candidates.append(Candidate(job, shape, shape.position(running_in) if running_in >= 0 else -1))
        live_weight[job.spec.queue] = live_weight.get(job.spec.queue, 0.0) + job.spec.weight
    budgets = queue_budgets(snapshot.queues, live_weight)
    weight_per_unit = {queue: budget / live_weight[queue] for queue, budget in budgets.items()}
    groups = group(candidates, weight_per_unit, policy.horizon_seconds)
    resources = _resources(snapshot.nodes)
    problem = _problem(groups, shapes.all, free, resources, policy.fairness)
    width = problem.column_count
    numbering = [tuple(column.index for column in shape.columns) for shape in shapes.all]
    return Formulation(
        problem=problem,
        flavors=snapshot.flavors,
        resources=resources,
        groups=groups.members,
        configurations=tuple(_padded(numbering[shape], width) for shape in groups.shape),
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
    for job in jobs:
        if job.allocation is not None:
            standing = _standing(job, nodes)
            if standing is _Standing.PINNED:
                pinned[job.id] = job
            elif standing is _Standing.FREE:
                current[job.id] = job.allocation.placement.configuration
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
    free = dict(capacity)
    for job in pinned:
        assert job.allocation is not None
        demand = job.spec.configurations[job.allocation.placement.configuration].demand
        for replica in job.allocation.standing:
            node = nodes.get(replica.node)
            if node is not None and node.takes_new_work:
                free[node.flavor] = free[node.flavor] - demand
    return free


def _columns(
    job: Job, open_nodes: OpenNodes, free: Mapping[str, Resources]
) -> tuple[tuple[Column, ...], PendingReason | None]:
    """The configurations of `job` that can have a share; if there are none, why."""
    able = [(index, c) for index, c in enumerate(job.spec.configurations) if c.throughput > 0]
    judged = [(index, c, open_nodes.verdict(c)) for index, c in able]
    fitting = [(index, c) for index, c, verdict in judged if verdict.cause is None]
    if not fitting:
        return (), why_never((c, verdict) for _, c, verdict in judged)
    obstacles = [(c.flavor, blocked(c, free[c.flavor])) for _, c in fitting]
    columns = tuple(
        Column(index, c, job.throughput(c))
        for (index, c), (_, obstacle) in zip(fitting, obstacles, strict=True)
        if obstacle is None
    )
    return (columns, None) if columns else ((), _blocked_reason(obstacles))


def _blocked_reason(obstacles: Iterable[tuple[str, Verdict | None]]) -> PendingReason:
    nearest: dict[str, Verdict] = {}
    for flavor, verdict in obstacles:
        if verdict is not None and (flavor not in nearest or verdict.severity < nearest[flavor].severity):
            nearest[flavor] = verdict
    return PendingReason(PendingCause.INSUFFICIENT_CAPACITY, shortages_of(nearest))


def _problem(
    groups: Groups,
    shapes: list[Shape],
    free: Mapping[str, Resources],
    resources: tuple[str, ...],
    fairness: float,
) -> Problem:
    """Arrays per shape, then spread over the rows."""
    flavors = tuple(free)
    used = np.unique(groups.shape)
    width = max((len(shapes[number].columns) for number in used), default=0)
    throughput = np.zeros((len(shapes), width))
    flavor = np.zeros((len(shapes), width), dtype=np.int64)
    demand = np.zeros((len(shapes), width, len(resources)))
    for number in used:
        for k, column in enumerate(shapes[number].columns):
            throughput[number, k] = column.throughput
            flavor[number, k] = flavors.index(column.configuration.flavor)
            demand[number, k] = _display_amounts(column.configuration.total_demand, resources)
    elsewhere = np.arange(width) != groups.current[:, None]
    kept = np.where(elsewhere, groups.kept[:, None], 1.0)
    of_row = throughput[groups.shape]
    room = np.array([_display_amounts(free[name], resources) for name in flavors])
    return Problem.from_arrays(
        throughput=of_row * kept,
        flavor=flavor[groups.shape],
        demand=demand[groups.shape],
        capacity=np.maximum(room, 0.0).reshape(len(flavors), len(resources)),
        weight=groups.weight,
        count=np.array([len(members) for members in groups.members], dtype=np.int64),
        fairness=fairness,
        reference=of_row.max(axis=1, initial=0.0),
    )


def _display_amounts(amounts: Resources, resources: tuple[str, ...]) -> list[float]:
    return [amounts.get(name) / display_unit(name)[1] for name in resources]


def _padded(numbers: tuple[int, ...], width: int) -> tuple[int, ...]:
    return numbers + (-1,) * (width - len(numbers))
