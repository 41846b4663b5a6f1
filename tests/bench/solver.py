"""Price discovery and Clarabel side by side: cold, grouped by family of problems, and warm after 1 % of churn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from rich.table import Table

from allocator.formulation.certificate import Certificate, certify
from allocator.formulation.problem import Problem
from allocator.solvers.candidate import Candidate
from allocator.solvers.conic import conic
from allocator.solvers.price import price_discovery
from allocator.solvers.solution import WarmStart

_T = TypeVar("_T", Candidate, Certificate)
SEED = 0
SIZES = ((1000, 4), (10_000, 4), (10_000, 16), (100_000, 4), (100_000, 16), (1_000_000, 4))
FAMILIES = ("market", "near rank one", "20 types", "vector demands")
ALPHAS = (0.0, 1.0, 2.0)
MOST_FOR_CLARABEL = 10_000
"""Rows; with ten times as many it takes 20 s and more."""


def instance(jobs: int, columns: int, seed: int, fairness: float, family: str = "market") -> Problem:
    """Each job takes one of `columns` flavors; throughputs uniform, capacities scarce and uneven."""
    random = np.random.default_rng(seed)
    middle = np.linspace(0.3, 1.0, columns)
    throughput = random.uniform(0.1, middle, size=(jobs, columns))
    capacity = random.uniform(0.1, 1.0, size=(columns, 1)) * jobs / 1.5 ** np.arange(columns)[:, None]
    demand, weight = np.ones((jobs, columns, 1)), np.ones(jobs)
    if family == "near rank one":
        noise = 1 + 1e-3 * random.normal(size=(jobs, columns))
        throughput = np.outer(random.uniform(0.5, 2.0, jobs), middle) * noise
    elif family == "20 types":
        throughput = throughput[random.integers(0, 20, jobs)]
    elif family == "vector demands":
        shapes = random.integers(0, 50, jobs)
        demand = random.lognormal(0, 1, (50, columns, 3))[shapes]
        weight = random.pareto(1.5, jobs) + 0.1
        capacity = random.uniform(0.1, 1.0, (columns, 3)) * jobs / 4
    return Problem.from_arrays(
        throughput=throughput,
        flavor=np.broadcast_to(np.arange(columns), (jobs, columns)),
        demand=demand,
        capacity=capacity,
        weight=weight,
        fairness=fairness,
    )


def churned(problem: Problem, seed: int) -> Problem:
    """The same with 1 % of the jobs replaced by others of the same kind."""
    random = np.random.default_rng(seed)
    n = problem.row_count
    throughput = problem.throughput.copy()
    throughput[random.integers(0, n, n // 100)] = throughput[random.integers(0, n, n // 100)]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=problem.flavor,
        demand=problem.demand,
        capacity=problem.capacity,
        weight=problem.weight,
        fairness=problem.fairness,
    )


def measure() -> Table:
    """Wall seconds of the method and of the certificate, the certified gap, and what Clarabel needs for the same."""
    table = Table(
        title="Solver: gap asked for 1e-4 (1e-6 up to 20,000 jobs); seconds, cold, from arrays", title_justify="left"
    )
    for column in ("jobs x columns", "family", "alpha", "price", "passes", "gap", "certificate", "warm", "passes"):
        table.add_column(column, justify="right")
    for column in ("Clarabel", "gap", "times faster"):
        table.add_column(column, justify="right")
    most = int(os.environ.get("BENCH_MOST_JOBS", "1000000"))
    price_discovery(instance(40_000, 4, 1, 0.5), 200, 1e-4)  # load the compiled kernels
    for jobs, columns in SIZES:
        for family in FAMILIES if jobs <= 10_000 else FAMILIES[:2]:
            for fairness in ALPHAS if jobs <= 100_000 else (1.0,):
                if jobs <= most:
                    table.add_row(*_row(jobs, columns, family, fairness))
    return table


def _row(jobs: int, columns: int, family: str, fairness: float) -> list[str]:
    gap = 1e-6 if jobs <= 20_000 else 1e-4
    problem = instance(jobs, columns, SEED, fairness, family)
    ours, taken = _timed(lambda: price_discovery(problem, 200, gap))
    found, judging = _timed(lambda: certify(problem, ours.shares, ours.prices, ours.limit_prices))
    after = churned(problem, SEED + 1)
    warm, again = _timed(lambda: price_discovery(after, 200, gap, WarmStart(found.prices)))
    row = [
        f"{jobs:,} x {columns}", family, f"{fairness:g}", f"{taken:.3f}", f"{ours.iterations}", f"{found.gap:.0e}",
        f"{judging:.3f}", f"{again:.3f}", f"{warm.iterations}",
    ]  # fmt: skip
    if jobs > MOST_FOR_CLARABEL:
        return [*row, "", "", ""]
    theirs, slower = _timed(lambda: conic(problem, 200))
    judged = certify(problem, theirs.shares, theirs.prices, theirs.limit_prices)
    return [*row, f"{slower:.3f}", f"{judged.gap:.0e}", f"{slower / taken:.1f}"]


def _timed(action: Callable[[], _T]) -> tuple[_T, float]:
    begin = time.perf_counter()
    result = action()
    return result, time.perf_counter() - begin
