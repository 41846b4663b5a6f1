"""What is free on the nodes, and what the kinds of gangs need, as arrays of integers for the kernels.

Nodes are in order of (flavor, name), as in `formulation.nodes`; kinds are numbered as in the formulation's catalogue.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import NODE_DOMAIN, RACK_LABEL, EngineCapability
from allocator.domain.placement import WHOLE
from allocator.domain.remembered import remembered
from allocator.domain.resources import GPU_MILLIS
from allocator.formulation.eligibility import Kind
from allocator.formulation.live import Live
from allocator.formulation.nodes import NodeArrays
from allocator.placement.costs import Costs, no_costs

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


class Space(NamedTuple):
    """What is free, changed in place. N nodes, R resources without GPUs, G devices, F flavors."""

    free: Integers
    """(N, R) in integer units."""
    devices: Integers
    """(N, G) milli-GPUs left of each device; 0 where a node has no such device."""
    whole: Integers
    """(N,) devices that nobody has a part of."""
    slack: Floats
    """(N,) what is left over, each resource relative to the largest node of the flavor, GPUs as one resource."""
    open: Booleans
    """(N,) whether new work may come. Space on other nodes is tracked, but never found."""
    joinable: Booleans
    """(N,) whether a replica of a gang that runs already may come: whether the node's engine can do that."""
    flavor_starts: Integers
    """(F + 1,): the nodes of flavor f are flavor_starts[f] : flavor_starts[f + 1]."""
    worth: Floats
    """(N, R) 1 / the largest amount of the flavor; 0 where it has none."""
    device_worth: Floats
    """(N,) the same for a milli-GPU."""
    rack: Integers
    """(N,) number of the rack; a node without one is a rack of its own."""
    racked: Booleans
    """(1,) whether there are racks of more than one node."""
    order: Integers
    """(N,) where the engine decides itself how many of a gang's replicas each of its nodes takes: the place of this one
    in the order in which they are filled. -1 where the round decides."""
    grown: Integers
    """(F,) counts releases: what did not fit on a flavor does not fit until this changes."""
    changes: Integers
    """(C + 1,) the last C nodes whose free amounts changed, in a ring; the last entry counts all changes."""


class Kinds(NamedTuple):
    """What gangs need, by kind: K kinds."""

    flavor: Integers
    """(K,) -1 where no node has it."""
    replicas: Integers
    """(K,)"""
    amount: Integers
    """(K, R) per replica."""
    absent: Booleans
    """(K,) whether it needs something that no node has at all."""
    devices: Integers
    """(K,) whole GPUs per replica."""
    part: Integers
    """(K,) milli-GPUs of one device per replica, below a whole one."""
    cap: Integers
    """(K,) replicas that one node may take at most, under the gang's limits on itself."""
    mask: Integers
    """(K,) row of `masks`, -1 where every node of the flavor will do."""
    masks: Booleans
    """(M, N) nodes that labels, taints and engines admit."""
    domains: Integers
    """(D, N) number of the domain each node is in."""
    within: Integers
    """(K,) row of `domains`: the whole gang must be in one of them; -1 where that does not matter."""
    spread: Integers
    """(K, S) rows of `domains` over which the gang must be spread; -1 for none."""
    most: Integers
    """(K, S) replicas that one such domain may take."""
    costs: Costs
    """What their places cost."""


class Pool(NamedTuple):
    """Where gangs are: pieces (replicas on one node) and the devices they hold, one list after another."""

    node: Integers
    """Of each piece."""
    replicas: Integers
    """Of each piece."""
    device_start: Integers
    """Of each piece, where its devices begin."""
    device_count: Integers
    """Of each piece, how many devices all its replicas hold."""
    device: Integers
    """Indices on the node: of the first replica, then of the next."""
    used: Integers
    """(2,) pieces, devices."""


class Places(NamedTuple):
    """Which pieces are whose: J jobs."""

    first: Integers
    """(J,) first piece."""
    pieces: Integers
    """(J,) number of pieces."""
    kind: Integers
    """(J,) -1 where the job has no place."""
    millis: Integers
    """(J,) thousandths of its demand that it holds."""


class _Static(NamedTuple):
    """What depends on nodes alone."""

    whole: Integers
    slack: Floats
    open: Booleans
    joinable: Booleans
    worth: Floats
    device_worth: Floats
    rack: Integers
    racked: bool
    order: Integers


