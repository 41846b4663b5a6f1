"""Shares to jobs on nodes: everybody in place, the walk, and what is free afterwards. The kernels do the work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from allocator.domain.giving_way import checkpoint
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.placement.accounts import Accounts, accounts, listed
from allocator.placement.allowances import tabulated_allowances
from allocator.placement.bounding import numbered_alike, tabulated_bounds
from allocator.placement.compiled import Kernels, kernels_for
from allocator.placement.consolidation import consolidate, terms
from allocator.placement.contenders import Contenders, contenders, wishes
from allocator.placement.costs import costs
from allocator.placement.dividing import give_back, take_more, wanted_parts, wants_more
from allocator.placement.evictions import reasons_to_leave, relieve
from allocator.placement.limits import tabulated_limits
from allocator.placement.space import (
    Booleans,
    Floats,
    Integers,
    Kinds,
    Places,
    Pool,
    Space,
    derive,
    empty_space,
    loaded,
    tabulated,
)
from allocator.placement.world import Allowances, Jobs, Reservations, Scratch, Stops, World

PREEMPTING = True
WALKS = 3
"""Walks with preemption at most; one more without follows when the last of them still made room."""
CONSOLIDATIONS = 3
"""Times at most that jobs move to make room, each followed by walks."""
MOST_RESERVATIONS = 8
"""At a time: each keeps nodes from others, and the next in order has its turn soon enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Where everybody is after a round's decision. J jobs in order of the snapshot."""

    formulation: Formulation
    everybody: Contenders
    space: Space
    kinds: Kinds
    kernels: Kernels
    pool: Pool
    places: Places
    configuration: Integers
    """(J,) that each job runs in; -1 of those without a place."""
    in_place: Booleans
    """(J,) whether it is where it was."""
    evicted: Integers
    """(J,) code of `evictions.REASONS`."""
    placed_at: Integers
    """(J,) the order in which new places were taken; -1 without one."""
    resizes: Booleans
    """(J,) whether it can change its replica count without a restart."""
    reserved: Booleans
    """(N,) nodes that are kept for somebody."""
    world: World | None = None
    """What the walk worked on, as it left it; None where nobody had to be asked."""
    queue_names: tuple[str, ...] = ()
    """By number in the world's allowances."""


def decide_places(
    snapshot: Snapshot, formulation: Formulation, shares: Floats, memory: Memory, policy: Policy
) -> Outcome:
    """The whole decision of a round."""
    everybody = contenders(snapshot, formulation, shares, memory, policy)
    live = formulation.live
    parts = wanted_parts(live, everybody)
    checkpoint()
    outcome = put_in_place(formulation, everybody, parts, emptying=True)
    checkpoint()
    wish, resizes = wishes(everybody, formulation, policy, snapshot.time)
    waits = (outcome.places.kind < 0) & (everybody.options.choices[everybody.option_row] > 0)
    pool, world = outcome.pool, None
    fixed_parts = None if formulation.fixed is None else formulation.fixed.part
    growing = wants_more(outcome.places, outcome.in_place, parts, fixed_parts)
    if waits.any() or (wish >= 0).any() or growing.any():
        priced = costs(live, len(outcome.kinds.flavor), memory.work, policy.placement)
        outcome = replace(outcome, kinds=outcome.kinds._replace(costs=priced))
        stoppable = outcome.in_place & ~everybody.pinned & everybody.preemptible
        allowances, names = tabulated_allowances(
            snapshot.queues, formulation, outcome.kinds, outcome.pool, outcome.places
        )
        outcome = replace(outcome, queue_names=names)
        world = _world(snapshot, outcome, policy, allowances, (stoppable, waits, wish, resizes))
        asking = np.flatnonzero(waits | (wish >= 0))
        asking = _order(everybody, asking)[::-1].copy()
        pool = _walked(outcome.kernels, world, pool, asking)
        checkpoint()
        fixed = terms(live, world, snapshot.time, memory.prices, policy)
        for _ in range(CONSOLIDATIONS):
            pool, started = consolidate(outcome.kernels, world, pool, np.flatnonzero(outcome.places.kind < 0), fixed)
            if not started:
                break
            pool = _walked(outcome.kernels, world, pool, asking)
        checkpoint()
        outcome.reserved[:] = world.reservations.reserved
        take_more(outcome.kernels, world, pool, parts, fixed_parts)
    return replace(outcome, pool=pool, resizes=resizes, world=world)


def _walked(kernels: Kernels, world: World, pool: Pool, asking: Integers) -> Pool:
    """Walk with preemption until no more room is made, but not for ever; then, if the last walk still made some, once
    without.
    """
    for _ in range(WALKS):
        checkpoint()
        before = int(world.space.grown.sum())
        pool = kernels.walk(world, pool, asking, PREEMPTING)
        if int(world.space.grown.sum()) == before:
            return pool
    found: Pool = kernels.walk(world, pool, asking, not PREEMPTING)
    return found


