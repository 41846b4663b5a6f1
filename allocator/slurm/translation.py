"""Nodes of Slurm as nodes of ours. What others use of them is not there for us. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from allocator.domain.cluster import EngineCapability, Node
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.slurm.gangs import Gang
from allocator.slurm.observed import MIB, SlurmNode

CAPABILITIES: frozenset[EngineCapability] = frozenset()
"""A run is one job of Slurm's, which is submitted with its nodes, cores and licences, and keeps them to its end."""
CAPABILITIES_SUSPENDING = CAPABILITIES | {EngineCapability.SUSPEND}
"""Where jobs are suspended that are preempted. Not on nodes with GPUs, which Slurm keeps for a suspended job."""
PARTITION_LABEL, FEATURE_LABEL, ENGINE_LABEL = "slurm/partition", "slurm/feature", "engine"


def flavor_of(node: SlurmNode) -> str:
    """Its GPU models, or cpu."""
    return ".".join(model or "gpu" for model, _ in node.gpus) or "cpu"


def held_by(gangs: Iterable[Gang]) -> Mapping[str, tuple[int, int, int]]:
    """(cores, MiB, GPUs) of each node that our own running jobs use, as Slurm counts them; or may use: where a gang has
    different numbers of replicas on its nodes, Slurm 22.05 may give any of them what the fullest shall have, and nobody
    shall be stopped for that. What is taken to be ours and is not, is felt when it is asked for: then a job waits in
    Slurm.
    """
    found: dict[str, Counter[str]] = {}
    for gang in gangs:
        replicas, demand = Counter(gang.nodes), gang.first.demand
        most = max(replicas.values())
        cores = max(1, demand.cpu_millicores // 1000)
        memory = -(-demand.memory_bytes // MIB)
        for node in replicas:
            counts = found.setdefault(node, Counter())
            counts["cpus"] += most * cores
            counts["memory"] += most * max(1, -(-memory // cores)) * cores
            counts["gpus"] += most * (demand.gpu_millis // GPU_MILLIS)
    return {node: (counts["cpus"], counts["memory"], counts["gpus"]) for node, counts in found.items()}


def node_of(node: SlurmNode, ours: tuple[int, int, int], bandwidth: int = 0, *, suspends: bool = False) -> Node:
    """`ours`: what our own jobs use of it (cores, MiB, GPUs). `bandwidth` in bytes per second, which Slurm does not
    know of nodes. `suspends`: whether we let Slurm suspend jobs.
    """
    foreign_cpus = max(0, node.used_cpus - ours[0])
    foreign_memory = max(0, node.used_memory_mib - ours[1])
    foreign_gpus = max(0, node.used_gpus - ours[2])
    capacity = Resources(
        cpu_millicores=max(0, node.cpus - foreign_cpus) * 1000,
        gpu_millis=max(0, node.gpu_count - foreign_gpus) * GPU_MILLIS,
        memory_bytes=max(1, node.memory_mib - foreign_memory) * MIB,
        bandwidth_bytes_per_second=bandwidth,
    )
    labels = {ENGINE_LABEL: "slurm"}
    labels |= {f"{PARTITION_LABEL}/{name}": "yes" for name in node.partitions}
    labels |= {f"{FEATURE_LABEL}/{name}": "yes" for name in node.features}
    able = CAPABILITIES_SUSPENDING if suspends and not node.gpus else CAPABILITIES
    return Node(node.name, flavor_of(node), capacity, tuple(sorted(labels.items())), capabilities=able)
