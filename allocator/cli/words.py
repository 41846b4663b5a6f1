"""Facts said in words and in human units: what a job asks for, where it may run and where it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allocator.cli.quantities import approximate, format_amount, significant
from allocator.domain.cluster import NODE_DOMAIN, EngineCapability, Labels
from allocator.domain.constraints import Constraints
from allocator.domain.job import Configuration, Job
from allocator.domain.placement import WHOLE, Allocation
from allocator.domain.queue import Discipline, Queue
from allocator.domain.resources import Resources, display_unit

CAPABILITIES = {
    EngineCapability.RESIZE_CPU: "CPU of what runs can change",
    EngineCapability.RESIZE_GPU: "GPUs of what runs can change",
    EngineCapability.CHANGE_REPLICAS: "gangs can grow and shrink while they run",
    EngineCapability.SUSPEND: "what runs can be halted, and go on later",
    EngineCapability.LIMIT_BANDWIDTH: "bandwidth is kept to, and can change while something runs",
    EngineCapability.SPLIT_CORES: "a replica may have a part of a core",
    EngineCapability.SPLIT_GPUS: "a replica may have a part of a GPU",
    EngineCapability.PLACE_REPLICAS: "each node of a gang is given as many of its replicas as decided",
}
LACKING = {
    EngineCapability.RESIZE_CPU: "its part of its demand: an engine there cannot change the CPU of what runs",
    EngineCapability.CHANGE_REPLICAS: "its number of replicas: an engine there cannot change that of a job that runs",
    EngineCapability.LIMIT_BANDWIDTH: "its part of its demand: an engine there does not keep what runs to a bandwidth",
    EngineCapability.SPLIT_CORES: "all of its demand: an engine there gives whole cores only",
}
"""What a job keeps because an engine cannot do this."""
FLOATING = "(floating)"
"""Instead of a flavor: the resource belongs to no node."""


def place(allocation: Allocation) -> str:
    """`2 on n1, 1 on n2`; the node alone when there is one replica, and the part of its demand if it is not all."""
    counts: dict[str, int] = {}
    for replica in allocation.placement.replicas:
        counts[replica.node] = counts.get(replica.node, 0) + 1
    if len(allocation.placement.replicas) == 1:
        millis = allocation.placement.millis
        return next(iter(counts)) + (f", {percent(millis / WHOLE)} of its demand" if millis != WHOLE else "")
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


def queue(arranged: Queue) -> str:
    """How a queue is arranged, but for its quotas: `weight 2, no bound on jobs, priority 5, first in first out`."""
    parts = [
        f"weight {weight(arranged.weight)}",
        "no bound on jobs" if arranged.max_live_jobs is None else f"at most {arranged.max_live_jobs} jobs",
    ]
    if arranged.priority:
        parts.append(f"priority {arranged.priority}")
    if arranged.discipline is Discipline.FIFO:
        parts.append("first in first out")
    return ", ".join(parts)


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


def _brief(amounts: Resources) -> str:
    shown = [amount(name, value) for name, value in amounts.items() if name in ("cpu", "gpu")]
    return ", ".join(shown) or demand(amounts)


def joined(parts: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
