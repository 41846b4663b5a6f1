"""Kernels: who would have to stop for a gang to start: the least owed jobs that together make enough room, no others.

Candidates are running preemptible jobs of a lower priority class; for a job that the optimum gives a share, also those
of its own class that have run their minimum and are owed less by at least the hysteresis, or by their restart cost if
that is more (but no more than the credit limit, so that it can happen). Equivalent to: consider candidates one by one,
the lowest in order first, until the gang would fit if all of them were gone; place it, on nodes that some of them leave
or that are free; of those who are there let go on whose old place is still free, the highest in order first.

What makes it fast: whether it would help if everybody left is asked first, once per kind. Then a pass only adds up what
candidates would give back, node by node and device by device; it tells how many of them have to be considered. Only
then are jobs really lifted out of their places, on the nodes that matter. Candidates are in
order of credit within a class, so the search ends at the first that is owed too much. A kind that fails need not be
tried again in the same walk: room is only used up by it, never made.
"""

from __future__ import annotations

from allocator.placement.allowing import excess, replicas_in
from allocator.placement.bounds import bound_counts, bounded_room, is_near
from allocator.placement.entering import enter, is_free, lets_return, lift
from allocator.placement.fit import choose, count_all, count_here, occupy
from allocator.placement.limiting import is_short, limit_counts
from allocator.placement.room import part_of, room_on
from allocator.placement.space import Pool
from allocator.placement.world import World

MOST_EFFORT, LEAST_EFFORT, LIFTING = 1024, 64, 16
"""What one search may cost without success on up to a thousand nodes, what it may cost on any number of them, and what
lifting jobs costs, against looking at what bounds would allow: then limits on who is near whom are in the way.
"""
LOST_FAIRLY, LOST_TO_PRIORITY, LOST_TO_QUOTA, LOST_TO_LIMIT = 1, 2, 7, 8
"""Codes of `evictions.REASONS`."""


def may_stop(world: World, job: int, candidate: int, fair: bool) -> int:
    """1 if the job may stop the candidate, 0 if not, -1 if not and nobody after it in the order either."""
    jobs, stops = world.jobs, world.stops
    if jobs.priority[candidate] > jobs.priority[job]:
        return -1
    if jobs.priority[candidate] == jobs.priority[job]:
        if not fair or jobs.credit[candidate] + stops.hysteresis > jobs.credit[job]:
            return -1
        if stops.enough[candidate] > jobs.credit[job] or jobs.credit[candidate] >= jobs.credit[job]:
            return 0
    return 1 if jobs.stoppable[candidate] and not is_near(world.bounds, job, candidate) else 0


