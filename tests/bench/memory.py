"""The most memory that one solve needs, seen by the kernel: numpy's, the compiled code's and Clarabel's together.

A process of its own builds the problem, solves a small one so that everything is loaded, lets the kernel forget the
highest resident size so far (5 to /proc/self/clear_refs), solves, and reads the highest since (VmHWM). Linux only.

    python -m tests.bench.memory JOBS COLUMNS ALPHA FAMILY    prints one line of JSON
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from allocator.formulation.problem import Problem
from allocator.solvers import ChainSolver
from tests.bench.cases import Case
from tests.bench.instances import instance

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_LOADING_JOBS = 20_000
_LOADING_ITERATIONS = 50


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes."""

    arrays: int
    """What was handed in: throughput, flavor, demand, capacity, weight, count."""
    derived: int
    """What the problem keeps beside it: eligibility, utilities, the sparse coupling, references."""
    added: int
    """The most that solving took on top of these, its answer included."""

    @property
    def solve_factor(self) -> float:
        """What solving adds, relative to the arrays."""
        return self.added / self.arrays

    @property
    def peak_factor(self) -> float:
        """Everything there is at the worst moment, relative to the arrays."""
        return (self.arrays + self.derived + self.added) / self.arrays


def solve_memory(case: Case) -> Memory:
    """Of seed 0, measured in a new process."""
    arguments = [str(value) for value in (case.jobs, case.columns, case.fairness, case.family)]
    command = [sys.executable, "-m", "tests.bench.memory", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Memory(**json.loads(done.stdout))


def _measured(case: Case, problem: Problem) -> Memory:
    given = (problem.throughput, problem.flavor, problem.demand, problem.capacity, problem.weight, problem.count)
    coupling = problem.coupling
    kept = (problem.eligible, problem.utility, problem.reference, problem.available, coupling.data, coupling.indices,
            coupling.indptr)  # fmt: skip
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _FORGET.write_text("5")
    before = _kilobytes("VmRSS")
    solution = ChainSolver().solve(problem, gap=case.wished, iterations=case.iterations, warm_start=None)
    added = 1024 * (_kilobytes("VmHWM") - before)
    del solution
    return Memory(sum(array.nbytes for array in given), sum(array.nbytes for array in kept), added)


def _kilobytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def _main(jobs: str, columns: str, fairness: str, family: str) -> None:
    case = Case("memory", int(jobs), int(columns), family, float(fairness))
    small = instance(_LOADING_JOBS, case.columns, 1, case.fairness, family)
    ChainSolver().solve(small, gap=1e-3, iterations=_LOADING_ITERATIONS, warm_start=None)
    del small
    problem = instance(case.jobs, case.columns, 0, case.fairness, family)
    print(json.dumps(asdict(_measured(case, problem))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
