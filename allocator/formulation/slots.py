"""What of a flavor lies in pieces that jobs can use: rows that sizes, labels and taints of nodes add to the optimum.

A replica of 8 GPUs needs 8 on one node. Where jobs that stay (pinned ones) hold a GPU of every node, nobody can have 8,
however many are free together; where nodes have 4, nobody ever can. Two replicas of 0.6 GPUs need two GPUs. With g_n
whole GPUs free on node n, jobs whose replicas take d of them each, and any whole size s, every placement keeps

    sum over replicas of floor(d / s)  <=  sum over nodes of floor(g_n / s)

at every moment, and so does every average over time: such rows take nothing away that could be had. For sizes s below
one GPU it is the GPUs instead of the nodes that are rounded, and d whole GPUs count d floor(1 / s). The rows keep the
optimum from promising what cannot be: whoever was promised it would be owed more and more, and stop others for it again
and again. (It is the rounding of Chvatal and Gomory: Nemhauser and Wolsey, Integer and Combinatorial Optimization,
section II.1.2.) A node counts for no more than its other resources let in, of the least that a job asks for per slot.

Jobs that only some nodes admit have those nodes alone: for them there are the same rows, and the capacities, of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Self

import numpy as np

from allocator.domain.cluster import EngineCapability
from allocator.domain.constraints import Constraints
from allocator.domain.placement import held
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS, display_unit
from allocator.domain.snapshot import LimitName
from allocator.formulation.eligibility import Kind, OpenNodes
from allocator.formulation.limits import Booleans, Floats, Integers, Limit, LimitPart
from allocator.formulation.live import Live
from allocator.formulation.nodes import NodeArrays

MOST_ROWS = 64
"""Those that are asked for most; what the others would have said, placement finds out."""
MOST_SETS = 32
"""Of a flavor's nodes, those that most jobs are kept to: jobs may name single nodes."""
LEAST_SLOTS, LEAST_PART = 0.1, 0.01
"""Where there is no slot at all, or next to nothing on the nodes that admit a job, so much is promised all the same, of
a slot and of what the nodes have: who was promised nothing would have no claim on the next one, and small jobs that
nobody may stop would take every GPU that comes free.
"""
MOST_PARTS = 4
"""Sizes are told apart down to a quarter of a GPU; below that little is lost."""
_NEARLY = 1 - 1e-9
_ALL = b""
SLOTS, NODES = "slots", "nodes"
"""Begin the names of rows."""


@dataclass(frozen=True, slots=True, eq=False)
class FreePieces:
    """What pinned jobs leave of the nodes that take new work, by node; nothing of the others."""

    devices: Integers
    """(N, G) milli-GPUs of each device."""
    room: Integers
    """(N, R') of `NodeArrays.resources` and, last, milli-GPUs, in integer units."""
    asks: Integers
    """(kinds, R') what one replica of each kind asks for."""

    @classmethod
    def of(cls, live: Live, pinned: Booleans) -> Self:
        nodes, jobs = live.nodes, live.jobs
        names = (*nodes.resources, "gpu")
        devices = nodes.devices.copy()
        millis: Integers = nodes.devices.sum(axis=1)
        room = np.column_stack([nodes.capacity, millis])
        asks = np.array([[kind.demand.get(name) for name in names] for kind in live.kinds], dtype=np.int64)
        asks = asks.reshape(len(live.kinds), len(names))
        owner = jobs.piece_owner
        there = np.flatnonzero(pinned[owner] & (live.piece_node >= 0))
        if there.size:
            counts: Integers = np.diff(jobs.first_device)
            lengths = counts[there]
            kind = live.kind_now(owner[there])
            node, taken = (
                np.repeat(live.piece_node[there], lengths),
                np.repeat(np.minimum(asks[kind, -1], GPU_MILLIS), lengths),
            )
            device = jobs.device[_ranges(jobs.first_device[there], lengths)]
            known = device < devices.shape[1]  # a node that lost a GPU may have jobs that still hold it
            np.subtract.at(devices, (node[known], device[known]), taken[known])
            key = np.stack([kind, jobs.millis[owner[there]]], axis=1)
            distinct, which = np.unique(key, axis=0, return_inverse=True)
            pairs: list[list[int]] = distinct.tolist()
            amounts = [held(live.kinds[number].demand, part) for number, part in pairs]
            each = np.array([[amount.get(name) for name in names] for amount in amounts], dtype=np.int64)
            np.subtract.at(room, live.piece_node[there], each[which.ravel()] * jobs.piece_count[there][:, None])
        open_now = nodes.takes_new_work
        devices, room = (np.where(open_now[:, None], np.maximum(left, 0), 0) for left in (devices, room))
        return cls(devices, room, asks)


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """The shapes (S, K) of a round: which kind each configuration is, and how much of them is wanted."""

    kind: Integers
    there: Booleans
    flavor: Integers
    """(S, K) index; anything where not `there`."""
    jobs: Integers
    """(S,) how many want something."""
    resources: tuple[str, ...]
    """Names of the columns of capacity; empty where a column is of no node."""
    capacity: Floats
    """(F, R) as the problem has it, in display units."""
    gang: Floats
    """(S, K, R) what a whole gang takes, in display units."""


