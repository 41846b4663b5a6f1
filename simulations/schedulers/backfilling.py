"""Kernels of EASY backfilling: when and where the first of the line will start, and who may start before it.

`later` is what will be free at the time of the reservation, by what running jobs said of their run times. Of the job
that has it, `held` replicas' worth of room must be left there, or, pinned, its very place is taken out of `later`, and
`common` is what is free both now and then.
"""

from __future__ import annotations

from allocator.placement.fit import take
from allocator.placement.room import refresh, room_on
from allocator.placement.space import Integers, Kinds, Places, Pool, Space
from simulations.schedulers.finding import find, lift, may_fit, note_start, settle_on, start
from simulations.schedulers.scene import PLACED, STARTED, Scene

COLUMN = 2
"""Entry of `Scene.out`: in which column of its shape the first of the line will start; -1: nobody knows when."""
ROOM = 3
"""Entry of `Scene.out`: for how many of its replicas there will be room then."""
_WHOLE = 1000
_NEVER = float("inf")


def copy_space(source: Space, target: Space) -> None:
    """Make `target` say the same."""
    target.free[:] = source.free
    target.devices[:] = source.devices
    target.whole[:] = source.whole
    target.slack[:] = source.slack
    target.open[:] = source.open


def room_of_kind(space: Space, kinds: Kinds, kind: int) -> int:
    """For how many replicas of the kind there is room on all nodes."""
    flavor = kinds.flavor[kind]
    total = 0
    for node in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
        total += room_on(space, kinds, kind, _WHOLE, node)
    return total


def room_where(space: Space, kinds: Kinds, kind: int, pool: Pool, places: Places, job: int) -> int:
    """The same on the nodes that a job is on, as far as they are of the kind's flavor."""
    flavor = kinds.flavor[kind]
    total = 0
    for piece in range(places.first[job], places.first[job] + places.pieces[job]):
        node = pool.node[piece]
        if space.flavor_starts[flavor] <= node < space.flavor_starts[flavor + 1]:
            total += room_on(space, kinds, kind, _WHOLE, node)
    return total


def reserve(scene: Scene, pool: Pool, job: int, ending: Integers, now: float, together: bool) -> float:
    """The shadow time: the earliest at which the job could start if the running jobs, `ending` in order of their
    expected ends, end as expected and nobody else starts. `later` is what is free then, the job not being there: of
    those who end at the same time, with `together` all are gone; otherwise as many as it takes, as the papers have it.
    """
    later, kinds, shapes, crowd = scene.later, scene.plain, scene.shapes, scene.crowd
    shape = crowd.shape[job]
    copy_space(scene.space, later)
    choices = shapes.choices[shape]
    room = scene.room
    for column in range(choices):
        room[column] = room_of_kind(later, kinds, shapes.kind[shape, column])
    scene.out[COLUMN] = -1
    position = 0
    while position < len(ending):
        time = max(now, crowd.ends[ending[position]])
        if time == _NEVER:
            break
        while position < len(ending) and crowd.ends[ending[position]] <= time:
            leaving = ending[position]
            position += 1
            for column in range(choices):
                room[column] -= room_where(later, kinds, shapes.kind[shape, column], pool, scene.places, leaving)
            take(later, kinds, pool, scene.places, leaving, -1)
            for column in range(choices):
                room[column] += room_where(later, kinds, shapes.kind[shape, column], pool, scene.places, leaving)
            fits = False
            for column in range(choices):
                fits |= room[column] >= kinds.replicas[shapes.kind[shape, column]]
            if fits and not together:
                break
        for column in range(choices):
            kind = shapes.kind[shape, column]
            if room[column] >= kinds.replicas[kind] and find(scene, later, kinds, kind, job) > 0:
                scene.out[COLUMN] = column
                scene.out[ROOM] = room[column]
                return float(time)
    return _NEVER


def meet(scene: Scene, node: int) -> None:
    """What is free on a node both now and later, into `common`."""
    now, later, common = scene.space, scene.later, scene.common
    for resource in range(now.free.shape[1]):
        common.free[node, resource] = min(now.free[node, resource], later.free[node, resource])
    for device in range(now.devices.shape[1]):
        common.devices[node, device] = min(now.devices[node, device], later.devices[node, device])
    refresh(common, node)


def meet_where(scene: Scene, pool: Pool, job: int) -> None:
    """`meet` of the nodes that a job is on."""
    for piece in range(scene.places.first[job], scene.places.first[job] + scene.places.pieces[job]):
        meet(scene, pool.node[piece])


