"""The rule for who may stop whom for its share, written down anew: what is owed, against how patient a job is."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.domain.job import Job
from allocator.domain.policy import Policy


def scale(job: Job, policy: Policy, now: float) -> float:
    """What a second owed to the job counts: the hysteresis over its patience."""
    hysteresis = policy.hysteresis_seconds
    patience = min(policy.lag_tolerance * (now - job.submit_time), policy.credit_limit_seconds / 2)
    return hysteresis / patience if patience > hysteresis > 0 else 1.0


def ahead(share: float, policy: Policy) -> float:
    """What counts as owed besides, of a job that is to run all the time, or nearly."""
    return part_ahead(share) * policy.hysteresis_seconds


def part_ahead(share: float) -> float:
    """Which part of the hysteresis that is: all of it at a share of 1, nothing up to 0.9, and in between as it lies."""
    return min(1.0, max(0.0, 10.0 * share - 9.0))


def margin(victim: Job, jobs: Iterable[Job], policy: Policy, now: float) -> float:
    """By how much more somebody must be owed, in scaled seconds, to stop `victim`. A dear restart counts no more than
    the most patient of all jobs can ever be owed.
    """
    reachable = policy.credit_limit_seconds * min((scale(job, policy, now) for job in jobs), default=1.0)
    restart = victim.spec.restart_cost_seconds * scale(victim, policy, now)
    return max(policy.hysteresis_seconds, min(restart, reachable))
