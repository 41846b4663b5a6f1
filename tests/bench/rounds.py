"""Whole rounds: snapshot, formulate, solve, place, commit, push. Four tables, of which BENCH_ONLY names one:

- memory: no disk; first a cold cluster, then a settled one. Alike: jobs of about fifty shapes, which make a few hundred
  rows. Distinct: every job has a weight and throughputs of its own, so that each is a row;
- churn: a busy data center with SQLite (`tests.bench.churn`), up to 10,000 nodes with 100,000 running jobs;
- gangs: gangs of 64 replicas on an empty cluster, 1,000 of them on 10,000 nodes;
- crowded: placement alone where every node is full of jobs of one GPU, and gangs of 16 whole nodes are owed much more.

BENCH_MOST_JOBS leaves out larger sizes.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from allocator.daemon.clock import SystemClock
from allocator.domain.cluster import Node
from allocator.domain.job import Configuration
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory
from allocator.formulation.build import build
from allocator.intake import commands as c
from allocator.placement import place
from allocator.rounds.loop import run_round
from allocator.rounds.report import STAGES
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore
from tests.bench import churn
from tests.builders import configuration, resources, spec
from tests.placement.worlds import node, running, snapshot, waiting, way

SIZES = ((100, 1_000), (1_000, 10_000), (2_000, 100_000))
ALWAYS = 10_000
"""Jobs that are never too many."""
CHURNED = ((1_000, 10_000, 1_000), (10_000, 100_000, 10_000))
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


def measure() -> RenderableType:
    """The tables, or the one that BENCH_ONLY names."""
    only = os.environ.get("BENCH_ONLY", "")
    most = max(ALWAYS, int(os.environ.get("BENCH_MOST_JOBS", "1000000")))
    return Group(*(table(most) for name, table in TABLES.items() if only in ("", name)))


def _in_memory(most: int) -> Table:
    """Milliseconds per stage."""
    table = Table(title="Round: in memory, milliseconds by stage", title_justify="left")
    for column in ("nodes, live jobs", "rows", "round", *STAGES, "sum", "solver", "gap"):
        table.add_column(column, justify="right")
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


def _with_churn(most: int) -> Table:
    """Milliseconds by stage: median and 99th percentile, which of few rounds is the longest."""
    title = "Round: SQLite, 1 % of the running jobs replaced between rounds, milliseconds (median, 99th percentile)"
    table = Table(title=title, title_justify="left")
    for column in ("nodes, running, waiting", "rows", *churn.COLUMNS, "started, preempted", "first", "peak"):
        table.add_column(column, justify="right")
    for case in (churn.Case(*size, alike=alike) for size in CHURNED if size[1] <= most for alike in (True, False)):
        found = churn.measure(case)
        table.add_row(
            f"{case.nodes:,}, {found.running:,}, {found.waiting:,}",
            f"{found.rows:,}",
            *(f"{1e3 * np.median(found.rounds[column]):.0f}, {1e3 * _p99(found.rounds[column]):.0f}"
              for column in churn.COLUMNS),
            f"{found.started:.0f}, {found.preempted:.0f}",
            f"{found.first:.1f} s",
            f"{found.peak_bytes / 2**30:.2f} GiB",
        )  # fmt: skip
    return table


def _p99(values: list[float]) -> float:
    return float(np.quantile(values, 0.99, method="higher"))


def _gangs(most: int) -> Table:
    """Milliseconds by stage of the one round that starts all of them; the fastest of a few, the first one compiles."""
    table = Table(title="Round: gangs of 64 on an empty cluster, in memory, milliseconds", title_justify="left")
    for column in ("nodes, gangs", "replicas started", *STAGES):
        table.add_column(column, justify="right")
    for nodes, gangs in ((1_000, 100), (10_000, 1_000)):
        if gangs > most:
            continue
        runs = []
        for _ in range(3):
            store, clock = MemoryStore(), SystemClock()
            store.execute(c.CreateQueue(Queue("q")), 0.0)
            for index in range(nodes):
                store.execute(c.RegisterNode(Node(f"n{index:05}", "a100", resources(64, 8, 512))), 0.0)
            way = configuration("a100", replicas=64, cpu=4, gpu=1, memory_gib=32)
            store.execute(c.SubmitJobs(tuple(spec("q", way) for _ in range(gangs))), 0.0)
            report, _ = run_round(
                store=store, pusher=Nowhere(), clock=clock, solver=ChainSolver(), policy=Policy(), memory=store.memory()
            )
            runs.append(dict(report.summary.stages))
        best = min(runs, key=lambda stages: stages["place"])
        started = f"{64 * report.summary.started:,}"
        table.add_row(f"{nodes:,}, {gangs:,}", started, *(f"{1e3 * best[stage]:.0f}" for stage in STAGES))
    return table


def _crowded(most: int) -> Table:
    """Milliseconds of `place`, the fastest of a few; the first one compiles."""
    table = Table(title="Placement: gangs of 16 nodes with 8 GPUs stop others, milliseconds", title_justify="left")
    for column in ("nodes, gangs", "running", "changes", "place"):
        table.add_column(column, justify="right")
    for nodes, gangs in ((500, 25), (2_000, 100)):
        if gangs > most:
            continue
        dice = np.random.default_rng(0)
        members = [node(f"n{index:05}", cpu=64, gpu=8) for index in range(nodes)]
        small, large = way(cpu=4, gpu=1), way(cpu=32, gpu=8, replicas=16)
        jobs = [
            running(waiting(index, small, weight=1.0), f"{members[index // 8].name}:{index % 8}")
            for index in range(8 * nodes)
        ]
        jobs += [waiting(8 * nodes + index, large, weight=1.0) for index in range(gangs)]
        owed = {job.sequence: float(dice.uniform(-3000, 1000)) for job in jobs[: 8 * nodes]}
        owed |= {job.sequence: 5000.0 for job in jobs[8 * nodes :]}
        world, policy = snapshot(members, jobs), Policy()
        formulation, memory = build(world, policy), Memory.of(world.time, owed)
        shares, taken = np.full(formulation.problem.throughput.shape, 0.5), []
        for _ in range(3):
            begin = time.perf_counter()
            plan = place(world, formulation, shares, memory, policy)
            taken.append(time.perf_counter() - begin)
        table.add_row(f"{nodes:,}, {gangs:,}", f"{8 * nodes:,}", f"{len(plan.changes):,}", f"{1e3 * min(taken):.0f}")
    return table


TABLES = {"memory": _in_memory, "churn": _with_churn, "gangs": _gangs, "crowded": _crowded}
