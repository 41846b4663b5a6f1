"""Free space on the nodes of one flavor, in integers, and the search for a place for a gang.

All replicas of a gang are alike, so a gang fits exactly when the numbers of replicas that each node could take add up
to at least its size: the search below misses nothing. Among the ways to place it, the order of preference is

1. one node that holds the whole gang, otherwise as few nodes as taking the fullest fill first gives;
2. for a fraction of a GPU, a node where a GPU is shared already, so that whole GPUs stay whole;
3. the node with the least left over, each resource counted relative to the largest node of the flavor;
4. the first name.

A replica takes whole GPUs (devices nobody else has a part of, lowest indices first) or a part of one device (the one
with the least left that has enough).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, Resources, resource_names

Integers = NDArray[np.int64]
Fill = list[tuple[int, int]]
"""(node index, replicas it takes)"""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What placement has to know of a configuration; equal configurations share one object, compared by identity."""

    flavor: str
    replicas: int
    demand: Resources
    amounts: tuple[tuple[int, int], ...]
    """(row of `NodeSpace.free`, amount) of every resource but GPUs that one replica needs."""
    absent: tuple[tuple[str, int], ...]
    """(resource, amount) that it needs and no node has at all."""
    vector: Integers = field(repr=False)
    """(R,) the same as `amounts`, dense."""
    devices: int = 0
    """Whole GPUs per replica."""
    part: int = 0
    """Milli-GPUs of one device per replica, below a whole one."""

    @property
    def millis(self) -> int:
        """What a replica takes of each of its devices."""
        return self.part or GPU_MILLIS


class Shapes:
    """Makes shapes, one object per distinct (flavor, replicas, demand)."""

    def __init__(self, resources: Sequence[str]) -> None:
        self._row = {name: row for row, name in enumerate(resources)}
        self._known: dict[tuple[str, int, Resources], Shape] = {}

    def of(self, flavor: str, replicas: int, demand: Resources) -> Shape:
        key = (flavor, replicas, demand)
        shape = self._known.get(key)
        if shape is None:
            shape = self._known[key] = self._make(flavor, replicas, demand)
        return shape

    def _make(self, flavor: str, replicas: int, demand: Resources) -> Shape:
        wanted = [(name, amount) for name, amount in demand.items() if name != "gpu"]
        vector = np.zeros(len(self._row), dtype=np.int64)
        for name, amount in wanted:
            if name in self._row:
                vector[self._row[name]] = amount
        devices, part = divmod(demand.gpu_millis, GPU_MILLIS)
        return Shape(
            flavor=flavor,
            replicas=replicas,
            demand=demand,
            amounts=tuple((self._row[name], amount) for name, amount in wanted if name in self._row),
            absent=tuple((name, amount) for name, amount in wanted if name not in self._row),
            vector=vector,
            devices=devices,
            part=part if not devices else 0,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Gang:
    """A shape in its place: per node the device indices of each replica there, () for a replica without GPUs."""

    shape: Shape
    pieces: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]


