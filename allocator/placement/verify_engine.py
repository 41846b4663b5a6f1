"""Whether the engines of nodes can do what is planned with a running job: a check that trusts nobody.

Plain domain types in, sentences out; used when a plan is committed and after every round of a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from allocator.domain.cluster import NEEDED_TO_DIVIDE, EngineCapability, Node, needed_to_start
from allocator.domain.job import Job
from allocator.domain.placement import Placement, held


def beyond_engine(job: Job, old: Placement, new: Placement, find: Callable[[str], Node | None]) -> str | None:
    """Why the running job cannot change from `old` to `new` without a restart, as far as the engines of its nodes are
    concerned; None if it can. Nodes that are gone say nothing.
    """
    if len(old.replicas) != len(new.replicas):
        for name in sorted({*old.nodes, *new.nodes}):
            node = find(name)
            if node is not None and not node.can(EngineCapability.CHANGE_REPLICAS):
                return f"the engine of node {name} cannot change the number of replicas of a job that runs"
    if old.millis != new.millis:
        demand = job.spec.configurations[old.configuration].demand
        for name in new.nodes:
            node = find(name)
            for capability, resource in NEEDED_TO_DIVIDE:
                if node is not None and demand.get(resource) and not node.can(capability):
                    return f"the engine of node {name} cannot change the {resource} of a job that runs"
    return None


def indivisible(
    job: Job, placement: Placement, arriving: Collection[str], find: Callable[[str], Node | None]
) -> str | None:
    """Why engines of nodes to which replicas come, `arriving`, cannot give one what it would hold; None: they can."""
    needs = needed_to_start(held(job.spec.configurations[placement.configuration].demand, placement.millis))
    for name in sorted(arriving) if needs else ():
        node = find(name)
        if node is not None and not all(node.can(each) for each in needs):
            return f"the engine of node {name} gives whole cores or GPUs only"
    return None


def lacking(job: Job, find: Callable[[str], Node | None]) -> tuple[EngineCapability, ...]:
    """What the engines of the nodes it runs on cannot do although the job would let it be done to it; each once."""
    if job.allocation is None:
        return ()
    spec, placement = job.spec, job.allocation.placement
    wanted = [EngineCapability.CHANGE_REPLICAS] if spec.resizable and len(spec.configurations) > 1 else []
    if spec.divisible:
        demand = spec.configurations[placement.configuration].demand
        wanted += [capability for capability, resource in NEEDED_TO_DIVIDE if demand.get(resource)]
    nodes = [node for node in map(find, placement.nodes) if node is not None]
    return tuple(each for each in wanted if not all(node.can(each) for node in nodes))
