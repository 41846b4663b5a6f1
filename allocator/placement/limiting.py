"""Kernels: what side constraints still allow. Whatever runs takes of the rows that are about it, wherever it is.

What a job takes of a row is the sum over the row's terms that select it, its flavor and its nodes; each term counts a
replica in whole millionths, rounded up. Some terms are about nodes with certain labels (the power of a rack): what they
count is known only when the nodes are chosen, so nodes where a replica would take too much are closed to it for a
moment, and the replicas of a gang are counted until the row is full.
"""

from __future__ import annotations

from allocator.placement.ordering import largest_first
from allocator.placement.room import part_of
from allocator.placement.space import Integers, Places, Pool
from allocator.placement.world import Limits, World

CEILING = 2**50
"""More than any row allows: what is larger counts as this."""


def takes(limits: Limits, term: int, kind: int, millis: int) -> int:
    """What one replica takes by one term, if that selects it."""
    price = limits.price[term]
    if millis == 1000:
        return int(limits.whole[price, kind])
    amount = min(part_of(limits.amount[kind, limits.column[price]], millis), limits.largest[price])
    return int(min(-(-amount * limits.numerator[price] // limits.denominator[price]), CEILING))


def times(replicas: int, each: int) -> int:
    """The product, if that is not beyond every row."""
    if replicas > 0 and each > CEILING // replicas:
        return CEILING
    return replicas * each


def count(world: World, pool: Pool, job: int, kind: int, first: int, pieces: int, sign: int) -> None:
    """Count the pieces of a job that has come (sign 1) or gone (-1)."""
    limits = world.limits
    group = limits.group[job]
    if group < 0:
        return
    millis = world.places.millis[job]
    for piece in range(first, first + pieces):
        signature = limits.signature[pool.node[piece]]
        for entry in range(limits.here_starts[group, signature], limits.here_starts[group, signature + 1]):
            term = limits.here[entry]
            each = takes(limits, term, kind, millis)
            limits.used[limits.row[term]] += sign * times(pool.replicas[piece], each)


def count_all_runs(world: World, pool: Pool, places: Places) -> None:
    """Count everybody who has a place."""
    for job in range(len(places.kind)):
        if places.kind[job] >= 0:
            count(world, pool, job, places.kind[job], places.first[job], places.pieces[job], 1)


def exceeding(world: World, pool: Pool, job: int, kind: int, first: int, pieces: int) -> int:
    """By how much rows would be exceeded if the job had these pieces, added up; 0: they would not."""
    limits = world.limits
    group = limits.group[job]
    if group < 0:
        return 0
    count(world, pool, job, kind, first, pieces, 1)
    beyond = 0
    for piece in range(first, first + pieces):
        signature = limits.signature[pool.node[piece]]
        for entry in range(limits.here_starts[group, signature], limits.here_starts[group, signature + 1]):
            term = limits.here[entry]
            row = limits.row[term]
            if takes(limits, term, kind, world.places.millis[job]) > 0:
                beyond += max(0, limits.used[row] - limits.most[row])
    count(world, pool, job, kind, first, pieces, -1)
    return beyond


def end_of_row(limits: Limits, entries: Integers, entry: int, last: int) -> int:
    """Where the entries of the same row end."""
    row = limits.row[entries[entry]]
    while entry < last and limits.row[entries[entry]] == row:
        entry += 1
    return entry


def anywhere(world: World, job: int, kind: int, row: int) -> int:
    """What each replica takes of a row wherever it is."""
    limits, total = world.limits, 0
    group, flavor = limits.group[job], world.kinds.flavor[kind]
    for entry in range(limits.anywhere_starts[group, flavor], limits.anywhere_starts[group, flavor + 1]):
        if limits.row[limits.anywhere[entry]] == row:
            total += takes(limits, limits.anywhere[entry], kind, world.places.millis[job])
    return total


def overrun(world: World, job: int, kind: int, replicas: int) -> int:
    """By how much rows would be exceeded if the job started so, whatever its nodes, added up; 0: they let it start."""
    limits, beyond = world.limits, 0
    group, flavor = limits.group[job], world.kinds.flavor[kind]
    if group < 0:
        return 0
    entry, last = limits.anywhere_starts[group, flavor], limits.anywhere_starts[group, flavor + 1]
    while entry < last:
        row, end, each = limits.row[limits.anywhere[entry]], end_of_row(limits, limits.anywhere, entry, last), 0
        for position in range(entry, end):
            each += takes(limits, limits.anywhere[position], kind, world.places.millis[job])
        if each > 0:
            beyond += max(0, limits.used[row] + times(replicas, each) - limits.most[row])
        entry = end
    return beyond


def locally(world: World, job: int, kind: int, entry: int, end: int) -> int:
    """What a replica takes by these local entries at most."""
    total = 0
    for position in range(entry, end):
        total += takes(world.limits, world.limits.local[position], kind, world.places.millis[job])
    return total


def taken_on(world: World, job: int, kind: int, node: int, entry: int, end: int) -> int:
    """What a replica takes on a node by these local entries."""
    limits, total = world.limits, 0
    for position in range(entry, end):
        term = limits.local[position]
        if limits.sets[limits.nodes[term], node]:
            total += takes(limits, term, kind, world.places.millis[job])
    return total


def left_of(world: World, job: int, kind: int, row: int, replicas: int) -> int:
    """What a row leaves to local terms, once so many replicas have what they take anywhere."""
    limits = world.limits
    return int(limits.most[row] - limits.used[row] - times(replicas, anywhere(world, job, kind, row)))


def is_short(world: World, job: int, kind: int, replicas: int) -> bool:
    """Whether some row that is about certain nodes may leave too little for so many replicas; these rows are tight."""
    limits, found = world.limits, False
    group, flavor = limits.group[job], world.kinds.flavor[kind]
    if group < 0:
        return False
    entry, last = limits.local_starts[group, flavor], limits.local_starts[group, flavor + 1]
    while entry < last:
        row, end = limits.row[limits.local[entry]], end_of_row(limits, limits.local, entry, last)
        most = times(replicas, locally(world, job, kind, entry, end))
        if most > 0 and most > left_of(world, job, kind, row, replicas):
            limits.tight[row] = True
            found = True
        entry = end
    return found


def close_full(world: World, job: int, kind: int) -> int:
    """Close the nodes on which one replica of the gang would exceed a row, until `reopen_full`: how many."""
    limits, space, closed = world.limits, world.space, world.scratch.closed
    closed[-1] = 0
    group, flavor, need = limits.group[job], world.kinds.flavor[kind], world.kinds.replicas[kind]
    if group < 0:
        return 0
    entry, last = limits.local_starts[group, flavor], limits.local_starts[group, flavor + 1]
    while entry < last:
        row, end = limits.row[limits.local[entry]], end_of_row(limits, limits.local, entry, last)
        left = left_of(world, job, kind, row, need)
        if locally(world, job, kind, entry, end) > left:
            for position in range(entry, end):
                where = limits.nodes[limits.local[position]]
                for member in range(limits.member_starts[where, flavor], limits.member_starts[where, flavor + 1]):
                    node = limits.member[member]
                    if space.open[node]:
                        each = taken_on(world, job, kind, node, entry, end)
                        if each > 0 and each > left:
                            space.open[node] = False
                            closed[closed[-1]] = node
                            closed[-1] += 1
        entry = end
    return int(closed[-1])


def reopen_full(world: World) -> None:
    """Undo `close_full`."""
    closed = world.scratch.closed
    for position in range(closed[-1]):
        world.space.open[closed[position]] = True
    closed[-1] = 0


def limit_counts(world: World, job: int, kind: int, need: int, counts: Integers) -> int:
    """Lower `counts` on the kind's flavor to what rows allow all of them together, if `need` replicas come; their sum.
    Where nodes share a row, the fullest are used first.
    """
    limits, group, flavor = world.limits, world.limits.group[job], world.kinds.flavor[kind]
    low, high = world.space.flavor_starts[flavor], world.space.flavor_starts[flavor + 1]
    if group < 0:
        return int(counts[low:high].sum())
    entry, last = limits.local_starts[group, flavor], limits.local_starts[group, flavor + 1]
    order = largest_first(counts[:0])
    while entry < last:
        row, end = limits.row[limits.local[entry]], end_of_row(limits, limits.local, entry, last)
        left = left_of(world, job, kind, row, need)
        if times(need, locally(world, job, kind, entry, end)) > left:
            if len(order) == 0:
                order = largest_first(counts[low:high])
            left = max(0, left)
            for position in range(len(order)):
                node = low + order[position]
                if counts[node] <= 0:
                    continue
                each = taken_on(world, job, kind, node, entry, end)
                if each > 0:
                    counts[node] = min(counts[node], left // each)
                    left -= counts[node] * each
        entry = end
    return int(counts[low:high].sum())


KERNELS = (
    takes,
    times,
    count,
    count_all_runs,
    exceeding,
    end_of_row,
    anywhere,
    overrun,
    locally,
    taken_on,
    left_of,
    is_short,
    close_full,
    reopen_full,
    limit_counts,
)
"""In order: each calls only those before it."""