def start_beside(scene: Scene, pool: Pool, job: int, now: float, shadow: float) -> Pool:
    """Start a job on what is free now and will not be needed at the shadow time, or where it is done before that: the
    reservation is pinned.
    """
    shapes, shape = scene.shapes, scene.crowd.shape[job]
    scene.out[PLACED] = 0
    for column in range(shapes.choices[shape]):
        kind = shapes.kind[shape, column]
        if not may_fit(scene, kind):
            continue
        short = now + scene.crowd.duration[job] * shapes.slowness[shape, column] <= shadow
        rows = (
            find(scene, scene.space, scene.kinds, kind, job)
            if short
            else find(scene, scene.common, scene.plain, kind, job)
        )
        if rows == 0:
            continue
        if short:
            pool = settle_on(scene, scene.space, scene.kinds, kind, job, rows, pool)
        else:
            pool = settle_on(scene, scene.common, scene.plain, kind, job, rows, pool)
            take(scene.space, scene.kinds, pool, scene.places, job, 1)
            take(scene.later, scene.plain, pool, scene.places, job, 1)
        meet_where(scene, pool, job)
        note_start(scene, job, column, now)
        break
    return pool


def start_leaving(scene: Scene, pool: Pool, job: int, now: float, shadow: float, head: int) -> Pool:
    """Start a job where it fits now, if it is done before the shadow time, or leaves room for a gang of the kind `head`
    then: the reservation is of an amount.
    """
    shapes, shape, kinds, later = scene.shapes, scene.crowd.shape[job], scene.plain, scene.later
    scene.out[PLACED] = 0
    for column in range(shapes.choices[shape]):
        kind = shapes.kind[shape, column]
        rows = find(scene, scene.space, scene.kinds, kind, job) if may_fit(scene, kind) else 0
        if rows == 0:
            continue
        pool = settle_on(scene, scene.space, scene.kinds, kind, job, rows, pool)
        if now + scene.crowd.duration[job] * shapes.slowness[shape, column] > shadow:
            before = room_where(later, kinds, head, pool, scene.places, job)
            take(later, kinds, pool, scene.places, job, 1)
            room = scene.out[ROOM] - before + room_where(later, kinds, head, pool, scene.places, job)
            if room < kinds.replicas[head] or find(scene, later, kinds, head, job) == 0:
                take(later, kinds, pool, scene.places, job, -1)
                lift(scene, pool, job)
                continue
            scene.out[ROOM] = room
        note_start(scene, job, column, now)
        break
    return pool


def backfill(scene: Scene, pool: Pool, order: Integers, ending: Integers, now: float, pinned: bool) -> Pool:
    """The first of `order`, which does not fit now, gets a reservation; of the others all start, in order, that do not
    delay it.
    """
    shapes, crowd, hopeless = scene.shapes, scene.crowd, scene.hopeless
    first = 0
    while first < len(order) and shapes.choices[crowd.shape[order[first]]] == 0:
        first += 1
    if first == len(order):
        return pool
    job = order[first]
    shadow = reserve(scene, pool, job, ending, now, pinned)
    known = scene.out[COLUMN] >= 0
    head = shapes.kind[crowd.shape[job], max(0, scene.out[COLUMN])]
    if known and pinned:
        rows = find(scene, scene.later, scene.plain, head, job)
        pool = settle_on(scene, scene.later, scene.plain, head, job, rows, pool)
        scene.places.kind[job] = -1
        scene.common.open[:] = scene.space.open
        for node in range(len(scene.common.whole)):
            meet(scene, node)
    hopeless[:] = 0
    for position in range(first + 1, len(order)):
        job = order[position]
        shape = crowd.shape[job]
        if shapes.choices[shape] == 0 or hopeless[shape] == -1:
            continue
        seen = scene.out[STARTED] + 1
        short = now + crowd.duration[job] <= shadow  # at its best
        if hopeless[shape] == seen and not short:
            continue
        if not known:
            pool = start(scene, pool, job, now)
        elif pinned:
            pool = start_beside(scene, pool, job, now, shadow)
        else:
            pool = start_leaving(scene, pool, job, now, shadow, head)
        if scene.out[PLACED] == 0:
            slowest = shapes.slowness[shape, shapes.choices[shape] - 1]
            hopeless[shape] = -1 if now + crowd.duration[job] * slowest <= shadow else seen
    return pool


KERNELS = (
    copy_space,
    room_of_kind,
    room_where,
    reserve,
    meet,
    meet_where,
    start_beside,
    start_leaving,
    backfill,
)
"""In order: each calls only those before it."""
