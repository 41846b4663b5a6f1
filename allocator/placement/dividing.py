"""Divisible jobs: they hold their share of their demand all the time, instead of the whole demand part of the time.

A part is changed only if it is off by more than a twentieth of the demand: shares move a little every round. Before the
walk, jobs that hold too much give back; after it, those that hold too little take what is free on their node. Where the
node's engine cannot change what a running job holds, neither happens. Jobs that may run where cores are given whole
hold all of their demand, and take turns like others.
"""

from __future__ import annotations

import numpy as np

from allocator.domain.cluster import EngineCapability
from allocator.domain.placement import WHOLE
from allocator.formulation.live import Live
from allocator.placement.compiled import Kernels
from allocator.placement.contenders import SHARE_FLOOR, Contenders
from allocator.placement.space import Booleans, Integers, Places, Pool, derive
from allocator.placement.world import World

TOLERANCE = 50
"""Thousandths by which the part that a running job holds may be off."""


def wanted_parts(live: Live, everybody: Contenders) -> Integers:
    """(J,) thousandths of its demand that each job should hold: everything, unless it is divisible."""
    divisible = live.profiles.divisible[live.jobs.profile]
    part = np.clip(np.floor(everybody.share * everybody.most * WHOLE), 1, WHOLE).astype(np.int64)
    # Without a share it may use what would be idle: as much as it wants, or goes on with what it has.
    spare = np.where(live.jobs.runs, live.jobs.millis, WHOLE)
    parted = np.where(divisible, np.where(everybody.share > SHARE_FLOOR, part, spare), WHOLE)
    whole = in_whole_cores(live)
    return parted if whole is None else np.where(whole, WHOLE, parted)


def in_whole_cores(live: Live) -> Booleans | None:
    """(J,) jobs that ask for CPU and accept a flavor with nodes whose engine gives whole cores only. None: there are no
    such engines. Who accepts such a flavor is among them wherever it runs, because it may be there in the next round.
    """
    able = live.nodes.able.get(EngineCapability.SPLIT_CORES)
    if able is None or not live.kinds:
        return None
    flavors = {live.nodes.flavors[flavor] for flavor in np.unique(live.nodes.flavor[~able]).tolist()}
    asking = [kind.demand.cpu_millicores > 0 and not kind.needs for kind in live.kinds]  # others are never there
    kinds = np.array([kind.flavor in flavors for kind in live.kinds], dtype=np.bool_) & asking
    there: Booleans = kinds[live.shapes.kind] & (live.shapes.throughput > 0)
    found: Booleans = np.asarray(there.any(axis=1))[live.shape]
    return found


def give_back(live: Live, places: Places, wanted: Integers, fixed: Booleans | None) -> None:
    """Let running jobs that hold too much have less, but for those whose part is `fixed` (J,); before their places are
    taken.
    """
    divisible = live.profiles.divisible[live.jobs.profile]
    too_much = live.jobs.runs & divisible & (live.jobs.millis > wanted + TOLERANCE)
    if fixed is not None:
        too_much &= ~fixed
    places.millis[:] = np.where(live.jobs.runs & ~too_much, live.jobs.millis, wanted)


def wants_more(places: Places, in_place: Booleans, wanted: Integers, fixed: Booleans | None) -> Booleans:
    """(J,) running jobs that hold too little, but for those whose part is `fixed` (J,)."""
    found: Booleans = in_place & (wanted > places.millis + TOLERANCE)
    return found if fixed is None else found & ~fixed


def take_more(kernels: Kernels, world: World, pool: Pool, wanted: Integers, fixed: Booleans | None) -> None:
    """Let running jobs that hold too little have what is free on their node, as far as quotas and side constraints let
    them; the most owed first.
    """
    asking = np.flatnonzero(wants_more(world.places, world.jobs.in_place, wanted, fixed))
    if not asking.size:
        return
    order = np.argsort(-world.jobs.credit[asking], kind="stable")
    kernels.take_parts(world, pool, asking[order], wanted)
    derive(world.space)
