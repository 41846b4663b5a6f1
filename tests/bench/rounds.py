"""Whole rounds in memory: snapshot, formulate, solve, place, commit, push; first a cold cluster, then a settled one."""

from __future__ import annotations

import statistics
from collections import defaultdict

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

SIZES = ((100, 1_000), (1_000, 10_000))
ROUNDS = 8
FLAVORS = {"a100": 3.0, "v100": 1.5, "t4": 0.6}


class Nowhere:
    """A pusher without agents."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None: ...


def cluster(nodes: int, jobs: int, seed: int = 0) -> MemoryStore:
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
    batch = tuple(
        spec(str(rng.choice(queues)), *shapes[int(rng.integers(len(shapes)))], restart_cost_seconds=30.0)
        for _ in range(jobs)
    )
    store.execute(c.SubmitJobs(batch), 0.0)
    return store


def measure() -> Table:
    """Milliseconds per stage."""
    table = Table(title="Round: in memory, milliseconds by stage", title_justify="left")
    for column in ("nodes, live jobs", "round", *STAGES, "sum", "solver", "gap"):
        table.add_column(column, justify="right")
    for nodes, jobs in SIZES:
        store, clock, policy, solver = cluster(nodes, jobs), SystemClock(), Policy(), ChainSolver()
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
                    "first" if number == 0 else "later, median",
                    *(f"{value:.1f}" for value in (*shown, sum(shown))),
                    report.summary.solver,
                    f"{report.summary.gap:.0e}",
                )
    return table
