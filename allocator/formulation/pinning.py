"""Which running jobs stay where they are, whatever the optimum would say, and what they leave of the nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from allocator.domain.placement import held
from allocator.domain.resources import Resources
from allocator.formulation.live import Live
from allocator.formulation.nodes import CORDONED, LOST, ORDINARY
from allocator.formulation.problem import Booleans


def standings(live: Live) -> tuple[Booleans, Booleans]:
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


def left_free(capacity: Mapping[str, Resources], live: Live, pinned: Booleans) -> dict[str, Resources]:
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
