"""Small random problems of the full model, seeded; each draws which of its features it has.

`EXAMPLES` times as many are tried when the environment variable ALLOCATOR_EXAMPLES says so.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from allocator.formulation import Limit, LimitPart, Problem

EXAMPLES = int(os.environ.get("ALLOCATOR_EXAMPLES", "1"))
FINITE = (0.0, 0.5, 1.0, 1.7, 2.0, 3.0)


def sample(seed: int, alpha: float) -> Problem:
    """1 to 30 rows. Throughputs: few values, a continuum, proportional columns, nearly so, or identical ones; demands:
    one resource, vectors, gangs, columns that are free; capacity from a hundredth of what is wanted to more than that,
    or nothing; limits, counts, weights over up to six orders, references.
    """
    random = np.random.default_rng([seed, 7])
    n, width = int(random.choice([1, 2, 3, 5, 8, 13, 30])), int(random.integers(1, 5))
    flavors, resources = int(random.integers(1, 4)), int(random.integers(1, 4))
    throughput = _throughput(random, n, width)
    throughput *= random.random((n, width)) < random.choice([0.7, 1.0])
    demand = _demand(random, n, width, resources)
    flavor = random.integers(0, flavors, (n, width))
    count = random.choice([1, 1, 2, 50], n)
    wanted = (demand.max(axis=1) * count[:, None]).sum(axis=0)
    capacity = (wanted + (wanted == 0)) * 10 ** random.uniform(-2, 0.3, (flavors, resources))
    if random.random() < 0.2:
        capacity[random.integers(flavors), random.integers(resources)] = 0.0
    runs = (throughput > 0) & ~((demand > 0) & (capacity[flavor] == 0)).any(axis=2)
    for row in np.flatnonzero(~runs.any(axis=1)):  # every row needs somewhere to run
        throughput[row, 0] = 1.0
        demand[row, 0] = np.where(capacity[flavor[row, 0]] > 0, demand[row, 0], 0.0)
    return Problem.from_arrays(
        throughput=throughput,
        flavor=flavor,
        demand=demand,
        capacity=capacity,
        weight=10 ** (random.uniform(-0.5, 0.5, n) * random.choice([0, 1, 6 if n > 1 else 1])),
        count=count,
        fairness=alpha,
        reference=10 ** random.uniform(-1, 1, n) if random.random() < 0.3 else None,
        limits=_limits(random, n, capacity),
    )


def smooth_market(seed: int, alpha: float) -> Problem:
    """8 to 24 rows over 2 to 4 flavors of one resource, in general position and contended: prices are mostly unique."""
    random = np.random.default_rng([seed, 11])
    n, width = int(random.integers(8, 25)), int(random.integers(2, 5))
    return Problem.from_arrays(
        throughput=random.uniform(0.1, np.linspace(0.3, 1.0, width), (n, width)),
        flavor=np.broadcast_to(np.arange(width), (n, width)),
        demand=random.uniform(0.5, 2.0, (n, width, 1)),
        capacity=random.uniform(0.05, 0.2, (width, 1)) * n,
        weight=random.uniform(0.5, 2.0, n),
        fairness=alpha,
    )


def _throughput(random: np.random.Generator, n: int, width: int) -> NDArray[np.float64]:
    kind = random.integers(5)
    speed = random.uniform(0.2, 2.0, width)
    if kind == 0:
        return random.choice([0.5, 1.0, 1.0, 2.0, 3.7], (n, width))
    if kind == 1:
        return random.lognormal(0, 0.7, (n, width))
    if kind == 2:
        return np.outer(random.uniform(0.5, 2.0, n), speed)
    if kind == 3:
        return np.outer(random.uniform(0.5, 2.0, n), speed) * (1 + 10 ** random.uniform(-9, -2, (n, width)))
    alike: NDArray[np.float64] = np.tile(speed[: 1 + width % 2], (n, width))[:, :width].copy()
    return alike


def _demand(random: np.random.Generator, n: int, width: int, resources: int) -> NDArray[np.float64]:
    kind = random.integers(4)
    if kind == 0:
        return random.choice([0.0, 0.25, 1.0, 1.0, 2.0, 8.0], (n, width, resources))
    if kind == 1:
        return random.lognormal(0, 1, (n, width, resources))
    if kind == 2:
        gang = random.choice([1.0, 1.0, 8.0, 64.0], n)
        return np.tile(gang[:, None, None], (1, width, resources)) * random.uniform(0.1, 2, resources)
    units: NDArray[np.float64] = 10 ** random.uniform(-3, 3, resources)
    demand: NDArray[np.float64] = random.uniform(0.5, 2, (n, width, resources)) * units
    return demand


def _limits(random: np.random.Generator, n: int, capacity: NDArray[np.float64]) -> list[Limit]:
    """Of one resource of one flavor, of several, some with terms that only some members have."""
    limits = []
    for _ in range(int(random.choice([0, 0, 1, 4]))):
        terms, more = _terms(random, capacity), tuple[LimitPart, ...]()
        if random.random() < 0.3:
            more = tuple(LimitPart(_terms(random, capacity), _some(random, n)) for _ in range(2))
        counted = sum(coefficient * capacity[flavor, resource] for flavor, resource, coefficient in terms)
        if counted > 0:
            limits.append(Limit(terms, float(counted * random.choice([0.05, 0.5, 2.0])), _some(random, n), more))
    return limits


def _terms(random: np.random.Generator, capacity: NDArray[np.float64]) -> tuple[tuple[int, int, float], ...]:
    flavors, resources = capacity.shape
    if random.random() < 0.4:
        return ((int(random.integers(flavors)), int(random.integers(resources)), 1.0),)
    chosen = [(f, r) for f in range(flavors) for r in range(resources) if random.random() < 0.6]
    scale = 10 ** random.uniform(-3, 3)
    return tuple((f, r, float(scale * random.choice([0.1, 1.0, 1.0, 2.5, 7.0]))) for f, r in chosen)


def _some(random: np.random.Generator, n: int) -> list[int]:
    return [row for row in range(n) if random.random() < 0.6]
