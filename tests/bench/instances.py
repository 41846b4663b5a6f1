"""Problems of many sizes and kinds by seed: what the solver is measured on.

`market` is the benchmark of the price discovery paper (Agrawal, Boyd, Narayanan, Kazhamiaka and Zaharia, 2021): a job
takes one of several resources, its throughput in resource j is uniform in [0.1, mid_j], mid_j evenly spaced from 0.3 to
1.0, and capacity j is uniform in [0.1, 1] n / 1.5^j. Its degenerate relatives have the same capacities but throughputs
that are proportional, almost or exactly, equal, or of few types. The others are what data centers have: vector demands,
gangs of several sizes, heavy-tailed weights, jobs of 5 to 500 shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from allocator.formulation.problem import Floats, Integers, Problem


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """What `Problem.from_arrays` takes: n jobs, K columns, F flavors, R resources."""

    throughput: Floats
    flavor: Integers
    demand: Floats
    capacity: Floats
    weight: Floats


Family = Callable[[np.random.Generator, int, int], Arrays]
"""From a source of randomness, jobs and columns."""


def instance(jobs: int, columns: int, seed: int, fairness: float, family: str = "market") -> Problem:
    """One problem of a family in FAMILIES; the same bits for the same arguments."""
    return problem_of(FAMILIES[family](np.random.default_rng(seed), jobs, columns), fairness)


def problem_of(arrays: Arrays, fairness: float) -> Problem:
    return Problem.from_arrays(
        throughput=arrays.throughput,
        flavor=arrays.flavor,
        demand=arrays.demand,
        capacity=arrays.capacity,
        weight=arrays.weight,
        fairness=fairness,
    )


def churned(problem: Problem, seed: int) -> Problem:
    """The same with 1 % of the jobs (at least one) replaced by others of the same kind, their weights shuffled."""
    random = np.random.default_rng(seed)
    n = problem.row_count
    leaving, arriving, paying = (random.integers(0, n, max(n // 100, 1)) for _ in range(3))
    throughput, flavor, demand = problem.throughput.copy(), problem.flavor, problem.demand
    throughput[leaving] = problem.throughput[arriving]
    weight = problem.weight.copy()
    weight[leaving] = problem.weight[paying]
    if np.ptp(demand) or np.ptp(flavor, axis=0).any():  # otherwise everybody's are the same
        flavor, demand = flavor.copy(), demand.copy()
        flavor[leaving], demand[leaving] = problem.flavor[arriving], problem.demand[arriving]
    return problem_of(Arrays(throughput, flavor, demand, problem.capacity, weight), problem.fairness)


def _market(random: np.random.Generator, jobs: int, columns: int, throughput: Floats | None = None) -> Arrays:
    if throughput is None:
        throughput = random.uniform(0.1, _middle(columns), size=(jobs, columns))
    capacity = random.uniform(0.1, 1.0, size=(columns, 1)) * jobs / 1.5 ** np.arange(columns)[:, None]
    return Arrays(throughput, _one_each(jobs, columns), np.ones((jobs, columns, 1)), capacity, np.ones(jobs))


def _middle(columns: int) -> Floats:
    return np.linspace(0.3, 1.0, columns)


def _one_each(jobs: int, columns: int) -> Integers:
    """Column k is on flavor k."""
    return np.broadcast_to(np.arange(columns), (jobs, columns))


def _near_rank_one(random: np.random.Generator, jobs: int, columns: int, noise: float) -> Arrays:
    """A resource's speed, times a factor of the job, times 1 + `noise`."""
    factor = random.uniform(0.5, 2.0, jobs)
    wobble = 1 + noise * random.normal(size=(jobs, columns))
    return _market(random, jobs, columns, np.outer(factor, _middle(columns)) * wobble)


def _identical(random: np.random.Generator, jobs: int, columns: int) -> Arrays:
    """Every resource is as good as any other."""
    return _market(random, jobs, columns, np.repeat(random.uniform(0.1, 1.0, (jobs, 1)), columns, axis=1))


def _few_types(random: np.random.Generator, jobs: int, columns: int, types: int) -> Arrays:
    throughput = random.uniform(0.1, _middle(columns), size=(types, columns))
    return _market(random, jobs, columns, throughput[random.integers(0, types, jobs)])


def _vector_demands(random: np.random.Generator, jobs: int, columns: int) -> Arrays:
    """Three resources on each flavor, fifty demands, heavy-tailed weights, everybody's own throughputs."""
    throughput = random.uniform(0.1, _middle(columns), size=(jobs, columns))
    capacity = random.uniform(0.1, 1.0, (columns, 3)) * jobs / 4
    demand = random.lognormal(0, 1, (50, columns, 3))[random.integers(0, 50, jobs)]
    return Arrays(throughput, _one_each(jobs, columns), demand, capacity, random.pareto(1.5, jobs) + 0.1)


def _gangs(random: np.random.Generator, jobs: int, columns: int, shapes: int, *, alike: bool) -> Arrays:
    """Gangs of 1, 2, 4 or 8 replicas that speed up less than in proportion, on half as many flavors as columns; a fifth
    of the configurations cannot run. A shape is demands and throughputs; jobs of a shape differ in their heavy-tailed
    weights, or are `alike`: then the weight belongs to the shape.
    """
    flavors = max(columns // 2, 1)
    shape = np.arange(shapes)[:, None]
    flavor = (np.arange(columns) + shape) % flavors
    replicas = 2 ** random.integers(0, 4, (shapes, columns))
    speed = np.geomspace(1.0, 4.0, flavors)[flavor]
    throughput = speed * replicas**0.85 * random.lognormal(0, 0.3, (shapes, columns))
    closed = random.random((shapes, columns)) < 0.2
    closed[:, 0] = False
    throughput[closed] = 0.0
    demand = replicas[:, :, None] * random.lognormal(0, 0.7, (shapes, 1, 3))
    chosen = random.integers(0, shapes, jobs)
    weight = random.pareto(1.5, shapes)[chosen] + 0.1 if alike else random.pareto(1.5, jobs) + 0.1
    wanted = demand.mean(axis=(0, 1)) * jobs / flavors
    capacity = wanted * random.uniform(0.1, 0.7, (flavors, 3))
    return Arrays(throughput[chosen], flavor[chosen], demand[chosen], capacity, weight)


FAMILIES: dict[str, Family] = {
    "market": _market,
    "near rank one": partial(_near_rank_one, noise=1e-3),
    "rank one": partial(_near_rank_one, noise=0.0),
    "identical": _identical,
    "1 type": partial(_few_types, types=1),
    "20 types": partial(_few_types, types=20),
    "500 types": partial(_few_types, types=500),
    "vector demands": _vector_demands,
    "gangs, 5 shapes": partial(_gangs, shapes=5, alike=False),
    "gangs, 500 shapes": partial(_gangs, shapes=500, alike=False),
    "500 shapes, alike": partial(_gangs, shapes=500, alike=True),
}
"""By name. Only the types and the last one have jobs that are identical, so that grouping makes them few."""
ONE_DEMAND = ("market", "near rank one", "rank one", "identical", "1 type", "20 types", "500 types")
"""Families in which a column needs one unit of one resource, as the unit pass supposes."""
