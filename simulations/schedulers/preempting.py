"""Kernels of schedulers that stop jobs: places for the first in order, at the expense of the last."""

from __future__ import annotations

from allocator.placement.fit import holds, take
from allocator.placement.space import Integers, Pool
from simulations.schedulers.backfilling import copy_space
from simulations.schedulers.finding import find, lift, return_home, start
from simulations.schedulers.scene import PLACED, Scene

LIFTED = 4
"""Entry of `Scene.out`: how many jobs have been stopped since `Scene.lifted` was read."""


def fits_without(scene: Scene, pool: Pool, job: int, victims: Integers) -> bool:
    """Whether the job would fit if all `victims` that still run and are of larger rank were not there."""
    crowd, shapes, later = scene.crowd, scene.shapes, scene.later
    copy_space(scene.space, later)
    for position in range(len(victims)):
        victim = victims[position]
        if not crowd.waits[victim] and crowd.rank[victim] > crowd.rank[job]:
            take(later, scene.plain, pool, scene.places, victim, -1)
    shape = crowd.shape[job]
    for column in range(shapes.choices[shape]):
        if find(scene, later, scene.plain, shapes.kind[shape, column], job) > 0:
            return True
    return False


def start_instead(scene: Scene, pool: Pool, job: int, victims: Integers, now: float) -> Pool:
    """Start the job at the expense of those of `victims` that are of larger rank, in order, as few as it takes; who
    need not have been stopped goes on. It must fit without all of them.
    """
    crowd, places = scene.crowd, scene.places
    first = scene.out[LIFTED]
    for position in range(len(victims)):
        victim = victims[position]
        if crowd.waits[victim] or crowd.rank[victim] <= crowd.rank[job]:
            continue
        at = scene.out[LIFTED]
        scene.lifted[at] = victim
        scene.home[at, 0] = places.kind[victim]
        scene.home[at, 1] = crowd.configuration[victim]
        scene.home_ends[at] = crowd.ends[victim]
        scene.out[LIFTED] += 1
        lift(scene, pool, victim)
        pool = start(scene, pool, job, now)
        if scene.out[PLACED] == 1:
            break
    kept = first
    for at in range(first, scene.out[LIFTED]):
        victim = scene.lifted[at]
        kind = scene.home[at, 0]
        places.kind[victim] = kind
        if holds(scene.space, scene.kinds, pool, places, victim):
            return_home(scene, pool, victim, kind, scene.home[at, 1], scene.home_ends[at])
        else:
            places.kind[victim] = -1
            scene.lifted[kept] = victim
            kept += 1
    scene.out[LIFTED] = kept
    scene.out[PLACED] = 0 if crowd.waits[job] else 1
    return pool


def serve_stopping(scene: Scene, pool: Pool, order: Integers, victims: Integers, now: float) -> Pool:
    """Start all jobs of `order` that fit, one after another, or that would fit without those of `victims` that are of
    larger rank; who was stopped comes in its turn, if it is in `order`.
    """
    crowd, shapes, hopeless = scene.crowd, scene.shapes, scene.hopeless
    hopeless[:] = -1
    for position in range(len(order)):
        job = order[position]
        shape = crowd.shape[job]
        if not crowd.waits[job] or shapes.choices[shape] == 0:
            continue
        if hopeless[shape] >= 0 and hopeless[shape] <= crowd.rank[job]:
            continue  # one that mattered as much did not fit, and since then nothing became free
        pool = start(scene, pool, job, now)
        if scene.out[PLACED] == 1:
            continue
        if not fits_without(scene, pool, job, victims):
            hopeless[shape] = crowd.rank[job]
            continue
        before = scene.out[LIFTED]
        pool = start_instead(scene, pool, job, victims, now)
        if scene.out[LIFTED] > before:
            hopeless[:] = -1  # more may be free than was taken
    return pool


KERNELS = (fits_without, start_instead, serve_stopping)
"""In order: each calls only those before it."""
