"""Kernels: a job takes a place: in free space, by stopping others, or instead of the place it has."""

from __future__ import annotations

from allocator.placement.allowing import excess, replicas_in
from allocator.placement.bounds import bound_counts, draws_others
from allocator.placement.entering import enter, lacking, lift
from allocator.placement.fit import best_single, choose, count_here, occupy, take, with_room
from allocator.placement.giving_way import NO_ROOM, STARTED, stop_who_helps
from allocator.placement.limiting import close_full, is_short, limit_counts, overrun, reopen_full
from allocator.placement.reserving import close_reserved, reopen_reserved
from allocator.placement.space import Pool
from allocator.placement.stopping import stop_others
from allocator.placement.turns import push
from allocator.placement.world import OWED, World


def settle_in(world: World, job: int, kind: int, configuration: int, first: int, pieces: int) -> None:
    """Note the place that a job has taken."""
    world.places.first[job] = first
    world.places.pieces[job] = pieces
    world.places.kind[job] = kind
    world.jobs.configuration[job] = configuration
    world.jobs.placed_at[job] = world.scratch.clock[0]
    world.scratch.clock[0] += 1
    world.jobs.in_place[job] = False
    world.jobs.stoppable[job] = False


def find(world: World, pool: Pool, job: int, kind: int) -> Pool:
    """Take a place for a gang as the last pieces of the pool, if it fits in free space; otherwise nothing changes.
    `limits.hindered`: whether side constraints kept it from some nodes. Those that hold anywhere are not asked.
    """
    space, kinds, scratch = world.space, world.kinds, world.scratch
    flavor, need, millis = kinds.flavor[kind], kinds.replicas[kind], world.places.millis[job]
    world.limits.hindered[0] = False
    if flavor < 0 or kinds.absent[kind]:
        return pool
    bounded = world.bounds.starts[job] < world.bounds.starts[job + 1]
    if need == 1 and not bounded:
        closed = close_full(world, job, kind)
        node = best_single(space, kinds, kind, millis)
        if closed > 0:
            world.limits.hindered[0] = True
            reopen_full(world)
        if node < 0:
            return pool
        scratch.fill[0, 0] = node
        scratch.fill[0, 1] = 1
        filled = 1
    else:
        total = count_here(space, kinds, kind, millis, scratch.counts)
        if total < need:
            return pool
        if bounded:
            first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
            total = bound_counts(world.bounds, job, first, last, scratch.counts)
            if total < need:
                return pool
        left = limit_counts(world, job, kind, need, scratch.counts)
        world.limits.hindered[0] = left < total
        if left < need:
            return pool
        filled = choose(space, kinds, kind, need, scratch.counts, scratch.fill)
        if filled == 0:
            return pool
    first = pool.used[0]
    pool = occupy(space, kinds, kind, scratch.fill, filled, pool, millis)
    enter(world, pool, job, kind, first, filled, 1)
    if bounded and draws_others(world.bounds, job):
        space.grown[flavor] += 1
    return pool


def start(world: World, pool: Pool, job: int, owed: bool) -> Pool:
    """Place a job in free space, if any of its options of this phase fits."""
    options, scratch, space = world.options, world.scratch, world.space
    row, alike = world.jobs.option_row[job], world.jobs.bound_alike[job]
    barred = close_reserved(world, job)
    for column in range(options.choices[row]):
        if options.owed[row, column] != owed:
            continue
        kind = options.kind[row, column]
        flavor = world.kinds.flavor[kind]
        known = not world.jobs.particular[job]
        if flavor < 0 or (known and scratch.failed[barred, kind] == space.grown[flavor]):
            continue
        account, limits = world.jobs.account[job], world.limits
        if account >= 0 and lacking(world, job, kind) > 0:
            continue
        limited, stamp = known and limits.group[job] >= 0, space.grown[flavor] + limits.released[0]
        if alike >= 0 and scratch.no_room[barred, alike, column] == stamp:
            continue
        if limited and limits.failed[barred, account, kind] == stamp:
            continue
        first = pool.used[0]
        pool = find(world, pool, job, kind)
        if pool.used[0] > first:
            settle_in(world, job, kind, options.configuration[row, column], first, pool.used[0] - first)
            break
        if limited and limits.hindered[0]:
            limits.failed[barred, account, kind] = stamp
        elif known:
            scratch.failed[barred, kind] = space.grown[flavor]
        elif alike >= 0:
            scratch.no_room[barred, alike, column] = stamp
    if barred:
        reopen_reserved(world)
    return pool


