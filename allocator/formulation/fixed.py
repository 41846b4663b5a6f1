"""What of running jobs their engines cannot change: the part that a divisible job holds, the size of a resizable one.

Such a job goes on as it is until it ends, is stopped, or is worth a restart elsewhere. It stays in the problem, because
others may have their turn in its place; but as what it is. Who holds the part h of its demand and cannot be given
another one uses h d of everything all the time that it runs, and does h T work: its row has the demand h d and the
throughput h T, and what it is given is a part of its time, at most all of it. So the optimum promises it no more than
it can be given, and nobody else what it cannot give back. Who cannot change its size without a restart pays for the
restart, like jobs that are not resizable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from allocator.domain.cluster import NEEDED_TO_DIVIDE, EngineCapability
from allocator.domain.placement import WHOLE
from allocator.formulation.live import Live
from allocator.formulation.problem import Booleans, Floats, Integers

_KEEPS_SIZE = WHOLE + 1


@dataclass(frozen=True, eq=False)
class Fixed:
    """Of the J live jobs; nothing of those that wait."""

    part: Booleans
    """(J,) divisible jobs whose part cannot change."""
    size: Booleans
    """(J,) resizable jobs whose number of replicas cannot change without a restart."""
    millis: Integers
    """(J,) thousandths of its demand that each job holds."""

    @cached_property
    def apart(self) -> Integers:
        """(J,) a number that is the same for those who are fixed alike; 0 of those who are as if they were not: to hold
        all of its demand and no less is what any other job does.
        """
        part = self.part & (self.millis < WHOLE)
        found: Integers = np.where(part, self.millis, np.where(self.size, _KEEPS_SIZE, 0))
        return found

    @cached_property
    def most(self) -> Floats:
        """(J,) the part of its demand that each job can have at most."""
        found: Floats = np.where(self.part, self.millis / WHOLE, 1.0)
        return found


def fixed(live: Live) -> Fixed | None:
    """None where all engines can do everything."""
    able = live.nodes.able
    if not able or not live.jobs.runs.any():
        return None
    owner, node = live.jobs.piece_owner, live.piece_node
    size = np.zeros(len(live.jobs.jobs), dtype=np.bool_)
    if EngineCapability.CHANGE_REPLICAS in able:
        unable = (node >= 0) & ~able[EngineCapability.CHANGE_REPLICAS][node]
        size[owner[unable]] = True
        size &= live.shapes.resizable[live.shape]
    part = np.zeros(len(size), dtype=np.bool_)
    for capability, resource in NEEDED_TO_DIVIDE:
        if capability in able:
            asking = np.array([kind.demand.get(resource) > 0 for kind in live.kinds], dtype=np.bool_)
            unable = (node >= 0) & ~able[capability][node]
            part[owner[unable & asking[live.kind_now(owner)]]] = True
    part &= live.profiles.divisible[live.jobs.profile]
    return Fixed(part, size, live.jobs.millis)
