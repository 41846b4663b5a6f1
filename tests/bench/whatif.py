"""What-ifs: how long an answer takes, and what ten a second do to the rounds beside them.

A settled cluster (`tests.bench.rounds.cluster`, jobs alike), of which a hundredth of the jobs ends and comes anew
before each round. Rounds run every INTERVAL seconds on one thread; questions are answered on another, which gives way
to rounds between its stages, as in the server. They go round: more nodes, a node gone, a queue's weight, 100 jobs
more, another fairness. A question behind others waits for them; the time told is that of the answer alone, with its
waiting for rounds. Where something is new since the last question, the next round as things are is decided, too.

BENCH_MOST_JOBS leaves out larger sizes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from allocator.daemon.clock import SystemClock
from allocator.domain.policy import Policy
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore
from allocator.whatif.answers import AddNodes, Question, RemoveNode, SetPolicy
from allocator.whatif.simulator import Simulator
from tests.bench.rounds import Nowhere, cluster

SIZES = ((100, 1_000), (1_000, 10_000), (2_000, 100_000))
INTERVAL = 2.0
PER_SECOND = 10
ROUNDS = 20


def measure() -> RenderableType:
    """Milliseconds."""
    most = int(os.environ.get("BENCH_MOST_JOBS", "1000000"))
    table = Table(title="What-ifs, milliseconds", title_justify="left")
    for column in (
        "nodes, live jobs", "answer, median", "p99", "nothing new, median", "asked, answered",
        "round alone, median", "p99", "round beside ten a second, median", "p99",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for nodes, jobs in (size for size in SIZES if size[1] <= most):
        table.add_row(f"{nodes:,}, {jobs:,}", *_row(cluster(nodes, jobs, alike=True)))
    return table


def _row(store: MemoryStore) -> list[str]:
    policy, solver = Policy(), ChainSolver()
    rng = np.random.default_rng(0)
    resting = threading.Event()
    simulator = Simulator(store, ChainSolver(), lambda: policy, INTERVAL, lambda: _wait(resting))
    for _ in range(4):
        _round(store, solver, policy)
    alone = [_churned(store, solver, policy, rng, resting) for _ in range(ROUNDS)]
    answers: list[tuple[float, bool]] = []
    quiet = threading.Event()
    asking = threading.Thread(target=_ask, args=(simulator, store, answers, quiet))
    asking.start()
    beside = [_churned(store, solver, policy, rng, resting) for _ in range(ROUNDS)]
    quiet.set()
    asking.join()
    fresh = [seconds for seconds, new in answers if new]
    known = [seconds for seconds, new in answers if not new]
    asked = round(ROUNDS * INTERVAL * PER_SECOND)
    return [
        *_told(fresh), f"{1000 * float(np.median(known or [0])):.0f}", f"{asked}, {len(answers)}",
        *_told(alone), *_told(beside),
    ]  # fmt: skip


def _wait(resting: threading.Event) -> None:
    resting.wait(1.0)


def _told(seconds: list[float]) -> list[str]:
    return [f"{1000 * float(np.quantile(seconds, part)):.0f}" for part in (0.5, 0.99)]


def _round(store: MemoryStore, solver: ChainSolver, policy: Policy) -> float:
    begin = time.perf_counter()
    run_round(store=store, pusher=Nowhere(), clock=SystemClock(), solver=solver, policy=policy, memory=store.memory())
    return time.perf_counter() - begin


def _churned(
    store: MemoryStore, solver: ChainSolver, policy: Policy, rng: np.random.Generator, resting: threading.Event
) -> float:
    """A round an interval after the last, a hundredth of the jobs being others; `resting` is set after it."""
    begin, now = time.perf_counter(), time.time()
    jobs = store.snapshot(now).jobs
    gone = [jobs[index] for index in rng.choice(len(jobs), len(jobs) // 100, replace=False)]
    store.execute(c.CancelJobs(tuple(job.id for job in gone)), now)
    store.execute(c.SubmitJobs(tuple(job.spec for job in gone)), now)
    resting.clear()
    taken = _round(store, solver, policy)
    resting.set()
    time.sleep(max(0.0, INTERVAL - (time.perf_counter() - begin)))
    return taken


def _ask(simulator: Simulator, store: MemoryStore, answers: list[tuple[float, bool]], quiet: threading.Event) -> None:
    """Ten a second until it is quiet; those that cannot be asked in time are left out."""
    questions: list[Callable[[], Question]] = [
        lambda: Question((AddNodes("a100", 10),)),
        lambda: Question((RemoveNode(store.nodes()[5].name),)),
        lambda: Question((c.UpdateQueue("q03", weight=9.0),)),
        lambda: Question((c.SubmitJobs((store.snapshot(0.0).jobs[0].spec,) * 100),)),
        lambda: Question((SetPolicy((("fairness", "2"),)),)),
    ]
    next_at = time.perf_counter()
    for question in cycle(questions):
        if quiet.is_set():
            return
        asked, known = question(), simulator.newest
        begin = time.perf_counter()
        simulator.ask(asked, time.time())
        answers.append((time.perf_counter() - begin, known is not simulator.newest))
        next_at = max(next_at + 1 / PER_SECOND, time.perf_counter() - 1.0)
        time.sleep(max(0.0, next_at - time.perf_counter()))


if __name__ == "__main__":
    from rich import print as show

    show(measure())
