"""The nodes of a snapshot as arrays, in order of (flavor, name): what formulation and placement compute with.

Made once for as long as the snapshot's tuple of nodes is the same object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, resource_names

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

ORDINARY, CORDONED, DRAINING, LOST = 0, 1, 2, 3
"""What a node means for those who run on it; a node that is gone counts as lost."""

_CONDITION = {
    NodeAvailability.OPEN: ORDINARY,
    NodeAvailability.CORDONED: CORDONED,
    NodeAvailability.DRAINING: DRAINING,
}


@dataclass(frozen=True, slots=True, eq=False)
class NodeArrays:
    """N nodes, R resources other than GPUs, at most G GPUs on a node, F flavors. Not to be changed."""

    nodes: tuple[Node, ...]
    """In order of (flavor, name)."""
    names: NDArray[np.object_]
    """(N,)"""
    index: Mapping[str, int]
    """By name, the position here."""
    flavors: tuple[str, ...]
    flavor: Integers
    """(N,) index into `flavors`, ascending."""
    flavor_starts: Integers
    """(F + 1,): the nodes of flavor f are flavor_starts[f] : flavor_starts[f + 1]."""
    resources: tuple[str, ...]
    """Names of the columns of `capacity`: all that any node has, but GPUs."""
    capacity: Integers
    """(N, R) in integer units."""
    devices: Integers
    """(N, G) milli-GPUs of each device, 0 where the node has fewer."""
    gpu_count: Integers
    """(N,)"""
    condition: Integers
    """(N,) ORDINARY, CORDONED, DRAINING or LOST."""
    troubled: Booleans
    """(N,) CORDONED nodes that the operator wants open: their engines can begin nothing."""
    labelled: Booleans
    """(N,) whether the node has labels or taints at all."""
    able: Mapping[EngineCapability, Booleans]
    """(N,) of each capability, whether the node's engine has it; only of those that some engine lacks."""

    @property
    def takes_new_work(self) -> Booleans:
        """(N,)"""
        ordinary: Booleans = self.condition == ORDINARY
        return ordinary

    def find(self, name: str) -> Node | None:
        """The node of this name, if there is one."""
        position = self.index.get(name)
        return None if position is None else self.nodes[position]

    def domains(self, label: str) -> Integers:
        """(N,) which domain of `label` each node is in, from 0; "node", or no such label: one of its own."""
        if label == "node":
            return np.arange(len(self.nodes), dtype=np.int64)
        number: dict[tuple[str, str], int] = {}
        return np.array([number.setdefault(_domain(node, label), len(number)) for node in self.nodes], dtype=np.int64)


def _domain(node: Node, label: str) -> tuple[str, str]:
    value = dict(node.labels).get(label)
    return ("node", node.name) if value is None else ("label", value)


@remembered
def node_arrays(nodes: tuple[Node, ...]) -> NodeArrays:
    """The nodes as arrays; the same object for as long as `nodes` is."""
    ordered = tuple(sorted(nodes, key=lambda node: (node.flavor, node.name)))
    flavors = tuple(sorted({node.flavor for node in nodes}))
    number = {name: position for position, name in enumerate(flavors)}
    flavor = np.array([number[node.flavor] for node in ordered], dtype=np.int64)
    sizes = list({node.capacity for node in ordered})
    resources = tuple(name for name in resource_names(sizes) if name != "gpu")
    rows = {size: [size.get(name) for name in resources] for size in sizes}
    gpu_count = np.array([node.gpu_count for node in ordered], dtype=np.int64)
    there = np.arange(int(gpu_count.max(initial=0)))[None, :] < gpu_count[:, None]
    names = np.empty(len(ordered), dtype=np.object_)
    names[:] = [node.name for node in ordered]
    return NodeArrays(
        nodes=ordered,
        names=names,
        index={node.name: position for position, node in enumerate(ordered)},
        flavors=flavors,
        flavor=flavor,
        flavor_starts=np.searchsorted(flavor, np.arange(len(flavors) + 1)).astype(np.int64),
        resources=resources,
        capacity=np.array([rows[node.capacity] for node in ordered], dtype=np.int64).reshape(
            len(ordered), len(resources)
        ),
        devices=np.where(there, GPU_MILLIS, 0).astype(np.int64),
        gpu_count=gpu_count,
        condition=np.array([_condition(node) for node in ordered], dtype=np.int64),
        troubled=np.array([_condition(node) == CORDONED and _is_open(node) for node in ordered], dtype=np.bool_),
        labelled=np.array([bool(node.labels or node.taints) for node in ordered], dtype=np.bool_),
        able=_able(ordered),
    )


def _condition(node: Node) -> int:
    if node.health is NodeHealth.LOST:
        return LOST
    return max(_CONDITION[node.availability], CORDONED if node.trouble else ORDINARY)


def _is_open(node: Node) -> bool:
    return node.availability is NodeAvailability.OPEN


def _able(nodes: tuple[Node, ...]) -> Mapping[EngineCapability, Booleans]:
    if all(node.capabilities is None for node in nodes):
        return {}
    able = {each: np.array([node.can(each) for node in nodes], dtype=np.bool_) for each in EngineCapability}
    return {each: there for each, there in able.items() if not there.all()}
