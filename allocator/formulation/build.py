"""Snapshot to Problem: the one place where integers become floats.

Amounts become display units (cores, GPUs, GiB, GB/s), so a price is per display unit. In order:

1. Running jobs that stay where they are, whatever the optimum would say, are pinned: they leave the problem, and what
   they hold on nodes that take new work leaves its capacity.
2. Of the other jobs, those that cannot run in any configuration leave it too, each with its reason.
3. The rest are grouped into rows (formulation.grouping), with what each claims; the weights are those of a market in
   which everybody spends all they have, until `allocator.market` knows better.

Pinned jobs go on claiming their part of their queue's budget, though it buys nothing here: otherwise a queue would have
more for its other jobs the more of the cluster it holds for good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np

from allocator.domain.cluster import Node
from allocator.domain.objectives import DOMINANT_SHARE
from allocator.domain.placement import held
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.remembered import remembered
from allocator.domain.resources import Resources, resource_names
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.catalogue import Catalogue, Eligible
from allocator.formulation.claims import (
    RowClaims,
    claim_numbers,
    display_amounts,
    held_by_queues,
    in_order,
    plain_budgets,
)
from allocator.formulation.columns import last_registry
from allocator.formulation.eligibility import (
    Kind,
    OpenNodes,
    Verdict,
    blocked,
    open_nodes_of,
    shortages_of,
    why_never,
)
from allocator.formulation.grouping import Candidates, Groups, group
from allocator.formulation.live import Live
from allocator.formulation.nodes import CORDONED, LOST, ORDINARY
from allocator.formulation.problem import Booleans, Floats, Integers, Problem

_LEAST_SHARE = 1e-9
"""Whoever takes next to nothing of everything still counts."""
IN_PLACE, NOT_POSSIBLE = -1, -2
"""Instead of a row: of pinned jobs, and of those that cannot run in any configuration."""


@dataclass(frozen=True, eq=False)
class Formulation:
    """A problem, and the way back from its indices to names.

    Every job of the snapshot is in exactly one of `rows`, `pinned` and `never`.
    """

    problem: Problem
    flavors: tuple[str, ...]
    """Names of the rows of `problem.capacity`."""
    resources: tuple[str, ...]
    """Names of its columns; amounts are in display units (`domain.resources.display_unit`)."""
    live: Live
    row: Integers
    """(J,) row of each job in the problem; IN_PLACE of running jobs that stay where they are, and whose capacity is not
    in the problem; NOT_POSSIBLE of those in `never`."""
    index: Integers
    """(n, K) per row and column: index into the `spec.configurations` of its jobs; -1 where the column is padding."""
    never: Mapping[str, PendingReason]
    """Jobs that have no row because no configuration can run, and why: never in the cluster as it is, or (cause
    INSUFFICIENT_CAPACITY) not before pinned jobs end, which hold all of something that each configuration needs.
    """
    claims: RowClaims
    held: Floats
    """(queues, F, R) what pinned jobs hold, by number in `Live.queues`, in display units."""

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Job ids of each row, in order of sequence."""
        order = np.argsort(self.row, kind="stable")
        bounds = np.searchsorted(self.row[order], np.arange(self.problem.row_count + 1)).tolist()
        ids = self.live.jobs.ids[order].tolist()
        return tuple(tuple(ids[first:last]) for first, last in pairwise(bounds))

    @cached_property
    def configurations(self) -> tuple[tuple[int, ...], ...]:
        """`index` as tuples."""
        return tuple(tuple(row) for row in self.index.tolist())

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Row by job id, of the jobs that have one."""
        there = self.row >= 0
        return dict(zip(self.live.jobs.ids[there].tolist(), self.row[there].tolist(), strict=True))

    @cached_property
    def pinned(self) -> frozenset[str]:
        """Ids of the jobs that are IN_PLACE."""
        return frozenset(self.live.jobs.ids[self.row == IN_PLACE].tolist())

    def warm_prices(self, memory: Memory) -> Floats:
        """(F, R) what is remembered of the price of each flavor and resource; NaN of one never seen."""
        unknown = float("nan")
        return np.array(
            [[memory.prices.get((flavor, resource), unknown) for resource in self.resources] for flavor in self.flavors]
        ).reshape(len(self.flavors), len(self.resources))

    def price_map(self, prices: Floats) -> dict[tuple[str, str], float]:
        """`prices` (F, R) by (flavor, resource), per display unit of the resource."""
        names = [(flavor, resource) for flavor in self.flavors for resource in self.resources]
        return dict(zip(names, prices.ravel().tolist(), strict=True))

    def prices_to_remember(self, prices: Floats, memory: Memory) -> dict[tuple[str, str], float]:
        """`price_map`, with the last price of whatever there is nothing of now: without capacity nothing has a price,
        and when its nodes come back, the old one is the best guess. What no node has any more is forgotten.
        """
        return _priced(self.price_map(prices), self.price_map(self.problem.capacity), memory.prices)


Name = TypeVar("Name")


def _priced(
    prices: Mapping[Name, float], amounts: Mapping[Name, float], before: Mapping[Name, float]
) -> dict[Name, float]:
    """Prices of what there is now, and for what there is nothing of, those from before that are known."""
    there = {name: price for name, price in prices.items() if amounts[name] > 0}
    return there | {name: before[name] for name in prices if name not in there and name in before}


def build(snapshot: Snapshot, policy: Policy) -> Formulation:
    """The problem of this round. The snapshot's facts are taken as valid; there may be none of any kind."""
    with last_registry() as registry:
        live = Live.of(snapshot, registry)
        pinned, stays = _standings(live)
        open_nodes = open_nodes_of(snapshot.nodes)
        free = _free({flavor: open_nodes.capacity(flavor) for flavor in snapshot.flavors}, live, pinned)
        inside = np.flatnonzero(~pinned)
        in_use = np.zeros(registry.catalogue.shape_count, dtype=np.bool_)
        in_use[live.shape[inside]] = True
        numbers = np.flatnonzero(in_use)
        shapes = _judged(registry.catalogue, numbers, open_nodes, free, _resources(snapshot.nodes))
    position = np.cumsum(in_use) - 1
    shape = position[live.shape[inside]]
    possible = shapes.eligible.count[shape] > 0
    candidates = inside[possible]
    profiles = live.profiles
    choices = np.zeros(len(profiles.shape), dtype=np.int64)
    if len(numbers):
        choices = np.where(in_use[profiles.shape], shapes.eligible.count[position[profiles.shape]], 0)
    profile, alike = in_order(snapshot.queues, live, candidates)
    groups = group(
        Candidates(
            profile=profile,
            current=shapes.eligible.position(
                shape[possible], np.where(stays[candidates], live.jobs.configuration[candidates], -1)
            ),
            shape=position[profiles.shape][alike],
            choices=choices[alike],
            restart_cost=profiles.restart_cost[alike],
            budget=plain_budgets(snapshot.queues, live, candidates, np.flatnonzero(pinned))[alike],
            claim=claim_numbers(live, alike),
        ),
        policy.horizon_seconds,
    )
    leader = candidates[groups.first]
    claimed = live.jobs.profile[leader]
    row = np.full(len(snapshot.jobs), IN_PLACE, dtype=np.int64)
    row[inside] = NOT_POSSIBLE
    row[candidates] = groups.row
    return Formulation(
        problem=_problem(groups, shapes, policy),
        flavors=snapshot.flavors,
        resources=shapes.resources,
        live=live,
        row=row,
        index=shapes.eligible.index[groups.shape],
        claims=RowClaims(profiles.queue[claimed], profiles.weight[claimed], profiles.priority[claimed], leader),
        held=held_by_queues(live, pinned, snapshot.flavors, shapes.resources),
        never={
            live.jobs.ids[job]: shapes.never[number]
            for job, number in zip(inside[~possible].tolist(), shape[~possible].tolist(), strict=True)
        },
    )


