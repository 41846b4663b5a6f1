"""The second look at a plan: what of it is still possible, judged by the facts at commit time. Pure.

Between snapshot and commit jobs end or are cancelled and nodes get lost, cordoned or shrink. Equivalent to: take every
change whose job and nodes still allow it; then drop newcomers of nodes that would be overfull, and let victims stay
whose place nobody takes any more (`allocator.rounds.floor`). A gang is applied whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from allocator.domain.cluster import NodeHealth
from allocator.domain.job import Job, JobState, revised
from allocator.domain.placement import Allocation, DesiredReplica, Epoch, NodeDesired, Placement, held
from allocator.domain.plan import Applied, Change, Move, Plan, Preempt, Rejected, Resize, Start
from allocator.domain.reason import PendingCause, PendingReason
from allocator.placement.verify import part_violation
from allocator.placement.verify_constraints import own_violations, unfit
from allocator.placement.verify_engine import beyond_engine, indivisible
from allocator.rounds.floor import CommitFacts, Floor

MISSED = "its deadline passed before it had ended; it goes on"
"""The message of a job since then, also of one that succeeds."""


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
        why = _impossible(change, facts, now)
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
            if job is not None and isinstance(change, Start) and _is_seen(job, now):
                jobs.append(revised(job, pending_reason=PendingReason(PendingCause.CHANGED_SINCE_SNAPSHOT)))
            continue
        changed = apply_change(change, job, epoch, now)
        applied.append(Applied(change, changed.allocation))
        jobs.append(changed)

    reasons: list[tuple[str, PendingReason]] = []
    for job_id, reason in plan.waiting:
        job = facts.job(job_id)
        if job is None or not _is_seen(job, now):
            continue
        if job.pending_reason is None or job.pending_reason.cause is not reason.cause:
            jobs.append(revised(job, pending_reason=reason))
        else:
            reasons.append((job_id, reason))
    if plan.missed:
        jobs = _told_late(plan.missed, jobs, facts)
    return Checked(tuple(applied), tuple(rejected), tuple(jobs), tuple(reasons))


def _is_seen(job: Job, now: float) -> bool:
    """Whether it waits for a place, and for nothing else."""
    return job.state is JobState.PENDING and not job.is_held(now)


def _told_late(missed: Iterable[str], changed: Iterable[Job], facts: CommitFacts) -> list[Job]:
    """The changed jobs, and those that have missed their deadline: their message says so."""
    newest = {job.id: job for job in changed}
    for job_id in missed:
        job = newest.get(job_id) or facts.job(job_id)
        if job is not None and not job.state.is_final and not job.message:
            newest[job_id] = revised(job, message=MISSED)
    return list(newest.values())


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
        placement = allocation.placement
        configuration = job.spec.configurations[placement.configuration]
        demand, process = held(configuration.demand, placement.millis), job.spec.process
        peers = () if process is None else tuple(replica.node for replica in placement.replicas)
        for index, replica in enumerate(placement.replicas):
            wanted = replicas.get(replica.node)
            if wanted is not None and index not in allocation.finished:
                wanted.append(
                    DesiredReplica(
                        job_id=job.id,
                        replica=index,
                        replicas=configuration.replicas,
                        epoch=allocation.epoch,
                        flavor=configuration.flavor,
                        demand=demand,
                        gpus=replica.gpus,
                        start_epoch=allocation.start_epoch,
                        millis=placement.millis,
                        process=process,
                        peers=peers,
                        array_index=job.spec.array_index,
                        failures=job.failures,
                        queue=job.spec.queue,
                    )
                )
    return tuple(NodeDesired(name, epoch, tuple(replicas[name])) for name in nodes)


def _impossible(change: Change, facts: CommitFacts, now: float) -> str | None:
    """Why the change makes no sense any more, looking at its job and its nodes; None if it does."""
    job = facts.job(change.job_id)
    if job is None or job.state.is_final:
        return "the job has ended"
    if isinstance(change, Start):
        if job.state is not JobState.PENDING:
            return "the job runs already"
        if job.is_held(now):
            return "the job is not to start yet"
    elif job.state is not JobState.RUNNING:
        return "the job runs no more"
    if isinstance(change, Preempt):
        return None
    return _misplaced(change, job, facts)


def _misplaced(change: Start | Move | Resize, job: Job, facts: CommitFacts) -> str | None:
    """Why the job cannot be placed like that, whoever else runs; None if it can."""
    placement = change.placement
    if not 0 <= placement.configuration < len(job.spec.configurations):
        return f"configuration {placement.configuration} does not exist"
    configuration = job.spec.configurations[placement.configuration]
    if len(placement.replicas) != configuration.replicas:
        return f"{len(placement.replicas)} of {configuration.replicas} replicas are placed: a gang starts whole"
    arriving = set(placement.nodes)
    if isinstance(change, Resize):
        assert job.allocation is not None
        why = _cannot_go_on(job, job.allocation, placement)
        if why is not None:
            return why
        arriving = {replica.node for replica in placement.replicas[len(job.allocation.placement.replicas) :]}
    nodes = {}
    for name in placement.nodes:
        node = facts.node(name)
        if node is None or not (node.takes_new_work if name in arriving else node.health is NodeHealth.READY):
            return f"node {name} takes no new work" if name in arriving else f"node {name} is lost"
        if node.flavor != configuration.flavor:
            return f"node {name} has flavor {node.flavor}, not {configuration.flavor}"
        why = unfit(job.spec.constraints, node) if name in arriving else None
        if why is not None:
            return why
        nodes[name] = node
    why = indivisible(job, placement, arriving, facts.node)
    if why is None and isinstance(change, Resize):
        assert job.allocation is not None
        why = beyond_engine(job, job.allocation.placement, placement, facts.node)
    if why is not None:
        return why
    broken = own_violations(job.spec.constraints, placement.replicas, nodes)
    return broken[0] if broken else part_violation(job, placement)


def _cannot_go_on(job: Job, allocation: Allocation, placement: Placement) -> str | None:
    """Why the running job cannot get this place without a restart; None if it can."""
    if allocation.finished:
        return "some of its replicas have ended"
    if not job.spec.goes_on(allocation.placement, placement):
        return "it cannot go on like that: a resize keeps flavor, demand and the places of the replicas that stay"
    return None


def apply_change(change: Change, job: Job, epoch: Epoch, now: float) -> Job:
    """The job's new version once the change is true."""
    if isinstance(change, Preempt):
        return revised(
            job,
            state=JobState.PENDING,
            allocation=None,
            pending_reason=change.pending,
            preemption_count=job.preemption_count + 1,
            last_preemption=change.reason,
            work_done_seconds=job.work_done(now),
            work_counted_time=None,
        )
    if isinstance(change, Resize):
        assert job.allocation is not None
        allocation = replace(
            job.allocation, placement=change.placement, epoch=epoch, started=job.allocation.start_epoch
        )
        return revised(job, allocation=allocation, work_done_seconds=job.work_done(now), work_counted_time=now)
    started = revised(
        job,
        state=JobState.RUNNING,
        allocation=Allocation(change.placement, epoch, now),
        pending_reason=None,
        first_start_time=now if job.first_start_time is None else job.first_start_time,
        last_start_time=now,
        work_done_seconds=max(0.0, job.work_done(now) - job.spec.restart_cost_seconds),
        work_counted_time=now,
        not_before=None,
    )
    if isinstance(change, Move):
        return revised(started, preemption_count=job.preemption_count + 1, last_preemption=change.reason)
    return started
