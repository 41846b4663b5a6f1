"""Kernels: who would have to stop for a gang that quotas or side constraints keep from starting.

Candidates are those of `stopping`, but only some help: those who take of what is exceeded, on whatever flavor. They are
in lists by account (jobs that quotas and side constraints treat alike) and flavor, so that the others need not be
looked at. Equivalent to:

1. Lift those who help, the lowest in order first, until nothing is exceeded any more and the gang fits.
2. If it does not fit even so: with as many of them lifted as it takes so that nothing is exceeded, make room as for any
   other gang (`stopping`), at the expense of everybody.
3. Place it; of those lifted everybody goes on whose old place is free still, if that exceeds nothing, the highest
   in order first. So whoever became needless goes on, and if the gang does not start, all do.
"""

from __future__ import annotations

from allocator.placement.allowing import amount_of
from allocator.placement.entering import lacking, lift
from allocator.placement.fit import count_here
from allocator.placement.limiting import anywhere, close_full, end_of_row, is_short, reopen_full, times
from allocator.placement.space import Pool
from allocator.placement.stopping import filled_now, lift_until_it_fits, may_stop, put_back, settle_stops
from allocator.placement.world import World

STARTED, NOT_ALLOWED, NO_ROOM = 0, 1, 2
"""Answers."""
BOUNDED = True
MOST_TRIES = 32
"""Looks at whether the gang fits, in one search."""


def mark_full(world: World, job: int, kind: int) -> bool:
    """Mark the queues (`allowances.full`) and rows (`limits.tight`) that leave the job too little; whether what others
    do not lend does.
    """
    allowed, limits, lent = world.allowances, world.limits, False
    allowed.full[:] = False
    limits.tight[:] = False
    flavor, millis, need = world.kinds.flavor[kind], world.places.millis[job], world.kinds.replicas[kind]
    leaf = allowed.leaf[job]
    for resource in range(allowed.used.shape[2] if leaf >= 0 else 0):
        amount = need * amount_of(world.kinds, kind, resource, millis)
        if amount == 0:
            continue
        queue, change = leaf, amount
        while queue >= 0:
            if allowed.used[queue, flavor, resource] + amount > allowed.most[queue, flavor, resource]:
                allowed.full[queue] = True
            kept, wanted = allowed.kept[queue, flavor, resource], allowed.wanted[queue, flavor, resource]
            change = max(wanted + change, kept) - max(wanted, kept)
            queue = allowed.parent[queue]
        if allowed.lends[flavor, resource] and change > 0:
            lent |= allowed.reserved[flavor, resource] + change > allowed.capacity[flavor, resource]
    group = limits.group[job]
    if group >= 0:
        entry, last = limits.anywhere_starts[group, flavor], limits.anywhere_starts[group, flavor + 1]
        while entry < last:
            row = limits.row[limits.anywhere[entry]]
            each = anywhere(world, job, kind, row)
            if each > 0 and limits.used[row] + times(need, each) > limits.most[row]:
                limits.tight[row] = True
            entry = end_of_row(limits, limits.anywhere, entry, last)
        is_short(world, job, kind, need)
    return bool(lent)


def takes_of_tight(world: World, group: int, flavor: int) -> bool:
    """Whether jobs of a group may take of a tight row on a flavor."""
    limits = world.limits
    for entry in range(limits.anywhere_starts[group, flavor], limits.anywhere_starts[group, flavor + 1]):
        if limits.tight[limits.row[limits.anywhere[entry]]]:
            return True
    for entry in range(limits.local_starts[group, flavor], limits.local_starts[group, flavor + 1]):
        if limits.tight[limits.row[limits.local[entry]]]:
            return True
    return False


def open_lists(world: World, job: int, kind: int) -> int:
    """Begin to read the lists of those who take of what the job lacks, into `stops.heads`: how many."""
    stops, allowed, flavor = world.stops, world.allowances, world.kinds.flavor[kind]
    lent, found = mark_full(world, job, kind), 0
    for account in range(len(stops.leaf)):
        leaf, group = stops.leaf[account], stops.group[account]
        for on in range(stops.list_starts.shape[1] - 1):
            start, end = stops.list_starts[account, on], stops.list_starts[account, on + 1]
            if start == end:
                continue
            helps = False
            if on == flavor and leaf >= 0:
                helps = lent
                queue = leaf
                while queue >= 0:
                    helps |= allowed.full[queue]
                    queue = allowed.parent[queue]
            if not helps and group >= 0:
                helps = takes_of_tight(world, group, on)
            if helps:
                stops.heads[found, 0] = start
                stops.heads[found, 1] = end
                found += 1
    return found


