"""Rounds of a busy data center, whole: from snapshot to push, with the commit in SQLite, 1 % of the jobs new each time.

Between two rounds 1 % of the running jobs end, as their agents report, and as many are submitted. Jobs are of about
fifty shapes: CPU only, parts of a GPU, 1 to 8 GPUs, gangs of 2 to 16 whole nodes; twenty queues. Alike: weights are
whole numbers. Distinct: every job's weight is its own. Time in the cluster passes 10 s per round.

    python -m tests.bench.churn NODES RUNNING WAITING alike|distinct [ROUNDS]    prints one line of JSON
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec, JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import STAGES
from allocator.rpc.hub import Hub
from allocator.solvers import ChainSolver
from allocator.store.sql import SqlStore
from tests.builders import resources, spec

FLAVORS = {"a100": 3.0, "h100": 5.0, "v100": 1.5}
"""Speeds; a node in ten has no GPU."""
CPU_FLAVOR = "cpu"
QUEUES = tuple(f"q{index:02}" for index in range(20))
SECONDS_PER_ROUND = 10.0
BATCH = 1000
SHARES: dict[str | float, float] = {
    "cpu": 0.30, 0.25: 0.18, 0.5: 0.18, 1: 0.265, 2: 0.04, 4: 0.02, 8: 0.011, "gang": 0.004,
}  # fmt: skip
"""How frequent the kinds of jobs are: CPU only, GPUs of a single replica, gangs of whole nodes."""


@dataclass(frozen=True, slots=True)
class Case:
    """How large; `alike` as in the module's docstring."""

    nodes: int
    running: int
    waiting: int
    alike: bool = True
    rounds: int = 30


@dataclass(slots=True)
class Measured:
    """Seconds of each round by stage: `whole` is snapshot to push, `record` what comes after. The rest is of one run.

    Counts are those of the last round.
    """

    first: float = 0.0
    start_up: float = 0.0
    rounds: dict[str, list[float]] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    rows: int = 0
    started: float = 0.0
    preempted: float = 0.0
    peak_bytes: int = 0


