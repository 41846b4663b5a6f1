"""Whether placements are possible at all: checks that trust nobody, not even this package's own packing.

Plain domain types in, sentences out; used when a plan is committed and after every round of a replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.resources import GPU_MILLIS, Resources


class NodeUsage:
    """What is held on one node; replicas can be added and removed. Amounts in integer units, devices in milli-GPUs."""

    __slots__ = ("_demands", "devices")

    def __init__(self) -> None:
        self._demands: dict[Resources, int] = {}
        self.devices: dict[int, int] = {}

    def add(self, demand: Resources, gpus: tuple[int, ...], count: int = 1) -> None:
        """`count` replicas with this demand; each device in `gpus` gives its part to one of them."""
        held = self._demands.get(demand, 0) + count
        if held:
            self._demands[demand] = held
        else:
            del self._demands[demand]
        millis = min(demand.gpu_millis, GPU_MILLIS) * (1 if count > 0 else -1)
        for device in gpus:
            self.devices[device] = self.devices.get(device, 0) + millis

    def remove(self, demand: Resources, gpus: tuple[int, ...], count: int = 1) -> None:
        """Undo `add`."""
        self.add(demand, gpus, -count)

    @property
    def amounts(self) -> dict[str, int]:
        """By resource name, what all replicas here need together; no zeros."""
        held: dict[str, int] = {}
        for demand, count in self._demands.items():
            for name, amount in demand.items():
                held[name] = held.get(name, 0) + amount * count
        return held

    def violations(self, node: Node) -> list[str]:
        """In what way this is more than `node` has; empty when it fits."""
        found = []
        for name, amount in self.amounts.items():
            capacity = node.capacity.get(name)
            if amount > capacity:
                found.append(f"node {node.name}: {amount} of {name} is used, capacity is {capacity}")
        for device, millis in sorted(self.devices.items()):
            if millis and not 0 <= device < node.gpu_count:
                found.append(f"node {node.name}: GPU {device} is used, but it has {node.gpu_count} GPUs")
            elif millis > GPU_MILLIS:
                found.append(f"node {node.name}: GPU {device} is used at {millis} of {GPU_MILLIS}")
        return found


def usage_by_node(jobs: Iterable[Job]) -> dict[str, NodeUsage]:
    """What running jobs hold, by node name. A finished replica holds nothing."""
    usage: dict[str, NodeUsage] = {}
    for job in jobs:
        if job.allocation is None:
            continue
        demand = job.spec.configurations[job.allocation.placement.configuration].demand
        for node, (count, gpus) in replicas_by_node(job.allocation.standing).items():
            held = usage.get(node)
            if held is None:
                held = usage[node] = NodeUsage()
            held.add(demand, gpus, count)
    return usage


def violations(nodes: Iterable[Node], jobs: Iterable[Job]) -> list[str]:
    """Everything impossible about where `jobs` run on `nodes`: first by node, then by job; empty when all is well.

    Checked: no node gives more of any resource than it has, no device more than a whole, whole GPUs belong to one
    replica; every gang is complete, on existing nodes of its configuration's flavor, and each replica holds as many
    devices as it needs.
    """
    by_name = {node.name: node for node in nodes}
    found: list[str] = []
    running = []
    for job in jobs:
        if job.allocation is None:
            continue
        if 0 <= job.allocation.placement.configuration < len(job.spec.configurations):
            running.append(job)
        else:
            found.append(f"job {job.id}: configuration {job.allocation.placement.configuration} does not exist")
    usage = usage_by_node(running)
    for name in sorted(usage):
        if name in by_name:
            found += usage[name].violations(by_name[name])
    for job in running:
        assert job.allocation is not None
        found += _gang_violations(job, job.allocation.placement, job.allocation.finished, by_name)
    return found


def replicas_by_node(replicas: Iterable[ReplicaPlacement]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Node name to (replicas there, all their devices)."""
    devices: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    for replica in replicas:
        counts[replica.node] = counts.get(replica.node, 0) + 1
        devices.setdefault(replica.node, []).extend(replica.gpus)
    return {node: (count, tuple(devices[node])) for node, count in counts.items()}


def _gang_violations(job: Job, placement: Placement, finished: frozenset[int], nodes: Mapping[str, Node]) -> list[str]:
    configuration = job.spec.configurations[placement.configuration]
    found = []
    if len(placement.replicas) != configuration.replicas:
        found.append(f"job {job.id}: {len(placement.replicas)} of {configuration.replicas} replicas are placed")
    devices = _devices_needed(configuration)
    for index, replica in enumerate(placement.replicas):
        node = nodes.get(replica.node)
        if node is None:
            if index not in finished:
                found.append(f"job {job.id}: replica {index} is on node {replica.node}, which does not exist")
        elif node.flavor != configuration.flavor and index not in finished:
            found.append(
                f"job {job.id}: replica {index} needs flavor {configuration.flavor}, "
                f"node {replica.node} has {node.flavor}"
            )
        if len(replica.gpus) != devices or len(set(replica.gpus)) != devices:
            found.append(f"job {job.id}: replica {index} needs {devices} GPU devices, holds {replica.gpus}")
    return found


def _devices_needed(configuration: Configuration) -> int:
    return -(-configuration.demand.gpu_millis // GPU_MILLIS)
