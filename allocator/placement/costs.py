"""What a place costs those who will come: tables for the kernels of `spending`, from the work that memory tells of.

What was found out about nodes is kept for as many rows and nodes as there is room for: with K kinds, row k is how many
replicas of kind k a node could take, row K + k what one of them costs there, row 2 K + k what its whole gang does.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from allocator.domain.policy import BEST_FIT, FRAGMENTATION
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.snapshot import WorkKind
from allocator.formulation.live import Live
from allocator.formulation.nodes import NodeArrays
from allocator.formulation.problem import Integers
from allocator.placement.fragmentation import Workload
from allocator.placement.prospects import Prospects, prospects

LEFT_OVER, GRADIENT, WORTH = range(3)
"""What costs are of."""
MOST_CELLS = 2**24
"""Numbers that are kept at once, 8 bytes each. Where rows have to share a slot, the one that is asked for has it."""
MOST_DEVICES = 64
"""Tables grow with the devices of a node: with more, nodes are chosen by what is left of them."""


class Costs(NamedTuple):
    """S slots for rows, N nodes: of the space in which places are looked for, no other. Without slots nothing is kept,
    and nodes are chosen by what is left.
    """

    kept: Integers
    """(S, N) see `spending.kept_row`; filled in when it is asked for."""
    holder: Integers
    """(S,) whose row it is; -1: nobody's."""
    seen: Integers
    """(S,) how many of `Space.changes` the row knows."""
    score: int
    """LEFT_OVER: all that fit cost the same; GRADIENT: by `fragmentation`; WORTH: by `prospects`."""
    tables: Prospects
    work: Workload


def no_costs() -> Costs:
    """With which nodes are chosen by what is left of them, and nothing is kept."""
    none = np.zeros(0, np.int64)
    return Costs(np.zeros((0, 0), np.int64), none, none.copy(), LEFT_OVER, _no_tables(), _workload((), None))


def costs(live: Live, kinds: int, work: tuple[WorkKind, ...], placement: str) -> Costs:
    """For so many kinds on the nodes of `live`, as the policy's `placement` says; without work: by what is left."""
    return costs_on(live.nodes, kinds, work, placement)


def costs_on(nodes: NodeArrays, kinds: int, work: tuple[WorkKind, ...], placement: str) -> Costs:
    """The same, for whoever has nodes alone."""
    count = len(nodes.nodes)
    kept = no_costs()
    if not kinds or not count:
        return kept
    slots = min(3 * kinds, max(1, MOST_CELLS // count))
    kept = kept._replace(
        kept=np.empty((slots, count), np.int64),
        holder=np.full(slots, -1, dtype=np.int64),
        seen=np.zeros(slots, np.int64),
    )
    if placement == BEST_FIT or not work or nodes.devices.shape[1] > MOST_DEVICES:
        return kept
    workload, tables = _tabulated(work, nodes)
    return kept._replace(score=GRADIENT if placement == FRAGMENTATION else WORTH, tables=tables, work=workload)


def _no_tables() -> Prospects:
    return Prospects(np.zeros((0, 0), np.int64), np.zeros((0, 0), np.int64), np.zeros((0, 0, 0, 0), np.int64), 1.0)


class _Known(NamedTuple):
    """The last tables, and what they were made of."""

    work: tuple[WorkKind, ...]
    nodes: tuple[object, ...]
    tables: tuple[Workload, Prospects]


class _Last(threading.local):
    """One per thread, as in `domain.remembered`."""

    known: _Known | None = None


_last = _Last()


def _tabulated(work: tuple[WorkKind, ...], nodes: NodeArrays) -> tuple[Workload, Prospects]:
    """Made again only for another object of work, or other sizes of nodes: see `domain.remembered`."""
    largest = np.array(
        [
            nodes.capacity[first:last].max(axis=0, initial=0)
            for first, last in zip(nodes.flavor_starts[:-1].tolist(), nodes.flavor_starts[1:].tolist(), strict=True)
        ],
        dtype=np.int64,
    ).reshape(len(nodes.flavors), len(nodes.resources))
    devices = nodes.devices.shape[1]
    sizes = (nodes.flavors, nodes.resources, largest.tobytes(), devices)
    known = _last.known
    if known is not None and known.work is work and known.nodes == sizes:
        return known.tables
    workload = _workload(work, nodes)
    tables = (workload, prospects(workload, largest, devices))
    _last.known = _Known(work, sizes, tables)
    return tables


def _workload(work: tuple[WorkKind, ...], nodes: NodeArrays | None) -> Workload:
    """Kinds on flavors that no node has are left out, and so are those that need what no node has."""
    flavors: dict[str, int] = {}
    columns: dict[str, int] = {}
    if nodes is not None:
        flavors = {name: position for position, name in enumerate(nodes.flavors)}
        columns = {name: position for position, name in enumerate(nodes.resources)}
    here = [
        kind
        for kind in work
        if kind.flavor in flavors and all(name in columns or name == "gpu" for name, _ in kind.demand.items())
    ]
    amounts = np.zeros((len(here), len(columns)), np.int64)
    eligible = np.zeros((len(here), len(flavors)), np.bool_)
    for row, kind in enumerate(here):
        eligible[row, flavors[kind.flavor]] = True
        for name, amount in kind.demand.items():
            if name != "gpu":
                amounts[row, columns[name]] = amount
    gpus = np.array([kind.demand.gpu_millis for kind in here], dtype=np.int64)
    return Workload(
        amounts=amounts,
        devices=gpus // GPU_MILLIS,
        part=np.where(gpus < GPU_MILLIS, gpus, 0),
        popularity=np.array([kind.popularity for kind in here], dtype=np.int64),
        value=np.array([kind.value for kind in here], dtype=np.int64),
        eligible=eligible,
    )
