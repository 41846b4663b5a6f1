"""Target shares: what part of its time each job should spend on each flavor, by the policies of Gavel and Themis.

Three ideas come back in each of them (Narayanan et al., OSDI 2020):

- A policy that does not know of heterogeneity takes every flavor where a job can run to be alike (their `isolated`
  policies); one that does measures what a job gets in its effective throughput, sum over flavors of share x throughput.
- Effective throughputs of different jobs are made comparable by what the job would have on an equal split of the
  machines (section 4.1): its mean throughput over flavors, each counted by how many of its gangs the flavor could run.
- A gang that needs twice as much has half the time for the same part of the cluster: what it gets is multiplied by its
  size (their scale factor; here its dominant share, which is the same where one resource is scarce), divided by weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Job
from simulations.schedulers.kinds import Kinds
from simulations.schedulers.level import highest_level

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FITS = 1 + 1e-9
"""How full a flavor may be by a closed form's rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """The jobs that want time: all that live and may be stopped or started, J of them, by sequence."""

    jobs: tuple[Job, ...]
    kinds: Kinds
    kind: Integers
    """(J,) row of `kinds`."""
    capacity: Floats
    """(F, R) what open nodes have beside what jobs hold that stay where they are."""
    time: float


class Targets(Protocol):
    """A policy: facts in, target shares out."""

    def __call__(self, asking: Asking) -> Floats:
        """(J, F) at least 0, in each row at most 1 together, and together within the capacity."""
        ...


def mean_speed(kinds: Kinds) -> Floats:
    """(K,) throughput of a job on an equal split of the machines, if all of its time is used: the mean over flavors
    where it can run, each counted by how many such gangs it has room for. 0 of a job that can run nowhere.
    """
    needs = kinds.demand > 0
    room = np.divide(kinds.capacity[None], kinds.demand, out=np.full(needs.shape, np.inf), where=needs).min(axis=2)
    room = np.where(kinds.speed > 0, room, 0.0)
    total = room.sum(axis=1)
    mean: Floats = np.divide((kinds.speed * room).sum(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    return mean


def scaled(kinds: Kinds, speed: Floats) -> Floats:
    """(K, F) `speed` by size and weight: see above."""
    found: Floats = speed * (kinds.size / kinds.weight)[:, None]
    return found


def max_min(asking: Asking) -> Floats:
    """Everybody's time x size / weight as equal as can be, whatever flavor it is on: highest level first."""
    kinds = asking.kinds
    rows, place, count = np.unique(asking.kind, return_inverse=True, return_counts=True)
    return evenly(asking, rows, count, (kinds.size / kinds.weight)[rows])[place]


def max_min_by_throughput(asking: Asking) -> Floats:
    """The lowest effective throughput, relative to an equal split of the machines, as high as can be."""
    kinds = asking.kinds
    rows, place, count = np.unique(asking.kind, return_inverse=True, return_counts=True)
    mean = mean_speed(kinds)[rows]
    unit = np.divide((kinds.size / kinds.weight)[rows], mean, out=np.zeros(len(rows)), where=mean > 0)
    speed = kinds.speed[rows] * unit[:, None]
    return highest_level(speed, kinds.demand[rows], asking.capacity, count).shares[place]


def first_come(asking: Asking) -> Floats:
    """All of its time for each job in order of admission, on the flavor with room where it runs fastest, until one of
    them finds no room (their `fifo_perf`).
    """
    kinds, left = asking.kinds, asking.capacity.tolist()
    shares = np.zeros((len(asking.jobs), len(kinds.flavors)))
    ways: dict[int, list[tuple[int, list[float]]]] = {}
    for position, kind in enumerate(asking.kind.tolist()):
        if kind not in ways:
            ways[kind] = _fastest_first(kinds, kind)
        for flavor, demand in ways[kind]:
            if all(need <= there for need, there in zip(demand, left[flavor], strict=True)):
                left[flavor] = [there - need for need, there in zip(demand, left[flavor], strict=True)]
                shares[position, flavor] = 1.0
                break
        else:
            if ways[kind]:
                break
    return shares


def _fastest_first(kinds: Kinds, kind: int) -> list[tuple[int, list[float]]]:
    """(flavor, demand) where the kind can run; of equal ones the first flavor first."""
    order = np.argsort(-kinds.speed[kind], kind="stable").tolist()
    return [(flavor, kinds.demand[kind, flavor].tolist()) for flavor in order if kinds.speed[kind, flavor] > 0]


def evenly(asking: Asking, rows: Integers, count: Integers, scale: Floats) -> Floats:
    """(n, F) shares of n rows, `count` jobs of kind `rows` each, whose time x `scale` is as equal as can be, wherever
    it is. Where kinds need as much on one flavor as on any other, all levels have a closed form, and every flavor is
    used alike; otherwise only the lowest one is as high as can be.
    """
    kinds = asking.kinds
    demand = kinds.demand[rows]
    alike = bool((kinds.speed[rows] > 0).all() and (demand == demand[:, :1]).all())
    shares = _spread(asking.capacity, demand[:, 0], count, scale) if alike and len(kinds.flavors) else None
    if shares is None:
        speed = (kinds.speed[rows] > 0) * scale[:, None]
        shares = highest_level(speed, demand, asking.capacity, count).shares
    return shares


def _spread(capacity: Floats, need: Floats, count: Integers, scale: Floats) -> Floats | None:
    """`evenly` if all of (n, R) `need` can be had on any flavor; None if one that is not the scarcest gets too full."""
    total = capacity.sum(axis=0)
    time = _filled(need * count[:, None], scale, total)
    used = (need * (count * time)[:, None]).sum(axis=0)
    scarcest = int(np.divide(used, total, out=np.zeros(len(total)), where=total > 0).argmax())
    part = capacity[:, scarcest] / total[scarcest] if total[scarcest] > 0 else np.zeros(len(capacity))
    if (used * part[:, None] > capacity * _FITS).any():
        return None
    shares: Floats = time[:, None] * part
    return shares


def _filled(need: Floats, scale: Floats, total: Floats) -> Floats:
    """(n,) times, at most 1, with time x scale equal for all below 1, as high as `total` (R,) allows; need (n, R)."""
    order = np.argsort(scale)[::-1]
    time = np.ones(len(scale))
    for resource in np.flatnonzero(total < need.sum(axis=0)).tolist():
        amount = need[order, resource]
        # with level t, jobs of scale > t have t / scale: try t between each pair of scales
        over = np.cumsum(amount / scale[order])
        rest = amount.sum() - np.cumsum(amount)
        level = (total[resource] - rest) / over
        following = np.append(scale[order][1:], 0.0)
        fits = np.flatnonzero((level <= scale[order] * _FITS) & (level >= following))
        found = level[fits[0]] if fits.size else 0.0
        time = np.minimum(time, np.minimum(1.0, found / scale))
    return time
