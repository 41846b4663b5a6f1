"""What the shapes of a round can run as and what that takes, and the arrays of its problem made of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.domain.objectives import DOMINANT_SHARE
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.resources import MAX_AMOUNT, Resources
from allocator.formulation.catalogue import Catalogue, Eligible
from allocator.formulation.claims import display_amounts
from allocator.formulation.eligibility import Kind, OpenNodes, Verdict, blocked, shortages_of, why_never
from allocator.formulation.grouping import Groups
from allocator.formulation.limits import Limit
from allocator.formulation.problem import Booleans, Floats, Integers, Problem
from allocator.formulation.slots import Ways

_PLENTY = float(MAX_AMOUNT)
"""Display units of what belongs to no node, on every flavor."""
_LEAST_SHARE = 1e-9
"""Whoever takes next to nothing of everything still counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
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


def judged_shapes(
    catalogue: Catalogue,
    numbers: Integers,
    open_nodes: OpenNodes,
    free: Mapping[str, Resources],
    resources: tuple[str, ...],
    floating: tuple[str, ...],
) -> Shapes:
    """The shapes `numbers` of the catalogue."""
    room = np.array([display_amounts(amounts, resources) for amounts in free.values()]).reshape(
        len(free), len(resources)
    )
    grant_plenty(room, resources, floating)
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
    return Shapes(eligible, never, flavor, amounts, room, resources)


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


def ways_of(groups: Groups, shapes: Shapes, floating: tuple[str, ...]) -> Ways:
    """What the shapes could run as, for the rows that sizes, labels and taints of nodes add."""
    eligible = shapes.eligible
    return Ways(
        kind=eligible.kind,
        there=eligible.throughput > 0,
        flavor=shapes.flavor_of_kind[eligible.kind],
        jobs=np.bincount(groups.shape, weights=groups.count, minlength=len(eligible.kind)).astype(np.int64),
        resources=tuple("" if name in floating else name for name in shapes.resources),
        capacity=np.maximum(shapes.room, 0.0),
        gang=shapes.amounts_of_kind[eligible.kind],
    )


def grant_plenty(room: Floats, resources: tuple[str, ...], floating: tuple[str, ...], at_least: float = 0.0) -> None:
    """More in `room` (F, R) than anybody could take of what belongs to no node: limits alone bound that."""
    room[:, [resources.index(name) for name in floating]] = max(_PLENTY, at_least)


def problem_of(
    groups: Groups,
    shapes: Shapes,
    throughput: Floats,
    policy: Policy,
    limits: tuple[Limit, ...],
    stuck: Booleans | None = None,
    most: Floats | None = None,
) -> Problem:
    """What the rows' shapes need and yield, spread over the rows; `throughput` (n, K) is 0 where side constraints leave
    them nothing. `stuck` (n,): whose size changes by a restart only. `most` (n,): the part of its demand that a job can
    have.
    """
    eligible = shapes.eligible
    kind = eligible.kind[groups.shape]
    there = throughput > 0
    elsewhere = np.arange(throughput.shape[1]) != groups.current[:, None]
    if eligible.resizable.any():  # another replica count on the same flavor is no restart
        flavor = shapes.flavor_of_kind[kind]
        same = flavor == np.take_along_axis(flavor, np.maximum(groups.current, 0)[:, None], axis=1)
        resizes = eligible.resizable[groups.shape] if stuck is None else eligible.resizable[groups.shape] & ~stuck
        elsewhere &= ~(resizes[:, None] & same)
    kept = np.where(elsewhere, groups.kept[:, None], 1.0)
    demand = np.where(there[:, :, None], shapes.amounts_of_kind[kind], 0.0)
    capacity = np.maximum(shapes.room, 0.0)
    if policy.floating_resources:
        wanted = 2 * float((groups.count[:, None] * demand.max(axis=1, initial=0.0)).sum(axis=0).max(initial=0.0))
        grant_plenty(capacity, shapes.resources, policy.floating_resources, wanted)
    reference = throughput.max(axis=1, initial=0.0)
    if policy.utility == DOMINANT_SHARE:
        reference = reference / _dominant_shares(throughput, demand, capacity)
    if most is not None:
        kept, demand = kept * most[:, None], demand * most[:, None, None]
    return Problem.from_arrays(
        throughput=throughput * kept,
        flavor=np.where(there, shapes.flavor_of_kind[kind], 0),
        demand=demand,
        capacity=capacity,
        weight=groups.weight,
        count=groups.count,
        fairness=policy.fairness,
        reference=reference,
        limits=limits,
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