@dataclass(frozen=True, slots=True, eq=False)
class SlotRow:
    """One row: `rate` (S,) of each shape per unit of the resource, 0 of those that it is not about."""

    name: LimitName
    flavor: int
    resource: int
    amount: float
    rate: Floats
    pressure: float
    """What would be taken if all of them ran, relative to the amount."""
    closed: bool
    """There is none; the amount is only a claim on the next."""

    def limit(self, shape: Integers) -> Limit:
        """Over the rows (n,) of a problem, by their shape."""
        rate = self.rate[shape]
        parts = [
            LimitPart(((self.flavor, self.resource, each),), np.flatnonzero(rate == each))
            for each in np.unique(rate[rate > 0]).tolist()
        ]
        first, *more = parts
        return Limit(first.terms, self.amount, first.members, tuple(more))


def slot_rows(live: Live, pinned: Booleans, open_nodes: OpenNodes, ways: Ways) -> tuple[SlotRow, ...]:
    """The rows that could bind, in order of flavor; at most MOST_ROWS."""
    found = []
    for row, each in _possible(live, pinned, open_nodes, ways):
        pressure = float((each * ways.jobs).sum()) / row.amount
        if pressure > 1:
            found.append(replace(row, pressure=pressure))
    if len(found) <= MOST_ROWS:
        return tuple(found)
    first = sorted(range(len(found)), key=lambda number: -found[number].pressure)[:MOST_ROWS]
    return tuple(found[number] for number in sorted(first))


Possible = tuple[SlotRow, Floats]
"""A row, its pressure still to be told, and (S,) what one job of each shape takes of it."""


class _Last:
    """What was found last on nodes that nobody pinned holds anything of, and of what."""

    ways: tuple[object, ...] = ()
    kinds: tuple[Kind, ...] = ()
    found: tuple[Possible, ...] = ()


@remembered
def _last_on(nodes: NodeArrays) -> _Last:  # noqa: ARG001 - it is remembered by that
    return _Last()


def _possible(live: Live, pinned: Booleans, open_nodes: OpenNodes, ways: Ways) -> tuple[Possible, ...]:
    """All rows there are, whether they bind or not. Which shapes want something changes less often than how many jobs
    do, so the last ones are looked at first; with many shapes, the number of jobs decides who has rows.
    """
    if len(ways.jobs) >= MOST_SETS or (pinned[live.jobs.piece_owner] & (live.piece_node >= 0)).any():
        return _found(live, pinned, open_nodes, ways)
    last = _last_on(live.nodes)
    arrays = (ways.kind, ways.there, ways.flavor, ways.capacity, ways.gang)
    asked = (ways.resources, ways.kind.shape, *(array.tobytes() for array in arrays))
    kinds = tuple(live.kinds[number] for number in ways.kind.ravel().tolist())
    if last.ways != asked or last.kinds != kinds:
        last.ways, last.kinds, last.found = asked, kinds, _found(live, pinned, open_nodes, ways)
    return last.found


def _found(live: Live, pinned: Booleans, open_nodes: OpenNodes, ways: Ways) -> tuple[Possible, ...]:
    pieces = FreePieces.of(live, pinned)
    flavors = range(len(live.nodes.flavors))
    return tuple(row for flavor in flavors for row in _of_flavor(flavor, live, pieces, open_nodes, ways))