def lose(world: World, job: int, code: int) -> None:
    """Note that a job, which was lifted, has lost its place to somebody; it joins the walk."""
    world.limits.released[0] += 1
    world.space.grown[world.kinds.flavor[world.places.kind[job]]] += 1
    world.jobs.evicted[job] = code
    world.jobs.in_place[job] = False
    world.jobs.stoppable[job] = False
    world.jobs.configuration[job] = -1
    world.places.kind[job] = -1
    world.jobs.phase[job] = OWED
    world.scratch.joined[job] = True
    push(world.jobs, world.scratch.heap, job)
    world.scratch.lost[world.scratch.lost[-1]] = job
    world.scratch.lost[-1] += 1


def start_instead_of_others(world: World, pool: Pool, job: int, owed: bool) -> Pool:
    """Place a job by stopping others, who join the walk; if none of its options allows that, nothing changes."""
    options, jobs, scratch = world.options, world.jobs, world.scratch
    row, account, millis = jobs.option_row[job], jobs.account[job], world.places.millis[job]
    alike, released = jobs.bound_alike[job], world.limits.released[0]
    for column in range(options.choices[row]):
        if options.owed[row, column] != owed:
            continue
        kind = options.kind[row, column]
        if world.kinds.flavor[kind] < 0 or (scratch.hopeless[kind] and not jobs.particular[job]):
            continue
        if alike >= 0:
            if scratch.dead_ends[alike, column] == released:
                continue
            scratch.dead_ends[alike, column] = released
        first = pool.used[0]
        if account >= 0 and (lacking(world, job, kind) > 0 or is_short(world, job, kind, world.kinds.replicas[kind])):
            if millis >= scratch.stuck[account, kind]:
                continue
            pool, answer = stop_who_helps(world, pool, job, kind, owed)
            if answer != STARTED:
                if answer != NO_ROOM or not jobs.particular[job]:
                    scratch.stuck[account, kind] = millis
                continue
        else:
            pool = stop_others(world, pool, job, kind, owed)
            if pool.used[0] == first:
                scratch.hopeless[kind] |= not jobs.particular[job]
                continue
        if alike >= 0:
            scratch.dead_ends[alike, column] = -1
        for position in range(world.stops.losers[-1]):
            lose(world, world.stops.losers[position], world.stops.codes[position])
        settle_in(world, job, kind, options.configuration[row, column], first, pool.used[0] - first)
        break
    return pool


