"""Divisible jobs: they hold their share of their demand all the time, instead of the whole demand part of the time.

A part is changed only if it is off by more than a twentieth of the demand: shares move a little every round. Before the
walk, jobs that hold too much give back; after it, those that hold too little take what is free on their node.
"""

from __future__ import annotations

import numpy as np

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
    part = np.clip(np.floor(everybody.share * WHOLE), 1, WHOLE).astype(np.int64)
    # Without a share it may use what would be idle: as much as it wants, or goes on with what it has.
    spare = np.where(live.jobs.runs, live.jobs.millis, WHOLE)
    return np.where(divisible, np.where(everybody.share > SHARE_FLOOR, part, spare), WHOLE)


def give_back(live: Live, places: Places, wanted: Integers) -> None:
    """Let running jobs that hold too much have less; before their places are taken."""
    divisible = live.profiles.divisible[live.jobs.profile]
    too_much = live.jobs.runs & divisible & (live.jobs.millis > wanted + TOLERANCE)
    places.millis[:] = np.where(live.jobs.runs & ~too_much, live.jobs.millis, wanted)


def wants_more(places: Places, in_place: Booleans, wanted: Integers) -> Booleans:
    """(J,) running jobs that hold too little."""
    found: Booleans = in_place & (wanted > places.millis + TOLERANCE)
    return found


def take_more(kernels: Kernels, world: World, pool: Pool, wanted: Integers) -> None:
    """Let running jobs that hold too little have what is free on their node, as far as quotas and side constraints let
    them; the most owed first.
    """
    asking = np.flatnonzero(wants_more(world.places, world.jobs.in_place, wanted))
    if not asking.size:
        return
    order = np.argsort(-world.jobs.credit[asking], kind="stable")
    kernels.take_parts(world, pool, asking[order], wanted)
    derive(world.space)