@remembered
def _static(nodes: NodeArrays) -> _Static:
    worth = np.zeros(nodes.capacity.shape)
    device_worth = np.zeros(len(nodes.nodes))
    for first, last in zip(nodes.flavor_starts[:-1].tolist(), nodes.flavor_starts[1:].tolist(), strict=True):
        largest = nodes.capacity[first:last].max(axis=0, initial=0)
        worth[first:last] = np.where(largest > 0, 1.0 / np.maximum(largest, 1), 0.0)
        most = int(nodes.gpu_count[first:last].max(initial=0))
        device_worth[first:last] = 1.0 / (GPU_MILLIS * most) if most else 0.0
    joinable = nodes.able.get(EngineCapability.CHANGE_REPLICAS, np.ones(len(nodes.nodes), dtype=np.bool_))
    rack = nodes.domains(RACK_LABEL)
    whole, slack = _derived(nodes.capacity, nodes.devices, worth, device_worth)
    racked = len(np.unique(rack)) < len(rack)
    return _Static(whole, slack, nodes.takes_new_work, joinable, worth, device_worth, rack, racked, _order(nodes))


def _order(nodes: NodeArrays) -> Integers:
    """See `Space`. By name, with the numbers in it as numbers: n2 before n10."""
    able = nodes.able.get(EngineCapability.PLACE_REPLICAS)
    order = np.full(len(nodes.nodes), -1, dtype=np.int64)
    if able is not None:
        unable = np.flatnonzero(~able).tolist()
        for place, node in enumerate(sorted(unable, key=lambda node: _naturally(nodes.nodes[node].name))):
            order[node] = place
    return order


def _naturally(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name))


def empty_space(nodes: NodeArrays) -> Space:
    """The nodes with nothing on them."""
    static = _static(nodes)
    return Space(
        free=nodes.capacity.copy(),
        devices=nodes.devices.copy(),
        whole=static.whole.copy(),
        slack=static.slack.copy(),
        open=static.open.copy(),
        joinable=static.joinable,
        flavor_starts=nodes.flavor_starts,
        worth=static.worth,
        device_worth=static.device_worth,
        rack=static.rack,
        racked=np.array([static.racked]),
        order=static.order,
        grown=np.zeros(max(1, len(nodes.flavors)), dtype=np.int64),
        changes=np.zeros(4 * len(nodes.nodes) + 2, dtype=np.int64),
    )


def derive(space: Space) -> None:
    """Recompute what follows from free amounts, of all nodes."""
    space.whole[:], space.slack[:] = _derived(space.free, space.devices, space.worth, space.device_worth)
    space.changes[-1] += len(space.changes)  # more than the ring holds: whatever was known of nodes is no more


def _derived(free: Integers, devices: Integers, worth: Floats, device_worth: Floats) -> tuple[Integers, Floats]:
    """(N,) whole devices, and (N,) slack."""
    slack = devices.sum(axis=1) * device_worth
    for resource in range(free.shape[1]):
        slack = slack + free[:, resource] * worth[:, resource]
    return (devices == GPU_MILLIS).sum(axis=1), slack


def tabulated(live: Live) -> Kinds:
    """All kinds of the formulation."""
    return kinds_on(live.nodes, live.kinds)


@remembered
def kinds_on(nodes: NodeArrays, kinds: tuple[Kind, ...]) -> Kinds:
    """These kinds, on these nodes. Kernels change none of it but `costs`, which every round has its own of."""
    column = {name: position for position, name in enumerate(nodes.resources)}
    flavors = {name: position for position, name in enumerate(nodes.flavors)}
    amount = np.zeros((len(kinds), len(column)), dtype=np.int64)
    absent = np.zeros(len(kinds), dtype=np.bool_)
    for number, kind in enumerate(kinds):
        for name, value in kind.demand.items():
            if name in column:
                amount[number, column[name]] = value
            elif name != "gpu":
                absent[number] = True
    gpus = np.array([kind.demand.gpu_millis for kind in kinds], dtype=np.int64)
    mask, masks = _masks(nodes, kinds)
    domains, within, spread, most = _domains(nodes, kinds)
    return Kinds(
        flavor=np.array([flavors.get(kind.flavor, -1) for kind in kinds], dtype=np.int64),
        replicas=np.array([kind.replicas for kind in kinds], dtype=np.int64),
        amount=amount,
        absent=absent,
        devices=gpus // GPU_MILLIS,
        part=np.where(gpus < GPU_MILLIS, gpus, 0),
        cap=np.array([_most_per_node(kind) for kind in kinds], dtype=np.int64),
        mask=mask,
        masks=masks,
        domains=domains,
        within=within,
        spread=spread,
        most=most,
        costs=no_costs(),
    )