def room_at_best(world: World, kind: int, millis: int, node: int) -> int:
    """How many replicas a node could take with what was added up in `scratch.freed`."""
    space, kinds, freed = world.space, world.kinds, world.scratch.freed
    if not space.open[node] or (kinds.mask[kind] >= 0 and not kinds.masks[kinds.mask[kind], node]):
        return 0
    room = int(kinds.cap[kind])
    last = space.free.shape[1]
    for resource in range(last):
        amount = part_of(kinds.amount[kind, resource], millis)
        if amount > 0:
            room = min(room, (space.free[node, resource] + freed[node, resource]) // amount)
            if room <= 0:
                return 0
    devices, part = kinds.devices[kind], kinds.part[kind]
    if devices == 0 and part == 0:
        return room
    fitting = 0
    for device in range(space.devices.shape[1]):
        left = space.devices[node, device] + freed[node, last + device]
        if part > 0:
            fitting += left // part
        elif left == 1000:
            fitting += 1
    return min(room, fitting if part > 0 else fitting // devices)


def give_back_in_thought(world: World, pool: Pool, kind: int, millis: int, candidate: int) -> int:
    """Add up what the candidate would give back: by how much the sum of what nodes could take at best grows."""
    kinds, places, scratch = world.kinds, world.places, world.scratch
    of, last = places.kind[candidate], world.space.free.shape[1]
    each = 1000
    if kinds.part[of] > 0:
        each = kinds.part[of]
    grown = 0
    for piece in range(places.first[candidate], places.first[candidate] + places.pieces[candidate]):
        node = pool.node[piece]
        if not scratch.is_touched[node]:
            scratch.is_touched[node] = True
            scratch.touched[scratch.touched[-1]] = node
            scratch.touched[-1] += 1
        for resource in range(last):
            amount = part_of(kinds.amount[of, resource], places.millis[candidate])
            scratch.freed[node, resource] += amount * pool.replicas[piece]
        start = pool.device_start[piece]
        for held in range(start, start + pool.device_count[piece]):
            scratch.freed[node, last + pool.device[held]] += each
        room = room_at_best(world, kind, millis, node)
        grown += room - scratch.counts[node]
        scratch.counts[node] = room
    return grown


def forget_thoughts(world: World) -> None:
    """Undo `give_back_in_thought`, but for the counts."""
    scratch = world.scratch
    for position in range(scratch.touched[-1]):
        node = scratch.touched[position]
        scratch.freed[node] = 0
        scratch.is_touched[node] = False
    scratch.touched[-1] = 0


def matters(world: World, pool: Pool, candidate: int) -> bool:
    """Whether the candidate is on a node where a replica could go."""
    first = world.places.first[candidate]
    for piece in range(first, first + world.places.pieces[candidate]):
        if world.scratch.counts[pool.node[piece]] > 0:
            return True
    return False


def is_allowed(world: World, pool: Pool, job: int, candidate: int) -> bool:
    """Whether the candidate is on a node where bounds, as things are, allow the job anything."""
    first, bounds, counts = world.places.first[candidate], world.bounds, world.scratch.counts
    for piece in range(first, first + world.places.pieces[candidate]):
        if bounded_room(bounds, job, pool.node[piece], counts[pool.node[piece]]) > 0:
            return True
    return False


def lift_where_it_matters(
    world: World, pool: Pool, job: int, kind: int, fair: bool, bounded: bool, end: int, lifted: int
) -> int:
    """Lift the candidates up to position `end` that are on nodes where replicas could go; counts become exact. How many
    are lifted then, in `stops.lifted`, where some were before.
    """
    stops, scratch = world.stops, world.scratch
    millis = world.places.millis[job]
    for position in range(stops.starts[world.kinds.flavor[kind]], end):
        candidate = stops.order[position]
        if may_stop(world, job, candidate, fair) != 1:
            continue
        if bounded or matters(world, pool, candidate):
            lift(world, pool, candidate, -1)
            stops.lifted[lifted] = candidate
            lifted += 1
    for position in range(scratch.touched[-1]):
        node = scratch.touched[position]
        scratch.counts[node] = room_on(world.space, world.kinds, kind, millis, node)
    return lifted


def put_back(world: World, pool: Pool, first: int, lifted: int) -> None:
    """Return everybody who was lifted, but for the first so many."""
    for position in range(lifted - 1, first - 1, -1):
        lift(world, pool, world.stops.lifted[position], 1)


def filled_now(world: World, job: int, kind: int, bounded: bool) -> int:
    """Rows of `fill` for the gang, given what each node could take; 0 if it does not fit. `bounded`: under bounds and
    side constraints.
    """
    flavor, need = world.kinds.flavor[kind], world.kinds.replicas[kind]
    first, last = world.space.flavor_starts[flavor], world.space.flavor_starts[flavor + 1]
    left = world.scratch.counts.copy()
    if left[first:last].sum() < need:
        return 0
    if bounded and bound_counts(world.bounds, job, first, last, left) < need:
        return 0
    if bounded and limit_counts(world, job, kind, need, left) < need:
        return 0
    return choose(world.space, world.kinds, kind, need, left, world.scratch.fill)


def is_out_of_reach(world: World, kind: int) -> bool:
    """Whether the kind would not fit even if everybody left who may be stopped."""
    known = world.scratch.reach[kind]
    if known == 0:
        total = count_all(world.reservations.lasting, world.kinds, kind, 1, world.scratch.counts)
        known = 1 if total < world.kinds.replicas[kind] else 2
        world.scratch.reach[kind] = known
    return bool(known == 1)


def shares_bounds(world: World, job: int, candidate: int) -> bool:
    """Whether the candidate may have to do with what bounds the job, but for room on nodes."""
    if world.bounds.starts[candidate] < world.bounds.starts[candidate + 1]:
        return True
    return bool(world.limits.group[job] >= 0 and world.limits.group[candidate] >= 0)


def lift_until_it_fits(world: World, pool: Pool, job: int, kind: int, fair: bool, before: int) -> tuple[int, int]:
    """(how many are lifted then, in `stops.lifted`; rows of `fill`, 0 if it still does not fit). The first `before` of
    them have been lifted already.
    """
    stops, scratch = world.stops, world.scratch
    flavor, need, millis = world.kinds.flavor[kind], world.kinds.replicas[kind], world.places.millis[job]
    if is_out_of_reach(world, kind):
        return before, 0
    best = count_here(world.space, world.kinds, kind, millis, scratch.counts)
    bounded = world.bounds.starts[job] < world.bounds.starts[job + 1] or is_short(world, job, kind, need)
    limited = world.kinds.within[kind] >= 0 or (world.kinds.spread[kind] >= 0).any()
    nodes = world.space.flavor_starts[flavor + 1] - world.space.flavor_starts[flavor]
    effort, most = 0, max(LEAST_EFFORT, MOST_EFFORT * 1000 // max(1000, nodes))  # each look is at every node
    refused, tied = False, False  # with what was added up it does not fit; some of that may make bounds matter less
    for position in range(stops.starts[flavor], stops.starts[flavor + 1]):
        candidate = stops.order[position]
        allowed = may_stop(world, job, candidate, fair)
        if allowed < 0:
            break
        if allowed == 0:
            continue
        grown = give_back_in_thought(world, pool, kind, millis, candidate)
        best += grown
        if bounded and not tied and shares_bounds(world, job, candidate):
            tied, refused = True, False
        if grown > 0 and (not bounded or tied or is_allowed(world, pool, job, candidate)):
            refused = False
        if best < need or refused or not (bounded or matters(world, pool, candidate)):
            continue
        if limited or (bounded and not tied):
            refused = filled_now(world, job, kind, bounded and not tied) == 0
            if refused:
                effort += bounded and not tied
                if effort >= most:
                    break
                continue
        lifted = lift_where_it_matters(world, pool, job, kind, fair, bounded, position + 1, before)
        filled = filled_now(world, job, kind, bounded)
        if filled > 0:
            forget_thoughts(world)
            return lifted, filled
        put_back(world, pool, before, lifted)
        effort += LIFTING
        if effort >= most:
            break
        for touched in range(scratch.touched[-1]):
            node = scratch.touched[touched]
            scratch.counts[node] = room_at_best(world, kind, millis, node)
    forget_thoughts(world)
    return before, 0


def settle_stops(world: World, pool: Pool, job: int, kind: int, filled: int, lifted: int) -> Pool:
    """Place a gang as `fill` says, as the last pieces of the pool; of those lifted, who are in order, everybody goes on
    whose old place is free still, and whom quotas and side constraints let go on: the highest first. The others are
    `stops.losers`, with what took their place in `stops.codes`.
    """
    places, stops = world.places, world.stops
    first = pool.used[0]
    pool = occupy(world.space, world.kinds, kind, world.scratch.fill, filled, pool, places.millis[job])
    pieces = pool.used[0] - first
    enter(world, pool, job, kind, first, pieces, 1)
    world.space.grown[world.kinds.flavor[kind]] += 1
    for position in range(lifted - 1, -1, -1):
        candidate = stops.lifted[position]
        free = is_free(world, pool, candidate)
        if free and lets_return(world, pool, candidate, job, kind, first, pieces):
            lift(world, pool, candidate, 1)
            continue
        fairly = world.jobs.priority[candidate] == world.jobs.priority[job]
        code = LOST_FAIRLY if fairly else LOST_TO_PRIORITY
        if free:
            as_what, start = places.kind[candidate], places.first[candidate]
            held = replicas_in(pool, start, places.pieces[candidate])
            code = LOST_TO_QUOTA if excess(world, candidate, as_what, held) > 0 else LOST_TO_LIMIT
        stops.losers[stops.losers[-1]] = candidate
        stops.codes[stops.losers[-1]] = code
        stops.losers[-1] += 1
    return pool


def stop_others(world: World, pool: Pool, job: int, kind: int, fair: bool) -> Pool:
    """Place a gang, as the last pieces of the pool, by stopping others: `stops.losers`. If that cannot be, nothing has
    changed. `fair`: jobs of the same priority class may be stopped, too.
    """
    world.stops.losers[-1] = 0
    lifted, filled = lift_until_it_fits(world, pool, job, kind, fair, 0)
    return pool if filled == 0 else settle_stops(world, pool, job, kind, filled, lifted)


KERNELS = (
    may_stop,
    room_at_best,
    give_back_in_thought,
    forget_thoughts,
    matters,
    is_allowed,
    lift_where_it_matters,
    put_back,
    filled_now,
    is_out_of_reach,
    shares_bounds,
    lift_until_it_fits,
    settle_stops,
    stop_others,
)
"""In order: each calls only those before it."""
