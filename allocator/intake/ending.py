"""How a job ends by what its agents report, or is tried again. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from allocator.domain.job import Job, JobState, revised
from allocator.domain.placement import Epoch
from allocator.domain.reason import PendingCause, PendingReason
from allocator.intake import commands as c


def ends_nothing(command: c.Heartbeat) -> bool:
    """Whether no job can change by it, whatever the facts are: it says of nothing but what runs that it runs."""
    return all(report.state is c.ReplicaState.RUNNING for report in command.reports)


def ended(job: Job, state: JobState, now: float, message: str = "") -> Job:
    return revised(
        job,
        state=state,
        allocation=None,
        pending_reason=None,
        end_time=now,
        message=message or job.message,
        work_done_seconds=job.work_done(now),
        work_counted_time=None,
        not_before=None,
        waits_for=(),
    )


def failed(job: Job, now: float, message: str) -> Job:
    """The running job after one of its replicas has failed: it waits for its next try, if it has one."""
    if job.failures >= job.spec.retries.limit:
        return ended(job, JobState.FAILED, now, message)
    failures = job.failures + 1
    return revised(
        job,
        state=JobState.PENDING,
        allocation=None,
        pending_reason=_BACKOFF,
        message=message,
        work_done_seconds=job.work_done(now),
        work_counted_time=None,
        failures=failures,
        not_before=now + job.spec.retries.delay(failures),
    )


_BACKOFF = PendingReason(PendingCause.BACKOFF)


def not_begun(job: Job) -> Job:
    """The running job after a node in trouble could not begin one of its replicas: it waits for another place. That is
    neither a failure nor a preemption, and no work: its gang was never whole.
    """
    return revised(job, state=JobState.PENDING, allocation=None, pending_reason=_ELSEWHERE, work_counted_time=None)


_ELSEWHERE = PendingReason(PendingCause.CHANGED_SINCE_SNAPSHOT)


def replicas_succeeded(job: Job, epoch: Epoch, indices: AbstractSet[int], node: str, now: float) -> Job | None:
    """The job after these replicas have ended well on the node; None if that changes nothing, or is about an earlier
    epoch: after a resize numbers may mean other replicas, and an end is told again by the agent, with the new epoch.
    """
    allocation = job.allocation
    if allocation is None or epoch != allocation.epoch:
        return None
    replicas = allocation.placement.replicas
    there = {index for index in indices if 0 <= index < len(replicas) and replicas[index].node == node}
    finished = allocation.finished | there
    if len(finished) == len(replicas):
        return ended(job, JobState.SUCCEEDED, now, _at_last(job))
    if finished == allocation.finished:
        return None
    return revised(job, allocation=replace(allocation, finished=finished))


def _at_last(job: Job) -> str:
    """What is said of a job that succeeded, not at once: why it failed before."""
    return f"succeeded at try {job.failures + 1}; before, {job.message}" if job.failures else ""


def replica_reported(job: Job, report: c.ReplicaReport, node: str, now: float) -> Job | None:
    """The job after what its replica's agent said; None if that changes nothing, or is about an earlier epoch.

    A failure fails the job, or this try of it, whichever replica it was, and whatever it was called before a resize.
    """
    allocation = job.allocation
    if allocation is None:
        return None
    if report.epoch != allocation.epoch:
        before_resize = allocation.start_epoch <= report.epoch < allocation.epoch and node in allocation.placement.nodes
        if not before_resize or report.state is not c.ReplicaState.FAILED:
            return None
        return failed(job, now, f"a replica failed on node {node}{_because(report.message)}")
    replicas = allocation.placement.replicas
    if not 0 <= report.replica < len(replicas) or replicas[report.replica].node != node:
        return None
    if report.state is c.ReplicaState.RUNNING:
        return None
    if report.state is c.ReplicaState.NOT_BEGUN:
        return not_begun(job)
    why = _because(report.message)
    return failed(job, now, f"replica {report.replica} failed on node {node}{why}")


def _because(message: str) -> str:
    return f": {message}" if message else ""
