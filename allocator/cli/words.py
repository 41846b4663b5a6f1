"""Facts said in words and in human units: why a job waits, what it asks for, where it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allocator.cli.quantities import approximate, format_amount, significant
from allocator.domain.cluster import NODE_DOMAIN, Labels
from allocator.domain.constraints import Constraints
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.placement import Allocation
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.domain.resources import Resources, display_unit

_CAUSES = {
    PendingCause.NO_ELIGIBLE_FLAVOR: "never, as the cluster is: no open node has a flavor that it accepts",
    PendingCause.EXCEEDS_NODE: "never, as the cluster is: a replica is larger than every node it accepts",
    PendingCause.EXCEEDS_CLUSTER: "never, as the cluster is: the gang is larger than all nodes of a flavor "
    "together, or than its constraints let them hold",
    PendingCause.INSUFFICIENT_CAPACITY: "no room now, and others are owed it more",
    PendingCause.FRAGMENTED: "room enough in total, but not in pieces that fit its replicas",
    PendingCause.NO_MATCHING_NODE: "never, as the cluster is: no open node has the labels and taints it accepts",
    PendingCause.CONSTRAINED: "room enough, but its limits per node or rack, or what it must be near to, leave too few",
    PendingCause.RESERVED: "it would fit, but the place is reserved for a job that is owed more",
    PendingCause.SCHEDULER_STALE: "the last round had no trustworthy solution and changed nothing; next round",
    PendingCause.CHANGED_SINCE_SNAPSHOT: "it had a place, but the cluster changed before the commit; next round",
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
    PendingCause.SCHEDULER_STALE: "scheduler stale",
    PendingCause.CHANGED_SINCE_SNAPSHOT: "cluster changed; next round",
}
_PREEMPTIONS = {
    PreemptionReason.FAIR_SHARE: "others were owed more time",
    PreemptionReason.PRIORITY: "a job of a higher priority class needed the place",
    PreemptionReason.NODE_LOST: "a node it ran on was lost",
    PreemptionReason.NODE_DRAINING: "a node it ran on is being drained",
    PreemptionReason.CAPACITY_SHRUNK: "a node came back with less than it needs",
    PreemptionReason.RECONFIGURED: "another configuration serves it better",
}
_PER_REPLICA = (PendingCause.FRAGMENTED, PendingCause.EXCEEDS_NODE)


def why_waiting(reason: PendingReason | None) -> str:
    """The cause, then line by line what is missing where: `needs 4 more GPUs on a100`."""
    if reason is None:
        return "no round has looked at it yet"
    return "\n".join([_CAUSES[reason.cause], *missing(reason)])


def missing(reason: PendingReason) -> list[str]:
    """One line per flavor."""
    by_flavor: dict[str, list[Shortage]] = {}
    for shortage in reason.shortages:
        by_flavor.setdefault(shortage.flavor, []).append(shortage)
    if reason.cause in _PER_REPLICA:
        return [
            f"a replica lacks {_joined(_lacking(s) for s in shortages)} on the {flavor} node that comes closest"
            for flavor, shortages in by_flavor.items()
        ]
    return [f"needs {_joined(_lacking(s) for s in shortages)} on {flavor}" for flavor, shortages in by_flavor.items()]


def why_briefly(job: Job) -> str:
    """For a table: where it runs, why it waits, or how it ended."""
    if job.allocation is not None:
        return place(job.allocation)
    if job.state is JobState.PENDING:
        if job.pending_reason is None:
            return "not looked at yet"
        brief = _SHORT_CAUSES[job.pending_reason.cause]
        return f"{brief}: {_nearest(job, job.pending_reason)}" if job.pending_reason.shortages else brief
    return job.message


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
    return f"{_joined(map(_lacking, by_flavor[nearest]))} on {nearest}{more}"


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


def place(allocation: Allocation) -> str:
    """`2 on n1, 1 on n2`; the node alone when there is one replica."""
    counts: dict[str, int] = {}
    for replica in allocation.placement.replicas:
        counts[replica.node] = counts.get(replica.node, 0) + 1
    if len(allocation.placement.replicas) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} on {node}" for node, count in sorted(counts.items()))


def replicas_by_node(allocation: Allocation) -> list[str]:
    """One line per node: `n1: replicas 0-3 on GPUs 0-3`."""
    lines = []
    nodes: dict[str, list[int]] = {}
    for number, replica in enumerate(allocation.placement.replicas):
        nodes.setdefault(replica.node, []).append(number)
    for node, numbers in sorted(nodes.items()):
        gpus = sorted({gpu for number in numbers for gpu in allocation.placement.replicas[number].gpus})
        on = f", GPU{'s' if len(gpus) > 1 else ''} {ranges(gpus)}" if gpus else ""
        lines.append(f"{node}: replica{'s' if len(numbers) > 1 else ''} {ranges(numbers)}{on}")
    return lines


def demand(amounts: Resources) -> str:
    """What a replica asks for: `8 cores, 1 GPU, 32 GiB memory`."""
    return ", ".join(amount(name, value) for name, value in amounts.items()) or "nothing"


def amount(resource: str, value: int) -> str:
    """`1 GPU`, `8 cores`, `32 GiB memory`, `1.25 GB/s bandwidth`, `2 license`."""
    unit, size = display_unit(resource)
    if resource in ("cpu", "gpu"):
        return f"{format_amount(resource, value)} {unit[:-1] if value <= size else unit}"
    if unit == "units":
        return f"{value} {resource}"
    return f"{approximate(resource, value)} {unit} {resource}"


def asks(job: Job) -> str:
    """The gang in a few words: `4 × (8 cores, 1 GPU)`, of the configuration it runs in, else of the fastest."""
    if job.allocation is not None:
        configuration = job.spec.configurations[job.allocation.placement.configuration]
    else:
        configuration = max(job.spec.configurations, key=job.throughput)
    wanted = _brief(configuration.demand)
    return f"{configuration.replicas} × {wanted}" if configuration.replicas > 1 else wanted


def constraints(wanted: Constraints) -> list[str]:
    """One line per demand on the place: `only nodes with zone=a or zone=b`, `at most 2 of its replicas per rack`."""
    lines = []
    for rule in wanted.nodes:
        labels = " or ".join(f"{rule.key}={value}" for value in rule.values) or rule.key
        lines.append(f"only nodes {'without' if rule.negated else 'with'} {labels}")
    for limit in wanted.at_most:
        whose = f"replicas of jobs with {labelled(limit.of)}" if limit.of else "of its replicas"
        count = f"at most {limit.replicas}" if limit.replicas else "no"
        lines.append(f"{count} {whose} per {limit.per}")
    lines += [f"each replica {_in_a(near.per)} where a job with {labelled(near.of)} runs" for near in wanted.near]
    if wanted.within:
        lines.append(f"all replicas in one {wanted.within}")
    lines += [f"tolerates {key}={value}" if value else f"tolerates {key}" for key, value in wanted.tolerations]
    return lines


def _in_a(per: str) -> str:
    return "on a node" if per == NODE_DOMAIN else f"in a {per}"


def labelled(pairs: Labels) -> str:
    """`app=web, tier=1`; a key alone where there is no value."""
    return ", ".join(f"{key}={value}" if value else key for key, value in pairs)


def price_of(configuration: Configuration, prices: Mapping[tuple[str, str], float]) -> float:
    """What the whole gang costs at `prices` (by flavor and resource, per display unit), in units of the objective."""
    return sum(
        value / display_unit(resource)[1] * prices.get((configuration.flavor, resource), 0.0)
        for resource, value in configuration.total_demand.items()
    )


def weight(value: float) -> str:
    """A weight, to six digits: short, however large.

    >>> weight(2.0), weight(1 / 3), weight(1e300)
    ('2', '0.333333', '1e+300')
    """
    return f"{value:g}"


def percent(fraction: float) -> str:
    """`12.3 %`; two digits below one percent, and what is next to nothing is told as such."""
    value = 100 * fraction
    if abs(value) < 1e-5:
        return "0 %"
    if abs(value) < 0.01:
        return "<0.01 %" if value > 0 else ">-0.01 %"
    return f"{value:.1f} %" if abs(value) >= 1 else f"{significant(value, 2)} %"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers, runs joined: `0-3,5`.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _lacking(shortage: Shortage) -> str:
    unit, size = display_unit(shortage.resource)
    if shortage.resource in ("cpu", "gpu"):
        name = unit[:-1] if shortage.missing <= size else unit
        return f"{format_amount(shortage.resource, shortage.missing)} more {name}"
    if unit == "units":
        return f"{shortage.missing} more {shortage.resource}"
    return f"{approximate(shortage.resource, shortage.missing)} {unit} more {shortage.resource}"


def _brief(amounts: Resources) -> str:
    shown = [amount(name, value) for name, value in amounts.items() if name in ("cpu", "gpu")]
    return ", ".join(shown) or demand(amounts)


def _joined(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