class Jobs:
    """An endless supply of job specs, by seed."""

    def __init__(self, *, alike: bool, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._alike = alike
        self._shapes = [self._shapes_of(kind) for kind in SHARES]
        self._shares = np.array(list(SHARES.values()))

    def take(self, count: int) -> tuple[JobSpec, ...]:
        rng = self._rng
        kinds = rng.choice(len(SHARES), size=count, p=self._shares / self._shares.sum())
        queues = rng.integers(len(QUEUES), size=count)
        shapes = rng.integers(1 << 30, size=count)
        weights = rng.integers(1, 4, size=count).astype(float)
        if not self._alike:
            weights *= np.exp(0.3 * rng.standard_normal(count))
        found = []
        columns = (kinds.tolist(), queues.tolist(), shapes.tolist(), weights.tolist())
        for kind, queue, shape, weight in zip(*columns, strict=True):
            ways = self._shapes[kind]
            found.append(spec(QUEUES[queue], *ways[shape % len(ways)], weight=weight, restart_cost_seconds=30.0))
        return tuple(found)

    def _shapes_of(self, kind: str | float) -> list[tuple[Configuration, ...]]:
        if kind == "cpu":
            sizes = [(cores, cores * memory) for cores in (1, 2, 4, 8) for memory in (2, 8)]
            return [
                tuple(Configuration(flavor, 1, resources(cores, 0, gib), 1.0) for flavor in (CPU_FLAVOR, *FLAVORS))
                for cores, gib in sizes
            ]
        if kind == "gang":
            return [self._gpu_ways(8, replicas) for replicas in (2, 2, 2, 4, 4, 8, 16)]
        return [self._gpu_ways(float(kind), 1) for _ in range(6)]

    def _gpu_ways(self, gpus: float, replicas: int) -> tuple[Configuration, ...]:
        """On two flavors or three, with speeds of its own."""
        left_out = self._rng.integers(0, 2 * len(FLAVORS))
        demand = resources(2 * gpus, gpus, 16 * gpus)
        return tuple(
            Configuration(flavor, replicas, demand, round(speed * gpus * replicas * self._rng.uniform(0.7, 1.3), 3))
            for index, (flavor, speed) in enumerate(FLAVORS.items())
            if index != left_out
        )


class Clock:
    """Time that passes between rounds only; the stopwatch is real."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def stopwatch(self) -> float:
        return time.perf_counter()


class Agents:
    """A pusher that knows what runs where and lets jobs end: the daemon's hub, with nobody watching it."""

    def __init__(self, store: SqlStore, seed: int) -> None:
        self._store = store
        self._rng = np.random.default_rng(seed)
        self._hub = Hub()

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        self._hub.push(desired)

    def end(self, count: int, now: float) -> None:
        """Let that many running jobs succeed, chosen at random."""
        running = [job for job in self._store.snapshot(now).jobs if job.state is JobState.RUNNING]
        reports: defaultdict[str, list[c.ReplicaReport]] = defaultdict(list)
        for index in self._rng.choice(len(running), size=min(count, len(running)), replace=False).tolist():
            job = running[index]
            assert job.allocation is not None
            for replica, place in enumerate(job.allocation.placement.replicas):
                report = c.ReplicaReport(job.id, replica, job.allocation.epoch, c.ReplicaState.SUCCEEDED)
                reports[place.node].append(report)
        told = [self._store.execute(c.Heartbeat(node, tuple(some)), now) for node, some in reports.items()]
        for future in told:
            future.result()


def set_up(store: SqlStore, nodes: int, now: float) -> None:
    """Queues of several weights, and nodes of four kinds."""
    told = [store.execute(c.CreateQueue(Queue(name, weight=1.0 + index % 4)), now) for index, name in enumerate(QUEUES)]
    for index in range(nodes):
        flavor = CPU_FLAVOR if index % 10 == 9 else list(FLAVORS)[index % 3]
        capacity = resources(64, 0 if flavor == CPU_FLAVOR else 8, 512)
        told.append(store.execute(c.RegisterNode(Node(f"n{index:05}", flavor, capacity)), now))
    for future in told:
        future.result()


def submit(store: SqlStore, specs: tuple[JobSpec, ...], now: float) -> None:
    told = [store.execute(c.SubmitJobs(specs[at : at + BATCH]), now) for at in range(0, len(specs), BATCH)]
    for future in told:
        future.result()


def run(case: Case, directory: Path) -> Measured:
    """One start, a first round that starts what fits, then `case.rounds` with churn."""
    jobs, clock, policy, solver = Jobs(alike=case.alike, seed=1), Clock(), Policy(), ChainSolver()
    measured = Measured()
    with SqlStore(f"sqlite:///{directory}/bench.db") as store:
        agents = Agents(store, seed=2)
        begin = time.perf_counter()
        set_up(store, case.nodes, clock.now())
        submit(store, jobs.take(case.running + case.waiting), clock.now())
        measured.start_up = time.perf_counter() - begin
        memory = store.memory()
        for number in range(1 + case.rounds):
            if number:
                churn = case.running // 100
                clock.time += SECONDS_PER_ROUND
                agents.end(churn, clock.now())
                submit(store, jobs.take(churn), clock.now())
                gc.collect()
            begin = time.perf_counter()
            report, memory = run_round(
                store=store, pusher=agents, clock=clock, solver=solver, policy=policy, memory=memory
            )
            seconds = time.perf_counter() - begin
            stages = dict(report.summary.stages)
            whole = sum(stages.values())
            if number == 0:
                measured.first = whole
                continue
            for stage, taken in (stages | {"whole": whole, "record": seconds - whole}).items():
                measured.rounds.setdefault(stage, []).append(taken)
            measured.started += report.summary.started / case.rounds
            measured.preempted += sum(count for _, count in report.summary.preempted) / case.rounds
        measured.waiting = len(report.plan.waiting)
        measured.running = len(report.snapshot.jobs) - measured.waiting
        measured.rows = report.formulation.problem.row_count
    measured.peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return measured


def measure(case: Case) -> Measured:
    """In a process of its own, so that its memory is its own too."""
    arguments = [*map(str, (case.nodes, case.running, case.waiting)), "alike" if case.alike else "distinct"]
    command = [sys.executable, "-m", "tests.bench.churn", *arguments, str(case.rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout))


def _main(nodes: str, running: str, waiting: str, weights: str, rounds: str = "30") -> None:
    case = Case(int(nodes), int(running), int(waiting), alike=weights == "alike", rounds=int(rounds))
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(asdict(run(case, Path(directory)))))


COLUMNS = ("whole", *STAGES, "record")

if __name__ == "__main__":
    _main(*sys.argv[1:])