@remembered
def _resources(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """What any node has, in canonical order."""
    return resource_names([node.capacity for node in nodes])


def _standings(live: Live) -> tuple[Booleans, Booleans]:
    """(J,) which running jobs are pinned, and which are free to stay or leave. The other running ones have to leave,
    and count as pending: for them, everything is possible again.

    Whoever is on a lost node has to leave; non-preemptible jobs are pinned otherwise; the others have to leave draining
    nodes, and are pinned on cordoned ones.
    """
    runs = live.jobs.runs
    condition = np.where(live.piece_node >= 0, live.nodes.condition[live.piece_node], LOST)
    worst = np.full(len(runs), ORDINARY, dtype=np.int64)
    special = np.flatnonzero(condition)
    if special.size:
        np.maximum.at(worst, live.jobs.piece_owner[special], condition[special])
    preemptible = live.profiles.preemptible[live.jobs.profile]
    pinned = runs & np.where(preemptible, worst == CORDONED, worst < LOST)
    return pinned, runs & preemptible & (worst == ORDINARY)


def _free(capacity: Mapping[str, Resources], live: Live, pinned: Booleans) -> dict[str, Resources]:
    """By flavor, what pinned jobs leave of the nodes that take new work."""
    free = dict(capacity)
    if not pinned.any():
        return free
    owner = live.jobs.piece_owner
    there = pinned[owner] & (live.piece_node >= 0)
    there[there] = live.nodes.takes_new_work[live.piece_node[there]]
    owner, node = owner[there], live.piece_node[there]
    key = np.stack([live.nodes.flavor[node], live.kind_now(owner), live.jobs.millis[owner]], axis=1)
    distinct, which = np.unique(key, axis=0, return_inverse=True)
    counts = np.bincount(which.ravel(), weights=live.jobs.piece_count[there]).astype(np.int64)
    for (flavor, kind, millis), count in zip(distinct.tolist(), counts.tolist(), strict=True):
        name = live.nodes.flavors[flavor]
        free[name] = free[name] - held(live.kinds[kind].demand, millis) * count
    return free


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
    room = np.array([display_amounts(amounts, resources) for amounts in free.values()]).reshape(
        len(free), len(resources)
    )
    flavor = catalogue.flavor_of_kinds(tuple(free))
    amounts = catalogue.amounts_of_kinds(resources)
    able = catalogue.kinds_that_fit(open_nodes)
    if able.any():  # then there are flavors
        able = able & ~((amounts > 0) & (room[flavor] <= 0)).any(axis=1)
    eligible = Eligible.of(catalogue.columns(numbers), able)
    never = {
        position: _why_not(catalogue.kinds_of(int(numbers[position])), open_nodes, free)
        for position in np.flatnonzero(eligible.count == 0).tolist()
    }
    return _Shapes(eligible, never, flavor, amounts, room, resources)


def _why_not(kinds: Sequence[Kind], open_nodes: OpenNodes, free: Mapping[str, Resources]) -> PendingReason:
    """Why a job that can have a share in none of its kinds cannot."""
    judged = [(kind, open_nodes.verdict(kind)) for kind in kinds]
    fitting = [kind for kind, verdict in judged if verdict.cause is None]
    if not fitting:
        return why_never(judged)
    nearest: dict[str, Verdict] = {}
    for kind in fitting:
        verdict, flavor = blocked(kind, free[kind.flavor]), kind.flavor
        if verdict is not None and (flavor not in nearest or verdict.severity < nearest[flavor].severity):
            nearest[flavor] = verdict
    return PendingReason(PendingCause.INSUFFICIENT_CAPACITY, shortages_of(nearest))


def _problem(groups: Groups, shapes: _Shapes, policy: Policy) -> Problem:
    """What the rows' shapes need and yield, spread over the rows."""
    eligible = shapes.eligible
    kind = eligible.kind[groups.shape]
    throughput = eligible.throughput[groups.shape]
    there = throughput > 0
    elsewhere = np.arange(throughput.shape[1]) != groups.current[:, None]
    if eligible.resizable.any():  # another replica count on the same flavor is no restart
        flavor = shapes.flavor_of_kind[kind]
        same = flavor == np.take_along_axis(flavor, np.maximum(groups.current, 0)[:, None], axis=1)
        elsewhere &= ~(eligible.resizable[groups.shape][:, None] & same)
    kept = np.where(elsewhere, groups.kept[:, None], 1.0)
    demand = np.where(there[:, :, None], shapes.amounts_of_kind[kind], 0.0)
    capacity = np.maximum(shapes.room, 0.0)
    reference = throughput.max(axis=1, initial=0.0)
    if policy.utility == DOMINANT_SHARE:
        reference = reference / _dominant_shares(throughput, demand, capacity)
    return Problem.from_arrays(
        throughput=throughput * kept,
        flavor=np.where(there, shapes.flavor_of_kind[kind], 0),
        demand=demand,
        capacity=capacity,
        weight=groups.weight,
        count=groups.count,
        fairness=policy.fairness,
        reference=reference,
    )


def _dominant_shares(throughput: Floats, demand: Floats, capacity: Floats) -> Floats:
    """(n,) the largest part of all there is of a resource, over all flavors, that a job takes in its best
    configuration. (Ghodsi et al., Dominant Resource Fairness, NSDI 2011, section 3.)
    """
    total = capacity.sum(axis=0)
    best = throughput.argmax(axis=1) if throughput.size else np.zeros(len(throughput), dtype=np.int64)
    needed = demand[np.arange(len(throughput)), best]
    parts = np.divide(needed, total, out=np.zeros(needed.shape), where=total > 0)
    found: Floats = np.maximum(parts.max(axis=1, initial=0.0), _LEAST_SHARE)
    return found
