"""Whole rounds in memory: snapshot, formulate, solve, place, commit, push; first a cold cluster, then a settled one.

Alike: jobs of about fifty shapes, which make a few hundred rows. Distinct: every job has a weight and throughputs of
its own, so that each is a row. BENCH_MOST_JOBS leaves out larger sizes.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from dataclasses import replace

import numpy as np
from rich.table import Table

from allocator.daemon.clock import SystemClock
from allocator.domain.cluster import Node
from allocator.domain.job import Configuration
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import STAGES
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore
from tests.builders import resources, spec

SIZES = ((100, 1_000), (1_000, 10_000), (2_000, 100_000))
ALWAYS = 10_000
"""Jobs that are never too many."""
ROUNDS = 8
FLAVORS = {"a100": 3.0, "v100": 1.5, "t4": 0.6}


class Nowhere:
    """A pusher without agents."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None: ...


def cluster(nodes: int, jobs: int, *, alike: bool, seed: int = 0) -> MemoryStore:
    """Nodes of three flavors, twenty queues, and jobs of about fifty shapes that ask for more than there is."""
    rng = np.random.default_rng(seed)
    store = MemoryStore()
    queues = [f"q{index:02}" for index in range(20)]
    for name in queues:
        store.execute(c.CreateQueue(Queue(name, weight=float(rng.integers(1, 5)))), 0.0)
    for index in range(nodes):
        flavor = list(FLAVORS)[index % 3]
        store.execute(c.RegisterNode(Node(f"n{index:05}", flavor, resources(64, 8, 512))), 0.0)
    shapes = [
        tuple(
            Configuration(flavor, replicas, resources(4 * gpus, gpus, 24 * gpus), speed * replicas)
            for flavor, speed in FLAVORS.items()
            if rng.random() < 0.8 or flavor == "v100"
        )
        for gpus in (0.25, 0.5, 1, 2, 4)
        for replicas in (1, 1, 2, 4)
    ]
    chosen, wants = rng.integers(len(queues), size=jobs), rng.integers(len(shapes), size=jobs)
    spread = np.exp(0.3 * rng.standard_normal((jobs, 1 + len(FLAVORS)))).round(4).tolist()
    for first in range(0, jobs, 1000):
        batch = []
        for job in range(first, min(first + 1000, jobs)):
            ways, weight = shapes[int(wants[job])], 1.0
            if not alike:
                weight, *factors = spread[job]
                speeds = dict(zip(FLAVORS, factors, strict=True))
                ways = tuple(replace(way, throughput=way.throughput * speeds[way.flavor]) for way in ways)
            batch.append(spec(queues[int(chosen[job])], *ways, weight=weight, restart_cost_seconds=30.0))
        store.execute(c.SubmitJobs(tuple(batch)), 0.0)
    return store


def measure() -> Table:
    """Milliseconds per stage."""
    table = Table(title="Round: in memory, milliseconds by stage", title_justify="left")
    for column in ("nodes, live jobs", "rows", "round", *STAGES, "sum", "solver", "gap"):
        table.add_column(column, justify="right")
    most = max(ALWAYS, int(os.environ.get("BENCH_MOST_JOBS", "1000000")))
    for nodes, jobs, alike in ((*size, alike) for size in SIZES if size[1] <= most for alike in (True, False)):
        store, clock, policy, solver = cluster(nodes, jobs, alike=alike), SystemClock(), Policy(), ChainSolver()
        memory = store.memory()
        stages: dict[str, list[float]] = defaultdict(list)
        for number in range(ROUNDS):
            report, memory = run_round(
                store=store, pusher=Nowhere(), clock=clock, solver=solver, policy=policy, memory=memory
            )
            for stage, taken in report.summary.stages:
                stages[stage].append(taken * 1000)
            if number in (0, ROUNDS - 1):
                shown = [stages[stage][0] if number == 0 else statistics.median(stages[stage][1:]) for stage in STAGES]
                table.add_row(
                    f"{nodes:,}, {jobs:,}",
                    f"{report.formulation.problem.row_count:,}",
                    "first" if number == 0 else "later, median",
                    *(f"{value:.1f}" for value in (*shown, sum(shown))),
                    report.summary.solver,
                    f"{report.summary.gap:.0e}",
                )
    return table
