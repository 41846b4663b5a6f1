"""What a report of progress says about the job's class. Pure; see `allocator.domain.estimates`."""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter

from allocator.domain.estimates import MOST_ESTIMATES, REPEATED, observed
from allocator.domain.job import Job
from allocator.domain.placement import WHOLE
from allocator.intake.ports import ChangeSet, Facts


def observing(before: Job, after: Job, throughput: float, facts: Facts, now: float) -> ChangeSet:
    """`after` is the job `before`, which runs, with what it reports: `throughput` where it is, with what it holds."""
    spec, allocation = before.spec, before.allocation
    if not spec.job_class or allocation is None:
        return ChangeSet(jobs=(after,))
    configuration = spec.configurations[allocation.placement.configuration]
    name = (spec.queue, spec.job_class, configuration.flavor, configuration.replicas)
    known = facts.estimate(name)
    weight = REPEATED if configuration.flavor in dict(before.measured_throughput) and known is not None else 1.0
    estimate = observed(known, name, throughput * WHOLE / allocation.placement.millis, now, weight)
    return ChangeSet(jobs=(after,), estimates=(estimate,), forgotten_estimates=() if known else _forgotten(facts))


def _forgotten(facts: Facts) -> tuple[tuple[str, str, str, int], ...]:
    """Whose places new ones take: a hundredth at once, so that not every new one has to look for the oldest."""
    there = facts.all_estimates()
    if len(there) < MOST_ESTIMATES:
        return ()
    oldest = nsmallest(MOST_ESTIMATES // 100, there, key=attrgetter("time", "name"))
    return tuple(each.name for each in oldest)
