"""Problems at the edges, by name: ties, nothing scarce, next to nothing, all alike, all different by a factor only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from allocator.formulation import Limit, LimitPart, Problem
from tests.formulation.instances import single_job


def market(rows: int, columns: int = 4, alpha: float = 1.0, seed: int = 0, **changes: Any) -> Problem:
    """Each row takes one of `columns` flavors of one resource, scarce and uneven."""
    random = np.random.default_rng(seed)
    arguments: dict[str, Any] = {
        "throughput": random.uniform(0.1, np.linspace(0.3, 1.0, columns), (rows, columns)),
        "flavor": np.broadcast_to(np.arange(columns), (rows, columns)),
        "demand": np.ones((rows, columns, 1)),
        "capacity": random.uniform(0.1, 1.0, (columns, 1)) * rows / 1.5 ** np.arange(columns)[:, None],
        "fairness": alpha,
    }
    return Problem.from_arrays(**(arguments | changes))


def _units(alpha: float) -> Problem:
    """Vector demands of two resources, one counted in billions, the other one in billionths."""
    random = np.random.default_rng(3)
    units = np.array([1e9, 1e-9])
    return Problem.from_arrays(
        throughput=random.uniform(0.5, 2.0, (30, 2)),
        flavor=np.tile([0, 1], (30, 1)),
        demand=random.uniform(0.5, 2.0, (30, 2, 2)) * units,
        capacity=random.uniform(3.0, 6.0, (2, 2)) * units,
        fairness=alpha,
    )


def _free_column(alpha: float) -> Problem:
    """Half of the jobs can also run slowly where it costs nothing."""
    demand = np.ones((40, 4, 1))
    demand[:20, 3] = 0.0
    return market(40, alpha=alpha, demand=demand)


def _few_types(alpha: float) -> Problem:
    random = np.random.default_rng(2)
    kinds = random.uniform(0.1, 1.0, (3, 4))
    return market(60, alpha=alpha, throughput=kinds[random.integers(0, 3, 60)])


def _market(rows: int, columns: int = 4, **changes: Any) -> Callable[[float], Problem]:
    return lambda alpha: market(rows, columns, alpha, **changes)


def _single(**changes: Any) -> Callable[[float], Problem]:
    return lambda alpha: single_job(fairness=alpha, **changes)


_POWER = Limit(((0, 0, 0.7), (1, 0, 0.4), (2, 0, 0.3), (3, 0, 0.2)), 4.0, range(40))
_TWICE = Limit(tuple((f, r, 2 * coefficient) for f, r, coefficient in _POWER.terms), 8.0, range(40))
_WITHOUT_SECOND = np.stack([np.ones((40, 4)), np.zeros((40, 4))], axis=2)
_WITHOUT_LAST = np.random.default_rng(4).uniform(0.1, 1.0, (40, 4)) * [1, 1, 1, 0]
_SPEEDS = np.linspace(1, 2, 4)
_SLOW_TO_FAST = np.linspace(0.5, 2, 200)

DEGENERATE: dict[str, Callable[[float], Problem]] = {
    "one job, one resource": _single(),
    "one job, four resources alike": _market(1, throughput=np.ones((1, 4)), capacity=np.full((4, 1), 0.2)),
    "nothing scarce": _single(capacity=[[9.0]]),
    "a surplus of everything": _market(40, capacity=np.full((4, 1), 1e4)),
    "exactly as much as is wanted": _market(40, 1, capacity=[[40.0]]),
    "everything is free": _market(40, demand=np.zeros((40, 4, 1))),
    "a column that costs nothing": _free_column,
    "a million jobs in one row": _single(count=[1_000_000]),
    "a limit": _single(capacity=[[9.0]], limits=[Limit.of(0, 0, 1.0, [0])]),
    "a limit of nothing on some": _market(40, limits=[Limit.of(1, 0, 0.0, range(10))]),
    "limits on half of the jobs": _market(40, limits=[Limit.of(f, 0, 1.5, range(20)) for f in range(4)]),
    "the same limit twice": _market(40, limits=[Limit.of(0, 0, 1.5, range(20))] * 2),
    "a limit without members": _market(40, limits=[Limit.of(0, 0, 1.5, [])]),
    "one limit over all flavors": _market(40, limits=[Limit(tuple((f, 0, 0.5 + f) for f in range(4)), 9.0, range(40))]),
    "a limit of nothing over two flavors": _market(40, limits=[Limit(((0, 0, 1.0), (2, 0, 9.0)), 0.0, range(10))]),
    "a limit with a term that nobody has": _market(
        40,
        demand=_WITHOUT_SECOND,
        capacity=np.full((4, 2), 5.0),
        limits=[Limit(((0, 0, 1.0), (1, 1, 3.0), (3, 1, 1.0)), 2.0, range(40)), Limit(((2, 1, 1.0),), 1.0, range(40))],
    ),
    "a limit on a flavor that nobody can use": _market(
        40, throughput=_WITHOUT_LAST, limits=[Limit(((3, 0, 1.0), (0, 0, 1.0)), 2.0, range(40))]
    ),
    "the same limit over all flavors twice": _market(40, limits=[_POWER._replace(amount=6.0)] * 2),
    "limits that make others redundant": _market(
        40, limits=[_POWER, _POWER._replace(amount=3.0), _POWER._replace(amount=3.0, members=range(35)), _TWICE]
    ),
    "a limit that repeats a capacity": _market(40, 1, capacity=[[5.0]], limits=[Limit(((0, 0, 0.7),), 3.5, range(40))]),
    "a limit without terms": _market(40, limits=[Limit((), 0.0, range(40)), Limit((), 1.0, range(40))]),
    "a limit whose terms half of the jobs have twice": _market(
        40, limits=[_POWER._replace(more=(LimitPart(_POWER.terms, range(20)),))]
    ),
    "coefficients from a millionth to a billion": _market(
        40, limits=[Limit(((0, 0, 1e-6), (1, 0, 1.0), (2, 0, 1e9)), 5e8, range(40)), _POWER]
    ),
    "every job and every resource alike": _market(50, throughput=np.ones((50, 4)), capacity=np.full((4, 1), 5.0)),
    "identical resources": _market(50, throughput=np.tile(_SLOW_TO_FAST[::4, None], (1, 4))),
    "proportional resources": _market(60, throughput=np.tile([1.0, 1.0, 2.0, 4.0], (60, 1))),
    "jobs that differ by a factor only": _market(200, throughput=np.outer(_SLOW_TO_FAST, [0.3, 0.5, 0.7, 1])),
    "few job types": _few_types,
    "ties everywhere": _market(
        30, throughput=np.arange(120).reshape(30, 4) % 7 % 2 + 1.0, capacity=np.full((4, 1), 3.0)
    ),
    "every job can run on one flavor only": _market(80, throughput=np.kron(np.eye(4), np.ones((20, 1)))),
    "hardly any, and far too much": _market(40, capacity=[[5.0], [1e-3], [1e9], [7.0]]),
    "a capacity of 0": _market(40, capacity=[[5.0], [0.0], [2.0], [7.0]]),
    "each job fits only in part": _market(40, demand=np.full((40, 4, 1), 30.0)),
    "weights from 0.01 to 100": _market(40, weight=10.0 ** np.linspace(-2, 2, 40)),
    "one heavy job among light ones": _market(40, weight=[1e4] + [1.0] * 39),
    "counts from 1 to a million": _market(7, count=10 ** np.arange(7)),
    "huge and tiny units": _units,
    "throughputs in huge units": _market(40, throughput=np.tile(1e12 * _SPEEDS, (40, 1))),
    "throughputs in tiny units": _market(40, throughput=np.tile(1e-12 * _SPEEDS, (40, 1))),
    "more resources than jobs": _market(3, 16, capacity=np.full((16, 1), 0.1)),
}
