"""What rounds add up to: counters and histograms that one report increases."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from allocator.domain.plan import Move, Start
from allocator.domain.reason import PreemptionReason
from allocator.metrics import names
from allocator.metrics.instruments import Accumulators
from allocator.metrics.round_gauges import RoundLabels
from allocator.rounds.report import STAGES, RoundOutcome, RoundReport

FAMILIES = (
    names.WAIT,
    names.STARTS,
    names.MOVES,
    names.RESIZES,
    names.PREEMPTIONS,
    names.REJECTED,
    names.ROUNDS,
    names.ROUND_DURATION,
    names.STAGE_DURATION,
    names.SOLVES,
    names.ITERATIONS,
    *names.LOST.values(),
)


def begin(totals: Accumulators) -> None:
    """Make every series exist whose labels are known from the start, so that its first increase is seen as one."""
    for outcome in RoundOutcome:
        if outcome is not RoundOutcome.RULED:  # in replays only
            totals.add(names.ROUNDS, (outcome.value,), 0)
    for reason in PreemptionReason:
        totals.add(names.PREEMPTIONS, (reason.value,), 0)
        totals.add(names.MOVES, (reason.value,), 0)
    for stage in STAGES:
        totals.begin(names.STAGE_DURATION, (stage,))


def drop_gone(totals: Accumulators, gone: Mapping[str, Collection[str]]) -> None:
    """Forget the series of label values that do not exist any more, given by label."""
    for family in FAMILIES:
        for label in family.labels:
            totals.drop(family, label, gone.get(label, ()))


def add_round(totals: Accumulators, report: RoundReport, labels: RoundLabels) -> None:
    """Add one round; `labels` has been settled with the same report."""
    summary = report.summary
    totals.add(names.ROUNDS, (summary.outcome.value,))
    if summary.outcome is not RoundOutcome.STALE:
        totals.add(names.SOLVES, (summary.solver,))
        totals.add(names.ITERATIONS, (summary.solver,), summary.iterations)
    totals.add(names.STARTS, (), summary.started)
    totals.add(names.RESIZES, (), summary.resized)
    totals.add(names.REJECTED, (), summary.rejected)
    for reason, count in summary.preempted:
        totals.add(names.PREEMPTIONS, (reason,), count)
    for applied in report.commit.applied:
        if isinstance(applied.change, Move):
            totals.add(names.MOVES, (applied.change.reason.value,))
    for stage, seconds in summary.stages:
        totals.observe(names.STAGE_DURATION, seconds, (stage,))
    totals.observe(names.ROUND_DURATION, sum(seconds for _, seconds in summary.stages))
    _add_lost(totals, report, labels)
    _add_waits(totals, report, labels)


def _add_lost(totals: Accumulators, report: RoundReport, labels: RoundLabels) -> None:
    known = ((usage.flavor, usage.resource, 0.0) for usage in report.summary.flavors)
    for flavor, resource, amount in (*known, *report.summary.lost):
        key = names.resource_key(resource)
        flavor_label = labels.flavor.of(flavor)
        values = (flavor_label, labels.resource(resource)) if key == names.EXTRA else (flavor_label,)
        totals.add(names.LOST[key], values, amount / names.RESOURCE_UNITS[key].per_unit)


def _add_waits(totals: Accumulators, report: RoundReport, labels: RoundLabels) -> None:
    for usage in report.summary.queues:
        totals.begin(names.WAIT, (labels.queue.of(usage.queue),))
    jobs = {job.id: job for job in report.snapshot.jobs}
    for applied in report.commit.applied:
        job = jobs[applied.change.job_id]
        if isinstance(applied.change, Start) and applied.allocation is not None and job.first_start_time is None:
            wait = max(0.0, applied.allocation.start_time - job.submit_time)
            totals.observe(names.WAIT, wait, (labels.queue.of(job.spec.queue),))
