"""Whether jobs that went on through a commit are still what the engines of their nodes can make of them. Trusts nobody.

It looks at nothing but what there was and what there is: a job that has not started anew since holds what it held, on
nodes whose engine cannot change that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from allocator.domain.cluster import EngineCapability, Node
from allocator.domain.job import Job
from allocator.domain.placement import Allocation
from allocator.domain.resources import Resources

Able = dict[str, Collection[EngineCapability]]
"""By node, what its engine can do."""


def _in_parts(job: Job, new: Allocation, old: Allocation | None, able: Able) -> Iterator[str]:
    """Replicas that came to where cores and GPUs are given whole, although they have a part of one."""
    placement = new.placement
    stay = (
        set() if old is None or old.start_epoch != new.start_epoch else {each.node for each in old.placement.replicas}
    )
    demand = job.spec.configurations[placement.configuration].demand
    for amount, needed in (
        (-(-demand.cpu_millicores * placement.millis // 1000), EngineCapability.SPLIT_CORES),
        (demand.gpu_millis, EngineCapability.SPLIT_GPUS),
    ):
        for name in sorted({each.node for each in placement.replicas} - stay):
            if amount % 1000 and needed not in able.get(name, tuple(EngineCapability)):
                yield f"job {job.id} has {amount} thousandths on {name}, and needs {needed.value}"


def gives(node: Node, demand: Resources) -> bool:
    """Whether a replica may come there, as far as parts of cores and GPUs go."""
    can: Collection[EngineCapability] = tuple(EngineCapability) if node.capabilities is None else node.capabilities
    whole_cores, whole_gpus = demand.cpu_millicores % 1000 == 0, demand.gpu_millis % 1000 == 0
    return (whole_cores or EngineCapability.SPLIT_CORES in can) and (whole_gpus or EngineCapability.SPLIT_GPUS in can)


def beyond_engines(nodes: Iterable[Node], before: Iterable[Job], after: Iterable[Job]) -> Iterator[str]:
    """`nodes` as they were when it was committed."""
    everything: Collection[EngineCapability] = tuple(EngineCapability)
    able = {node.name: everything if node.capabilities is None else node.capabilities for node in nodes}
    earlier = {job.id: job.allocation for job in before}
    for job in after:
        old, new = earlier.get(job.id), job.allocation
        if new is not None and (old is None or old.epoch != new.epoch):
            yield from _in_parts(job, new, old, able)
        if old is None or new is None or old.start_epoch != new.start_epoch:
            continue
        there = {replica.node for replica in (*old.placement.replicas, *new.placement.replicas)}
        can = set.intersection(*(set(able.get(name, tuple(EngineCapability))) for name in there))
        if len(old.placement.replicas) != len(new.placement.replicas) and EngineCapability.CHANGE_REPLICAS not in can:
            yield f"job {job.id} changed its size on {sorted(there)}"
        if old.placement.millis != new.placement.millis:
            demand = job.spec.configurations[new.placement.configuration].demand
            if demand.cpu_millicores and EngineCapability.RESIZE_CPU not in can:
                yield f"job {job.id} changed its CPU on {sorted(there)}"
            if demand.bandwidth_bytes_per_second and EngineCapability.LIMIT_BANDWIDTH not in can:
                yield f"job {job.id} changed its bandwidth on {sorted(there)}"
