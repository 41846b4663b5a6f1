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
    """What counts as owed besides, of a job that is to run all the time."""
    return policy.hysteresis_seconds if share >= 0.999 else 0.0


def margin(victim: Job, waiting: Iterable[Job], policy: Policy, now: float) -> float:
    """By how much more somebody must be owed, in scaled seconds, to stop `victim`. A dear restart counts no more than
    the most patient of those who wait can ever be owed.
    """
    reachable = policy.credit_limit_seconds * min((scale(job, policy, now) for job in waiting), default=1.0)
    restart = victim.spec.restart_cost_seconds * scale(victim, policy, now)
    return max(policy.hysteresis_seconds, min(restart, reachable))