def _world(
    snapshot: Snapshot,
    outcome: Outcome,
    policy: Policy,
    allowances: Allowances,
    standings: tuple[Booleans, Booleans, Integers, Booleans],
) -> World:
    """The arrays of `outcome`, and what else the kernels need to change them. `standings`: (J,) who may be stopped, who
    waits, what everybody wishes to change to, and who does so without a restart.
    """
    stoppable, waits, wish, resizes = standings
    everybody, live, kinds = outcome.everybody, outcome.formulation.live, outcome.kinds
    bounds = tabulated_bounds(live)
    if len(bounds.most):
        outcome.kernels.join_all(bounds, outcome.pool, outcome.places)
    limits = tabulated_limits(policy.side_constraints, live, kinds)
    of = accounts(allowances.leaf, limits.group)
    limits = limits._replace(failed=np.full((2, len(of.leaf), len(kinds.flavor)), -1, dtype=np.int64))
    divisible = live.profiles.divisible[live.jobs.profile]
    bound_alike = numbered_alike(bounds, everybody.option_row, of.of, divisible)
    groups = (int(bound_alike.max(initial=-1)) + 1, everybody.options.kind.shape[1])
    jobs = Jobs(
        priority=everybody.priority,
        credit=everybody.credit,
        share_steps=everybody.share_steps,
        option_row=everybody.option_row,
        preemptible=everybody.preemptible,
        duration=live.jobs.duration,
        particular=divisible | (np.diff(bounds.starts) > 0),
        bound_alike=bound_alike,
        wish=wish,
        resizes=resizes,
        in_place=outcome.in_place,
        stoppable=stoppable,
        evicted=outcome.evicted,
        configuration=outcome.configuration,
        placed_at=outcome.placed_at,
        phase=np.zeros(len(wish), dtype=np.int64),
        account=of.of,
        home=outcome.places.kind.copy(),
        home_configuration=outcome.configuration.copy(),
    )
    stops = _stops(snapshot, outcome, policy, of, (stoppable, waits))
    nodes, most = len(outcome.space.open), len(stops.order) + 1
    world = World(
        space=outcome.space,
        kinds=kinds,
        places=outcome.places,
        bounds=bounds,
        allowances=allowances,
        limits=limits,
        jobs=jobs,
        options=everybody.options,
        stops=stops,
        reservations=_reservations(snapshot, outcome, policy, stoppable, waits),
        scratch=Scratch(
            counts=np.zeros(nodes, dtype=np.int64),
            fill=np.zeros((nodes + 1, 2), dtype=np.int64),
            freed=np.zeros((nodes, outcome.space.free.shape[1] + outcome.space.devices.shape[1]), dtype=np.int64),
            reach=np.zeros(len(kinds.flavor), dtype=np.int64),
            touched=np.zeros(nodes + 1, dtype=np.int64),
            is_touched=np.zeros(nodes, dtype=np.bool_),
            failed=np.full((2, len(kinds.flavor)), -1, dtype=np.int64),
            hopeless=np.zeros(len(kinds.flavor), dtype=np.bool_),
            heap=np.zeros(most, dtype=np.int64),
            joined=np.zeros(len(wish), dtype=np.bool_),
            lost=np.zeros(most, dtype=np.int64),
            clock=np.zeros(1, dtype=np.int64),
            stuck=np.zeros((len(of.leaf), len(kinds.flavor)), dtype=np.int64),
            dead_ends=np.zeros(groups, dtype=np.int64),
            no_room=np.full((2, *groups), -1, dtype=np.int64),
            unhindered=np.zeros(len(kinds.flavor), dtype=np.bool_),
            closed=np.zeros(nodes + 1, dtype=np.int64),
        ),
    )
    if len(limits.most):
        outcome.kernels.count_all_runs(world, outcome.pool, outcome.places)
    return world


def put_in_place(
    formulation: Formulation, everybody: Contenders, parts: Integers | None = None, *, emptying: bool
) -> Outcome:
    """Every running job that can stay in its place, others evicted. `parts` (J,): what divisible jobs shall hold."""
    live = formulation.live
    kernels = kernels_for(len(live.nodes.nodes), len(live.jobs.jobs))
    kinds = tabulated(live)
    code = reasons_to_leave(live, kinds, emptying=emptying)
    staying = live.jobs.runs & (code == 0)
    space = empty_space(live.nodes)
    pool, places = loaded(live, staying)
    if parts is not None:
        give_back(live, places, parts, None if formulation.fixed is None else formulation.fixed.part)
    kernels.load(space, kinds, pool, places)
    derive(space)
    rank = np.empty(len(code), dtype=np.int64)
    rank[_order(everybody, np.arange(len(code)))] = np.arange(len(code))[::-1]
    for job in relieve(kernels, space, kinds, pool, places, (everybody.preemptible, rank)):
        code[job] = 5
        staying[job] = False
    if parts is not None:
        places.millis[:] = np.where(staying, places.millis, parts)
    return Outcome(
        formulation=formulation,
        everybody=everybody,
        space=space,
        kinds=kinds,
        kernels=kernels,
        pool=pool,
        places=places,
        configuration=np.where(staying, live.jobs.configuration, -1),
        in_place=staying,
        evicted=code,
        placed_at=np.full(len(code), -1, dtype=np.int64),
        resizes=np.zeros(len(code), dtype=np.bool_),
        reserved=np.zeros(len(space.open), dtype=np.bool_),
    )


