"""Explanations and what-ifs: how long an answer takes, and what ten a second do to the rounds beside them. Two tables,
of which BENCH_ONLY names one:

- beside: rounds every INTERVAL seconds (three times as long as they take if that is longer), by turns alone, beside
  plain explanations (jobs, queues and prices of the newest round, so that most rounds' first question of each kind is
  among them) and beside what-ifs (more nodes, a node gone, a queue's weight, 100 jobs more, another fairness), all in
  one run, so that other work on the machine slows all of them alike. Questions are worked out on a thread of their own,
  which gives way as the server's does. Those that cannot be asked in time are left out. An answer's time is its own,
  with its waiting for rounds. "Took": processor time that questions used while rounds were under way, as a part of the
  rounds' own, which depends less on other work;
- long: one unit more (solved twice), an estimate of a start, and what would help a job, with the rounds these two
  decided; nothing runs beside those.

The cluster is one of `tests.bench.rounds`, jobs alike, of which a hundredth ends and comes anew before each round.
BENCH_MOST_JOBS leaves out larger sizes; BENCH_ROUNDS is how many of each turn there are.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TypeVar

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from allocator.daemon.clock import HEADROOM_SECONDS, SystemClock
from allocator.domain.giving_way import giving_way
from allocator.domain.job import JobState
from allocator.domain.policy import Policy
from allocator.explain.counterfactuals import what_helps
from allocator.explain.estimate import estimate_start
from allocator.explain.finished import Finished
from allocator.explain.job import explain_job
from allocator.explain.prices import explain_price, one_more
from allocator.explain.queue import explain_queue
from allocator.formulation.problem import Floats
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport
from allocator.rpc.patience import Patience
from allocator.solvers import ChainSolver
from allocator.whatif.answers import AddNodes, Question, RemoveNode, SetPolicy
from allocator.whatif.simulator import Simulator
from tests.bench.rounds import Nowhere, cluster

SIZES = ((100, 1_000), (1_000, 10_000), (2_000, 100_000))
INTERVAL, PER_SECOND, BLOCK = 2.0, 10, 5
TURNS = ("alone", "explanations", "what-ifs")
REPLAYED = 10_000
"""More jobs are not replayed: that takes minutes."""

Answer = TypeVar("Answer")
Ask = Callable[[], None]


class Bench:
    """One cluster, its rounds, and the newest of them."""

    def __init__(self, nodes: int, jobs: int) -> None:
        self.store = cluster(nodes, jobs, alike=True)
        self.solver, self.policy = ChainSolver(), Policy()
        self.rng = np.random.default_rng(0)
        self.newest: RoundReport | None = None
        self.resting = threading.Event()
        self.asking: int | None = None
        """The clock of the processor time of the thread that asks."""
        self.took = np.zeros(2)
        """Processor seconds while rounds were under way: of the thread that asks, and of all others."""
        for _ in range(4):
            taken = self.round()
        self.interval = max(INTERVAL, 3 * taken)

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
        """A round an interval after the last, a hundredth of the jobs being others; how long it took."""
        begin, now = time.perf_counter(), time.time()
        jobs = self.store.snapshot(now).jobs
        gone = [jobs[index] for index in self.rng.choice(len(jobs), len(jobs) // 100, replace=False)]
        self.store.execute(c.CancelJobs(tuple(job.id for job in gone)), now)
        self.store.execute(c.SubmitJobs(tuple(job.spec for job in gone)), now)
        self.resting.clear()
        time.sleep(HEADROOM_SECONDS)
        used = self._processor_time()
        taken = self.round()
        self.took += self._processor_time() - used
        self.resting.set()
        time.sleep(max(0.0, self.interval - (time.perf_counter() - begin)))
        return taken

    def _processor_time(self) -> Floats:
        asking = 0.0 if self.asking is None else time.clock_gettime(self.asking)
        return np.array([asking, time.process_time() - asking])

    def beside(self, questions: Iterator[Ask] | None, rounds: int) -> tuple[list[float], list[float]]:
        """How long rounds take, and the answers to questions that are asked ten times a second meanwhile."""
        answers: list[float] = []
        quiet = threading.Event()
        if questions is not None:
            asking = threading.Thread(target=self._ask, args=(questions, answers, quiet))
            asking.start()
            self.asking = time.pthread_getcpuclockid(asking.ident or 0)
        self.took[:] = 0.0
        taken = [self.churned() for _ in range(rounds)]
        self.asking = None
        quiet.set()
        if questions is not None:
            asking.join()
        return taken, answers

    def _ask(self, questions: Iterator[Ask], taken: list[float], quiet: threading.Event) -> None:
        next_at = time.perf_counter()
        while not quiet.is_set():
            ask, begin = next(questions), time.perf_counter()
            with giving_way(Patience(self.resting.wait)):
                ask()
            taken.append(time.perf_counter() - begin)
            next_at = max(next_at + 1 / PER_SECOND, time.perf_counter() - 1.0)
            time.sleep(max(0.0, next_at - time.perf_counter()))

    def explanations(self) -> Iterator[Ask]:
        """Of the newest round; what is worked out for one is kept for the next, as in the server."""
        rng = np.random.default_rng(1)
        finished: Finished | None = None
        for kind in cycle(("job", "job", "queue", "job", "price")):

            def ask(kind: str = kind) -> None:
                nonlocal finished
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

            yield ask

    def what_ifs(self) -> Iterator[Ask]:
        """Of the next round."""
        store = self.store
        simulator = Simulator(store, ChainSolver(), lambda: self.policy, self.interval)
        changes: list[Callable[[], Question]] = [
            lambda: Question((AddNodes("a100", 10),)),
            lambda: Question((RemoveNode(store.nodes()[5].name),)),
            lambda: Question((c.UpdateQueue("q03", weight=9.0),)),
            lambda: Question((c.SubmitJobs((store.snapshot(0.0).jobs[0].spec,) * 100),)),
            lambda: Question((SetPolicy((("fairness", "2"),)),)),
        ]
        for change in cycle(changes):

            def ask(change: Callable[[], Question] = change) -> None:
                simulator.ask(change(), time.time())

            yield ask


def measure() -> RenderableType:
    """The tables, or the one that BENCH_ONLY names."""
    only = os.environ.get("BENCH_ONLY", "")
    return Group(*(table() for name, table in TABLES.items() if only in ("", name)))


def _sizes() -> list[tuple[int, int]]:
    most = int(os.environ.get("BENCH_MOST_JOBS", "1000000"))
    return [size for size in SIZES if size[1] <= most]


def _beside() -> Table:
    table = Table(title="Questions and rounds side by side, milliseconds", title_justify="left")
    columns = (
        "nodes, live jobs", "beside", "round, p50", "p99", "to those alone", "took", "answer, p50", "p99", "asked",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    rounds = int(os.environ.get("BENCH_ROUNDS", "20"))
    for nodes, jobs in _sizes():
        bench = Bench(nodes, jobs)
        questions = {"explanations": bench.explanations(), "what-ifs": bench.what_ifs()}
        taken: dict[str, list[float]] = defaultdict(list)
        answers: dict[str, list[float]] = defaultdict(list)
        took = {turn: np.zeros(2) for turn in TURNS}
        for _ in range(-(-rounds // BLOCK)):
            for turn in TURNS:
                more, answered = bench.beside(questions.get(turn), BLOCK)
                taken[turn] += more
                answers[turn] += answered
                took[turn] += bench.took
        for turn in TURNS:
            ratio = " / ".join(
                f"{float(np.quantile(taken[turn], part) / np.quantile(taken['alone'], part)):.2f}"
                for part in (0.5, 0.99)
            )
            told = _told(answers[turn], 1) if answers[turn] else ["-", "-"]
            part = f"{100 * float(took[turn][0] / took[turn][1]):.1f} %"
            size = f"{nodes:,}, {jobs:,}"
            table.add_row(size, turn, *_told(taken[turn]), ratio, part, *told, f"{len(answers[turn])}")
    return table


def _long() -> Table:
    """What solves again, and what replays rounds, for a job in the middle of those that wait."""
    table = Table(title="Answers that solve or replay, milliseconds", title_justify="left")
    for column in ("nodes, live jobs", "one more", "estimate (rounds)", "what helps (rounds)"):
        table.add_column(column, justify="right")
    for nodes, jobs in _sizes():
        table.add_row(f"{nodes:,}, {jobs:,}", *_worked_out(Bench(nodes, jobs)))
    return table


def _worked_out(bench: Bench) -> list[str]:
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


TABLES = {"beside": _beside, "long": _long}

if __name__ == "__main__":
    from rich import print as show

    show(measure())
