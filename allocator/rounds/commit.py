"""The second look at a plan: what of it is still possible, judged by the facts at commit time. Pure.

Between snapshot and commit jobs end or are cancelled and nodes get lost, cordoned or shrink. Equivalent to: take every
change whose job and nodes still allow it; then drop newcomers of nodes that would be overfull, and let victims stay
whose place nobody takes any more (`allocator.rounds.floor`). A gang is applied whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from allocator.domain.job import Job, JobState
from allocator.domain.placement import Allocation, DesiredReplica, Epoch, NodeDesired
from allocator.domain.plan import Applied, Change, Move, Plan, Preempt, Rejected, Start
from allocator.domain.reason import PendingCause, PendingReason
from allocator.rounds.floor import CommitFacts, Floor


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
    floor = Floor(plan, facts, refusals)
    floor.drop_what_does_not_fit()
    if refusals:
        floor.keep_needless_victims()

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
    return desired_states([node], jobs, epoch)[0]


def desired_states(nodes: Sequence[str], jobs: Iterable[Job], epoch: Epoch) -> tuple[NodeDesired, ...]:
    """`desired_state` of many nodes, in one pass over the replicas of all `jobs` that have one on any of them."""
    replicas: dict[str, list[DesiredReplica]] = {name: [] for name in nodes}
    for job in jobs:
        allocation = job.allocation
        if allocation is None:
            continue
        configuration = job.spec.configurations[allocation.placement.configuration]
        for index, replica in enumerate(allocation.placement.replicas):
            wanted = replicas.get(replica.node)
            if wanted is not None and index not in allocation.finished:
                wanted.append(
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
    return tuple(NodeDesired(name, epoch, tuple(replicas[name])) for name in nodes)


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