def _of_flavor(flavor: int, live: Live, pieces: FreePieces, open_nodes: OpenNodes, ways: Ways) -> Iterator[Possible]:
    here = ways.there & (ways.flavor == flavor)
    shapes = np.flatnonzero(here.any(axis=1))
    if not shapes.size:
        return
    nodes = np.arange(*live.nodes.flavor_starts[flavor : flavor + 2].tolist())
    sets, of_shape = _admitted(live, nodes, open_nodes, ways.kind[shapes], here[shapes])
    asked = np.bincount(of_shape, weights=ways.jobs[shapes], minlength=len(sets))
    every = np.array([each for _, each in sets])
    for number in sorted(
        np.argsort(-asked, kind="stable")[:MOST_SETS].tolist() if len(sets) > MOST_SETS else range(len(sets))
    ):
        key, inside = sets[number]
        about = np.zeros(len(here), dtype=np.bool_)
        about[shapes] = (~(every & ~inside).any(axis=1))[of_shape]
        where = nodes[inside]
        some = f":{_named(live, where)}" if key else ""
        if key:
            yield from _capacities(flavor, live, pieces, ways, here & about[:, None], where, some)
        yield from _sizes(flavor, live, pieces, ways, here & about[:, None], where, some)


def told_by(name: str) -> tuple[float, bool]:
    """What the first part of a row's name says: GPUs of a slot, 0 where it is about nodes as a whole; and whether it is
    about the nodes alone that admit certain jobs.
    """
    sort, first, *more = name.split(":")
    return (float(first), bool(more)) if sort == SLOTS else (0.0, True)


def _named(live: Live, nodes: Integers) -> str:
    """Short, and the same for the same nodes whoever asks for them, in whatever order."""
    return blake2b("\n".join(live.nodes.names[nodes].tolist()).encode(), digest_size=3).hexdigest()


Admitted = tuple[bytes, Booleans]
"""Which of a flavor's nodes; the key is empty for all of them."""


def _admitted(
    live: Live, nodes: Integers, open_nodes: OpenNodes, kind: Integers, here: Booleans
) -> tuple[list[Admitted], Integers]:
    """The distinct sets of nodes that shapes (S, K) may be on in any of their kinds `here`, as far as these take new
    work, all of them first; and which of the sets is each shape's. There may be a shape for each job, but few kinds.
    """
    first, takes = int(nodes[0]), live.nodes.takes_new_work[nodes]
    of_wishes: dict[tuple[Constraints, tuple[EngineCapability, ...]], int] = {}
    inside = [np.ones(len(nodes), dtype=np.bool_)]
    of_kind = np.zeros(len(live.kinds), dtype=np.int64)
    used = np.zeros(len(live.kinds), dtype=np.bool_)
    used[kind[here]] = True
    for number in np.flatnonzero(used).tolist():
        wishes = (live.kinds[number].constraints, live.kinds[number].needs)
        if wishes not in of_wishes:
            admitted = open_nodes.admitted(live.kinds[number])
            of_wishes[wishes] = 0 if len(admitted) == takes.sum() else len(inside)
            if of_wishes[wishes]:
                inside.append(np.zeros(len(nodes), dtype=np.bool_))
                inside[-1][[live.nodes.index[node.name] - first for node in admitted]] = True
        of_kind[number] = of_wishes[wishes]
    most = np.where(here, of_kind[kind], -1).max(axis=1)
    least = np.where(here, of_kind[kind], len(inside)).min(axis=1)
    which = np.where(least == 0, 0, most)
    for shape in np.flatnonzero((least > 0) & (least < most)).tolist():
        together = np.logical_or.reduce([inside[each] for each in set(of_kind[kind[shape][here[shape]]].tolist())])
        inside.append(together)
        which[shape] = len(inside) - 1
    found: dict[bytes, int] = {_ALL: 0}
    sets: list[Admitted] = [(_ALL, inside[0])]
    renumbered = np.zeros(len(inside), dtype=np.int64)
    numbers, places = np.unique(which, return_index=True)
    for number in numbers[np.argsort(places)].tolist():
        key = np.packbits(inside[number]).tobytes() if number else _ALL
        if key not in found:
            found[key] = len(sets)
            sets.append((key, inside[number]))
        renumbered[number] = found[key]
    return sets, renumbered[which]


def _capacities(
    flavor: int, live: Live, pieces: FreePieces, ways: Ways, here: Booleans, nodes: Integers, some: str
) -> Iterator[Possible]:
    """What these nodes have of each resource."""
    about = here.any(axis=1)
    whole = np.column_stack([live.nodes.capacity, live.nodes.devices.sum(axis=1)])
    for column, name in enumerate((*live.nodes.resources, "gpu")):
        if name not in ways.resources:
            continue
        resource = ways.resources.index(name)
        amount = float(pieces.room[nodes, column].sum()) / display_unit(name)[1]
        least = LEAST_PART * float(whole[nodes, column].sum()) / display_unit(name)[1]
        if least > 0 and amount < ways.capacity[flavor, resource] * _NEARLY:
            rate = np.where(about & (np.where(here, ways.gang[:, :, resource], 0.0).max(axis=1) > 0), 1.0, 0.0)
            yield _row(
                (f"{NODES}{some}", live.nodes.flavors[flavor], name),
                flavor,
                resource,
                (amount, least),
                rate,
                ways,
                here,
            )


