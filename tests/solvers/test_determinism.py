"""The same problem gives the same bytes: with any number of threads, in any process, whatever ran before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from allocator.formulation import Limit, Problem, certify
from allocator.solvers import solve
from allocator.solvers.candidate import Candidate
from allocator.solvers.price import price_discovery

ROWS = 20_000
"""More than four times the rows of price discovery's sample: from there on threads share the work."""


def many(alpha: float, seed: int = 0) -> Problem:
    """Vector demands over six flavors, columns that some rows lack, limits, counts, uneven weights."""
    random = np.random.default_rng(seed)
    demand = random.lognormal(0, 1, (ROWS, 3, 2))
    flavor = (random.integers(0, 6, (ROWS, 1)) + np.arange(3)) % 6
    return Problem.from_arrays(
        throughput=random.uniform(0.2, 1.0, (ROWS, 3)) * (random.random((ROWS, 3)) < [1.0, 0.9, 0.8]),
        flavor=flavor,
        demand=demand,
        capacity=random.uniform(0.05, 0.3, (6, 2)) * ROWS,
        weight=random.lognormal(0, 1, ROWS),
        count=random.choice([1, 1, 3], ROWS),
        fairness=alpha,
        limits=[Limit.of(f, 0, 0.02 * ROWS, range(f, ROWS, 7)) for f in range(3)],
    )


def digest(*arrays: NDArray[np.float64]) -> str:
    together = hashlib.sha256()
    for array in arrays:
        together.update(np.ascontiguousarray(array).tobytes())
    return together.hexdigest()


def judged(problem: Problem, candidate: Candidate, threads: int) -> str:
    certificate = certify(problem, candidate.shares, candidate.prices, candidate.limit_prices, threads=threads)
    return digest(certificate.shares, np.array([certificate.objective, certificate.bound, certificate.gap]))


@pytest.mark.parametrize("alpha", [0.0, 1.0, 1.7])
def test_any_number_of_threads(alpha: float) -> None:
    problem = many(alpha)
    answers = {threads: price_discovery(problem, 12, 1e-5, threads=threads) for threads in (1, 2, 4)}
    found = {digest(a.shares, a.prices, a.limit_prices) for a in answers.values()}
    assert len(found) == 1
    assert {a.iterations for a in answers.values()} == {answers[1].iterations}
    assert len({judged(problem, answers[1], threads) for threads in (1, 2, 4)}) == 1


def test_the_same_process_twice() -> None:
    """Nothing of an earlier problem is left in what a later one is solved with."""
    first = price_discovery(many(1.0), 12, 1e-5)
    price_discovery(many(0.0, seed=1), 3, 1e-5)
    again = price_discovery(many(1.0), 12, 1e-5)
    assert digest(first.shares, first.prices) == digest(again.shares, again.prices)


def wide() -> Problem:
    """More than a hundred scarce capacities: matrices of that size are where a BLAS begins to use threads."""
    random = np.random.default_rng(1)
    return Problem.from_arrays(
        throughput=random.uniform(0.1, 1.0, (6000, 64)),
        flavor=np.broadcast_to(np.arange(64), (6000, 64)),
        demand=np.ones((6000, 64, 2)) * [1.0, 0.7],
        capacity=np.outer(random.uniform(0.1, 1.0, 64), [1.0, 0.69]) * 6000 / 64,
        weight=random.uniform(0.5, 2.0, 6000),
    )


def answer() -> str:
    """What this process makes of them."""
    found = [solve(problem, gap=1e-4) for problem in (many(1.0), wide())]
    numbers = np.array([(one.objective, one.bound, one.gap) for one in found])
    return digest(numbers, *(array for one in found for array in (one.shares, one.prices, one.limit_prices)))


@pytest.mark.parametrize(("seed", "blas"), [("1", "1"), ("12345", "2")])
def test_other_processes_with_other_hashes_fewer_processors_and_another_blas(seed: str, blas: str) -> None:
    program = (
        "import os\n"
        "if hasattr(os, 'sched_setaffinity') and os.environ['OPENBLAS_NUM_THREADS'] == '1':\n"
        "    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])\n"
        "from tests.solvers.test_determinism import answer\n"
        "print(answer())\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": seed, "OPENBLAS_NUM_THREADS": blas},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    ).stdout.strip()
    assert there == answer()
