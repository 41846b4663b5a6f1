"""A workload on fewer nodes, and quotas for them: how to see scarcity in a trace whose cluster was never full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration
from allocator.domain.quota import Quota
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.workload import Arrival, Workload


def on_every_nth_node(workload: Workload, n: int) -> Workload:
    """Keep the first, the (n+1)th, ... node of each flavor, by name.

    Configurations whose gang no longer fits on the empty cluster are left out; jobs without any are dropped, counted as
    fits_no_node. Quotas keep their part of their flavor, GPUs as whole ones. Noted among the assumptions.
    """
    if n == 1:
        return workload
    kept: dict[str, list[Node]] = {}
    seen: Counter[str] = Counter()
    for node in workload.nodes:
        if seen[node.flavor] % n == 0:
            kept.setdefault(node.flavor, []).append(node)
        seen[node.flavor] += 1
    fits: dict[int, bool] = {}
    ways: dict[int, tuple[Configuration, ...]] = {}
    arrivals = []
    for arrival in workload.arrivals:
        configurations = arrival.spec.configurations
        if id(configurations) not in ways:  # jobs share them, and the workload keeps them alive
            for configuration in configurations:
                fits[id(configuration)] = _gang_fits(configuration, kept.get(configuration.flavor, []))
            ways[id(configurations)] = tuple(each for each in configurations if fits[id(each)])
        if ways[id(configurations)]:
            arrivals.append(_with(arrival, ways[id(configurations)]))
    nodes = tuple(sorted((node for members in kept.values() for node in members), key=lambda node: node.name))
    lost = len(workload.arrivals) - len(arrivals)
    dropped = dict(workload.dropped)
    if lost:
        dropped["fits_no_node"] = dropped.get("fits_no_node", 0) + lost
    note = f"Only every {n}th node of each flavor is there: {len(nodes)} of {len(workload.nodes)}."
    if any(queue.quotas for queue in workload.queues):
        note += " Quotas are scaled likewise."
    part = {flavor: len(members) / seen[flavor] for flavor, members in kept.items()}
    queues = tuple(
        replace(queue, quotas=tuple(scaled(quota, part) for quota in queue.quotas)) for queue in workload.queues
    )
    notes = (*workload.notes, note)
    return replace(workload, nodes=nodes, queues=queues, arrivals=tuple(arrivals), dropped=dropped, notes=notes)


def scaled(quota: Quota, factors: Mapping[str, float]) -> Quota:
    """The quota times the factor of its flavor (1 where there is none), GPUs as whole ones."""
    factor = factors.get(quota.flavor, 1.0)
    unit = GPU_MILLIS if quota.resource == "gpu" else 1

    def of(amount: int) -> int:
        return round(amount * factor / unit) * unit

    return replace(
        quota,
        nominal=of(quota.nominal),
        borrowing_limit=None if quota.borrowing_limit is None else of(quota.borrowing_limit),
        lending_limit=None if quota.lending_limit is None else of(quota.lending_limit),
    )


def _with(arrival: Arrival, configurations: tuple[Configuration, ...]) -> Arrival:
    """The job with these ways to run, and the same work: its run time is now that of the fastest of them."""
    changed = replace(arrival, spec=replace(arrival.spec, configurations=configurations))
    slower = arrival.throughput(arrival.fastest) / changed.throughput(changed.fastest)
    return replace(changed, duration=arrival.duration * slower)


def _gang_fits(configuration: Configuration, nodes: list[Node]) -> bool:
    return sum(_replicas_on(node, configuration.demand) for node in nodes) >= configuration.replicas


def _replicas_on(node: Node, demand: Resources) -> int:
    """How many replicas an empty node takes."""
    room = [node.capacity.get(resource) // amount for resource, amount in demand.items() if resource != "gpu"]
    if demand.gpu_millis > GPU_MILLIS:
        room.append(node.gpu_count // (demand.gpu_millis // GPU_MILLIS))
    elif demand.gpu_millis:
        room.append(node.gpu_count * (GPU_MILLIS // demand.gpu_millis))
    return min(room, default=0)
