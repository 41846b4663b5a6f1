"""What a preemption loop is, as a judge of single rounds in worlds where nothing happens but rounds.

A round with no fault in it may stop or move a running job only if somebody is served better for it, now and for a
reason that the next round cannot turn round. So each finding below is a loop, or the first step of one:

- *unpaid*: a job lost its place for another one's share, and nobody who starts or moves in the same commit onto one of
  its nodes is of the same class and owed more by the hysteresis (or the victim's restart cost), against their
  patience, at that moment; or it had not run its minimum. For priority: nobody of a higher class comes. To make room:
  it did not move but stop, or nobody who waited or had to go comes to its nodes;
- *shuffled*: places changed, but nobody who waited runs now, and nobody went over to the configuration that the
  optimum had moved it to. Nobody was served better, so the same may be undone in the next round;
- a *whim*: a job changed to a configuration in which the optimum gives it no larger share.
"""

from __future__ import annotations

from collections.abc import Iterator

from allocator.domain.job import Job
from allocator.domain.plan import Change, Move, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import PreemptionReason
from tests.placement.small_worlds import Played
from tests.placement.standing import ahead, margin, scale

ROUNDING = 1e-6
"""Seconds; credits are floats that were added up in another order here."""


def findings(played: Played, policy: Policy) -> list[str]:
    """Every unpaid preemption and shuffle of one round, in words."""
    return [*_unpaid(played, policy), *_shuffled(played), *_whims(played), *_refused(played)]


def stops(played: Played, reason: PreemptionReason = PreemptionReason.FAIR_SHARE) -> list[str]:
    """Ids of the jobs that lost their place for this reason, as a rule for another one's share."""
    found = [change for change in _applied(played) if isinstance(change, Preempt | Move)]
    return [change.job_id for change in found if change.reason is reason]


def _applied(played: Played) -> list[Change]:
    return [applied.change for applied in played.report.commit.applied]


def _refused(played: Played) -> Iterator[str]:
    for refused in played.report.commit.rejected:
        yield f"{refused.change.job_id}: refused at commit although nothing had changed: {refused.why}"


def _unpaid(played: Played, policy: Policy) -> Iterator[str]:
    jobs = played.jobs
    comers = {c.job_id: set(c.placement.nodes) for c in _applied(played) if not isinstance(c, Preempt)}
    for change in _applied(played):
        if not isinstance(change, Preempt | Move) or change.reason is PreemptionReason.RECONFIGURED:
            continue
        victim = jobs[change.job_id]
        assert victim.allocation is not None
        old = {replica.node for replica in victim.allocation.standing}
        others = [jobs[job_id] for job_id, places in comers.items() if job_id != victim.id and places & old]
        if change.reason is PreemptionReason.PRIORITY:
            if not any(other.priority > victim.priority for other in others):
                yield f"{victim.id}: stopped for priority, but nobody of a higher class came to {sorted(old)}"
        elif change.reason is PreemptionReason.CONSOLIDATED:
            aside = {c.job_id for c in _applied(played) if getattr(c, "reason", None) is change.reason}
            yield from _unpaid_move(played, policy, change, [other for other in others if other.id not in aside])
        elif change.reason is not PreemptionReason.FAIR_SHARE:
            yield f"{victim.id}: stopped for {change.reason.value}, but no node changed"
        else:
            yield from _unpaid_share(played, policy, victim, others)


def _unpaid_move(played: Played, policy: Policy, change: Preempt | Move, others: list[Job]) -> Iterator[str]:
    mover = played.jobs[change.job_id]
    assert mover.last_start_time is not None
    if isinstance(change, Preempt):
        yield f"{mover.id}: stopped to make room"
    if not others:
        yield f"{mover.id}: moved to make room, but nobody came to its nodes"
    if played.report.snapshot.time - mover.last_start_time < policy.minimum_run_seconds:
        yield f"{mover.id}: moved to make room before it had run its minimum"


def _unpaid_share(played: Played, policy: Policy, victim: Job, others: list[Job]) -> Iterator[str]:
    now = played.report.snapshot.time
    owed = {
        job.id: played.credits[job.id] * scale(job, policy, now) + ahead(_share(played, job), policy)
        for job in played.jobs.values()
    }
    least = margin(victim, played.jobs.values(), policy, now)
    needed = owed[victim.id] + least - ROUNDING
    if not any(other.priority == victim.priority and owed[other.id] >= needed for other in others):
        came = {other.id: round(owed[other.id], 3) for other in others}
        yield (
            f"{victim.id}: stopped at credit {owed[victim.id]:.3f} with margin {least:g}, but to its nodes came {came}"
        )
    assert victim.last_start_time is not None
    ran = played.report.snapshot.time - victim.last_start_time
    if ran < policy.minimum_run_seconds:
        yield f"{victim.id}: stopped after {ran:g} s of a minimum of {policy.minimum_run_seconds:g} s"


def _share(played: Played, job: Job) -> float:
    formulation = played.report.formulation
    if job.id in formulation.pinned:
        return 1.0
    row = formulation.rows.get(job.id)
    return 0.0 if row is None else float(played.report.solution.shares[row].sum())


def _shuffled(played: Played) -> Iterator[str]:
    changes = _applied(played)
    better = [c for c in changes if isinstance(c, Start) or _is_a_wish(c)]
    if any(isinstance(c, Preempt | Move) for c in changes) and not better:
        yield f"{[c.job_id for c in changes]} changed places, and nobody is served better"


def _whims(played: Played) -> Iterator[str]:
    formulation, shares = played.report.formulation, played.report.solution.shares
    for change in _applied(played):
        if not isinstance(change, Move) or not _is_a_wish(change):
            continue
        row, allocation = formulation.rows[change.job_id], played.jobs[change.job_id].allocation
        assert allocation is not None
        share = dict(zip(formulation.configurations[row], shares[row].tolist(), strict=True))
        old, new = allocation.placement.configuration, change.placement.configuration
        if not share.get(new, 0.0) > share.get(old, 0.0):
            yield f"{change.job_id}: went over from {old} to {new}, the shares are {share}"


def _is_a_wish(change: Change) -> bool:
    return isinstance(change, Move) and change.reason is PreemptionReason.RECONFIGURED
