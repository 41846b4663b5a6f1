"""Target shares that make everybody equally late: the largest rho as small as can be.

    rho_i = (age_i + left_i / pace_i) / (all_i / equal_i)

is how long a job takes from submission to end if it goes on at this pace, over how long it would take with an equal
part of the machines, as it is now, all the time. Age is the time since submission; left and all are run time in its
best configuration, and paces are relative to that; an equal part is what max-min fairness without heterogeneity gives.
(Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020, section 3; as a policy for heterogeneous
flavors: Narayanan et al., OSDI 2020, section 4.2.)

For a given rho every job needs a pace y_i(rho). Shares that give everybody the same multiple of it, as large as can be,
are a level; if the multiple is above 1, the rho that they give is smaller, and so on until it stands still.

Who does not say how long it runs is taken to have as much left as it has had, and at least an hour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Job
from simulations.schedulers.level import highest_level
from simulations.schedulers.targets import Asking, evenly, max_min

Floats = NDArray[np.float64]

_STEPS = 12
_STANDS_STILL = 1e-3
"""By how much of itself rho must fall for another step."""
_LEAST_LEFT = 1.0
_UNKNOWN = 3600.0


def finish_time(asking: Asking) -> Floats:
    """As if all flavors were alike."""
    return _fair(asking, (asking.kinds.speed > 0).astype(np.float64), by_flavor=False)


def finish_time_by_throughput(asking: Asking) -> Floats:
    """With the throughputs that jobs have on each flavor."""
    speed = asking.kinds.speed
    best = speed.max(axis=1, initial=0.0)[:, None]
    return _fair(asking, np.divide(speed, best, out=np.zeros(speed.shape), where=best > 0), by_flavor=True)


def _fair(asking: Asking, pace_of_kind: Floats, *, by_flavor: bool) -> Floats:
    """(J, F); `pace_of_kind` (K, F)."""
    kinds, shares = asking.kinds, max_min(asking)
    equal = (pace_of_kind[asking.kind] * shares).sum(axis=1)
    there = np.flatnonzero(equal > 0)
    if not len(there):
        return shares
    kind, jobs = asking.kind[there], [asking.jobs[position] for position in there.tolist()]
    pace, each = pace_of_kind[kind], np.ones(len(there), dtype=np.int64)
    age = np.array([max(0.0, asking.time - job.submit_time) for job in jobs])
    left = np.array([seconds_left(job, asking.time) for job in jobs])
    whole = (left + np.array([job.work_done(asking.time) for job in jobs])) / equal[there]
    rho = float(((age + left / equal[there]) / whole).max())
    for _ in range(_STEPS):
        multiple = np.maximum(rho * whole - age, _LEAST_LEFT) / left  # 1 / the pace that is needed
        if by_flavor:
            found = highest_level(pace * multiple[:, None], kinds.demand[kind], asking.capacity, each).shares
        else:
            found = evenly(asking, kind, each, multiple)
        got = (pace * found).sum(axis=1)
        if not (got > 0).all():
            break
        reached = float(((age + left / got) / whole).max())
        if reached >= rho:
            break
        stands_still = reached > rho * (1 - _STANDS_STILL)
        shares[there], rho = found, reached
        if stands_still:
            break
    return shares


def seconds_left(job: Job, now: float) -> float:
    """Run time in its best configuration that the job has yet to go, by what it says itself."""
    done = job.work_done(now)
    expected = job.spec.expected_duration_seconds
    return max(done, _UNKNOWN) if expected is None else max(_LEAST_LEFT, expected - done)
