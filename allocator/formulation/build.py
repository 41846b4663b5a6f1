"""Snapshot to Problem: the one place where integers become floats.

Amounts become display units (cores, GPUs, GiB, GB/s), so a price is per display unit. In order:

1. Running jobs that stay where they are, whatever the optimum would say, are pinned: they leave the problem, and what
   they hold on nodes that take new work leaves its capacity.
2. Of the other jobs, those that cannot run in any configuration leave it too, each with its reason.
3. The rest are grouped into rows (formulation.grouping), with what each claims; the weights are those of a market in
   which everybody spends all they have, until `allocator.market` knows better.
4. Side constraints are limits of the problem (formulation.side_constraints). Jobs that they leave no configuration are
   among those of 2.
5. What an engine cannot change of a running job stays as it is in the problem, too (formulation.fixed).

Pinned jobs go on claiming their part of their queue's budget, though it buys nothing here: otherwise a queue would have
more for its other jobs the more of the cluster it holds for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TypeVar

import numpy as np

from allocator.domain.cluster import Node
from allocator.domain.policy import FINISH_TIME, Policy
from allocator.domain.reason import PendingReason
from allocator.domain.remembered import remembered
from allocator.domain.resources import resource_names
from allocator.domain.snapshot import LimitName, Memory, Snapshot
from allocator.formulation.claims import RowClaims, claimants, display_amounts, held_by_queues, plain_budgets
from allocator.formulation.columns import last_registry
from allocator.formulation.eligibility import OpenNodes, open_nodes_of
from allocator.formulation.fixed import Fixed, fixed
from allocator.formulation.grouping import Candidates, group
from allocator.formulation.judged_shapes import Shapes, grant_plenty, judged_shapes, problem_of, ways_of
from allocator.formulation.live import Live
from allocator.formulation.pinning import left_free, standings
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.promises import Promises, least_utility, promises, set_apart
from allocator.formulation.side_constraints import SideRows, left_open, side_rows, under
from allocator.formulation.slots import closed_columns, slot_rows
from allocator.formulation.weightings import Weightings, changes_jobs, crowded, equal_paces, job_factors, weighed_queues

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
    weightings: Weightings
    """What weights of queues and jobs were multiplied by."""
    slot_names: tuple[LimitName, ...]
    """Of the problem's last limits: those that sizes, labels and taints of nodes set."""
    promises: Promises
    """What deadlines and minimum throughputs need from now on."""
    sides: SideRows | None = None
    """What the problem's first limits are; None: there are no side constraints."""
    fixed: Fixed | None = None
    """What of running jobs cannot change; None: nothing is said to be so."""
    most: Floats | None = None
    """(n,) the part of its demand that one job of a row can have: a share of 1 is that. None: all of it, of every row.
    """

    def parts(self, shares: Floats) -> Floats:
        """(n, K) `shares` of the problem as parts of the whole demand all of the time."""
        return shares if self.most is None else shares * self.most[:, None]

    @property
    def side_constraints(self) -> tuple[str, ...]:
        """Names of the problem's first limits; several constraints about different nodes may be one."""
        return () if self.sides is None else self.sides.names

    def constraints_of(self, name: str) -> tuple[str, ...]:
        """The side constraints that are the row of this name; the name itself where no row is called so."""
        rows = () if self.sides is None else self.sides.rows
        return next((row.together for row in rows if row.name == name), (name,))

    @property
    def limit_names(self) -> tuple[LimitName, ...]:
        """Of the problem's limits, in their order: side constraints, then slots."""
        return (*((name, "", "") for name in self.side_constraints), *self.slot_names)

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

    @cached_property
    def taking_part(self) -> Booleans:
        """(queues,) who has jobs that want something, or that hold something for good, by number in `Live.queues`."""
        found = np.asarray(self.held.any(axis=(1, 2)))
        found[self.claims.queue] = True
        return found

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

    def limit_prices_to_remember(self, prices: Mapping[LimitName, float], memory: Memory) -> dict[LimitName, float]:
        """`prices`, with the last one of each side constraint of which pinned jobs take all there may be."""
        sides = () if self.sides is None else self.sides.rows
        none_left = [(row.name, "", "") for row in sides if row.amount <= 0]
        return {**prices} | {name: memory.limit_prices[name] for name in none_left if name in memory.limit_prices}


Name = TypeVar("Name")


def _priced(
    prices: Mapping[Name, float], amounts: Mapping[Name, float], before: Mapping[Name, float]
) -> dict[Name, float]:
    """Prices of what there is now, and for what there is nothing of, those from before that are known."""
    there = {name: price for name, price in prices.items() if amounts[name] > 0}
    return there | {name: before[name] for name in prices if name not in there and name in before}


