"""The highest common level: shares x that maximise t where every job has at least t of what is measured.

    maximise    t
    subject to  sum_f speed_nf x_nf >= t              for each row n, of count_n identical jobs
                sum_f x_nf <= 1                       a job is in one place at a time
                sum_n count_n demand_nfr x_nf <= capacity_fr
                x >= 0,  x_nf = 0 where speed_nf = 0

(D. Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads, OSDI 2020, section
4.1.) One linear program, solved from inside by Clarabel: among several optima it finds one in their middle, and it says
nothing of what jobs could have above the level; `allocator.solvers.max_min` does. With tens of rows setting up takes as
long as solving, so the program's matrix is written down column by column as Clarabel wants it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import clarabel
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TOLERANCE = 1e-8
_USABLE = ("Solved", "AlmostSolved")


class Level(NamedTuple):
    """`shares` (n, F) are feasible and give every row at least `level`, the optimum but for rounding."""

    shares: Floats
    level: float


def highest_level(speed: Floats, demand: Floats, capacity: Floats, count: Integers) -> Level:
    """`speed` (n, F) at least 0; `demand` (n, F, R) of one job; `capacity` (F, R); `count` (n,) at least 1.

    What needs something of which there is nothing gets no share. If a row can run nowhere, or Clarabel finds no answer,
    the level is 0 and so are all shares.
    """
    able = (speed > 0) & ~((demand > 0) & (capacity <= 0)[None]).any(axis=2)
    if not len(speed) or not able.any(axis=1).all():
        return Level(np.zeros(speed.shape), 0.0)
    unit = float(np.where(able, speed, 0.0).max(axis=1).min())
    row, flavor = np.nonzero(able)
    need = demand[row, flavor] * count[row][:, None]
    load = np.divide(need, capacity[flavor], out=np.zeros(need.shape), where=need > 0)
    found = _solve(row, flavor, speed[row, flavor] / unit, load, speed.shape)
    shares = np.zeros(speed.shape)
    if found is not None:
        shares[row, flavor] = np.maximum(found, 0.0)
        used = np.zeros(capacity.shape)
        np.add.at(used, flavor, load * shares[row, flavor][:, None])
        shares /= max(1.0, float(shares.sum(axis=1).max()), float(used.max(initial=0.0)))
    return Level(shares, float((speed * shares).sum(axis=1).min()))


def _solve(row: Integers, flavor: Integers, speed: Floats, load: Floats, shape: tuple[int, ...]) -> Floats | None:
    """(N,) the share of each able (row, flavor); `load` (N, R) is what it takes of its flavor if it is whole."""
    rows, flavors = shape
    size, resources = load.shape
    coupled = 2 * rows
    floor = coupled + flavors * resources
    indices = np.empty((size, resources + 3), dtype=np.int64)
    values = np.empty((size, resources + 3))
    indices[:, 0], values[:, 0] = row, -speed
    indices[:, 1], values[:, 1] = rows + row, 1.0
    indices[:, 2:-1], values[:, 2:-1] = coupled + flavor[:, None] * resources + np.arange(resources), load
    indices[:, -1], values[:, -1] = floor + np.arange(size), -1.0
    matrix: Any = sp.csc_matrix(
        (
            np.concatenate([values.ravel(), np.ones(rows)]),
            np.concatenate([indices.ravel(), np.arange(rows)]),
            np.append(np.arange(size + 1) * (resources + 3), size * (resources + 3) + rows),
        ),
        shape=(floor + size, size + 1),
    )
    limits = np.zeros(floor + size)
    limits[rows:floor] = 1.0
    wanted = np.zeros(size + 1)
    wanted[-1] = -1.0
    settings: Any = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
    nothing: Any = sp.csc_matrix((size + 1, size + 1))
    solver: Any = clarabel.DefaultSolver(
        nothing, wanted, matrix, limits, [clarabel.NonnegativeConeT(floor + size)], settings
    )
    answer: Any = solver.solve()
    return np.asarray(answer.x)[:-1] if str(answer.status) in _USABLE else None
