"""Shares to jobs on nodes: rounding by credit, packing in integers, few changes, and a reason for every wait."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocator.domain.plan import Plan
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.placement.contenders import Contender, contenders
from allocator.placement.diff import plan
from allocator.placement.evictions import put_in_place
from allocator.placement.explain import Explainer
from allocator.placement.packing import Spaces
from allocator.placement.rounding import Walk
from allocator.placement.verify import NodeUsage, usage_by_node, violations


def place(
    snapshot: Snapshot, formulation: Formulation, shares: NDArray[np.float64], memory: Memory, policy: Policy
) -> Plan:
    """Who runs where from now on. `shares` (n, K) as solved for `formulation.problem`; credits come from `memory`.

    Deterministic: equal arguments give an equal plan. Raises ValueError when shares have another shape.
    """
    spaces = Spaces(snapshot.nodes)
    everybody = contenders(snapshot, formulation, spaces, shares, memory, policy)
    put_in_place([contender for contender in everybody if contender.runs], snapshot.nodes, spaces)
    walk = Walk(everybody, spaces, policy, snapshot.time)
    walk.run()
    return plan(snapshot, everybody, walk.placed, spaces, Explainer(spaces).reason)


def hold(snapshot: Snapshot, formulation: Formulation) -> Plan:
    """The plan when no solver answered: whatever can stay stays, nothing starts.

    Jobs on lost and shrunk nodes are evicted all the same; a drain waits for a round that can find another place.
    """
    spaces = Spaces(snapshot.nodes)
    everybody = contenders(snapshot, formulation, spaces)
    put_in_place([contender for contender in everybody if contender.runs], snapshot.nodes, spaces, emptying=False)
    return plan(snapshot, everybody, (), spaces, _stale)


def _stale(contender: Contender) -> PendingReason:
    return contender.never or PendingReason(PendingCause.SCHEDULER_STALE)


__all__ = ["NodeUsage", "hold", "place", "usage_by_node", "violations"]
