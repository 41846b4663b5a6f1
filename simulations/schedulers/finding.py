"""Kernels: a place for a gang by one of the rules, taking it, and giving it back.

Whether a gang fits does not depend on the rule: all its replicas are alike, so it fits if the numbers that nodes could
take add up to its size. Jobs with several configurations get the fastest one that fits now.
"""

from __future__ import annotations

import numpy as np

from allocator.placement.fit import best_single, choose, count_all, count_here, occupy, take
from allocator.placement.room import room_on
from allocator.placement.space import Integers, Kinds, Pool, Space
from simulations.schedulers.scene import AT_RANDOM, BY_COST, FIRST, PLACED, STARTED, SURVEYED, Scene

_WHOLE = 1000
_MODULUS = 2**31 - 1
_MULTIPLIER = 48271
_EVER = float("inf")


def drawn(lot: int, below: int) -> int:
    """A number from 0 to below - 1, as `lot` has it."""
    return lot % below


def next_lot(lot: int) -> int:
    """The next one of a sequence (Park and Miller, "Random number generators", CACM 31(10), 1988, with 48271)."""
    return lot * _MULTIPLIER % _MODULUS


def lot_of(number: int, seed: int) -> int:
    """The first one for somebody with this number."""
    lot = 1 + (number * 69621 + seed * 16807) % (_MODULUS - 1)
    for _ in range(3):
        lot = next_lot(lot)
    return lot


def in_order(space: Space, kinds: Kinds, kind: int, order: Integers, counts: Integers, fill: Integers) -> int:
    """Let nodes take as many replicas as they can, one after another in `order`; rows of `fill`, 0: it does not fit."""
    missing = kinds.replicas[kind]
    flavor = kinds.flavor[kind]
    rows = 0
    for position in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
        node = order[position]
        if counts[node] > 0:
            fill[rows, 0] = node
            fill[rows, 1] = min(counts[node], missing)
            missing -= fill[rows, 1]
            rows += 1
            if missing == 0:
                return rows
    return 0


def first_single(space: Space, kinds: Kinds, kind: int, order: Integers) -> int:
    """The first node in `order` with room for a gang of one replica; -1: there is none."""
    flavor = kinds.flavor[kind]
    if flavor < 0 or kinds.absent[kind]:
        return -1
    for position in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
        if room_on(space, kinds, kind, _WHOLE, order[position]) > 0:
            return int(order[position])
    return -1


def by_lot(space: Space, kinds: Kinds, kind: int, lot: int, counts: Integers, fill: Integers) -> int:
    """Let nodes take as many replicas as they can, drawn one after another; rows of `fill`. It must fit."""
    missing = kinds.replicas[kind]
    flavor = kinds.flavor[kind]
    first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
    left = 0
    for node in range(first, last):
        if counts[node] > 0:
            left += 1
    rows = 0
    while missing > 0:
        skip = drawn(lot, left)
        lot = next_lot(lot)
        for node in range(first, last):
            if counts[node] > 0:
                if skip == 0:
                    fill[rows, 0] = node
                    fill[rows, 1] = min(counts[node], missing)
                    missing -= fill[rows, 1]
                    counts[node] = 0
                    rows += 1
                    left -= 1
                    break
                skip -= 1
    return rows


def find(scene: Scene, space: Space, kinds: Kinds, kind: int, job: int) -> int:
    """Which nodes of `space` a gang of this kind gets, into rows of `scene.fill`: how many; 0: it does not fit."""
    rule = scene.rule[0]
    need = kinds.replicas[kind]
    if kinds.flavor[kind] < 0 or kinds.absent[kind]:
        return 0
    if need == 1 and rule != AT_RANDOM:
        node = (
            best_single(space, kinds, kind, _WHOLE)
            if rule == BY_COST
            else first_single(space, kinds, kind, scene.order)
        )
        scene.fill[0, 0] = node
        scene.fill[0, 1] = 1
        return 1 if node >= 0 else 0
    counts = scene.counts
    total = (
        count_here(space, kinds, kind, _WHOLE, counts)
        if rule == BY_COST
        else count_all(space, kinds, kind, _WHOLE, counts)
    )
    if total < need:
        return 0
    limited = kinds.within[kind] >= 0 or kinds.spread.shape[1] > 0
    if rule == BY_COST or limited:
        return int(choose(space, kinds, kind, need, counts, scene.fill))
    if rule == FIRST:
        return in_order(space, kinds, kind, scene.order, counts, scene.fill)
    return by_lot(space, kinds, kind, lot_of(scene.crowd.sequence[job], scene.rule[1]), counts, scene.fill)


def survey(scene: Scene) -> None:
    """Bound what is free: where that is too little, nobody needs to look at nodes. It holds until something is given
    back.
    """
    space, total, most = scene.space, scene.total, scene.most
    resources = space.free.shape[1]
    total[:] = 0
    most[:] = 0
    # whole columns at a time: where kernels are not compiled, this is most of what a small cluster's rounds take
    free = np.zeros((len(space.open), resources + 1), dtype=np.int64)
    free[:, :resources] = space.free
    free[:, resources] = space.whole
    free = np.maximum(free, 0)
    free[~space.open] = 0
    for flavor in range(len(total)):
        first, last = space.flavor_starts[flavor], space.flavor_starts[flavor + 1]
        if first == last:
            continue
        for resource in range(resources + 1):
            total[flavor, resource] = free[first:last, resource].sum()
            most[flavor, resource] = free[first:last, resource].max()
    scene.out[SURVEYED] = 1