def _most_per_node(kind: Kind) -> int:
    own = [limit.replicas for limit in kind.constraints.at_most if not limit.of and limit.per == NODE_DOMAIN]
    return min([kind.replicas, *own])


def _masks(nodes: NodeArrays, kinds: tuple[Kind, ...]) -> tuple[Integers, Booleans]:
    """For each kind the row of a mask over nodes, or -1."""
    unlike = EngineCapability.SPLIT_CORES in nodes.able or EngineCapability.SPLIT_GPUS in nodes.able
    if not nodes.labelled.any() and not unlike and not any(kind.constraints.nodes for kind in kinds):
        return np.full(len(kinds), -1, dtype=np.int64), np.ones((0, len(nodes.nodes)), dtype=np.bool_)
    rows: dict[tuple[object, object, object], int] = {}
    masks: list[NDArray[np.bool_]] = []
    mask = np.full(len(kinds), -1, dtype=np.int64)
    looks: dict[tuple[object, ...], int] = {}
    seen = ((node.labels, node.taints, node.capabilities) for node in nodes.nodes)
    look = np.array([looks.setdefault(each, len(looks)) for each in seen], dtype=np.int64)
    samples = [nodes.nodes[int(position)] for position in np.unique(look, return_index=True)[1]]
    for number, kind in enumerate(kinds):
        wants = (kind.constraints.nodes, kind.constraints.tolerations, kind.needs if unlike else ())
        if wants not in rows:
            admits = np.array([kind.admits(node) for node in samples], dtype=np.bool_)[look]
            rows[wants] = -1 if admits.all() else len(masks)
            if not admits.all():
                masks.append(admits)
        mask[number] = rows[wants]
    return mask, np.array(masks, dtype=np.bool_).reshape(len(masks), len(nodes.nodes))


def _domains(nodes: NodeArrays, kinds: tuple[Kind, ...]) -> tuple[Integers, Integers, Integers, Integers]:
    """The table of domains, and for each kind the rows of it that matter; see `Kinds`."""
    rows: dict[str, int] = {}
    limits = [
        [limit for limit in kind.constraints.at_most if not limit.of and limit.per != NODE_DOMAIN] for kind in kinds
    ]
    width = max(map(len, limits), default=0)
    within = np.full(len(kinds), -1, dtype=np.int64)
    spread = np.full((len(kinds), width), -1, dtype=np.int64)
    most = np.zeros((len(kinds), width), dtype=np.int64)
    for number, kind in enumerate(kinds):
        if kind.constraints.within:
            within[number] = rows.setdefault(kind.constraints.within, len(rows))
        for which, limit in enumerate(limits[number]):
            spread[number, which] = rows.setdefault(limit.per, len(rows))
            most[number, which] = limit.replicas
    table = [nodes.domains(per) for per in rows]
    return np.array(table, dtype=np.int64).reshape(len(table), len(nodes.nodes)), within, spread, most


def loaded(live: Live, staying: Booleans) -> tuple[Pool, Places]:
    """The gangs of running jobs as pieces, and the places of those that stay; see `kernels.load` for taking them."""
    jobs = live.jobs
    chosen = np.flatnonzero(staying)
    kind = np.full(len(jobs.jobs), -1, dtype=np.int64)
    kind[chosen] = live.kind_now(chosen)
    pieces, devices = len(jobs.piece_node), len(jobs.device)
    extra = 64
    pool = Pool(
        node=np.concatenate([live.piece_node, np.zeros(extra, dtype=np.int64)]),
        replicas=np.concatenate([jobs.piece_count, np.zeros(extra, dtype=np.int64)]),
        device_start=np.concatenate([jobs.first_device[:-1], np.zeros(extra, dtype=np.int64)]),
        device_count=np.concatenate([np.diff(jobs.first_device), np.zeros(extra, dtype=np.int64)]),
        device=np.concatenate([jobs.device, np.zeros(extra, dtype=np.int64)]),
        used=np.array([pieces, devices], dtype=np.int64),
    )
    places = Places(
        first=jobs.first_piece[:-1].copy(),
        pieces=np.where(staying, np.diff(jobs.first_piece), 0),
        kind=kind,
        millis=np.where(jobs.runs, jobs.millis, WHOLE),
    )
    return pool, places
