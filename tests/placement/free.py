"""Free space by exhaustive search in plain Python: slow, obvious, and independent of the packing that it judges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from allocator.domain.job import Configuration
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.snapshot import Snapshot


@dataclass(frozen=True)
class Free:
    """What is left on one open node: amounts without GPUs, and milli-GPUs per device."""

    flavor: str
    amounts: dict[str, int]
    devices: tuple[int, ...]

    def amount(self, resource: str) -> int:
        return sum(self.devices) if resource == "gpu" else self.amounts.get(resource, 0)

    def after_one(self, configuration: Configuration) -> Iterator[Free]:
        """Every state that one more replica can lead to; none when it does not fit."""
        demand = configuration.demand
        left = dict(self.amounts)
        for resource, amount in demand.items():
            if resource != "gpu":
                left[resource] = left.get(resource, 0) - amount
        if any(amount < 0 for amount in left.values()):
            return
        each = min(demand.gpu_millis, GPU_MILLIS)
        number = -(-demand.gpu_millis // GPU_MILLIS)
        able = [i for i, millis in enumerate(self.devices) if each and millis >= each]
        for chosen in combinations(able, number):
            devices = tuple(millis - each * (i in chosen) for i, millis in enumerate(self.devices))
            yield Free(self.flavor, left, devices)

    def most_replicas(self, configuration: Configuration) -> int:
        """How many replicas fit at most, over all choices of devices."""
        return max((1 + rest.most_replicas(configuration) for rest in self.after_one(configuration)), default=0)


def free_by_node(world: Snapshot) -> dict[str, Free]:
    """What running jobs leave on each node that takes new work."""
    free = {}
    for node in world.nodes:
        if not node.takes_new_work:
            continue
        amounts = {resource: amount for resource, amount in node.capacity.items() if resource != "gpu"}
        devices = [GPU_MILLIS] * node.gpu_count
        for job in world.jobs:
            if job.allocation is None:
                continue
            demand = job.spec.configurations[job.allocation.placement.configuration].demand
            for replica in job.allocation.placement.replicas:
                if replica.node != node.name:
                    continue
                for resource, amount in demand.items():
                    if resource != "gpu":
                        amounts[resource] -= amount
                for device in replica.gpus:
                    devices[device] -= min(demand.gpu_millis, GPU_MILLIS)
        free[node.name] = Free(node.flavor, amounts, tuple(devices))
    return free


def fits_anyhow(free: dict[str, Free], configuration: Configuration) -> bool:
    """Whether the whole gang fits on nodes of its flavor, over all ways to do it."""
    able = (node for node in free.values() if node.flavor == configuration.flavor)
    return sum(node.most_replicas(configuration) for node in able) >= configuration.replicas
