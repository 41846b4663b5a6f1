"""Quotas as tables for the kernels: who uses how much of what already, and what they may; see `allowing`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from allocator.domain.queue import Queue
from allocator.formulation.build import Formulation
from allocator.formulation.live import Live
from allocator.formulation.tree import QueueTree
from allocator.placement.space import Integers, Kinds, Places, Pool
from allocator.placement.world import Allowances

NO_LIMIT = 2**62


def tabulated_allowances(
    queues: Sequence[Queue], formulation: Formulation, kinds: Kinds, pool: Pool, places: Places
) -> tuple[Allowances, tuple[str, ...]]:
    """Of everybody as they are placed now, and the names of the queues."""
    live, nodes = formulation.live, formulation.live.nodes
    columns = {name: position for position, name in enumerate((*nodes.resources, "gpu"))}
    shape = (len(nodes.flavors), len(columns))
    bounded = [queue for queue in queues if any(_says_something(queue, nodes.flavors, columns))]
    if not bounded:
        return _nothing(len(live.jobs.jobs), shape), ()
    numbers = np.unique(live.profiles.queue[live.jobs.profile]) if len(live.jobs.jobs) else np.zeros(0, dtype=np.int64)
    wanting = sorted(live.queues[number] for number in numbers.tolist())
    tree = QueueTree.of(queues, wanting)
    by_name = {name: int(tree.leaf[position]) for position, name in enumerate(wanting)}
    leaf_of_queue = np.array([by_name.get(name, -1) for name in live.queues], dtype=np.int64)
    most = np.full((tree.size, *shape), NO_LIMIT, dtype=np.int64)
    kept, nominal = np.zeros(most.shape, dtype=np.int64), np.zeros(most.shape, dtype=np.int64)
    flavors = {name: position for position, name in enumerate(nodes.flavors)}
    # The leaf for a queue's own jobs, beside queues below it, has its name too: quotas are the queue's.
    position_of = {name: position for position, name in reversed(list(enumerate(tree.names)))}
    in_market = _in_market(queues, formulation)
    for queue in queues:  # all of them: who lends everything is promised something too
        if queue.name not in position_of:
            continue
        for quota in queue.quotas:
            if quota.flavor in flavors and quota.resource in columns:
                at = position_of[queue.name], flavors[quota.flavor], columns[quota.resource]
                most[at] = NO_LIMIT if quota.most is None else quota.most
                kept[at], nominal[at] = quota.kept, quota.nominal if queue.name in in_market else 0
    leaf = leaf_of_queue[live.profiles.queue[live.jobs.profile]]
    used = tree.above(_used(tree, leaf, kinds, pool, places, shape))
    capacity = _capacity(live, shape) + _used_elsewhere(live, kinds, pool, places, shape)
    promised = tree.at_least(nominal)[tree.depth == 0].sum(axis=0)
    part = np.divide(capacity, promised, out=np.ones(shape), where=promised > capacity)
    kept = np.floor(kept * part).astype(np.int64)  # where more is promised than there is, everybody keeps less
    wanted, reserved = _reserved(tree, used, kept)
    allowances = Allowances(
        leaf=leaf,
        parent=tree.parent,
        used=used,
        wanted=wanted,
        reserved=reserved,
        most=most,
        kept=kept,
        lends=np.asarray(kept.any(axis=0)),
        capacity=capacity,
        full=np.zeros(tree.size, dtype=np.bool_),
    )
    return allowances, tree.names


def _in_market(queues: Sequence[Queue], formulation: Formulation) -> frozenset[str]:
    """Names of the queues that the optimum knows. Nothing is promised to others, whose jobs can never run."""
    names = formulation.live.queues
    wanting = [names[number] for number in np.flatnonzero(formulation.taking_part).tolist()]
    return frozenset(QueueTree.of(queues, wanting).names)


def _says_something(queue: Queue, flavors: Iterable[str], resources: Iterable[str]) -> Iterable[bool]:
    there, known = set(flavors), set(resources)
    return (
        quota.flavor in there and quota.resource in known and (quota.most is not None or quota.kept > 0)
        for quota in queue.quotas
    )


def _nothing(jobs: int, shape: tuple[int, int]) -> Allowances:
    none, table = np.zeros(0, dtype=np.int64), np.zeros((0, *shape), dtype=np.int64)
    return Allowances(
        leaf=np.full(jobs, -1, dtype=np.int64),
        parent=none,
        used=table,
        wanted=table.copy(),
        reserved=np.zeros(shape, dtype=np.int64),
        most=table.copy(),
        kept=table.copy(),
        lends=np.zeros(shape, dtype=np.bool_),
        capacity=np.zeros(shape, dtype=np.int64),
        full=np.zeros(0, dtype=np.bool_),
    )


def _used(
    tree: QueueTree, leaf: Integers, kinds: Kinds, pool: Pool, places: Places, shape: tuple[int, int]
) -> Integers:
    """(Q, F, R + 1) by the jobs of each leaf that have a place."""
    found = np.zeros((tree.size, *shape), dtype=np.int64)
    placed = np.flatnonzero((places.kind >= 0) & (leaf >= 0))
    owner = np.repeat(placed, places.pieces[placed])
    starts = np.cumsum(places.pieces[placed]) - places.pieces[placed]
    piece = places.first[owner] + np.arange(len(owner)) - np.repeat(starts, places.pieces[placed])
    replicas = np.bincount(owner, weights=pool.replicas[piece], minlength=len(leaf)).astype(np.int64)
    kind, millis = places.kind[placed], places.millis[placed]
    each = -(-kinds.amount[kind] * millis[:, None] // 1000)  # rounded up, as `room.part_of`
    gpus = kinds.devices[kind] * 1000 + kinds.part[kind]
    amount = np.concatenate([each, gpus[:, None]], axis=1) * replicas[placed][:, None]
    np.add.at(found, (leaf[placed], kinds.flavor[kind]), amount)
    return found


def _used_elsewhere(live: Live, kinds: Kinds, pool: Pool, places: Places, shape: tuple[int, int]) -> Integers:
    """(F, R + 1) on nodes that take no new work: it counts as used, so it has to count as there."""
    found = np.zeros(shape, dtype=np.int64)
    placed = np.flatnonzero(places.kind >= 0)
    owner = np.repeat(placed, places.pieces[placed])
    starts = np.cumsum(places.pieces[placed]) - places.pieces[placed]
    piece = places.first[owner] + np.arange(len(owner)) - np.repeat(starts, places.pieces[placed])
    there = ~live.nodes.takes_new_work[pool.node[piece]]
    owner, piece = owner[there], piece[there]
    kind = places.kind[owner]
    each = -(-kinds.amount[kind] * places.millis[owner][:, None] // 1000)
    gpus = kinds.devices[kind] * 1000 + kinds.part[kind]
    amount = np.concatenate([each, gpus[:, None]], axis=1) * pool.replicas[piece][:, None]
    np.add.at(found, kinds.flavor[kind], amount)
    return found


def _reserved(tree: QueueTree, used: Integers, kept: Integers) -> tuple[Integers, Integers]:
    """(Q, ...) what each queue wants, and what all of them reserve."""
    wanted = used.copy()
    inner = np.isin(np.arange(tree.size), tree.parent)
    wanted[inner] = 0
    for level in range(tree.levels - 1, 0, -1):
        here = np.flatnonzero(tree.depth == level)
        np.add.at(wanted, tree.parent[here], np.maximum(wanted[here], kept[here]))
    roots = tree.depth == 0
    return wanted, np.maximum(wanted[roots], kept[roots]).sum(axis=0)


def _capacity(live: Live, shape: tuple[int, int]) -> Integers:
    """Of the nodes that take new work."""
    nodes = live.nodes
    found = np.zeros(shape, dtype=np.int64)
    there = np.flatnonzero(nodes.takes_new_work)
    together = np.concatenate([nodes.capacity, nodes.devices.sum(axis=1)[:, None]], axis=1)
    np.add.at(found, nodes.flavor[there], together[there])
    return found
