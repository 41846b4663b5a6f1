"""The second look at a plan: what of it is still possible, judged by the facts at commit time. Pure.

Between snapshot and commit jobs end or are cancelled and nodes get lost, cordoned or shrink. Equivalent to: take every
change whose job and nodes still allow it; then, node by node, drop newcomers in reverse order of the plan until the
node is not overfull. A gang is applied whole or not at all. Dropping only frees capacity, so one pass is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Allocation, DesiredReplica, Epoch, NodeDesired, Placement
from allocator.domain.plan import Applied, Change, Move, Plan, Preempt, Rejected, Start
from allocator.domain.reason import PendingCause, PendingReason
from allocator.placement.verify import NodeUsage


class CommitFacts(Protocol):
    """The facts as the writer sees them."""

    def job(self, job_id: str) -> Job | None: ...

    def node(self, name: str) -> Node | None: ...

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """`jobs`: new versions of the jobs whose state, or whose cause of waiting, changed; to be made durable.

    `reasons`: jobs that still wait for the same cause, with fresh numbers; they are refreshed in memory only, because
    shortages change every round and are recomputed by the next one anyway.
    """

    applied: tuple[Applied, ...]
    rejected: tuple[Rejected, ...]
    jobs: tuple[Job, ...]
    reasons: tuple[tuple[str, PendingReason], ...]


def check(plan: Plan, facts: CommitFacts, *, revision: int, now: float) -> Checked:
    """Judge `plan` against `facts`; `revision` is the one being made, it becomes part of the new epochs."""
    refusals: dict[str, str] = {}
    for change in plan.changes:
        why = _impossible(change, facts)
        if why is not None:
            refusals[change.job_id] = why
    _drop_what_does_not_fit(plan, facts, refusals)

    epoch = Epoch(plan.round, revision)
    applied: list[Applied] = []
    rejected: list[Rejected] = []
    jobs: list[Job] = []
    for change in plan.changes:
        job = facts.job(change.job_id)
        why = refusals.get(change.job_id)
        if why is not None or job is None:
            rejected.append(Rejected(change, why or "the job is gone"))
            if job is not None and isinstance(change, Start) and job.state is JobState.PENDING:
                jobs.append(replace(job, pending_reason=PendingReason(PendingCause.CHANGED_SINCE_SNAPSHOT)))
            continue
        changed = _apply(change, job, epoch, now)
        applied.append(Applied(change, changed.allocation))
        jobs.append(changed)

    reasons: list[tuple[str, PendingReason]] = []
    for job_id, reason in plan.waiting:
        job = facts.job(job_id)
        if job is None or job.state is not JobState.PENDING or job.pending_reason == reason:
            continue
        if job.pending_reason is None or job.pending_reason.cause is not reason.cause:
            jobs.append(replace(job, pending_reason=reason))
        else:
            reasons.append((job_id, reason))
    return Checked(tuple(applied), tuple(rejected), tuple(jobs), tuple(reasons))


def desired_state(node: str, jobs: Iterable[Job], epoch: Epoch) -> NodeDesired:
    """Everything `node` shall run, given the running jobs that have a replica there; finished replicas are left out."""
    replicas: list[DesiredReplica] = []
    for job in jobs:
        allocation = job.allocation
        if allocation is None:
            continue
        configuration = job.spec.configurations[allocation.placement.configuration]
        for index, replica in enumerate(allocation.placement.replicas):
            if replica.node == node and index not in allocation.finished:
                replicas.append(
                    DesiredReplica(
                        job_id=job.id,
                        replica=index,
                        replicas=configuration.replicas,
                        epoch=allocation.epoch,
                        flavor=configuration.flavor,
                        demand=configuration.demand,
                        gpus=replica.gpus,
                    )
                )
    return NodeDesired(node, epoch, tuple(replicas))


def _impossible(change: Change, facts: CommitFacts) -> str | None:
    """Why the change makes no sense any more, looking at its job and its nodes; None if it does."""
    job = facts.job(change.job_id)
    if job is None or job.state.is_final:
        return "the job has ended"
    if isinstance(change, Start):
        if job.state is not JobState.PENDING:
            return "the job runs already"
    elif job.state is not JobState.RUNNING:
        return "the job runs no more"
    if isinstance(change, Preempt):
        return None
    placement = change.placement
    if not 0 <= placement.configuration < len(job.spec.configurations):
        return f"configuration {placement.configuration} does not exist"
    configuration = job.spec.configurations[placement.configuration]
    if len(placement.replicas) != configuration.replicas:
        return f"{len(placement.replicas)} of {configuration.replicas} replicas are placed: a gang starts whole"
    for name in placement.nodes:
        node = facts.node(name)
        if node is None or not node.takes_new_work:
            return f"node {name} takes no new work"
        if node.flavor != configuration.flavor:
            return f"node {name} has flavor {node.flavor}, not {configuration.flavor}"
    return None


def _drop_what_does_not_fit(plan: Plan, facts: CommitFacts, refusals: dict[str, str]) -> None:
    """Refuse newcomers of overfull nodes, the last of the plan first."""
    leaving = {c.job_id for c in plan.changes if not isinstance(c, Start) and c.job_id not in refusals}
    arriving: dict[str, list[Start | Move]] = {}
    for change in plan.changes:
        if not isinstance(change, Preempt) and change.job_id not in refusals:
            for name in change.placement.nodes:
                arriving.setdefault(name, []).append(change)
    returning: list[str] = []
    for name in sorted(arriving):
        returning += _fill(name, arriving[name], facts, leaving, refusals)
    # A refused move stays where it was: whoever was to take its old place has to give way.
    while returning:
        job = facts.job(returning.pop())
        if job is None or job.allocation is None:
            continue
        leaving.discard(job.id)
        for name in job.allocation.placement.nodes:
            returning += _fill(name, arriving.get(name, []), facts, leaving, refusals)


def _fill(
    name: str, newcomers: list[Start | Move], facts: CommitFacts, leaving: set[str], refusals: dict[str, str]
) -> list[str]:
    """Add newcomers in order, refuse those that do not fit; the ids of refused moves."""
    node = facts.node(name)
    assert node is not None
    usage = NodeUsage()
    for job in facts.jobs_on(name):
        if job.id not in leaving and job.allocation is not None:
            _hold(usage, name, job, job.allocation.placement)
    refused_moves = []
    for change in newcomers:
        if change.job_id in refusals:
            continue
        newcomer = facts.job(change.job_id)
        assert newcomer is not None
        _hold(usage, name, newcomer, change.placement)
        if usage.violations(node):
            _hold(usage, name, newcomer, change.placement, count=-1)
            refusals[change.job_id] = f"node {name} has no room any more"
            if isinstance(change, Move):
                refused_moves.append(change.job_id)
    return refused_moves


def _hold(usage: NodeUsage, node: str, job: Job, placement: Placement, count: int = 1) -> None:
    """Add (or with -1 take away) what a gang holds on one node."""
    demand = job.spec.configurations[placement.configuration].demand
    for replica in placement.replicas:
        if replica.node == node:
            usage.add(demand, replica.gpus, count)


def _apply(change: Change, job: Job, epoch: Epoch, now: float) -> Job:
    if isinstance(change, Preempt):
        return replace(
            job,
            state=JobState.PENDING,
            allocation=None,
            pending_reason=change.pending,
            preemption_count=job.preemption_count + 1,
            last_preemption=change.reason,
        )
    started = replace(
        job,
        state=JobState.RUNNING,
        allocation=Allocation(change.placement, epoch, now),
        pending_reason=None,
        first_start_time=now if job.first_start_time is None else job.first_start_time,
        last_start_time=now,
    )
    if isinstance(change, Move):
        return replace(started, preemption_count=job.preemption_count + 1, last_preemption=change.reason)
    return started
