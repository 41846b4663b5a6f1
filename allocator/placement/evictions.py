"""Who has to leave before anything is decided: jobs on lost and draining nodes, and on nodes that shrank.

Equivalent to: put every running job in its place; remove those with an unfinished replica on a node that is lost or
gone (NODE_LOST), the preemptible ones with one on a draining node (NODE_DRAINING), and those whose node changed its
flavor or lost a GPU of theirs (CAPACITY_SHRUNK). Then, on each node that is still overfull, remove preemptible before
non-preemptible jobs, the least owed first, until it is not, and put back whoever did not have to go.
"""

from __future__ import annotations

import numpy as np

from allocator.domain.reason import PreemptionReason
from allocator.formulation.live import Live
from allocator.formulation.nodes import DRAINING, LOST
from allocator.placement.compiled import Kernels
from allocator.placement.space import Booleans, Integers, Kinds, Places, Pool, Space

REASONS = (
    None,
    PreemptionReason.FAIR_SHARE,
    PreemptionReason.PRIORITY,
    PreemptionReason.NODE_LOST,
    PreemptionReason.NODE_DRAINING,
    PreemptionReason.CAPACITY_SHRUNK,
    PreemptionReason.CONSOLIDATED,
    PreemptionReason.QUOTA,
    PreemptionReason.LIMIT,
)
"""By code: why a job lost its place."""

_LOST, _DRAINING, _SHRUNK = 3, 4, 5


def reasons_to_leave(live: Live, kinds: Kinds, *, emptying: bool) -> Integers:
    """(J,) codes of `REASONS`: why a job cannot stay, judged by its nodes alone; 0 if it can. Without `emptying`,
    draining nodes keep what they hold.
    """
    jobs, nodes = live.jobs, live.nodes
    code = np.zeros(len(jobs.jobs), dtype=np.int64)
    running = np.flatnonzero(jobs.runs)
    if not running.size:
        return code
    kind = np.full(len(code), -1, dtype=np.int64)
    kind[running] = live.kind_now(running)
    owner, node = jobs.piece_owner, live.piece_node
    condition = np.where(node >= 0, nodes.condition[node], LOST) if len(nodes.nodes) else np.full(len(node), LOST)
    there = condition != LOST
    shrunk = np.zeros(len(code), dtype=np.bool_)
    shrunk[running] = kinds.absent[kind[running]]
    if len(nodes.nodes):
        shrunk[owner[there & (nodes.flavor[node] != kinds.flavor[kind[owner]])]] = True
        of_device = np.repeat(np.arange(len(node)), np.diff(jobs.first_device))
        gone = there[of_device] & (jobs.device >= nodes.gpu_count[node[of_device]])
        shrunk[owner[of_device[gone]]] = True
    code[shrunk] = _SHRUNK
    if emptying:
        preemptible = live.profiles.preemptible[jobs.profile]
        leaving = owner[condition == DRAINING]
        code[leaving[preemptible[leaving]]] = _DRAINING
    code[owner[condition == LOST]] = _LOST
    return code


def relieve(
    kernels: Kernels,
    space: Space,
    kinds: Kinds,
    pool: Pool,
    places: Places,
    order: tuple[Booleans, Integers],
) -> list[int]:
    """Evict until no node is overfull: positions of those who lost their places. `order`: (J,) preemptible, and the
    rank of each job, a larger one leaving first.
    """
    overfull = np.flatnonzero((space.free < 0).any(axis=1) | (space.devices < 0).any(axis=1)).tolist()
    if not overfull:
        return []
    preemptible, rank = order
    evicted: list[int] = []
    owner = np.repeat(np.arange(len(places.first)), places.pieces)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(places.pieces) - places.pieces, places.pieces)
    piece_node = pool.node[places.first[owner] + within]
    for node in overfull:
        inhabitants = [job for job in np.unique(owner[piece_node == node]).tolist() if places.kind[job] >= 0]
        inhabitants.sort(key=lambda job: (bool(preemptible[job]), int(rank[job])), reverse=True)
        leaving: list[int] = []
        for job in inhabitants:
            if not kernels.is_overfull(space, node):
                break
            leaving.append(job)
            kernels.take(space, kinds, pool, places, job, -1)
        for job in reversed(leaving):
            if kernels.holds(space, kinds, pool, places, job):
                kernels.take(space, kinds, pool, places, job, 1)
            else:
                space.grown[kinds.flavor[places.kind[job]]] += 1
                places.kind[job] = -1
                evicted.append(job)
    return evicted
