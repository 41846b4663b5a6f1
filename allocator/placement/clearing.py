"""Who would have to go from a node so that one more replica fits there: by arithmetic, nobody is lifted.

Arrays over all who may go tell the nodes where it is cheapest: of single jobs exactly, of several together by what they
hold in total. Those few nodes are then looked at job by job, device by device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.domain.resources import GPU_MILLIS
from allocator.placement.space import Booleans, Floats, Integers, Kinds, Pool, Space
from allocator.placement.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Movers:
    """Jobs on one flavor that may move, each whole on one node: M of them, by node, the cheapest of a node first."""

    job: Integers
    node: Integers
    kind: Integers
    cost: Floats
    """What it costs that it moves."""


@dataclass(frozen=True, slots=True)
class Option:
    """Jobs on one node without which one more replica would fit there."""

    cost: float
    movers: tuple[int, ...]


def ways_to_clear(world: World, pool: Pool, kind: int, movers: Movers, most: int) -> list[Option]:
    """For the cheapest `most` nodes the cheapest job that is enough, and for as many one set of jobs; the cheapest
    first. `scratch.counts` must say how many replicas of the kind fit each node now.
    """
    lacking = Lacking.of(world.space, world.kinds, kind, world.scratch.counts, movers)
    alone = np.flatnonzero(lacking.able & lacking.enough_alone(world, pool, movers))
    together = np.flatnonzero(lacking.able & lacking.enough_with_all_before(movers, world.kinds))
    found = [
        Option(float(movers.cost[position]), (int(movers.job[position]),))
        for position in _best(alone, movers.cost, movers.node)[:most].tolist()
    ]
    for position in _best(together, _before(movers.cost, movers.node), movers.node)[:most].tolist():
        option = _emptied(world, pool, kind, movers, int(movers.node[position]))
        if option is not None and option not in found:
            found.append(option)
    return sorted(found, key=lambda option: option.cost)


def _best(positions: Integers, cost: Floats, node: Integers) -> Integers:
    """The cheapest of `positions` on each node, the cheapest first."""
    ordered = positions[np.argsort(cost[positions], kind="stable")]
    found: Integers = ordered[np.sort(np.unique(node[ordered], return_index=True)[1])]
    return found


def _before(values: Floats | Integers, node: Integers) -> Floats:
    """(M, ...) sums of values over each one and those before it on its node; nodes ascend."""
    upto = np.cumsum(values, axis=0)
    first = np.searchsorted(node, node)
    found: Floats = upto - (upto[first] - values[first])
    return found


def _emptied(world: World, pool: Pool, kind: int, movers: Movers, node: int) -> Option | None:
    """The cheapest jobs on the node, until one more replica would fit; of those the ones without whom it would not."""
    first, last = np.searchsorted(movers.node, (node, node + 1)).tolist()
    goal = int(world.scratch.counts[node]) + 1
    gone: list[int] = []
    for position in range(first, last):
        gone.append(position)
        if room_without(world, pool, kind, node, movers.job[gone]) >= goal:
            break
    else:
        return None
    for position in sorted(gone, key=lambda which: -movers.cost[which]):
        fewer = [other for other in gone if other != position]
        if room_without(world, pool, kind, node, movers.job[fewer]) >= goal:
            gone = fewer
    return Option(float(movers.cost[gone].sum()), tuple(movers.job[gone].tolist()))


def room_without(world: World, pool: Pool, kind: int, node: int, gone: Integers) -> int:
    """How many replicas the node could take without some who are whole on it; labels and taints aside."""
    space, kinds, places = world.space, world.kinds, world.places
    free, devices = space.free[node].copy(), space.devices[node].copy()
    for job in gone.tolist():
        other, piece = int(places.kind[job]), int(places.first[job])
        free += kinds.amount[other] * pool.replicas[piece]
        start = int(pool.device_start[piece])
        held = pool.device[start : start + int(pool.device_count[piece])]
        np.add.at(devices, held, int(kinds.part[other]) or GPU_MILLIS)
    amount, whole, part = kinds.amount[kind], int(kinds.devices[kind]), int(kinds.part[kind])
    room = int(kinds.cap[kind])
    if (amount > 0).any():
        room = min(room, int((free[amount > 0] // amount[amount > 0]).min()))
    if whole:
        room = min(room, int((devices == GPU_MILLIS).sum()) // whole)
    if part:
        room = min(room, int((devices // part).sum()))
    return room


@dataclass(frozen=True, slots=True, eq=False)
class Lacking:
    """What one more replica lacks on the node of each of M movers."""

    able: Booleans
    """(M,) nodes that may take one more."""
    columns: Integers
    """(D,) resources that it needs at all."""
    amounts: Integers
    """(M, D)"""
    whole: Integers
    """(M,) whole GPUs that are missing,"""
    fractions: Integers
    """(M,) or replicas for which there is no part of a GPU,"""
    millis: Integers
    """(M,) and thousandths of GPUs in total."""
    part: int

    @classmethod
    def of(cls, space: Space, kinds: Kinds, kind: int, counts: Integers, movers: Movers) -> Lacking:
        """`counts` (N,): how many replicas fit now."""
        first, last = space.flavor_starts[kinds.flavor[kind]], space.flavor_starts[kinds.flavor[kind] + 1]
        here, node, goal = slice(first, last), movers.node - first, counts[first:last] + 1
        able = goal <= kinds.cap[kind]
        if kinds.mask[kind] >= 0:
            able &= kinds.masks[kinds.mask[kind], here]
        columns = np.flatnonzero(kinds.amount[kind] > 0)
        devices, part, whole = space.devices[here], int(kinds.part[kind]), int(kinds.devices[kind])
        nothing = np.zeros(len(goal), dtype=np.int64)
        return cls(
            able=able[node],
            columns=columns,
            amounts=(goal[:, None] * kinds.amount[kind, columns] - space.free[here, columns])[node],
            whole=(goal * whole - space.whole[here] if whole else nothing)[node],
            fractions=(goal - (devices // part).sum(axis=1) if part else nothing)[node],
            millis=(goal * (part or whole * GPU_MILLIS) - devices.sum(axis=1) if part or whole else nothing)[node],
            part=part,
        )

    def enough_alone(self, world: World, pool: Pool, movers: Movers) -> Booleans:
        """(M,) whether it is enough that the mover goes."""
        kinds = world.kinds
        replicas, part = kinds.replicas[movers.kind], kinds.part[movers.kind]
        whole = replicas * kinds.devices[movers.kind]
        fractions = whole * (GPU_MILLIS // self.part) if self.part else np.zeros(len(whole), dtype=np.int64)
        sharing = np.flatnonzero(part > 0)
        if len(sharing):
            piece = world.places.first[movers.job[sharing]]
            left = world.space.devices[movers.node[sharing], pool.device[pool.device_start[piece]]]
            after = left + part[sharing]
            whole[sharing] = after == GPU_MILLIS
            if self.part:
                fractions[sharing] = after // self.part - left // self.part
        amounts = kinds.amount[:, self.columns][movers.kind] * replicas[:, None]
        found: Booleans = (amounts >= self.amounts).all(axis=1) & (whole >= self.whole) & (fractions >= self.fractions)
        return found

    def enough_with_all_before(self, movers: Movers, kinds: Kinds) -> Booleans:
        """(M,) whether it may be, if all before it on the node go as well; GPUs are only added up."""
        gpus = (kinds.replicas * (kinds.devices * GPU_MILLIS + kinds.part))[movers.kind]
        found: Booleans = _before(gpus, movers.node) >= self.millis
        for position, column in enumerate(self.columns.tolist()):
            held = (kinds.replicas * kinds.amount[:, column])[movers.kind]
            found &= _before(held, movers.node) >= self.amounts[:, position]
        return found
