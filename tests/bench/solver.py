"""Cold solves of random problems, from arrays to a certified solution."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from allocator.formulation.problem import Problem
from allocator.solvers import solve
from tests.bench.timing import in_words, seconds

SIZES = ((100, 4), (1000, 4), (10_000, 4), (1000, 16))


def instance(jobs: int, columns: int, seed: int, fairness: float) -> Problem:
    """Each job takes one of `columns` flavors of one resource; throughputs uniform, capacities scarce and uneven."""
    rng = np.random.default_rng(seed)
    middle = np.linspace(0.3, 1.0, columns)
    throughput = rng.uniform(0.1, middle, size=(jobs, columns))
    capacity = rng.uniform(0.1, 1.0, size=(columns, 1)) * jobs / 1.5 ** np.arange(columns)[:, None]
    return Problem.from_arrays(
        throughput=throughput,
        flavor=np.broadcast_to(np.arange(columns), (jobs, columns)),
        demand=np.ones((jobs, columns, 1)),
        capacity=capacity,
        fairness=fairness,
    )


def measure() -> Table:
    """Time, certified gap and iterations by size and fairness."""
    table = Table(title="Solver: cold, gap asked for 1e-4", title_justify="left")
    for column in ("jobs x resources", "fairness", "time", "largest gap", "solver", "iterations"):
        table.add_column(column)
    for jobs, columns in SIZES:
        for fairness in (0.0, 1.0, 2.0):
            problems = [instance(jobs, columns, seed, fairness) for seed in range(3)]
            solutions = [solve(problem) for problem in problems]
            taken = [second for problem in problems for second in seconds(lambda p=problem: solve(p), runs=1)]  # type: ignore[misc] # mypy cannot type a default
            table.add_row(
                f"{jobs:,} x {columns}",
                f"{fairness:g}",
                in_words(taken),
                f"{max(solution.gap for solution in solutions):.1e}",
                ", ".join(sorted({solution.solver for solution in solutions})),
                f"{max(solution.iterations for solution in solutions)}",
            )
    return table