def build(snapshot: Snapshot, policy: Policy, memory: Memory | None = None) -> Formulation:
    """The problem of this round. The snapshot's facts are taken as valid; there may be none of any kind. Without
    `memory` nobody is paid back anything.
    """
    floating = policy.floating_resources
    with last_registry(policy.priority_classes, floating) as registry:
        live = Live.of(snapshot, registry)
        pinned, stays = standings(live)
        open_nodes = open_nodes_of(snapshot.nodes)
        free = left_free({flavor: open_nodes.capacity(flavor) for flavor in snapshot.flavors}, live, pinned)
        inside = np.flatnonzero(~pinned)
        in_use = np.zeros(registry.catalogue.shape_count, dtype=np.bool_)
        in_use[live.shape[inside]] = True
        numbers = np.flatnonzero(in_use)
        resources = _resources(snapshot.nodes, floating)
        shapes = judged_shapes(registry.catalogue, numbers, open_nodes, free, resources, floating)
    position = np.cumsum(in_use) - 1
    shape = position[live.shape[inside]]
    sides = side_rows(policy.side_constraints, live, pinned, shapes.resources, floating)
    possible = left_open(shapes.eligible, sides, shape, inside)
    candidates = inside[possible]
    profiles = live.profiles
    choices = np.zeros(len(profiles.shape), dtype=np.int64)
    if len(numbers):
        choices = np.where(in_use[profiles.shape], shapes.eligible.count[position[profiles.shape]], 0)
    in_place = np.flatnonzero(pinned)
    weightings = _weightings(snapshot, live, memory or Memory(), policy, candidates, in_place, open_nodes, shapes)
    steps = None if weightings.jobs is None else weightings.jobs.steps
    promised = promises(live, snapshot.time, policy.hysteresis_seconds + policy.minimum_run_seconds)
    step = promised.step_of_job(len(snapshot.jobs))
    claim = set_apart(claimants(snapshot.queues, live, candidates, steps), step[candidates])
    claim = claim if sides is None else set_apart(claim, sides.apart[candidates])
    kept = fixed(live)
    claim = claim if kept is None else set_apart(claim, np.where(stays, kept.apart, 0)[candidates])
    alike = claim.alike
    budget = plain_budgets(weightings.queues, live, candidates, in_place, steps)[alike]
    groups = group(
        Candidates(
            profile=claim.profile,
            current=shapes.eligible.position(
                shape[possible], np.where(stays[candidates], live.jobs.configuration[candidates], -1)
            ),
            shape=position[profiles.shape][alike],
            choices=choices[alike],
            restart_cost=profiles.restart_cost[alike],
            budget=budget if steps is None else np.ldexp(budget, claim.steps),
            claim=claim.claim,
        ),
        policy.horizon_seconds,
    )
    leader = candidates[groups.first]
    claimed = live.jobs.profile[leader]
    weight = profiles.weight[claimed]
    row = np.full(len(snapshot.jobs), IN_PLACE, dtype=np.int64)
    row[inside] = NOT_POSSIBLE
    row[candidates] = groups.row
    ways = ways_of(groups, shapes, floating)
    slots = slot_rows(live, pinned, open_nodes, ways)
    throughput, limits = under(sides, shapes.eligible, groups.shape, leader)
    stuck = None if kept is None else stays[leader] & kept.size[leader]
    most = None if kept is None else np.where(stays[leader], kept.most[leader], 1.0)
    problem = problem_of(
        groups,
        shapes,
        throughput,
        policy,
        (*limits, *(each.limit(groups.shape) for each in slots)),
        stuck,
        most,
    )
    best = live.shapes.throughput[live.shape[leader]].max(axis=1, initial=0.0)
    able = throughput.max(axis=1, initial=0.0) * (1.0 if most is None else most)
    return Formulation(
        problem=problem,
        flavors=snapshot.flavors,
        resources=shapes.resources,
        live=live,
        row=row,
        index=shapes.eligible.index[groups.shape],
        claims=RowClaims(
            profiles.queue[claimed],
            weight if steps is None else np.ldexp(weight, steps[leader]),
            profiles.priority[claimed],
            leader,
            least_utility(step[leader], best, able, problem.reference) if step.any() else None,
            closed_columns(slots, ways)[groups.shape] if any(each.closed for each in slots) else None,
        ),
        held=held_by_queues(live, pinned, snapshot.flavors, shapes.resources),
        weightings=weightings,
        slot_names=tuple(row.name for row in slots),
        promises=promised,
        never={
            live.jobs.ids[job]: _never(shapes, number, sides, job)
            for job, number in zip(inside[~possible].tolist(), shape[~possible].tolist(), strict=True)
        },
        sides=sides,
        fixed=kept,
        most=most,
    )


def _weightings(
    snapshot: Snapshot,
    live: Live,
    memory: Memory,
    policy: Policy,
    candidates: Integers,
    fixed: Integers,
    open_nodes: OpenNodes,
    shapes: Shapes,
) -> Weightings:
    """What the weights of queues and jobs are multiplied by; `fixed` are pinned jobs."""
    found = weighed_queues(snapshot, live, memory, policy)
    if changes_jobs(policy):
        paces = None
        if policy.weighting == FINISH_TIME:
            part = plain_budgets(found.queues, live, candidates, fixed)
            paces = _equal_paces(snapshot, live, part, open_nodes, shapes, policy.floating_resources)
        found = replace(found, jobs=job_factors(snapshot, live, policy, paces))
    return crowded(found, live, np.concatenate([candidates, fixed]), policy)


def _equal_paces(
    snapshot: Snapshot, live: Live, part: Floats, open_nodes: OpenNodes, shapes: Shapes, floating: tuple[str, ...]
) -> Floats:
    """(P,) how fast a job of each profile runs on its `part` (P,) of all open nodes, those of pinned jobs included."""
    capacity = np.array([display_amounts(open_nodes.capacity(name), shapes.resources) for name in snapshot.flavors])
    capacity = capacity.reshape(len(snapshot.flavors), len(shapes.resources))
    grant_plenty(capacity, shapes.resources, floating)
    return equal_paces(live, part, capacity, shapes.flavor_of_kind, shapes.amounts_of_kind)


def _never(shapes: Shapes, shape: int, sides: SideRows | None, job: int) -> PendingReason:
    """Why a job has no row."""
    count = int(shapes.eligible.count[shape])
    if sides is None or not count:
        return shapes.never[shape]
    return sides.why(shapes.eligible.kind[shape, :count].tolist(), int(sides.sort[job]))


@remembered
def _resources(nodes: tuple[Node, ...], floating: tuple[str, ...]) -> tuple[str, ...]:
    """What any node has, in canonical order, and what belongs to none."""
    return tuple(name for name in resource_names([node.capacity for node in nodes]) if name not in floating) + floating
