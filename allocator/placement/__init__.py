"""Shares to jobs on nodes: rounding by credit, packing in integers, few changes, and a reason for every wait."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocator.domain.plan import Plan
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import Formulation
from allocator.placement.contenders import contenders
from allocator.placement.diff import plan
from allocator.placement.explain import Explainer
from allocator.placement.rounding import decide_places, put_in_place
from allocator.placement.verify import NodeUsage, usage_by_node, violations


def place(
    snapshot: Snapshot, formulation: Formulation, shares: NDArray[np.float64], memory: Memory, policy: Policy
) -> Plan:
    """Who runs where from now on. `shares` (n, K) as solved for `formulation.problem`; credits come from `memory`.

    Deterministic: equal arguments give an equal plan. Raises ValueError when shares have another shape.
    """
    outcome = decide_places(snapshot, formulation, shares, memory, policy)
    return plan(snapshot, outcome, Explainer(snapshot, outcome, policy.side_constraints).reasons)


def hold(snapshot: Snapshot, formulation: Formulation) -> Plan:
    """The plan when no solver answered: whatever can stay stays, nothing starts.

    Jobs on lost and shrunk nodes are evicted all the same; a drain waits for a round that can find another place.
    """
    nothing = np.zeros(formulation.problem.utility.shape)
    everybody = contenders(snapshot, formulation, nothing, Memory(), Policy())
    outcome = put_in_place(formulation, everybody, emptying=False)

    def stale(jobs: NDArray[np.int64]) -> list[PendingReason]:
        ids, reason = formulation.live.jobs.ids, PendingReason(PendingCause.SCHEDULER_STALE)
        return [formulation.never.get(ids[job], reason) for job in jobs.tolist()]

    return plan(snapshot, outcome, stale)


__all__ = ["NodeUsage", "hold", "place", "usage_by_node", "violations"]
