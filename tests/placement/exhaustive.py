"""What placement claims, recomputed without it: free space, whether a gang fits, and why it does not, by exhaustion.

Slow, obvious and independent of the packing that it judges; for clusters of a few small nodes.
"""

from __future__ import annotations

from collections.abc import Iterable

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.placement import held
from allocator.domain.resources import GPU_MILLIS
from tests.placement.free import Free

FreeByNode = dict[str, Free]


def free_on(nodes: Iterable[Node], jobs: Iterable[Job], *, closed: bool = False) -> FreeByNode:
    """What running jobs leave on each node that takes new work (`closed`: on every node). Finished replicas hold
    nothing.
    """
    running = [job for job in jobs if job.allocation is not None]
    return {node.name: _left(node, running) for node in nodes if closed or node.takes_new_work}


def empty(nodes: Iterable[Node]) -> FreeByNode:
    """The same nodes with nothing on them."""
    return free_on(nodes, ())


def _left(node: Node, running: Iterable[Job]) -> Free:
    amounts = {resource: amount for resource, amount in node.capacity.items() if resource != "gpu"}
    devices = [GPU_MILLIS] * node.gpu_count
    for job in running:
        assert job.allocation is not None
        placement = job.allocation.placement
        demand = held(job.spec.configurations[placement.configuration].demand, placement.millis)
        for replica in job.allocation.standing:
            if replica.node != node.name:
                continue
            for resource, amount in demand.items():
                if resource != "gpu":
                    amounts[resource] = amounts.get(resource, 0) - amount
            for device in replica.gpus:
                if device < len(devices):
                    devices[device] -= min(demand.gpu_millis, GPU_MILLIS)
    return Free(node.flavor, amounts, tuple(devices))


def fits(free: FreeByNode, way: Configuration) -> bool:
    """Whether the whole gang fits on nodes of its flavor, over all ways to choose nodes and devices."""
    able = (node for node in free.values() if node.flavor == way.flavor)
    return sum(most_replicas(node, way) for node in able) >= way.replicas


def most_replicas(node: Free, way: Configuration) -> int:
    """How many replicas, at most the gang, one node takes."""
    return fullest(node, way)[0]


def fill(free: FreeByNode, configuration: Configuration) -> None:
    """Take a place for the gang, the first one there is."""
    missing = configuration.replicas
    for name in free:
        while missing and free[name].flavor == configuration.flavor:
            left = next(free[name].after_one(configuration), None)
            if left is None:
                break
            free[name] = left
            missing -= 1
    assert not missing


def fitting(free: FreeByNode, ways: Iterable[Configuration]) -> list[Configuration]:
    """Those that can run and whose gang fits."""
    return [way for way in ways if way.throughput > 0 and fits(free, way)]


def missing_in_total(free: FreeByNode, way: Configuration) -> dict[str, int]:
    """What the gang lacks of what is free on its flavor, node boundaries aside."""
    there = [node for node in free.values() if node.flavor == way.flavor]
    wanted = way.total_demand.items()
    lacking = {resource: amount - sum(node.amount(resource) for node in there) for resource, amount in wanted}
    return {resource: amount for resource, amount in lacking.items() if amount > 0}


def missing_on_node(node: Free, way: Configuration) -> dict[str, int]:
    """The least of each resource that one more replica lacks on the node, after as many replicas as fit at most.

    Of a part of a GPU: on the device with the most left, over all ways to choose devices for the others.
    """
    found: list[dict[str, int]] = []
    for full in fullest(node, way)[1]:
        lacking = {
            resource: amount - full.amounts.get(resource, 0)
            for resource, amount in way.demand.items()
            if resource != "gpu"
        }
        lacking["gpu"] = _gpu_lacking(full, way.demand.gpu_millis)
        found.append({resource: amount for resource, amount in lacking.items() if amount > 0})
    return min(found, key=lambda lacking: distance(lacking, way))


def distance(lacking: dict[str, int], way: Configuration) -> float:
    """How far away: the sum over resources of what is missing relative to what one replica asks for."""
    return sum(amount / way.demand.get(resource) for resource, amount in lacking.items())


def fullest(node: Free, way: Configuration) -> tuple[int, list[Free]]:
    """(how many replicas fit at most, every state that so many can lead to); devices in any order are one state."""
    states = [node]
    for count in range(way.replicas):
        following = {tuple(sorted(rest.devices)): rest for state in states for rest in state.after_one(way)}
        if not following:
            return count, states
        states = list(following.values())
    return way.replicas, states


def _gpu_lacking(node: Free, wanted: int) -> int:
    """Milli-GPUs: whole devices that are missing, or the rest of the best device."""
    if wanted >= GPU_MILLIS:
        whole = sum(left == GPU_MILLIS for left in node.devices)
        return max(0, wanted - whole * GPU_MILLIS)
    return max(0, wanted - max(node.devices, default=0))