def reconfigure(world: World, pool: Pool, job: int) -> Pool:
    """Let a running job change over to the configuration that the optimum moved it to, if there is room."""
    space, kinds, places, limits = world.space, world.kinds, world.places, world.limits
    row, column = world.jobs.option_row[job], world.jobs.wish[job]
    kind, old, start, pieces = world.options.kind[row, column], places.kind[job], places.first[job], places.pieces[job]
    if kinds.flavor[kind] < 0:
        return pool
    most = limits.most.copy()
    for each in range(len(most)):  # where a limit was lowered: no more than before will do
        limits.most[each] = max(most[each], limits.used[each])
    enter(world, pool, job, old, start, pieces, -1)
    beyond = excess(world, job, kind, kinds.replicas[kind])
    first = pool.used[0]
    same_flavor = kinds.flavor[kind] == kinds.flavor[old]
    refused = beyond > 0 and beyond >= excess(world, job, old, replicas_in(pool, start, pieces))  # the same of quotas
    if refused or overrun(world, job, kind, kinds.replicas[kind]) > 0:
        enter(world, pool, job, old, start, pieces, 1)
    elif world.jobs.resizes[job] and same_flavor:
        enter(world, pool, job, old, start, pieces, 1)
        pool = resize(world, pool, job, kind)
    else:
        if same_flavor:
            take(space, kinds, pool, places, job, -1)
        pool = find(world, pool, job, kind)
        if pool.used[0] == first:
            enter(world, pool, job, old, start, pieces, 1)
            if same_flavor:
                take(space, kinds, pool, places, job, 1)
        elif not same_flavor:
            take(space, kinds, pool, places, job, -1)
    limits.most[:] = most
    if pool.used[0] > first:
        space.grown[kinds.flavor[old]] += 1
        limits.released[0] += 1
        settle_in(world, job, kind, world.options.configuration[row, column], first, pool.used[0] - first)
    return pool


def resize(world: World, pool: Pool, job: int, kind: int) -> Pool:
    """Add replicas to a running gang where they fit best, or take its last ones away; as the last pieces of the pool.
    They are added only on nodes whose engine lets them join.

    Nothing changes if there is no room for all that are to be added, or if its limits are about all of its replicas:
    then it may change by a restart only.
    """
    space, kinds, places, scratch = world.space, world.kinds, world.places, world.scratch
    old_first, old_pieces, old_kind = places.first[job], places.pieces[job], places.kind[job]
    limited = kinds.cap[kind] < kinds.replicas[kind] or kinds.within[kind] >= 0 or (kinds.spread[kind] >= 0).any()
    if limited or world.bounds.starts[job] < world.bounds.starts[job + 1]:
        return pool
    missing = kinds.replicas[kind] - kinds.replicas[old_kind]
    filled = 0
    if missing > 0:
        count_here(space, kinds, kind, places.millis[job], scratch.counts)
        for node in range(space.flavor_starts[kinds.flavor[kind]], space.flavor_starts[kinds.flavor[kind] + 1]):
            if not space.joinable[node]:
                scratch.counts[node] = 0
        limit_counts(world, job, kind, missing, scratch.counts)
        filled = choose(space, kinds, kind, missing, scratch.counts, scratch.fill)
        if filled == 0:
            return pool
    lift(world, pool, job, -1)
    left = min(kinds.replicas[kind], kinds.replicas[old_kind])
    first = pool.used[0]
    for piece in range(old_first, old_first + old_pieces):
        count = min(left, pool.replicas[piece])
        left -= count
        if count == 0:
            break
        pool = copied(pool, piece, count)
    places.first[job] = first
    places.pieces[job] = pool.used[0] - first
    places.kind[job] = kind
    lift(world, pool, job, 1)
    if filled > 0:
        added = pool.used[0]
        pool = occupy(space, kinds, kind, scratch.fill, filled, pool, places.millis[job])
        enter(world, pool, job, kind, added, filled, 1)
    return pool


def copied(pool: Pool, piece: int, count: int) -> Pool:
    """The pool with the first `count` replicas of a piece once more at its end."""
    devices = pool.device_count[piece] // pool.replicas[piece] * count
    start = pool.device_start[piece]
    pool = with_room(pool, 1, devices)
    fresh = pool.used[0]
    pool.node[fresh] = pool.node[piece]
    pool.replicas[fresh] = count
    pool.device_start[fresh] = pool.used[1]
    pool.device_count[fresh] = devices
    for held in range(devices):
        pool.device[pool.used[1] + held] = pool.device[start + held]
    pool.used[0] += 1
    pool.used[1] += devices
    return pool


KERNELS = (settle_in, find, start, lose, start_instead_of_others, copied, resize, reconfigure)
"""In order: each calls only those before it."""