def _sizes(
    flavor: int, live: Live, pieces: FreePieces, ways: Ways, here: Booleans, nodes: Integers, some: str
) -> Iterator[Possible]:
    """Slots of every size that a replica has."""
    if "gpu" not in ways.resources:
        return
    resource = ways.resources.index("gpu")
    size = np.where(here, pieces.asks[ways.kind, -1], -1)
    most, least = size.max(axis=1), np.where(here, size, np.iinfo(np.int64).max).min(axis=1)
    millis = np.where(most == least, np.maximum(most, 0), 0)  # one size on this flavor, whatever the number of replicas
    free = float(pieces.devices[nodes].sum()) / GPU_MILLIS
    room = min(float(ways.capacity[flavor, resource]), free) if some and free else ways.capacity[flavor, resource]
    for each in _told_apart(np.unique(millis[millis > 0])):
        per_replica = _slots_of(millis, each)
        about = here & (per_replica > 0)[:, None]
        shape, way = np.nonzero(about)
        least_other = (pieces.asks[ways.kind[shape, way], :-1] // per_replica[shape][:, None]).min(axis=0)
        slots = _slots_on(pieces.devices[nodes], each)
        needed = np.flatnonzero(least_other)
        if needed.size:
            let_in = pieces.room[nodes][:, needed] // least_other[needed]
            slots = np.minimum(slots, let_in.min(axis=1))
        rate = np.divide(per_replica * GPU_MILLIS, millis, out=np.zeros(len(millis)), where=millis > 0)
        amount = float(slots.sum())
        if amount < room * rate.max() * _NEARLY:  # else the capacity says so, of the flavor or of these nodes
            name = (f"{SLOTS}:{each / GPU_MILLIS:g}{some}", live.nodes.flavors[flavor], "gpu")
            yield _row(name, flavor, resource, (amount, LEAST_SLOTS), rate, ways, about)


def _told_apart(sizes: Integers) -> list[int]:
    """Whole ones all; of parts of a GPU the smallest of those of which equally many fit on one."""
    whole = sizes[sizes >= GPU_MILLIS].tolist()
    parts = sizes[(sizes < GPU_MILLIS) & (sizes * (MOST_PARTS + 1) > GPU_MILLIS)]
    smallest = {GPU_MILLIS // each: each for each in parts[::-1].tolist()}
    return [*sorted(smallest.values()), *whole]


def _slots_of(millis: Integers, size: int) -> Integers:
    """How many slots of a size a replica of so many milli-GPUs takes at least."""
    if size >= GPU_MILLIS:
        return np.where(millis >= size, millis // size, 0)
    whole = millis // GPU_MILLIS * (GPU_MILLIS // size)
    found: Integers = np.where(millis >= GPU_MILLIS, whole, millis // size)
    return found


def _slots_on(devices: Integers, size: int) -> Integers:
    """(N,) how many slots of a size there are on nodes with these milli-GPUs (N, G) free."""
    if size >= GPU_MILLIS:
        whole: Integers = (devices >= GPU_MILLIS).sum(axis=1) * GPU_MILLIS // size
        return whole
    found: Integers = (devices // size).sum(axis=1)
    return found


def _row(
    name: LimitName,
    flavor: int,
    resource: int,
    amount: tuple[float, float],
    rate: Floats,
    ways: Ways,
    about: Booleans,
) -> Possible:
    """`amount` is what there is, and what is promised at least."""
    there, least = amount
    each = np.where(about, ways.gang[:, :, resource], 0.0).max(axis=1, initial=0.0) * rate
    return SlotRow(name, flavor, resource, max(amount), rate, 0.0, there < least), each


def closed_columns(rows: Sequence[SlotRow], ways: Ways) -> Booleans:
    """(S, K) the configurations for which there is nothing now, but a claim on what comes free."""
    found = np.zeros(ways.there.shape, dtype=np.bool_)
    for row in rows:
        if row.closed:
            found |= (row.rate > 0)[:, None] & (ways.flavor == row.flavor) & (ways.gang[:, :, row.resource] > 0)
    return found & ways.there


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """starts[i], ..., starts[i] + lengths[i] - 1, one i after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    found: Integers = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
    return found
