"""Kernels: where a gang fits, taking and giving back its place. See `compiled` for how they are run.

All replicas of a gang are alike, so a gang fits exactly when the numbers of replicas that each node could take add up
to at least its size: the search misses nothing. Among the ways to place it, the order of preference is

1. one node that holds the whole gang;
2. one rack that holds it: the one in which least is left over;
3. few racks, and in them few nodes: the fullest fill first.

Among equal nodes: the one whose loss costs those who will come least (`spending`); where that is equal, or nothing has
a cost: for a fraction of a GPU one where a GPU is shared already, so that whole GPUs stay whole; then the one with the
least left over; then the first.

A replica takes whole GPUs (devices nobody else has a part of, lowest indices first) or a part of one device (the one
that costs least; or else the one with the least left that has enough).
"""

from __future__ import annotations

import numpy as np

from allocator.placement.costs import LEFT_OVER
from allocator.placement.laying_out import lay_out
from allocator.placement.ordering import foremost, largest_first
from allocator.placement.room import able_nodes, has_shared_device, part_of, refresh, room_on
from allocator.placement.space import Integers, Kinds, Places, Pool, Space
from allocator.placement.spending import ROOM, cheapest, device_for, kept_row, priced

_GPU = 1000


def count_all(space: Space, kinds: Kinds, kind: int, millis: int, counts: Integers) -> int:
    """`room_on` for every node of the kind's flavor, into `counts` (N,); their sum."""
    flavor = kinds.flavor[kind]
    total = 0
    if flavor < 0 or kinds.absent[kind]:
        return 0
    counts[space.flavor_starts[flavor] : space.flavor_starts[flavor + 1]] = 0
    able = able_nodes(space, kinds, kind, millis)
    for position in range(len(able)):
        room = room_on(space, kinds, kind, millis, able[position])
        counts[able[position]] = room
        total += room
    return total


def count_here(space: Space, kinds: Kinds, kind: int, millis: int, counts: Integers) -> int:
    """The same in the space that `kinds.costs` are of, where what is known of a kind is kept."""
    if millis != _GPU or len(kinds.costs.holder) == 0 or kinds.flavor[kind] < 0 or kinds.absent[kind]:
        return count_all(space, kinds, kind, millis, counts)
    line, is_open = kinds.costs.kept[kept_row(space, kinds, ROOM, kind)], space.open
    total = 0
    for node in range(space.flavor_starts[kinds.flavor[kind]], space.flavor_starts[kinds.flavor[kind] + 1]):
        room = line[node] if is_open[node] else 0
        counts[node] = room
        total += room
    return total


def best_node(space: Space, kinds: Kinds, kind: int, counts: Integers, need: int, nodes: Integers) -> int:
    """The best of `nodes` (ascending) that could take `need` replicas; -1 if none could."""
    best = -1
    best_shared = False
    least = 0
    slot = -1
    for position in range(len(nodes)):
        node = nodes[position]
        if counts[node] < need:
            continue
        if best < 0 and kinds.costs.score != LEFT_OVER:
            slot = priced(space, kinds, kind, need)
        cost = kinds.costs.kept[slot, node] if slot >= 0 else 0
        if best >= 0 and cost > least:
            continue
        shared = kinds.part[kind] > 0 and has_shared_device(space, kinds, kind, node)
        if best >= 0 and cost == least:
            if best_shared and not shared:
                continue
            if best_shared == shared and space.slack[node] >= space.slack[best]:
                continue
        best = node
        best_shared = shared
        least = cost
    return best


