"""Compiles every kernel ahead of time: `python -m allocator.rounds`, once per machine and version.

Otherwise the first large round does it: about 40 s for the solver's and 20 s for placement's. Where they go: see
NUMBA_CACHE_DIR.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from allocator.domain.cluster import Node
from allocator.domain.constraints import AtMost, Constraints
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import build
from allocator.placement import place
from allocator.placement.compiled import COMPILED_NODES
from allocator.solvers.__main__ import compile_kernels as compile_solvers


def compile_placement() -> None:
    """One round with a bit of everything: a node that shrank, a gang, a limit among jobs."""
    one = Resources(cpu_millicores=1000, gpu_millis=500)
    nodes = tuple(Node(f"n{index:04}", "a", Resources(2000, 1000)) for index in range(COMPILED_NODES))
    alone = Constraints(at_most=(AtMost(1, of=(("app", "web"),)),))
    specs = [
        JobSpec("q", (Configuration("a", 1, one * 4),)),
        JobSpec("q", (Configuration("a", 2, one),), labels=(("app", "web"),), constraints=alone),
        JobSpec("q", (Configuration("a", COMPILED_NODES * 3, one),)),
    ]
    jobs = [Job(f"j{number}", number, spec, 0.0) for number, spec in enumerate(specs, start=1)]
    too_large = Allocation(Placement("j1", 0, (ReplicaPlacement("n0000", (0, 1)),)), Epoch(1, 1), 0.0)
    first = replace(jobs[0], state=JobState.RUNNING, allocation=too_large, last_start_time=0.0)
    world = Snapshot(1, 1, 1000.0, (Queue("q"),), nodes, (first, *jobs[1:]))
    formulation = build(world, Policy())
    place(world, formulation, np.full(formulation.problem.utility.shape, 0.5), Memory(), Policy())


if __name__ == "__main__":
    compile_solvers()
    compile_placement()