def _order(everybody: Contenders, chosen: Integers) -> Integers:
    """`chosen` jobs, the lowest in order first."""
    steps = everybody.share_steps[chosen]
    order: Integers = chosen[np.lexsort((-chosen, steps, everybody.credit[chosen], everybody.priority[chosen]))]
    return order


def _stops(
    snapshot: Snapshot, outcome: Outcome, policy: Policy, of: Accounts, standings: tuple[Booleans, Booleans]
) -> Stops:
    """Whoever somebody might stop, in order. `standings`: (J,) who may be stopped, and who waits."""
    stoppable, waits = standings
    live, everybody = outcome.formulation.live, outcome.everybody
    ran = snapshot.time - live.jobs.since  # -inf of those that never started, which do not run
    # Credits end at the limit: a dearer restart than that must not make a job immune for ever. Everybody's patience
    # counts, not only of those who wait now: else who is stopped would change what the others can be stopped for.
    reachable = policy.credit_limit_seconds * everybody.scale.min(initial=1.0)
    dear = np.minimum(live.profiles.restart_cost[live.jobs.profile] * everybody.scale, reachable)
    enough = everybody.credit + np.maximum(policy.hysteresis_seconds, dear)
    enough[ran < policy.minimum_run_seconds] = np.inf
    chosen = np.flatnonzero(stoppable)
    wanting = np.flatnonzero(waits)
    if wanting.size:
        # Whoever has to leave on the way may itself stop others, so those that run count as well.
        top = int(everybody.priority[wanting].max())
        owed = everybody.credit[everybody.priority == top].max()
        lower = everybody.priority[chosen] < top
        chosen = chosen[lower | (enough[chosen] <= owed)]
    chosen = _order(everybody, chosen)
    flavor = outcome.kinds.flavor[outcome.places.kind[chosen]]
    by_flavor = np.argsort(flavor, kind="stable")
    rank = np.zeros(len(ran), dtype=np.int64)
    rank[chosen] = np.arange(len(chosen))
    lists, list_starts = listed(of, chosen, flavor, len(live.nodes.flavors))
    return Stops(
        order=np.ascontiguousarray(chosen[by_flavor]),
        starts=np.searchsorted(flavor[by_flavor], np.arange(len(live.nodes.flavors) + 1)).astype(np.int64),
        enough=enough,
        hysteresis=float(policy.hysteresis_seconds),
        lifted=np.zeros(len(chosen) + 1, dtype=np.int64),
        losers=np.zeros(len(chosen) + 1, dtype=np.int64),
        codes=np.zeros(len(chosen) + 1, dtype=np.int64),
        rank=rank,
        listed=lists,
        list_starts=list_starts,
        leaf=of.leaf,
        group=of.group,
        heads=np.zeros((list_starts.size, 2), dtype=np.int64),
    )


def _reservations(
    snapshot: Snapshot, outcome: Outcome, policy: Policy, stoppable: Booleans, waits: Booleans
) -> Reservations:
    """None yet. Without jobs that nobody may stop there never are any, and the tables stay empty."""
    live, kinds, everybody = outcome.formulation.live, outcome.kinds, outcome.everybody
    lasting_jobs = outcome.in_place & ~stoppable
    needed = bool(lasting_jobs.any() and (everybody.credit[waits] > 0).any())
    wanting = np.flatnonzero(waits)
    empty = empty_space(live.nodes)
    lasting, ends = empty, np.zeros(len(outcome.space.open))
    if lasting_jobs.any():
        lasting = empty_space(live.nodes)
        pool, places = loaded(live, lasting_jobs)
        outcome.kernels.load(lasting, kinds, pool, places)
        derive(lasting)
    if needed:
        ran = snapshot.time - live.jobs.since
        left = np.maximum(0.0, live.jobs.duration - np.where(np.isfinite(ran), ran, 0.0))
        owner = live.jobs.piece_owner
        there = lasting_jobs[owner]
        np.maximum.at(ends, live.piece_node[there], left[owner[there]])
    return Reservations(
        lasting=lasting,
        empty=empty,
        reserved=np.zeros(len(outcome.space.open), dtype=np.bool_),
        nodes=np.zeros(len(outcome.space.open) + 1, dtype=np.int64),
        job=np.full(MOST_RESERVATIONS if needed else 0, -1, dtype=np.int64),
        start=np.zeros(1),
        ends=ends,
        owed=float(policy.hysteresis_seconds),
        first=int(_order(everybody, wanting)[-1]) if wanting.size else -1,
    )
