"""Why a job waits or was stopped, in words: the cause, what is missing, who holds it, and what the nodes said."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.cli import held_words, screen
from allocator.cli.quantities import approximate, format_amount, significant
from allocator.cli.words import amount, joined, place
from allocator.domain.job import Job, JobState
from allocator.domain.reason import (
    Examined,
    LimitExcess,
    PendingCause,
    PendingReason,
    PreemptionReason,
    QuotaExcess,
    Refusal,
    Shortage,
)
from allocator.domain.resources import display_unit
from allocator.domain.side_constraint import PRECISION

_CAUSES = {
    PendingCause.NO_ELIGIBLE_FLAVOR: "never, as the cluster is: no open node has a flavor that it accepts",
    PendingCause.EXCEEDS_NODE: "never, as the cluster is: a replica is larger than every node it accepts",
    PendingCause.EXCEEDS_CLUSTER: "never, as the cluster is: the gang is larger than all nodes of a flavor "
    "together, or than its constraints let them hold",
    PendingCause.INSUFFICIENT_CAPACITY: "no room now, and others are owed it more",
    PendingCause.FRAGMENTED: "room enough in total, but not in pieces that fit its replicas",
    PendingCause.NO_MATCHING_NODE: "never, as the cluster is: no open node has labels, taints and engine as it needs",
    PendingCause.CONSTRAINED: "room enough, but its limits per node or rack, or what it must be near to, leave too few",
    PendingCause.RESERVED: "it would fit, but the place is reserved for a job that is owed more",
    PendingCause.EXCEEDS_QUOTA: "never, as quotas are: it is more than its queue, or one above it, may use",
    PendingCause.OVER_QUOTA: "its queue, or one above it, uses what it may, or others do not lend what is free",
    PendingCause.EXCEEDS_LIMIT: "never, as the policy is: it takes more of a side constraint than there may be in all",
    PendingCause.OVER_LIMIT: "it would bring all that runs beyond a side constraint",
    PendingCause.SCHEDULER_STALE: "the last round had no trustworthy solution and changed nothing; next round",
    PendingCause.CHANGED_SINCE_SNAPSHOT: "it had a place, but the cluster changed before it began there; next round",
    PendingCause.DEPENDENCY: "it comes after jobs that have not ended yet",
    PendingCause.BACKOFF: "it has failed, and is tried again later",
}
_SHORT_CAUSES = {
    PendingCause.NO_ELIGIBLE_FLAVOR: "no open node of its flavors",
    PendingCause.EXCEEDS_NODE: "replica larger than any node",
    PendingCause.EXCEEDS_CLUSTER: "gang larger than the cluster",
    PendingCause.INSUFFICIENT_CAPACITY: "no room",
    PendingCause.FRAGMENTED: "fragmented",
    PendingCause.NO_MATCHING_NODE: "no open node that it accepts",
    PendingCause.CONSTRAINED: "its constraints leave no room",
    PendingCause.RESERVED: "place reserved for others",
    PendingCause.EXCEEDS_QUOTA: "larger than its quota",
    PendingCause.OVER_QUOTA: "over quota",
    PendingCause.EXCEEDS_LIMIT: "larger than a side constraint",
    PendingCause.OVER_LIMIT: "over a side constraint",
    PendingCause.SCHEDULER_STALE: "scheduler stale",
    PendingCause.CHANGED_SINCE_SNAPSHOT: "cluster changed; next round",
    PendingCause.DEPENDENCY: "waits for other jobs",
    PendingCause.BACKOFF: "failed; tries again",
}
_PREEMPTIONS = {
    PreemptionReason.FAIR_SHARE: "others were owed more time",
    PreemptionReason.PRIORITY: "a job of a higher priority class needed the place",
    PreemptionReason.NODE_LOST: "a node it ran on was lost",
    PreemptionReason.NODE_DRAINING: "a node it ran on is being drained",
    PreemptionReason.CAPACITY_SHRUNK: "a node came back with less than it needs",
    PreemptionReason.RECONFIGURED: "another configuration serves it better",
    PreemptionReason.QUOTA: "a job that is owed more needed the quota that both share",
    PreemptionReason.LIMIT: "a job that is owed more needed what a side constraint left to both",
    PreemptionReason.CONSOLIDATED: "moved to make room for a gang",
}
_HELD = "no room now: jobs that may not be stopped hold it"
_SHORT_HELD = "held by non-preemptible jobs"
_REFUSALS = {
    Refusal.CLOSED: "closed",
    Refusal.TROUBLE: "in trouble (see allocator nodes)",
    Refusal.TAINT: "with a taint that it does not tolerate",
    Refusal.ENGINE: "with an engine that gives whole cores or GPUs only",
    Refusal.LABEL: "without the labels that it asks for",
    Refusal.AT_MOST: "where a limit on who runs together is reached",
    Refusal.NEAR: "away from what it must be near to",
    Refusal.LIMIT: "where a side constraint leaves too little",
    Refusal.RESERVED: "reserved",
    Refusal.WITHIN: "with room, but not all of it in one place",
}
"""Of nodes; FULL depends on whether they were asked as if they were empty."""
_NOW = (
    PendingCause.INSUFFICIENT_CAPACITY,
    PendingCause.FRAGMENTED,
    PendingCause.CONSTRAINED,
    PendingCause.RESERVED,
    PendingCause.OVER_QUOTA,
    PendingCause.OVER_LIMIT,
)
_PER_REPLICA = (PendingCause.FRAGMENTED, PendingCause.EXCEEDS_NODE)


def why_waiting(reason: PendingReason | None) -> str:
    """The cause, then line by line what is missing where: `needs 4 more GPUs on a100`, and what the nodes said."""
    if reason is None:
        return "no round has looked at it yet"
    cause = _HELD if is_held(reason) else _CAUSES[reason.cause]
    return "\n".join([cause, *missing(reason), *beyond(reason), *reserved(reason), *examined(reason)])


def is_held(reason: PendingReason) -> bool:
    """Whether stopping all jobs that may be stopped would not make room on any flavor."""
    held = {shortage.flavor for shortage in reason.shortages if shortage.held}
    return (
        reason.cause is PendingCause.INSUFFICIENT_CAPACITY
        and bool(held)
        and held == {shortage.flavor for shortage in reason.shortages}
    )


def beyond(reason: PendingReason) -> list[str]:
    """Which quotas and side constraints it would be beyond, line by line: `research may use 8 GPUs on h100 and uses 6
    GPUs: it needs 1 more GPU`.
    """
    return [*(_beyond(excess) for excess in reason.excesses), *(_beyond_limit(excess) for excess in reason.limits)]


def _beyond(excess: QuotaExcess) -> str:
    used, most = (amount(excess.resource, value) for value in (excess.used, excess.most))
    needs = f"it needs {_more(excess.resource, excess.missing)}"
    if excess.queue:
        uses = "all of that" if excess.used == excess.most else used
        return f"{excess.queue} may use {most} on {excess.flavor} and uses {uses}: {needs}"
    uses = "all" if excess.used == excess.most else used
    return f"of {most} on {excess.flavor}, {uses} are used, or kept by queues that do not lend: {needs}"


def _beyond_limit(excess: LimitExcess) -> str:
    """`power-r7: 11.4 of 12 kW are taken, it would take 1.2 kW`."""
    used, most, takes = (f"{significant(value / PRECISION)}" for value in (excess.used, excess.most, excess.takes))
    unit = f" {excess.unit}" if excess.unit else ""
    return f"{excess.name}: {used} of {most}{unit} are taken, it would take {takes}{unit}"


def reserved(reason: PendingReason) -> list[str]:
    """For whom places are kept, and until when."""
    if not reason.reserved_for:
        return []
    if reason.reserved_until is None:
        until = "nobody knows until when"
    else:
        until = f"expected until {screen.local_time(reason.reserved_until)}: a job that ends before may start there"
    return [f"for {joined(reason.reserved_for)}, {until}"]


def examined(reason: PendingReason) -> list[str]:
    """What the nodes said, one line per flavor."""
    full = "full" if reason.cause in _NOW else "too small"
    return [_examined(found, full) for found in reason.examined]


def _examined(found: Examined, full: str) -> str:
    """`12 a100 nodes: 3 closed, 8 full (8 lack GPUs, 2 lack cores), 1 with room for 2 of its 4 replicas`."""
    parts = []
    for refusal, nodes in found.refused:
        part = f"{nodes} {_REFUSALS.get(refusal, full)}"
        if refusal is Refusal.FULL:
            part += f" ({', '.join(f'{count} lack {_plural(resource)}' for resource, count in found.lacking)})"
        parts.append(part)
    left = found.nodes - sum(nodes for _, nodes in found.refused)
    if left:
        parts.append(f"{left} with room for {_of_gang(found.room, found.replicas)}")
    if found.places < found.room:
        parts.append(f"its constraints leave places for {_of_gang(found.places, found.replicas)}")
    return f"{found.nodes} {found.flavor} node{'' if found.nodes == 1 else 's'}: {', '.join(parts)}"


def _of_gang(some: int, replicas: int) -> str:
    """`2 of its 4 replicas`."""
    if replicas == 1:
        return "it" if some else "nothing"
    return f"all of its {replicas} replicas" if some == replicas else f"{some or 'none'} of its {replicas} replicas"


def _plural(resource: str) -> str:
    return display_unit(resource)[0] if resource in ("cpu", "gpu") else resource


def missing(reason: PendingReason) -> list[str]:
    """One line per flavor."""
    by_flavor: dict[str, list[Shortage]] = {}
    for shortage in reason.shortages:
        by_flavor.setdefault(shortage.flavor, []).append(shortage)
    if reason.cause in _PER_REPLICA:
        return [
            f"a replica lacks {joined(_lacking(s) for s in shortages)} on the {flavor} node that comes closest"
            for flavor, shortages in by_flavor.items()
        ]
    return [
        f"needs {joined(_lacking(s) + _of_that_held(s) for s in shortages)} on {flavor}"
        for flavor, shortages in by_flavor.items()
    ]


def _of_that_held(shortage: Shortage) -> str:
    """` (2 GPUs of that held by jobs that may not be stopped)`."""
    if not shortage.held:
        return ""
    how_much = "" if shortage.held == shortage.missing else f"{amount(shortage.resource, shortage.held)} of that "
    return f" ({how_much}held by jobs that may not be stopped)"


def why_briefly(job: Job) -> str:
    """For a table: where it runs, why it waits, or how it ended."""
    if job.allocation is not None:
        return place(job.allocation)
    if job.state is JobState.PENDING:
        if job.pending_reason is None:
            return "not looked at yet"
        reason = job.pending_reason
        held = held_words.in_short(job)
        if held:
            return held
        brief = _SHORT_HELD if is_held(reason) else _SHORT_CAUSES[reason.cause]
        if reason.reserved_for:
            return f"place reserved for {joined(reason.reserved_for)}"
        if reason.cause is PendingCause.CONSTRAINED and reason.examined:
            return f"{brief}: {_most_places(reason.examined)}"
        if reason.excesses:
            return f"{brief}: {reason.excesses[0].queue or 'kept by others'}"
        if reason.limits:
            return f"{brief}: {reason.limits[0].name}"
        return f"{brief}: {_nearest(job, reason)}" if reason.shortages else brief
    return job.message


def _most_places(found: Iterable[Examined]) -> str:
    """`places for 1 of 4 replicas on a100`."""
    best = max(found, key=lambda each: each.places / each.replicas)
    return f"places for {best.places} of {best.replicas} replica{'' if best.replicas == 1 else 's'} on {best.flavor}"


def _nearest(job: Job, reason: PendingReason) -> str:
    """What is missing on the flavor where the least is, relative to what the job asks for, and how many others there
    are: `2 more GPUs on a100 (or on 1 more flavor)`.
    """
    by_flavor: dict[str, list[Shortage]] = {}
    for shortage in reason.shortages:
        by_flavor.setdefault(shortage.flavor, []).append(shortage)

    def severity(flavor: str) -> float:
        return max(_relative(job, reason.cause, shortage) for shortage in by_flavor[flavor])

    nearest = min(by_flavor, key=severity)
    others = len(by_flavor) - 1
    more = f" (or on {others} more flavor{'s' if others > 1 else ''})" if others else ""
    return f"{joined(map(_lacking, by_flavor[nearest]))} on {nearest}{more}"


def _relative(job: Job, cause: PendingCause, shortage: Shortage) -> float:
    """The missing part of what is asked for, by a replica or by the gang as the cause has it, where that is least."""
    asked = [
        (configuration.demand if cause in _PER_REPLICA else configuration.total_demand).get(shortage.resource)
        for configuration in job.spec.configurations
        if configuration.flavor == shortage.flavor
    ]
    least = min((amount for amount in asked if amount > 0), default=shortage.missing)
    return shortage.missing / least if least else 0.0


def why_preempted(reason: PreemptionReason) -> str:
    return _PREEMPTIONS[reason]


def _lacking(shortage: Shortage) -> str:
    return _more(shortage.resource, shortage.missing)


def _more(resource: str, value: int) -> str:
    """`2 more GPUs`, `16 GiB more memory`."""
    unit, size = display_unit(resource)
    if resource in ("cpu", "gpu"):
        return f"{format_amount(resource, value)} more {unit[:-1] if value <= size else unit}"
    if unit == "units":
        return f"{value} more {resource}"
    return f"{approximate(resource, value)} {unit} more {resource}"
