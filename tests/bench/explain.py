"""Explanations: how long an answer takes, and what ten a second do to the rounds beside them.

A cluster of `tests.bench.rounds`, jobs alike, of which a hundredth ends and comes anew before each round. Rounds run
every INTERVAL seconds on one thread; on another, jobs, queues and prices of the newest round are explained in turn, so
most rounds' first question of each kind is among them. The last columns are one unit more (solved twice), an estimate
of a start, and what would help a job, with the rounds these two decided; nothing runs beside those.

BENCH_MOST_JOBS leaves out larger sizes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from itertools import cycle
from typing import TypeVar

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from allocator.daemon.clock import SystemClock
from allocator.domain.job import JobState
from allocator.domain.policy import Policy
from allocator.explain.counterfactuals import what_helps
from allocator.explain.estimate import estimate_start
from allocator.explain.finished import Finished
from allocator.explain.job import explain_job
from allocator.explain.prices import explain_price, one_more
from allocator.explain.queue import explain_queue
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport
from allocator.solvers import ChainSolver
from tests.bench.rounds import Nowhere, cluster

SIZES = ((100, 1_000), (1_000, 10_000), (2_000, 100_000))
INTERVAL, PER_SECOND, ROUNDS = 1.0, 10, 20
REPLAYED = 10_000
"""More jobs are not replayed: that takes minutes."""

Answer = TypeVar("Answer")


class Bench:
    """One cluster, its rounds, and the newest of them."""

    def __init__(self, nodes: int, jobs: int) -> None:
        self.store = cluster(nodes, jobs, alike=True)
        self.solver, self.policy = ChainSolver(), Policy()
        self.rng = np.random.default_rng(0)
        self.newest: RoundReport | None = None
        for _ in range(4):
            self.round()

    def round(self) -> float:
        begin = time.perf_counter()
        self.newest, _ = run_round(
            store=self.store,
            pusher=Nowhere(),
            clock=SystemClock(),
            solver=self.solver,
            policy=self.policy,
            memory=self.store.memory(),
        )
        return time.perf_counter() - begin

    def churned(self) -> float:
        """A round an interval after the last, a hundredth of the jobs being others."""
        begin, now = time.perf_counter(), time.time()
        jobs = self.store.snapshot(now).jobs
        gone = [jobs[index] for index in self.rng.choice(len(jobs), len(jobs) // 100, replace=False)]
        self.store.execute(c.CancelJobs(tuple(job.id for job in gone)), now)
        self.store.execute(c.SubmitJobs(tuple(job.spec for job in gone)), now)
        taken = self.round()
        time.sleep(max(0.0, INTERVAL - (time.perf_counter() - begin)))
        return taken

    def explain(self, taken: list[float], quiet: threading.Event) -> None:
        """Ten a second until it is quiet."""
        rng = np.random.default_rng(1)
        finished: Finished | None = None
        for kind in cycle(("job", "job", "queue", "job", "price")):
            if quiet.is_set():
                return
            begin = time.perf_counter()
            report = self.newest
            assert report is not None
            if finished is None or finished.report is not report:
                finished = Finished.of(report)
            if kind == "job":
                jobs = report.snapshot.jobs
                explain_job(finished, jobs[int(rng.integers(len(jobs)))])
            elif kind == "queue":
                explain_queue(finished, f"q{int(rng.integers(20)):02}")
            else:
                explain_price(finished, "v100", "gpu")
            taken.append(time.perf_counter() - begin)
            time.sleep(max(0.0, 1 / PER_SECOND - taken[-1]))


def measure() -> RenderableType:
    """Milliseconds."""
    most = int(os.environ.get("BENCH_MOST_JOBS", "1000000"))
    table = Table(title="Explanations, milliseconds", title_justify="left")
    for column in (
        "nodes, live jobs", "answer, median", "p99", "round alone, median", "p99", "beside ten a second, median",
        "p99", "one more", "estimate (rounds)", "what helps (rounds)",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for nodes, jobs in (size for size in SIZES if size[1] <= most):
        table.add_row(f"{nodes:,}, {jobs:,}", *_row(Bench(nodes, jobs)))
    return table


def _row(bench: Bench) -> list[str]:
    alone = [bench.churned() for _ in range(ROUNDS)]
    answers: list[float] = []
    quiet = threading.Event()
    asking = threading.Thread(target=bench.explain, args=(answers, quiet))
    asking.start()
    beside = [bench.churned() for _ in range(ROUNDS)]
    quiet.set()
    asking.join()
    return [*_told(answers, 1), *_told(alone), *_told(beside), *_long(bench)]


def _long(bench: Bench) -> list[str]:
    """What solves again, and what replays rounds, for a job in the middle of those that wait."""
    assert bench.newest is not None
    finished, store = Finished.of(bench.newest), bench.store
    _, more = _timed(lambda: one_more(finished, "v100", "gpu", bench.solver))
    waiting = [job for job in bench.newest.snapshot.jobs if store.get_job(job.id).state is JobState.PENDING]
    if len(bench.newest.snapshot.jobs) > REPLAYED or not waiting:
        return [more, "-", "-"]
    job = waiting[len(waiting) // 2]
    estimate, estimated = _timed(lambda: estimate_start(finished, job.id, bench.solver, 10.0))
    helps, helped = _timed(lambda: what_helps(finished, job, bench.solver, 10.0))
    return [more, f"{estimated} ({estimate.rounds})", f"{helped} ({helps.rounds})"]


def _timed(work: Callable[[], Answer]) -> tuple[Answer, str]:
    begin = time.perf_counter()
    answer = work()
    return answer, f"{1000 * (time.perf_counter() - begin):.0f}"


def _told(seconds: list[float], digits: int = 0) -> list[str]:
    return [f"{1000 * float(np.quantile(seconds, part)):.{digits}f}" for part in (0.5, 0.99)]


if __name__ == "__main__":
    from rich import print as show

    show(measure())
