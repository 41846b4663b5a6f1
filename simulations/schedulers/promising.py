"""Kernels of conservative backfilling: a start for everybody who waits, that is never put off.

What will be free is kept as amounts by flavor (a `Forecast`): at which times it changes, and what is free from then on
to the next one. Amounts do not know nodes; where jobs share nodes, one may find too little in one piece when its time
has come. Then it starts as soon as it fits, and keeps what it was promised until then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from allocator.placement.space import Floats, Integers, Pool
from simulations.schedulers.finding import find, note_start, settle_on
from simulations.schedulers.scene import Scene

_WHOLE = 1000
_NEVER = float("inf")


class Forecast(NamedTuple):
    """T times at most; R resources, GPUs (in thousandths) last."""

    time: Floats
    """(T,) ascending, from now on."""
    free: Integers
    """(T, F, R + 1) from each time to the next."""
    length: Integers
    """(1,) how many times there are."""


def amount_of(scene: Scene, kind: int, resource: int) -> int:
    """What a gang of the kind takes."""
    kinds = scene.plain
    if resource < kinds.amount.shape[1]:
        return int(kinds.amount[kind, resource] * kinds.replicas[kind])
    return int((kinds.devices[kind] * _WHOLE + kinds.part[kind]) * kinds.replicas[kind])


def index_of(forecast: Forecast, time: float) -> int:
    """The position of the last time that is not after `time`."""
    return int(np.searchsorted(forecast.time[: forecast.length[0]], time, side="right")) - 1


def cut(forecast: Forecast, time: float) -> int:
    """The position of this time, which becomes one of them; at the end of all times: one beyond the last."""
    length = forecast.length[0]
    if time == _NEVER:
        return int(length)
    at = index_of(forecast, time)
    if forecast.time[at] == time:
        return at
    for position in range(length, at + 1, -1):
        forecast.time[position] = forecast.time[position - 1]
        forecast.free[position] = forecast.free[position - 1]
    forecast.time[at + 1] = time
    forecast.free[at + 1] = forecast.free[at]
    forecast.length[0] += 1
    return at + 1


def occupy_from(scene: Scene, forecast: Forecast, kind: int, first: float, last: float, sign: int) -> None:
    """A gang of the kind is there from `first` to `last` (sign 1), or no more (-1)."""
    flavor = scene.plain.flavor[kind]
    begin = cut(forecast, first)
    end = cut(forecast, last)
    for resource in range(forecast.free.shape[2]):
        amount = sign * amount_of(scene, kind, resource)
        if amount != 0:
            for position in range(begin, end):
                forecast.free[position, flavor, resource] -= amount


def earliest(scene: Scene, forecast: Forecast, kind: int, seconds: float) -> float:
    """When a gang of the kind could start, to run that long without anybody giving way; inf: never."""
    flavor, length = scene.plain.flavor[kind], forecast.length[0]
    resources = forecast.free.shape[2]
    needs = np.empty(resources, dtype=np.int64)
    for resource in range(resources):
        needs[resource] = amount_of(scene, kind, resource)
    start = 0
    position = 0
    while position < length:
        if position > start and forecast.time[position] >= forecast.time[start] + seconds:
            return float(forecast.time[start])
        fits = True
        for resource in range(resources):
            fits &= forecast.free[position, flavor, resource] >= needs[resource] or needs[resource] == 0
        position += 1
        if not fits:
            start = position
    return float(forecast.time[start]) if start < length else _NEVER


def foresee(scene: Scene, pool: Pool, ending: Integers, now: float, forecast: Forecast) -> None:
    """What will be free if those who run end as expected and nobody starts."""
    space, kinds, crowd, places = scene.space, scene.plain, scene.crowd, scene.places
    resources = space.free.shape[1]
    forecast.length[0] = 1
    forecast.time[0] = now
    forecast.free[0] = 0
    for flavor in range(forecast.free.shape[1]):
        for node in range(space.flavor_starts[flavor], space.flavor_starts[flavor + 1]):
            if space.open[node]:
                for resource in range(resources):
                    forecast.free[0, flavor, resource] += space.free[node, resource]
                for device in range(space.devices.shape[1]):
                    forecast.free[0, flavor, resources] += space.devices[node, device]
    for position in range(len(ending)):
        job = ending[position]
        time = max(now, crowd.ends[job])
        if time == _NEVER:
            break
        at = forecast.length[0] - 1
        if forecast.time[at] < time:
            forecast.time[at + 1] = time
            forecast.free[at + 1] = forecast.free[at]
            forecast.length[0] += 1
            at += 1
        kind = places.kind[job]
        for piece in range(places.first[job], places.first[job] + places.pieces[job]):
            if space.open[pool.node[piece]]:
                for resource in range(resources + 1):
                    each = amount_of(scene, kind, resource) // kinds.replicas[kind]
                    forecast.free[at, kinds.flavor[kind], resource] += each * pool.replicas[piece]


def expect(scene: Scene, forecast: Forecast, job: int, sign: int, now: float) -> None:
    """The promise of a job takes what it takes (sign 1), or no more (-1). `rank` is the column of its shape."""
    crowd, shapes = scene.crowd, scene.shapes
    column = crowd.rank[job]
    first = max(now, crowd.promised[job])
    last = first + crowd.duration[job] * shapes.slowness[crowd.shape[job], column]
    occupy_from(scene, forecast, shapes.kind[crowd.shape[job], column], first, last, sign)


def promise(scene: Scene, forecast: Forecast, job: int, now: float) -> None:
    """Promise the job the earliest start there is, unless what it was promised is as early. What it takes then is not
    in the forecast now, and is afterwards.
    """
    crowd, shapes = scene.crowd, scene.shapes
    shape = crowd.shape[job]
    best = crowd.promised[job]
    best = max(best, now)
    for column in range(shapes.choices[shape]):
        seconds = crowd.duration[job] * shapes.slowness[shape, column]
        start = earliest(scene, forecast, shapes.kind[shape, column], seconds)
        if start < best:
            best = start
            crowd.rank[job] = column
    crowd.promised[job] = best
    if best < _NEVER:
        expect(scene, forecast, job, 1, now)


def is_overdrawn(forecast: Forecast) -> bool:
    """Whether more is promised than there will be."""
    return bool((forecast.free[: forecast.length[0]] < 0).any())


def keep_promises(scene: Scene, pool: Pool, order: Integers, ending: Integers, now: float, compress: bool) -> Pool:
    """Promise starts to all of `order`, in order, earlier ones than before with `compress`, and start whose time has
    come.
    """
    crowd, shapes = scene.crowd, scene.shapes
    most = len(ending) + 2 * len(order) + 4
    flavors, resources = len(scene.space.flavor_starts) - 1, scene.space.free.shape[1] + 1
    forecast = Forecast(
        np.zeros(most), np.zeros((most, flavors, resources), dtype=np.int64), np.zeros(1, dtype=np.int64)
    )
    foresee(scene, pool, ending, now, forecast)
    for position in range(len(order)):
        job = order[position]
        if crowd.promised[job] < _NEVER:
            expect(scene, forecast, job, 1, now)
    if is_overdrawn(forecast):  # nodes were lost, or jobs are late: everybody anew, in order
        foresee(scene, pool, ending, now, forecast)
        for position in range(len(order)):
            crowd.promised[order[position]] = _NEVER
    for position in range(len(order)):
        job = order[position]
        if crowd.promised[job] < _NEVER and (not compress or crowd.promised[job] <= now):
            continue
        if crowd.promised[job] < _NEVER:
            expect(scene, forecast, job, -1, now)
        promise(scene, forecast, job, now)
    for position in range(len(order)):
        job = order[position]
        if crowd.promised[job] <= now:
            column = crowd.rank[job]
            kind = shapes.kind[crowd.shape[job], column]
            rows = find(scene, scene.space, scene.kinds, kind, job)
            if rows > 0:
                pool = settle_on(scene, scene.space, scene.kinds, kind, job, rows, pool)
                note_start(scene, job, column, now)
    return pool


KERNELS = (
    amount_of,
    index_of,
    cut,
    occupy_from,
    earliest,
    foresee,
    expect,
    promise,
    is_overdrawn,
    keep_promises,
)
"""In order: each calls only those before it."""
