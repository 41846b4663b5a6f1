"""From where everybody is to a plan: what changes, who is kept, who waits and why.

Changes come in the order in which they can be made true: preemptions, resizes and moves before starts, and starts in
the order in which they were decided, so that whoever has to drop some drops the least owed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from allocator.domain.job import Job
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Move, Plan, Preempt, Resize, Start
from allocator.domain.reason import PendingReason, PreemptionReason
from allocator.domain.snapshot import Snapshot
from allocator.placement.evictions import REASONS
from allocator.placement.rounding import Outcome
from allocator.placement.sharing import shared
from allocator.placement.space import Integers


def plan(snapshot: Snapshot, outcome: Outcome, reasons: Callable[[Integers], list[PendingReason]]) -> Plan:
    """`reasons` of jobs' positions say why they wait."""
    jobs = outcome.formulation.live.jobs
    kept, ran = outcome.in_place.copy(), jobs.runs
    preemptions: list[Change] = []
    ids = jobs.ids
    without = outcome.places.kind < 0
    losing = np.flatnonzero(without & ran)
    for job, reason in zip(losing.tolist(), reasons(losing), strict=True):
        evicted = REASONS[outcome.evicted[job]]
        assert evicted is not None
        preemptions.append(Preempt(ids[job], evicted, reason))
    placed = np.flatnonzero(~without & ~outcome.in_place)
    resizes: list[Change] = []
    other_parts = outcome.in_place & (outcome.places.millis != jobs.millis)
    for job in np.flatnonzero(other_parts).tolist():
        allocation = snapshot.jobs[job].allocation
        assert allocation is not None
        resizes.append(Resize(replace(allocation.placement, millis=int(outcome.places.millis[job]))))
        kept[job] = False
    moves: list[Change] = []
    starts: list[Change] = []
    for job in placed[np.argsort(outcome.placed_at[placed], kind="stable")].tolist():
        placement = _placement(outcome, job)
        if not ran[job]:
            starts.append(Start(placement))
            continue
        old = snapshot.jobs[job]
        if _is_same_place(old, placement):
            kept[job] = True  # an evicted job got exactly its old place again: then nothing happens to it
        elif outcome.evicted[job] == 0 and outcome.resizes[job] and _goes_on(old, placement):
            resizes.append(Resize(_in_old_order(old, placement)))
        else:
            moves.append(Move(placement, REASONS[outcome.evicted[job]] or PreemptionReason.RECONFIGURED))
    left_out = np.flatnonzero(without & ~ran)
    waiting = zip(ids[left_out].tolist(), reasons(left_out), strict=True)
    changes = (*preemptions, *resizes, *moves, *starts)
    return Plan(
        snapshot.revision,
        snapshot.round,
        changes,
        tuple(ids[kept].tolist()),
        tuple(waiting),
        shared=shared(outcome, changes),
    )


def _placement(outcome: Outcome, job: int) -> Placement:
    """The new place in words; replicas node by node."""
    names, pool, kind = outcome.formulation.live.nodes.names, outcome.pool, outcome.places.kind[job]
    per_replica = 1 if outcome.kinds.part[kind] else int(outcome.kinds.devices[kind])
    replicas: list[ReplicaPlacement] = []
    first = int(outcome.places.first[job])
    for piece in range(first, first + int(outcome.places.pieces[job])):
        name, start = names[pool.node[piece]], int(pool.device_start[piece])
        for _ in range(int(pool.replicas[piece])):
            replicas.append(ReplicaPlacement(name, tuple(pool.device[start : start + per_replica].tolist())))
            start += per_replica
    job_id = outcome.formulation.live.jobs.ids[job]
    return Placement(job_id, int(outcome.configuration[job]), tuple(replicas), int(outcome.places.millis[job]))


def _where(replica: ReplicaPlacement) -> tuple[str, tuple[int, ...]]:
    return (replica.node, replica.gpus)


def _is_same_place(job: Job, placement: Placement) -> bool:
    """Whether a job is exactly where it was."""
    assert job.allocation is not None
    old = job.allocation.placement
    same = (old.configuration, old.millis) == (placement.configuration, placement.millis)
    return same and sorted(map(_where, old.replicas)) == sorted(map(_where, placement.replicas))


def _in_old_order(job: Job, placement: Placement) -> Placement:
    """The same place, with the replicas that stay first, in the order they had."""
    assert job.allocation is not None
    left = list(placement.replicas)
    staying = []
    for replica in job.allocation.placement.replicas:
        if replica in left:
            left.remove(replica)
            staying.append(replica)
    return Placement(placement.job_id, placement.configuration, (*staying, *left), placement.millis)


def _goes_on(job: Job, placement: Placement) -> bool:
    assert job.allocation is not None
    return job.spec.goes_on(job.allocation.placement, _in_old_order(job, placement))
