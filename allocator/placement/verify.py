"""Whether placements are possible at all: checks that trust nobody, not even this package's own packing.

Plain domain types in, sentences out; used when a plan is committed and after every round of a replay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.placement import WHOLE, Placement, ReplicaPlacement, held
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.placement.verify_constraints import label_violations, own_violations


class NodeUsage:
    """What is held on one node; replicas can be added and removed. Amounts in integer units, devices in milli-GPUs."""

    __slots__ = ("_bandwidth", "_cpu", "_disk", "_extra", "_gpu", "_memory", "devices")

    def __init__(self) -> None:
        self._cpu = self._gpu = self._memory = self._bandwidth = self._disk = 0
        self._extra: dict[str, int] = {}
        self.devices: dict[int, int] = {}

    def copy(self) -> NodeUsage:
        """Another one that holds the same."""
        other = NodeUsage()
        other._cpu, other._gpu, other._memory = self._cpu, self._gpu, self._memory
        other._bandwidth, other._disk = self._bandwidth, self._disk
        other._extra, other.devices = self._extra.copy(), self.devices.copy()
        return other

    def add(self, demand: Resources, gpus: tuple[int, ...], count: int = 1) -> None:
        """`count` replicas with this demand; each device in `gpus` gives its part to one of them."""
        self._cpu += demand.cpu_millicores * count
        self._gpu += demand.gpu_millis * count
        self._memory += demand.memory_bytes * count
        self._bandwidth += demand.bandwidth_bytes_per_second * count
        self._disk += demand.disk_bytes * count
        for name, amount in demand.extra:
            self._extra[name] = self._extra.get(name, 0) + amount * count
        if gpus:
            millis = min(demand.gpu_millis, GPU_MILLIS) * (1 if count > 0 else -1)
            for device in gpus:
                self.devices[device] = self.devices.get(device, 0) + millis

    def remove(self, demand: Resources, gpus: tuple[int, ...], count: int = 1) -> None:
        """Undo `add`."""
        self.add(demand, gpus, -count)

    @property
    def amounts(self) -> dict[str, int]:
        """By resource name, what all replicas here need together; no zeros."""
        named = (("cpu", self._cpu), ("gpu", self._gpu), ("memory", self._memory), ("bandwidth", self._bandwidth),
                 ("disk", self._disk))  # fmt: skip
        return {name: amount for name, amount in (*named, *self._extra.items()) if amount}

    def fits(self, node: Node, floating: Collection[str] = ()) -> bool:
        """Whether there are no `violations`, in a tenth of the time."""
        capacity = node.capacity
        return (
            self._cpu <= capacity.cpu_millicores
            and self._gpu <= capacity.gpu_millis
            and self._memory <= capacity.memory_bytes
            and self._bandwidth <= capacity.bandwidth_bytes_per_second
            and self._disk <= capacity.disk_bytes
            and (not self._extra or self._extras_fit(capacity, floating))
            and (not self.devices or self._devices_fit(node.gpu_count))
        )

    def _extras_fit(self, capacity: Resources, floating: Collection[str]) -> bool:
        return all(amount <= capacity.get(name) or name in floating for name, amount in self._extra.items())

    def _devices_fit(self, count: int) -> bool:
        return all(
            millis <= GPU_MILLIS and (0 <= device < count or not millis) for device, millis in self.devices.items()
        )

    def violations(self, node: Node, floating: Collection[str] = ()) -> list[str]:
        """In what way this is more than `node` has; empty when it fits. `floating` resources belong to no node."""
        if self.fits(node, floating):
            return []
        found = []
        for name, amount in self.amounts.items():
            capacity = node.capacity.get(name)
            if amount > capacity and name not in floating:
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
        placement = job.allocation.placement
        demand = held(job.spec.configurations[placement.configuration].demand, placement.millis)
        for node, (count, gpus) in replicas_by_node(job.allocation.standing).items():
            used = usage.get(node)
            if used is None:
                used = usage[node] = NodeUsage()
            used.add(demand, gpus, count)
    return usage


def violations(nodes: Iterable[Node], jobs: Iterable[Job], floating: Collection[str] = ()) -> list[str]:
    """Everything impossible about where `jobs` run on `nodes`: first by node, then by job; empty when all is well.

    Checked: no node gives more of any resource than it has, no device more than a whole, whole GPUs belong to one
    replica; every gang is complete, on existing nodes of its configuration's flavor, and each replica holds as many
    devices as it needs; parts of a demand are held by divisible jobs only; limits and `within` are kept. Node rules and
    taints are not checked: they are about starting, and a node's labels may have changed since (`verify_constraints`).
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
            found += usage[name].violations(by_name[name], floating)
    for job in running:
        assert job.allocation is not None
        found += _gang_violations(job, job.allocation.placement, job.allocation.finished, by_name)
        broken = own_violations(job.spec.constraints, job.allocation.standing, by_name)
        found += [f"job {job.id}: {what}" for what in broken]
    return found + label_violations(by_name, running)


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
    wrong_part = part_violation(job, placement)
    if wrong_part is not None:
        found.append(f"job {job.id}: {wrong_part}")
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


def part_violation(job: Job, placement: Placement) -> str | None:
    """Why the job cannot hold that part of its demand; None if it can."""
    if placement.millis == WHOLE or (job.spec.divisible and 1 <= placement.millis < WHOLE):
        return None
    if job.spec.divisible:
        return f"it holds {placement.millis} thousandths of its demand: from 1 to {WHOLE} would be right"
    return f"it holds {placement.millis} thousandths of its demand, but is not divisible"


def _devices_needed(configuration: Configuration) -> int:
    return -(-configuration.demand.gpu_millis // GPU_MILLIS)
