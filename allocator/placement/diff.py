"""From where everybody is to a plan: what changes, who is kept, who waits and why.

Changes come in the order in which they can be made true: preemptions and moves before starts, and starts in the order
in which they were decided, so that whoever has to drop some drops the least owed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Move, Plan, Preempt, Start
from allocator.domain.reason import PendingReason, PreemptionReason
from allocator.domain.snapshot import Snapshot
from allocator.placement.contenders import Contender
from allocator.placement.packing import Spaces


def plan(
    snapshot: Snapshot,
    contenders: Sequence[Contender],
    placed: Sequence[Contender],
    spaces: Spaces,
    reason: Callable[[Contender], PendingReason],
) -> Plan:
    """`contenders` in order of the snapshot; `placed` in order of their new places, each at least once."""
    preemptions: list[Change] = []
    kept: list[str] = []
    waiting: list[tuple[str, PendingReason]] = []
    newcomers: set[str] = set()
    for contender in contenders:
        job = contender.job
        if contender.gang is None:
            if contender.evicted is not None:
                preemptions.append(Preempt(job.id, contender.evicted, reason(contender)))
            else:
                waiting.append((job.id, reason(contender)))
        elif contender.in_old_place or _is_back(contender, spaces):
            kept.append(job.id)
        else:
            newcomers.add(job.id)
    moves: list[Change] = []
    starts: list[Change] = []
    for contender in placed:
        if contender.job.id not in newcomers or contender.gang is None:
            continue
        newcomers.remove(contender.job.id)
        placement = _placement(contender, spaces)
        if contender.runs:
            moves.append(Move(placement, contender.evicted or PreemptionReason.RECONFIGURED))
        else:
            starts.append(Start(placement))
    assert not newcomers, "every new place was recorded when it was taken"
    return Plan(snapshot.revision, snapshot.round, (*preemptions, *moves, *starts), tuple(kept), tuple(waiting))


def _placement(contender: Contender, spaces: Spaces) -> Placement:
    assert contender.gang is not None
    names = spaces.by_flavor[contender.gang.shape.flavor].names
    replicas = tuple(
        ReplicaPlacement(names[node], gpus) for node, per_replica in contender.gang.pieces for gpus in per_replica
    )
    return Placement(contender.job.id, contender.configuration, replicas)


def _is_back(contender: Contender, spaces: Spaces) -> bool:
    """Whether an evicted job got exactly its old place again: then nothing happens to it."""
    allocation = contender.job.allocation
    if allocation is None or contender.configuration != allocation.placement.configuration:
        return False
    now = _placement(contender, spaces).replicas
    return sorted((r.node, r.gpus) for r in now) == sorted((r.node, r.gpus) for r in allocation.placement.replicas)
