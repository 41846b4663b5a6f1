"""How much of what is free is of no use: the part that lies on nodes where a typical replica does not fit.

After Fragmentation Gradient Descent (USENIX ATC 2023), which counts for each kind of task the free amounts on nodes
that cannot take one, and adds the kinds up by how popular they are. Here, of a resource: over the workload's commonest
replica shapes that ask for it, by how much of it is asked for in them altogether, the free amount on ready nodes (of
flavors that the shape accepts) that cannot take one replica, divided by the free amount on ready nodes of those.
0: every node with anything free could take one more of everything; 1: all that is free is useless to this workload.

It depends on the workload and on where things run, not on who waits, so that schedulers can be compared. It is looked
at at up to INSTANTS instants, evenly spaced over the time in which jobs arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.judging.runs import RunLog, amounts_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INSTANTS = 400
SHAPES = 16
_BITS = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """How one replica may run: what it takes on each flavor that it accepts. `replicas` of the workload are like it."""

    ways: tuple[tuple[str, Resources], ...]
    replicas: float


class Popularity:
    """Counts replicas by shape."""

    def __init__(self) -> None:
        self._replicas: dict[tuple[tuple[str, Resources], ...], float] = {}

    def add(self, ways: tuple[tuple[str, Resources], ...], replicas: int) -> None:
        self._replicas[ways] = self._replicas.get(ways, 0.0) + replicas

    def commonest(self) -> tuple[Shape, ...]:
        """At most SHAPES, those of the most replicas first."""
        ranked = sorted(self._replicas.items(), key=lambda each: -each[1])  # stable: equal ones as they came
        return tuple(Shape(ways, count) for ways, count in ranked[:SHAPES])


def fragmentation(
    nodes: Sequence[Node], log: RunLog, shapes: Sequence[Shape], resources: tuple[str, ...], instants: Floats
) -> Floats:
    """(I, R) at `instants` (I,), ascending; NaN where none is free, or where no shape asks for the resource."""
    cluster = _Cluster.of(nodes, shapes, resources)
    found = np.full((len(instants), len(resources)), np.nan)
    if not shapes or not len(instants):
        return found
    weight = np.array([[_largest(shape, name) * shape.replicas for name in resources] for shape in shapes])
    for index, (free, devices, up) in enumerate(_occupancy(cluster, nodes, log, resources, instants)):
        useless = np.zeros(len(resources))
        there = np.zeros(len(resources))
        for shape, ways in zip(weight, cluster.ways, strict=True):
            for members, demand, gpu in ways:
                ready = members[up[members]]
                left = free[ready]
                fits = (left >= demand).all(axis=1)
                if gpu:
                    fits &= _gpus_fit(devices[ready], gpu)
                useless += shape * left[~fits].sum(axis=0)
                there += shape * left.sum(axis=0)
        found[index] = np.divide(useless, there, out=np.full(len(resources), np.nan), where=there > 0)
    return found


def _largest(shape: Shape, resource: str) -> float:
    return float(max(demand.get(resource) for _, demand in shape.ways))


def _gpus_fit(devices: Floats, millis: int) -> NDArray[np.bool_]:
    """(n,) whether the free devices (n, G) take so much: whole ones wholly, a part on a single one."""
    if millis >= GPU_MILLIS:
        fits: NDArray[np.bool_] = (devices >= GPU_MILLIS).sum(axis=1) * GPU_MILLIS >= millis
        return fits
    found: NDArray[np.bool_] = devices.max(axis=1, initial=0.0) >= millis
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Cluster:
    capacity: Floats
    """(N, R)"""
    devices: Floats
    """(N, G) thousandths of each GPU; 0 where there is none."""
    ways: tuple[tuple[tuple[Integers, Floats, int], ...], ...]
    """Of each shape: (nodes of the flavor, (R,) what a replica takes there, GPU thousandths among it)."""

    @classmethod
    def of(cls, nodes: Sequence[Node], shapes: Sequence[Shape], resources: tuple[str, ...]) -> _Cluster:
        capacity = amounts_of((node.capacity for node in nodes), resources)
        counts = np.array([min(node.gpu_count, _BITS) for node in nodes], dtype=np.int64)
        devices = np.where(np.arange(int(counts.max(initial=0)))[None, :] < counts[:, None], float(GPU_MILLIS), 0.0)
        flavors = np.array([node.flavor for node in nodes])
        members = {flavor: np.flatnonzero(flavors == flavor) for flavor in set(flavors.tolist())}
        none = np.zeros(0, dtype=np.int64)
        ways = tuple(
            tuple(
                (members.get(flavor, none), amounts_of((demand,), resources)[0], demand.gpu_millis)
                for flavor, demand in shape.ways
            )
            for shape in shapes
        )
        return cls(capacity, devices, ways)


def _occupancy(
    cluster: _Cluster, nodes: Sequence[Node], log: RunLog, resources: tuple[str, ...], instants: Floats
) -> Iterator[tuple[Floats, Floats, NDArray[np.bool_]]]:
    """At each instant: free amounts (N, R), free thousandths of devices (N, G), and which nodes are up (N,)."""
    number = {node.name: index for index, node in enumerate(nodes)}
    place = np.array([number[name] for name in log.node_numbers], dtype=np.int64)
    pieces = _Pieces.of(log, resources, place)
    free, devices = cluster.capacity.copy(), cluster.devices.copy()
    up = np.ones(len(nodes), dtype=np.bool_)
    coming = _Turns(np.searchsorted(instants, np.array(log.start), side="left"), log)
    going = _Turns(np.searchsorted(instants, log.ends(), side="left"), log)
    events = iter([*log.node_events, (np.inf, "", True)])
    following = next(events)
    for index, instant in enumerate(instants.tolist()):
        while following[0] <= instant:
            up[number[following[1]]] = following[2]
            following = next(events)
        for turns, sign in ((coming, -1.0), (going, 1.0)):
            pieces.change(free, devices, turns.pieces(index), sign)
        yield free, devices, up


class _Turns:
    """Which pieces of the log change at each instant."""

    def __init__(self, index: Integers, log: RunLog) -> None:
        first = np.append(np.array(log.first_piece, dtype=np.int64), len(log.piece_node))
        self._of_piece = np.repeat(index, np.diff(first))
        self._order = np.argsort(self._of_piece, kind="stable")
        self._sorted = self._of_piece[self._order]

    def pieces(self, index: int) -> Integers:
        low, high = np.searchsorted(self._sorted, (index, index + 1))
        found: Integers = self._order[low:high]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Pieces:
    """Replicas of the log: on which node, what they take (by number of the demand), and of which GPUs."""

    node: Integers
    demand: Integers
    amounts: Floats
    """(demands, R)"""
    gpus: NDArray[np.uint64]
    part: Floats
    """(demands,) thousandths that are taken of each GPU."""

    @classmethod
    def of(cls, log: RunLog, resources: tuple[str, ...], place: Integers) -> _Pieces:
        first = np.append(np.array(log.first_piece, dtype=np.int64), len(log.piece_node))
        demands = tuple(log.demands)
        return cls(
            place[np.array(log.piece_node, dtype=np.int64)] if len(place) else np.zeros(0, dtype=np.int64),
            np.repeat(np.array(log.demand, dtype=np.int64), np.diff(first)),
            amounts_of(demands, resources),
            np.array(log.piece_gpus, dtype=np.uint64),
            np.array([float(min(demand.gpu_millis, GPU_MILLIS)) for demand in demands]),
        )

    def change(self, free: Floats, devices: Floats, chosen: Integers, sign: float) -> None:
        """Take (sign -1) or give back (sign 1) what these pieces hold."""
        if not len(chosen):
            return
        np.add.at(free, self.node[chosen], sign * self.amounts[self.demand[chosen]])
        masks = self.gpus[chosen]
        for device in range(devices.shape[1]):
            there = chosen[(masks >> np.uint64(device)) & np.uint64(1) == 1]
            if len(there):
                np.add.at(devices[:, device], self.node[there], sign * self.part[self.demand[there]])


def instants_between(start: float, end: float) -> Floats:
    """Up to INSTANTS, evenly spaced, neither `start` nor `end` among them."""
    if not end > start:
        return np.zeros(0)
    return start + (end - start) * (np.arange(INSTANTS) + 0.5) / INSTANTS


def mean_of(values: Mapping[str, Floats]) -> dict[str, float | None]:
    """By name, the mean of what is there."""
    found = {name: column[np.isfinite(column)] for name, column in values.items()}
    return {name: float(column.mean()) if len(column) else None for name, column in found.items()}