def next_of_lists(world: World, job: int, fair: bool, lists: int) -> int:
    """The lowest in order of those in the lists whom the job may stop; -1 if there is nobody left."""
    stops, best, where = world.stops, -1, -1
    for each in range(lists):
        while stops.heads[each, 0] < stops.heads[each, 1]:
            candidate = stops.listed[stops.heads[each, 0]]
            allowed = may_stop(world, job, candidate, fair)
            if allowed < 0:
                stops.heads[each, 1] = stops.heads[each, 0]
            elif allowed == 0:
                stops.heads[each, 0] += 1
            else:
                if best < 0 or stops.rank[candidate] < stops.rank[best]:
                    best, where = candidate, each
                break
    if where >= 0:
        stops.heads[where, 0] += 1
    return best


def frees_tight(world: World, pool: Pool, job: int) -> bool:
    """Whether somebody takes of a tight row where it is."""
    limits, places = world.limits, world.places
    group = limits.group[job]
    if group < 0:
        return False
    for piece in range(places.first[job], places.first[job] + places.pieces[job]):
        signature = limits.signature[pool.node[piece]]
        for entry in range(limits.here_starts[group, signature], limits.here_starts[group, signature + 1]):
            if limits.tight[limits.row[limits.here[entry]]]:
                return True
    return False


def has_open_node(world: World, job: int, kind: int) -> bool:
    """Whether side constraints leave the job any node of the kind's flavor, whatever room it has."""
    close_full(world, job, kind)
    first, last = (
        world.space.flavor_starts[world.kinds.flavor[kind]],
        world.space.flavor_starts[world.kinds.flavor[kind] + 1],
    )
    found = bool(world.space.open[first:last].any())
    reopen_full(world)
    return found


def in_order(world: World, lifted: int) -> None:
    """Sort those lifted, the lowest in order first. Most are in order already."""
    stops = world.stops
    for position in range(1, lifted):
        candidate, at = stops.lifted[position], position
        while at > 0 and stops.rank[stops.lifted[at - 1]] > stops.rank[candidate]:
            stops.lifted[at] = stops.lifted[at - 1]
            at -= 1
        stops.lifted[at] = candidate


def stop_who_helps(world: World, pool: Pool, job: int, kind: int, fair: bool) -> tuple[Pool, int]:
    """`stopping.stop_others` for a gang that quotas or side constraints keep from starting; and an answer: why nothing
    has changed, or STARTED.
    """
    stops, jobs, millis = world.stops, world.jobs, world.places.millis[job]
    stops.losers[-1] = 0
    lists, lifted, filled, tries, enough = open_lists(world, job, kind), 0, 0, 0, -1
    lack = lacking(world, job, kind)
    while tries < MOST_TRIES:
        if lack == 0 and enough < 0 and has_open_node(world, job, kind):
            enough = lifted
        if enough >= 0 and lifted > 0:
            tries += 1
            count_here(world.space, world.kinds, kind, millis, world.scratch.counts)
            filled = filled_now(world, job, kind, BOUNDED)
            if filled > 0:
                break
        candidate = next_of_lists(world, job, fair, lists)
        if candidate < 0:
            break
        helps = lack == 0 and enough >= 0
        lift(world, pool, candidate, -1)
        left = lacking(world, job, kind)
        if helps or left < lack or frees_tight(world, pool, candidate):
            lack = left
            stops.lifted[lifted] = candidate
            jobs.stoppable[candidate] = False
            lifted += 1
        else:
            lift(world, pool, candidate, 1)
    chosen = lifted
    if filled == 0 and enough >= 0:
        put_back(world, pool, enough, lifted)
        for position in range(enough, lifted):
            jobs.stoppable[stops.lifted[position]] = True
        chosen = enough
        lifted, filled = lift_until_it_fits(world, pool, job, kind, fair, enough)
    for position in range(chosen):
        jobs.stoppable[stops.lifted[position]] = True
    if filled == 0:
        put_back(world, pool, 0, lifted)
        return pool, NO_ROOM if enough >= 0 else NOT_ALLOWED
    in_order(world, lifted)
    return settle_stops(world, pool, job, kind, filled, lifted), STARTED


KERNELS = (
    mark_full,
    takes_of_tight,
    open_lists,
    next_of_lists,
    frees_tight,
    has_open_node,
    in_order,
    stop_who_helps,
)
"""In order: each calls only those before it."""