class NodeSpace:
    """What is free on the nodes of one flavor; node indices follow the order of names.

    `free` (R, N) amounts and `devices` (G, N) milli-GPUs left per device, 0 where a node has no such device. Space on
    a node that takes no new work is tracked, but never found. `grown` counts releases: what did not fit does not fit
    until it changes.
    """

    def __init__(self, flavor: str, nodes: Sequence[Node], resources: Sequence[str]) -> None:
        self.flavor = flavor
        self.resources = tuple(resources)
        self.names = [node.name for node in nodes]
        self.index = {name: position for position, name in enumerate(self.names)}
        columns: dict[Resources, list[int]] = {}
        for node in nodes:
            if node.capacity not in columns:
                columns[node.capacity] = [node.capacity.get(name) for name in self.resources]
        shape = (len(nodes), len(self.resources))
        rows = np.array([columns[node.capacity] for node in nodes], dtype=np.int64).reshape(shape)
        self.free: Integers = np.ascontiguousarray(rows.T)
        self.gpu_count: Integers = np.array([node.gpu_count for node in nodes], dtype=np.int64)
        most = int(self.gpu_count.max(initial=0))
        there = np.arange(most)[:, None] < self.gpu_count[None, :]
        self.devices: Integers = np.where(there, GPU_MILLIS, 0).astype(np.int64)
        self.open = np.array([node.takes_new_work for node in nodes], dtype=np.bool_)
        self.grown = 0
        self._failed: dict[Shape, int] = {}
        largest = self.free.max(axis=1, initial=0)
        self._worth = [1.0 / amount if amount else 0.0 for amount in largest.tolist()]
        self._device_worth = 1.0 / (GPU_MILLIS * most) if most else 0.0
        self.whole: Integers = np.zeros(len(nodes), dtype=np.int64)
        self.slack: NDArray[np.float64] = np.zeros(len(nodes))
        self._refresh_all()

    def copy(self) -> NodeSpace:
        """The same space, to be changed on its own."""
        other = copy.copy(self)
        other.free, other.devices = self.free.copy(), self.devices.copy()
        other.whole, other.slack = self.whole.copy(), self.slack.copy()
        other._failed = dict(self._failed)
        return other

    def counts(self, shape: Shape) -> Integers:
        """(N,) how many replicas of `shape` each node could take now, at most the whole gang."""
        return self.counts_in(shape, self.free, self.devices, self.whole)

    def counts_in(self, shape: Shape, free: Integers, devices: Integers, whole: Integers) -> Integers:
        """`counts` for a state that is only thought of; arrays as in this object."""
        counts = np.where(self.open, shape.replicas, 0)
        if shape.absent:
            return np.zeros_like(counts)
        for row, amount in shape.amounts:
            np.minimum(counts, free[row] // amount, out=counts)
        if shape.devices:
            np.minimum(counts, whole // shape.devices, out=counts)
        elif shape.part:
            np.minimum(counts, (devices // shape.part).sum(axis=0), out=counts)
        return counts

    def find(self, shape: Shape) -> Gang | None:
        """Take a place for the gang, or None; a failure is remembered until something is released."""
        if self._failed.get(shape) == self.grown:
            return None
        gang = self.attempt(shape)
        if gang is None:
            self._failed[shape] = self.grown
        return gang

    def attempt(self, shape: Shape) -> Gang | None:
        """`find` that neither uses nor leaves a memory of failures."""
        if shape.replicas == 1:
            candidates = self._candidates(shape)
            return self.occupy(shape, [(self._best(shape, candidates), 1)]) if candidates.size else None
        fill = self.choose(shape, self.counts(shape))
        return None if fill is None else self.occupy(shape, fill)

    def choose(self, shape: Shape, counts: Integers) -> Fill | None:
        """Which nodes take how many replicas, given what each could take; None when they are too few together."""
        missing = shape.replicas
        holding_all = np.flatnonzero(counts >= missing)
        if holding_all.size:
            return [(self._best(shape, holding_all), missing)]
        if int(counts.sum()) < missing:
            return None
        able = np.flatnonzero(counts)
        order = able[np.lexsort((able, self.slack[able], -counts[able]))]
        fill: Fill = []
        for position, node in enumerate(order.tolist()):
            count = int(counts[node])
            if count >= missing:
                rest = np.sort(order[position:])
                fill.append((self._best(shape, rest[counts[rest] >= missing]), missing))
                return fill
            fill.append((node, count))
            missing -= count
        raise AssertionError("counts add up to the gang, so the loop has returned")

    def occupy(self, shape: Shape, fill: Fill) -> Gang:
        """Take exactly this fill, which must fit, and say which devices that means."""
        pieces = []
        for node, count in fill:
            gpus = self._pick_devices(shape, node, count)
            piece = (node, gpus)
            self._change(shape, piece, -1)
            pieces.append(piece)
        return Gang(shape, tuple(pieces))

    def holds(self, gang: Gang) -> bool:
        """Whether the gang fits into exactly its old place, as things are."""
        shape = gang.shape
        for node, gpus in gang.pieces:
            if any(self.free[row, node] < amount * len(gpus) for row, amount in shape.amounts):
                return False
            wanted: dict[int, int] = {}
            for device in (device for replica in gpus for device in replica):
                wanted[device] = wanted.get(device, 0) + shape.millis
            if any(self.devices[device, node] < millis for device, millis in wanted.items()):
                return False
        return True

    def take(self, gang: Gang) -> None:
        """Put a gang (back) into its place."""
        for piece in gang.pieces:
            self._change(gang.shape, piece, -1)

    def lift(self, gang: Gang) -> None:
        """Remove a gang for a trial that ends in `take`, or in `release` having been meant."""
        for piece in gang.pieces:
            self._change(gang.shape, piece, 1)

    def release(self, gang: Gang) -> None:
        """Remove a gang for good: what did not fit before may fit now."""
        self.lift(gang)
        self.grown += 1

    def load(self, gangs: Iterable[Gang]) -> None:
        """Take many places at once, also where that makes a node overfull."""
        nodes: list[int] = []
        amounts: list[Integers] = []
        counts: list[int] = []
        devices: list[tuple[int, int, int]] = []
        for gang in gangs:
            for node, gpus in gang.pieces:
                nodes.append(node)
                amounts.append(gang.shape.vector)
                counts.append(len(gpus))
                devices += [(device, node, gang.shape.millis) for replica in gpus for device in replica]
        if nodes:
            total = np.array(amounts).T * np.array(counts)
            for row in range(len(self.resources)):
                np.subtract.at(self.free[row], nodes, total[row])
        if devices:
            which, where, millis = np.array(devices, dtype=np.int64).T
            np.subtract.at(self.devices, (which, where), millis)
        self._refresh_all()

    def overfull(self) -> list[int]:
        """Indices of nodes with less than nothing left of something."""
        return np.flatnonzero((self.free < 0).any(axis=0) | (self.devices < 0).any(axis=0)).tolist()

    def is_overfull(self, node: int) -> bool:
        return bool((self.free[:, node] < 0).any() or (self.devices[:, node] < 0).any())

    def _candidates(self, shape: Shape) -> NDArray[np.intp]:
        """Nodes that can take one replica; the same as `counts` being above 0, cheaper."""
        if shape.absent:
            return np.zeros(0, dtype=np.intp)
        able = self.open
        for row, amount in shape.amounts:
            able = able & (self.free[row] >= amount)
        if shape.devices:
            able = able & (self.whole >= shape.devices)
        elif shape.part:
            able = able & (self.devices >= shape.part).any(axis=0)
        return np.flatnonzero(able)

    def _best(self, shape: Shape, candidates: NDArray[np.intp]) -> int:
        """The candidate (ascending indices) with the least left over; a shared GPU before a fresh one."""
        if shape.part and candidates.size > 1:
            left = self.devices[:, candidates]
            shared = candidates[((left >= shape.part) & (left < GPU_MILLIS)).any(axis=0)]
            candidates = shared if shared.size else candidates
        return int(candidates[np.argmin(self.slack[candidates])])

    def _pick_devices(self, shape: Shape, node: int, count: int) -> tuple[tuple[int, ...], ...]:
        if shape.devices:
            unused = [device for device, left in enumerate(self.devices[:, node].tolist()) if left == GPU_MILLIS]
            width = shape.devices
            return tuple(tuple(unused[replica * width : (replica + 1) * width]) for replica in range(count))
        if not shape.part:
            return ((),) * count
        lefts = self.devices[:, node].tolist()
        picked = []
        for _ in range(count):
            _, device = min((left, device) for device, left in enumerate(lefts) if left >= shape.part)
            lefts[device] -= shape.part
            picked.append((device,))
        return tuple(picked)

    def _change(self, shape: Shape, piece: tuple[int, tuple[tuple[int, ...], ...]], sign: int) -> None:
        node, gpus = piece
        self.free[:, node] += shape.vector * (sign * len(gpus))
        for replica in gpus:
            for device in replica:
                self.devices[device, node] += sign * shape.millis
        self._refresh(node)

    def _refresh(self, node: int) -> None:
        """Recompute what is derived from free amounts; fresh every time, so that undoing gives back the same bits."""
        lefts = self.devices[:, node].tolist()
        self.whole[node] = lefts.count(GPU_MILLIS)
        slack = sum(lefts) * self._device_worth
        for amount, worth in zip(self.free[:, node].tolist(), self._worth, strict=True):
            slack += amount * worth
        self.slack[node] = slack

    def _refresh_all(self) -> None:
        self.whole[:] = (self.devices == GPU_MILLIS).sum(axis=0)
        slack = self.devices.sum(axis=0) * self._device_worth
        for row, worth in enumerate(self._worth):
            slack = slack + self.free[row] * worth
        self.slack[:] = slack


@dataclass(frozen=True, slots=True, eq=False)
class _Empty:
    """The nodes with nothing on them."""

    resources: tuple[str, ...]
    by_flavor: dict[str, NodeSpace]


@remembered
def _empty_spaces(nodes: tuple[Node, ...]) -> _Empty:
    """Made once for as long as no node changes; to be copied, not changed."""
    resources = tuple(name for name in resource_names(list({n.capacity for n in nodes})) if name != "gpu")
    by_flavor: dict[str, list[Node]] = {}
    for node in nodes:
        by_flavor.setdefault(node.flavor, []).append(node)
    return _Empty(resources, {name: NodeSpace(name, by_flavor[name], resources) for name in sorted(by_flavor)})


class Spaces:
    """The free space of the whole cluster: one `NodeSpace` per flavor, and the shapes that belong to it."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        empty = _empty_spaces(nodes)
        self.resources = empty.resources
        self.shapes = Shapes(self.resources)
        self.by_flavor = {flavor: space.copy() for flavor, space in empty.by_flavor.items()}

    def find(self, shape: Shape) -> Gang | None:
        """Take a place for a gang on the nodes of its flavor, or None."""
        space = self.by_flavor.get(shape.flavor)
        return None if space is None else space.find(shape)

    def release(self, gang: Gang) -> None:
        """Give up the place of a gang for good."""
        self.by_flavor[gang.shape.flavor].release(gang)