def best_single(space: Space, kinds: Kinds, kind: int, millis: int) -> int:
    """The best node for a gang of one replica; -1 if there is none. The same as counting and `best_node`, at once."""
    flavor = kinds.flavor[kind]
    best = -1
    best_shared = False
    if flavor < 0 or kinds.absent[kind]:
        return best
    slot = priced(space, kinds, kind, 1) if millis == _GPU else -1  # costs are of whole demands
    if slot >= 0:
        return cheapest(space, kinds, kind, slot)
    able = able_nodes(space, kinds, kind, millis)
    for position in range(len(able)):
        node = able[position]
        if best >= 0 and kinds.part[kind] == 0 and space.slack[node] >= space.slack[best]:
            continue
        if room_on(space, kinds, kind, millis, node) < 1:
            continue
        shared = kinds.part[kind] > 0 and has_shared_device(space, kinds, kind, node)
        if best >= 0:
            if best_shared and not shared:
                continue
            if best_shared == shared and space.slack[node] >= space.slack[best]:
                continue
        best = node
        best_shared = shared
    return best


def fill_from(
    space: Space, kinds: Kinds, kind: int, counts: Integers, need: int, nodes: Integers, fill: Integers, filled: int
) -> int:
    """Let `nodes` take up to `need` replicas, the fullest fill first, the last as tight as possible: rows
    fill[filled:] get (node, replicas). How many rows there are then. Nodes that are full then count 0.
    """
    most = 0
    for position in range(len(nodes)):
        most = max(most, counts[nodes[position]])
    levels = np.zeros(most + 1, dtype=np.int64)
    for position in range(len(nodes)):
        levels[counts[nodes[position]]] += 1
    many, missing, least = 0, need, most + 1  # how many nodes it takes, and how much room the last of them has
    while missing > 0 and least > 1:
        least -= 1
        enough = min(levels[least], -(-missing // least))
        many += enough
        missing -= enough * least
    slot = priced(space, kinds, kind, 1) if kinds.costs.score != LEFT_OVER else -1
    chosen = foremost(space, kinds, slot, counts, nodes, least, many)
    for position in range(many):
        node = chosen[position]
        if counts[node] >= need:
            fill[filled, 0] = best_node(space, kinds, kind, counts, need, nodes)
            fill[filled, 1] = need
            return filled + 1
        fill[filled, 0] = node
        fill[filled, 1] = counts[node]
        filled += 1
        need -= counts[node]
        counts[node] = 0
    return filled


def limited_by_domain(kinds: Kinds, kind: int, counts: Integers, nodes: Integers) -> None:
    """Lower `counts` so that no domain takes more than the gang may have there, fullest nodes first. Each limit only
    lowers them, so all hold in the end.
    """
    for which in range(kinds.spread.shape[1]):
        if kinds.spread[kind, which] < 0:
            continue
        domains = kinds.domains[kinds.spread[kind, which]]
        left = np.full(domains.max() + 1, kinds.most[kind, which], dtype=np.int64)
        order = largest_first(counts[nodes])
        for position in range(len(order)):
            node = nodes[order[position]]
            counts[node] = min(counts[node], left[domains[node]])
            left[domains[node]] -= counts[node]


def nodes_in(domains: Integers, domain: int, nodes: Integers) -> Integers:
    """Those of `nodes` that are in the domain."""
    found = np.empty(len(nodes), dtype=np.int64)
    count = 0
    for position in range(len(nodes)):
        if domains[nodes[position]] == domain:
            found[count] = nodes[position]
            count += 1
    return found[:count]


def nodes_with_room(counts: Integers, first: int, last: int) -> Integers:
    """Those of first : last that could take anything."""
    found = np.empty(last - first, dtype=np.int64)
    count = 0
    for node in range(first, last):
        if counts[node] > 0:
            found[count] = node
            count += 1
    return found[:count]


def fill_nodes(space: Space, kinds: Kinds, kind: int, need: int, counts: Integers, fill: Integers) -> int:
    """Which nodes take how many of `need` replicas, given what each could take, into rows of `fill` (node, replicas):
    how many rows; 0 when all nodes together are too few. May lower `counts`.
    """
    flavor = kinds.flavor[kind]
    nodes = nodes_with_room(counts, space.flavor_starts[flavor], space.flavor_starts[flavor + 1])
    limited_by_domain(kinds, kind, counts, nodes)
    single = best_node(space, kinds, kind, counts, need, nodes)
    if single >= 0:
        fill[0, 0] = single
        fill[0, 1] = need
        return 1
    within = kinds.within[kind] >= 0
    domains = kinds.domains[kinds.within[kind]] if within else space.rack
    least, most, everything = len(domains), 0, 0
    for position in range(len(nodes)):
        least = min(least, domains[nodes[position]])
        most = max(most, domains[nodes[position]])
        everything += counts[nodes[position]]
    if everything < need:
        return 0
    if not within and not space.racked[0]:  # every node is a rack of its own
        return fill_from(space, kinds, kind, counts, need, nodes, fill, 0)
    total = np.zeros(most - least + 1, dtype=np.int64)
    members = np.zeros(most - least + 1, dtype=np.int64)
    for position in range(len(nodes)):
        total[domains[nodes[position]] - least] += counts[nodes[position]]
        members[domains[nodes[position]] - least] += 1
    best = -1
    for domain in range(len(total)):
        if total[domain] >= need and (best < 0 or total[domain] < total[best]):
            best = domain
    if best >= 0:
        return fill_from(space, kinds, kind, counts, need, nodes_in(domains, best + least, nodes), fill, 0)
    if within:
        return 0
    if members.max() == 1:  # every node is a rack of its own
        return fill_from(space, kinds, kind, counts, need, nodes, fill, 0)
    filled = 0
    missing = need
    order = largest_first(total)
    for position in range(len(order)):
        here = nodes_in(domains, order[position] + least, nodes)
        filled = fill_from(space, kinds, kind, counts, missing, here, fill, filled)
        missing -= total[order[position]]
        if missing <= 0:
            break
    return filled


def choose(space: Space, kinds: Kinds, kind: int, need: int, counts: Integers, fill: Integers) -> int:
    """As `fill_nodes`, but as engines do it that cannot be told how many replicas each node takes."""
    filled = fill_nodes(space, kinds, kind, need, counts, fill)
    return lay_out(space, kinds, kind, need, counts, fill, filled) if filled > 1 else filled


def occupy(space: Space, kinds: Kinds, kind: int, fill: Integers, filled: int, pool: Pool, millis: int) -> Pool:
    """Take exactly this fill, which must fit, as the last pieces of the pool; the pool, larger if it had to be."""
    per_replica = kinds.devices[kind]
    if kinds.part[kind] > 0:
        per_replica = 1
    replicas = fill[:filled, 1].sum()
    pool = with_room(pool, filled, replicas * per_replica)
    for row in range(filled):
        node, count = fill[row, 0], fill[row, 1]
        piece = pool.used[0]
        pool.node[piece] = node
        pool.replicas[piece] = count
        pool.device_start[piece] = pool.used[1]
        pool.device_count[piece] = count * per_replica
        for _ in range(count):
            pick_devices(space, kinds, kind, node, pool)
        pool.used[0] += 1
        for resource in range(space.free.shape[1]):
            space.free[node, resource] -= count * part_of(kinds.amount[kind, resource], millis)
        refresh(space, node)
    return pool


def pick_devices(space: Space, kinds: Kinds, kind: int, node: int, pool: Pool) -> None:
    """Take the devices of one replica, at the end of the pool."""
    part = kinds.part[kind]
    if part > 0:
        best = device_for(space, kinds, kind, node)
        space.devices[node, best] -= part
        pool.device[pool.used[1]] = best
        pool.used[1] += 1
        return
    missing = kinds.devices[kind]
    for device in range(space.devices.shape[1]):
        if missing == 0:
            break
        if space.devices[node, device] == _GPU:
            space.devices[node, device] = 0
            pool.device[pool.used[1]] = device
            pool.used[1] += 1
            missing -= 1


def with_room(pool: Pool, pieces: int, devices: int) -> Pool:
    """The pool, with room for so many more."""
    used_pieces, used_devices = pool.used[0], pool.used[1]
    if used_pieces + pieces > len(pool.node):
        more = len(pool.node) + pieces
        pool = Pool(
            longer(pool.node, more),
            longer(pool.replicas, more),
            longer(pool.device_start, more),
            longer(pool.device_count, more),
            pool.device,
            pool.used,
        )
    if used_devices + devices > len(pool.device):
        pool = Pool(
            pool.node,
            pool.replicas,
            pool.device_start,
            pool.device_count,
            longer(pool.device, len(pool.device) + devices),
            pool.used,
        )
    return pool


def longer(array: Integers, more: int) -> Integers:
    """The same, followed by `more` zeros."""
    result = np.zeros(len(array) + more, dtype=np.int64)
    result[: len(array)] = array
    return result


def take(space: Space, kinds: Kinds, pool: Pool, places: Places, job: int, sign: int) -> None:
    """Put a job (back) into its place (sign 1), or lift it out of it (-1)."""
    kind = places.kind[job]
    millis = _GPU
    if kinds.part[kind] > 0:
        millis = kinds.part[kind]
    for piece in range(places.first[job], places.first[job] + places.pieces[job]):
        node = pool.node[piece]
        for resource in range(space.free.shape[1]):
            amount = part_of(kinds.amount[kind, resource], places.millis[job])
            space.free[node, resource] -= sign * amount * pool.replicas[piece]
        start = pool.device_start[piece]
        for held in range(start, start + pool.device_count[piece]):
            space.devices[node, pool.device[held]] -= sign * millis
        refresh(space, node)


def holds(space: Space, kinds: Kinds, pool: Pool, places: Places, job: int) -> bool:
    """Whether a job that was lifted fits into exactly its old place, as things are."""
    kind = places.kind[job]
    millis = _GPU
    if kinds.part[kind] > 0:
        millis = kinds.part[kind]
    fits = True
    for piece in range(places.first[job], places.first[job] + places.pieces[job]):
        node = pool.node[piece]
        for resource in range(space.free.shape[1]):
            amount = part_of(kinds.amount[kind, resource], places.millis[job])
            if space.free[node, resource] < amount * pool.replicas[piece]:
                fits = False
        start = pool.device_start[piece]
        for held in range(start, start + pool.device_count[piece]):
            space.devices[node, pool.device[held]] -= millis  # several replicas may share one device
        for held in range(start, start + pool.device_count[piece]):
            if space.devices[node, pool.device[held]] < 0:
                fits = False
        for held in range(start, start + pool.device_count[piece]):
            space.devices[node, pool.device[held]] += millis
    return fits


def load(space: Space, kinds: Kinds, pool: Pool, places: Places) -> None:
    """Take the places of all jobs that have one, also where that makes a node overfull; derive afterwards."""
    for job in range(len(places.kind)):
        kind = places.kind[job]
        if kind < 0:
            continue
        millis = _GPU
        if kinds.part[kind] > 0:
            millis = kinds.part[kind]
        for piece in range(places.first[job], places.first[job] + places.pieces[job]):
            node = pool.node[piece]
            for resource in range(space.free.shape[1]):
                amount = part_of(kinds.amount[kind, resource], places.millis[job])
                space.free[node, resource] -= amount * pool.replicas[piece]
            start = pool.device_start[piece]
            for held in range(start, start + pool.device_count[piece]):
                space.devices[node, pool.device[held]] -= millis


def is_overfull(space: Space, node: int) -> bool:
    """Whether less than nothing is left of something."""
    return bool((space.free[node] < 0).any() or (space.devices[node] < 0).any())


KERNELS = (
    count_all,
    count_here,
    best_node,
    best_single,
    fill_from,
    limited_by_domain,
    nodes_in,
    nodes_with_room,
    fill_nodes,
    choose,
    longer,
    with_room,
    pick_devices,
    occupy,
    take,
    holds,
    load,
    is_overfull,
)
"""In order: each calls only those before it."""
