"""Nodes of Kubernetes as nodes of ours. What others' pods ask for there is not there for us. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from allocator.domain.bounds import name_violations
from allocator.domain.cluster import Node, NodeAvailability, label_violations
from allocator.domain.resources import NOTHING, Resources
from allocator.kubernetes.observed import GPU, KubeNode, KubePod
from allocator.kubernetes.quantity import amount

ENGINE_LABEL = "engine"
BANDWIDTH_LABEL = "allocator/bandwidth"
"""Of a node: bytes per second as a quantity (3G), which Kubernetes itself does not know."""
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._\-]+")


@dataclass(frozen=True, slots=True)
class Kinds:
    """How a site's nodes are told apart. `gpu`: the resource that counts GPUs; `label` names their model."""

    gpu: str = GPU
    label: str = "nvidia.com/gpu.product"

    def flavor_of(self, node: KubeNode) -> str:
        """The GPU model in lower case, gpu where nobody says, or cpu."""
        if not node.allocatable.gpu_millis:
            return "cpu"
        said = _NOT_IN_NAMES.sub("-", dict(node.labels).get(self.label, "").lower()).strip("-._")
        return said if said and not name_violations("flavor", said) else "gpu"


def foreign_use(pods: Iterable[KubePod]) -> Mapping[str, Resources]:
    """By node, what pods that are not ours ask for; those that have ended ask for nothing any more."""
    found: dict[str, Resources] = {}
    for pod in pods:
        if pod.node and not pod.is_ours and not pod.has_ended:
            found[pod.node] = found.get(pod.node, NOTHING) + pod.asks
    return found


def node_of(node: KubeNode, foreign: Resources, kinds: Kinds) -> Node:
    """`foreign`: what others use of it."""
    left = node.allocatable - foreign
    free = Resources.of({name: max(0, many) for name, many in left.items()})
    labels = {key: value for key, value in node.labels if not label_violations(((key, value),))}
    labels[ENGINE_LABEL] = "kubernetes"
    speed = math.floor(amount(labels.get(BANDWIDTH_LABEL, 0)))
    capacity = replace(
        free, memory_bytes=max(1, free.memory_bytes), bandwidth_bytes_per_second=max(0, speed)
    )  # a node with nothing left is a node all the same
    return Node(node.name, kinds.flavor_of(node), capacity, tuple(sorted(labels.items())))


def availability_of(node: KubeNode, tolerated: Iterable[tuple[str, str, str]], *, strands: bool) -> NodeAvailability:
    """`tolerated`: (key, value, effect) with "" for any. `strands`: pods of ours are kept out of it; who is closed and
    does that is being emptied.
    """
    tolerated = tuple(tolerated)
    closed = node.is_cordoned or not all(_tolerates(taint, tolerated) for taint in node.taints)
    if not closed:
        return NodeAvailability.OPEN
    return NodeAvailability.DRAINING if strands else NodeAvailability.CORDONED


def _tolerates(taint: tuple[str, str, str], tolerated: Iterable[tuple[str, str, str]]) -> bool:
    return any(
        key in ("", taint[0]) and value in ("", taint[1]) and effect in ("", taint[2])
        for key, value, effect in tolerated
    )