def may_fit(scene: Scene, kind: int) -> bool:
    """False where a gang of the kind fits nowhere now; True says nothing."""
    if scene.out[SURVEYED] == 0:
        survey(scene)
    kinds = scene.kinds
    flavor, replicas, resources = kinds.flavor[kind], kinds.replicas[kind], kinds.amount.shape[1]
    for resource in range(resources + 1):
        amount = kinds.devices[kind] if resource == resources else kinds.amount[kind, resource]
        if amount > 0 and (amount > scene.most[flavor, resource] or amount * replicas > scene.total[flavor, resource]):
            return False
    return True


def settle_on(scene: Scene, space: Space, kinds: Kinds, kind: int, job: int, rows: int, pool: Pool) -> Pool:
    """Let a job have what `find` found in `space`; who it is is noted in `places` alone."""
    scene.places.first[job] = pool.used[0]
    scene.places.pieces[job] = rows
    scene.places.kind[job] = kind
    scene.places.millis[job] = _WHOLE
    return occupy(space, kinds, kind, scene.fill, rows, pool, _WHOLE)


def note_start(scene: Scene, job: int, column: int, now: float) -> None:
    """The job has a place, in the configuration of this column of its shape."""
    crowd = scene.crowd
    crowd.configuration[job] = scene.shapes.configuration[crowd.shape[job], column]
    crowd.waits[job] = False
    crowd.ends[job] = now + crowd.duration[job] * scene.shapes.slowness[crowd.shape[job], column]
    scene.started[scene.out[STARTED]] = job
    scene.out[STARTED] += 1
    scene.out[PLACED] = 1


def start(scene: Scene, pool: Pool, job: int, now: float) -> Pool:
    """Give a waiting job a place, if it fits anywhere now: `out[PLACED]` says whether."""
    shapes, shape = scene.shapes, scene.crowd.shape[job]
    scene.out[PLACED] = 0
    for column in range(shapes.choices[shape]):
        kind = shapes.kind[shape, column]
        rows = find(scene, scene.space, scene.kinds, kind, job) if may_fit(scene, kind) else 0
        if rows > 0:
            pool = settle_on(scene, scene.space, scene.kinds, kind, job, rows, pool)
            note_start(scene, job, column, now)
            break
    return pool


def lift(scene: Scene, pool: Pool, job: int) -> None:
    """Take the job's place away: it waits. Where it was is still noted, until it has a new one."""
    take(scene.space, scene.kinds, pool, scene.places, job, -1)
    space, kind = scene.space, scene.places.kind[job]
    space.grown[scene.kinds.flavor[kind]] += 1
    scene.out[SURVEYED] = 0
    scene.places.kind[job] = -1
    scene.crowd.configuration[job] = -1
    scene.crowd.waits[job] = True
    scene.crowd.ends[job] = _EVER


def lift_all(scene: Scene, pool: Pool, jobs: Integers) -> None:
    """`lift` of each."""
    for position in range(len(jobs)):
        lift(scene, pool, jobs[position])


def start_one(scene: Scene, pool: Pool, job: int, now: float) -> Pool:
    """`start`, of somebody whom Python chose."""
    return start(scene, pool, job, now)


def start_as(scene: Scene, pool: Pool, job: int, column: int, now: float) -> Pool:
    """`start` in the configuration of this column of its shape, or not at all."""
    kind = scene.shapes.kind[scene.crowd.shape[job], column]
    scene.out[PLACED] = 0
    rows = find(scene, scene.space, scene.kinds, kind, job)
    if rows > 0:
        pool = settle_on(scene, scene.space, scene.kinds, kind, job, rows, pool)
        note_start(scene, job, column, now)
    return pool


def start_each(scene: Scene, pool: Pool, jobs: Integers, columns: Integers, now: float) -> Pool:
    """`start_as` of each job, in its own column; who does not fit is left out."""
    for position in range(len(jobs)):
        pool = start_as(scene, pool, jobs[position], columns[position], now)
    return pool


def return_home(scene: Scene, pool: Pool, job: int, kind: int, configuration: int, ends: float) -> None:
    """Undo `lift`: the job has the place that is still noted, which must be free."""
    scene.places.kind[job] = kind
    take(scene.space, scene.kinds, pool, scene.places, job, 1)
    scene.crowd.configuration[job] = configuration
    scene.crowd.waits[job] = False
    scene.crowd.ends[job] = ends


def serve(scene: Scene, pool: Pool, order: Integers, now: float, overtaking: bool) -> Pool:
    """Start the jobs of `order`, one after another, as long as they fit; or, `overtaking`, all that fit."""
    shapes, hopeless = scene.shapes, scene.hopeless
    hopeless[:] = 0
    for position in range(len(order)):
        job = order[position]
        shape = scene.crowd.shape[job]
        if shapes.choices[shape] == 0 or hopeless[shape] > 0:
            continue
        pool = start(scene, pool, job, now)
        if scene.out[PLACED] == 0:
            if not overtaking:
                break
            hopeless[shape] = 1
    return pool


KERNELS = (
    drawn,
    next_lot,
    lot_of,
    in_order,
    first_single,
    by_lot,
    find,
    survey,
    may_fit,
    settle_on,
    note_start,
    start,
    lift,
    lift_all,
    start_one,
    start_as,
    start_each,
    return_home,
    serve,
)
"""In order: each calls only those before it."""
