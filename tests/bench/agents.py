"""A thousand node agents on one daemon: its processor time, how soon a push reaches all of them, and a restart.

The daemon is a process of its own, on SQLite; the agents are coroutines in further processes (`tests.crowd`), each with
a connection, a watch and heartbeats as the daemon asks for them. All of it shares this machine, so delays are upper
bounds: on their own machines, agents would not wait for each other.

Arrival is measured from the end of the round's commit (its record has the time and the stages) by the same clock.

BENCH_AGENTS, BENCH_REPLICAS and BENCH_SECONDS (of each phase) set the size.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from allocator.client import Client
from allocator.domain.cluster import NodeHealth
from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.report import RoundSummary
from tests.builders import configuration, spec
from tests.crowd import CORES, MEMORY_GIB
from tests.daemon.process import DaemonProcess, running
from tests.ports import free_port

AGENTS = int(os.environ.get("BENCH_AGENTS", "1000"))
REPLICAS = int(os.environ.get("BENCH_REPLICAS", "5000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
CROWDS = 2
"""Processes that the agents are in."""
CHURN = 0.01
"""Of the running replicas, per round."""
PUSHES = 5
FLOOD_SECONDS, AT_A_TIME = 8.0, 32
PATIENCE = 120.0
LOAD = configuration("cpu", gpu=0, cpu=0.1, memory_gib=int(MEMORY_GIB * 100 / math.ceil(REPLICAS / AGENTS)) / 100)
"""Nodes have memory for no more of them than there are, so that every node has its part."""
ONE_PER_NODE = configuration("cpu", gpu=0, cpu=0.6 * CORES)
_TICK = os.sysconf("SC_CLK_TCK")


def measure() -> Table:
    """One table."""
    title = f"{AGENTS} agents, {REPLICAS} running replicas, rounds every 2 s"
    table = Table(title=title, caption=f"{os.cpu_count()} cores for daemon and agents", title_justify="left")
    for column in ("what", "wanted", "measured", "beside it"):
        table.add_column(column, justify="left" if column in ("what", "beside it") else "right")
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), ALLOCATOR_ROUNDS__INTERVAL_SECONDS="2") as daemon,
        Client(daemon.address, timeout=60) as client,
        contextlib.ExitStack() as exits,
    ):
        client.create_queue(Queue("q"))
        bench = Bench(daemon, client, table)
        without = _resident(daemon)
        bench.crowds = exits.enter_context(_all_crowds(daemon.address))
        _all_told(bench.crowds)
        table.add_row(
            "memory per agent, in the daemon, KiB", "", f"{(_resident(daemon) - without) / AGENTS / 1024:.0f}"
        )
        bench.load()
        bench.steadily("quiet", 0)
        bench.steadily(f"churn of {CHURN:.0%} per round", round(CHURN * REPLICAS))
        bench.pushes()
        bench.limits()
        bench.restart()
    return table


class CrowdProcess:
    """A process full of agents, and the way to give it orders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, order: str, **arguments: float) -> Any:
        self.send(order, **arguments)
        return self.answer()

    def send(self, order: str, **arguments: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextlib.contextmanager
def _crowd(address: str, first: int, count: int) -> Iterator[CrowdProcess]:
    command = [sys.executable, "-m", "tests.crowd", address, str(first), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield CrowdProcess(process)
        finally:
            process.kill()


@dataclass
class Gathered:
    """What all crowds have seen since they were last asked."""

    arrivals: list[tuple[str, int, float]]
    beats: list[float]
    unheard: int


class Bench:
    """The phases, one row or more of the table each."""

    def __init__(self, daemon: DaemonProcess, client: Client, table: Table) -> None:
        self.crowds: list[CrowdProcess] = []
        self._quiet_cores = 0.0
        self._daemon = daemon
        self._client = client
        self._table = table

    def load(self) -> None:
        """Submit what goes on running all the time."""
        self._submit(REPLICAS, LOAD)
        _until(lambda: self._running() == REPLICAS, "all replicas to run")
        time.sleep(5)  # what was begun beside it comes to its end

    def steadily(self, what: str, churn: int) -> None:
        """One phase in which `churn` replicas end in each round, and as many come."""
        self._gather()
        theirs = self._crowd_seconds()
        begin, before = time.monotonic(), _processor_seconds(self._process)
        first = self._client.round().round
        while (left := begin + SECONDS - time.monotonic()) > 0:
            if churn:
                for crowd in self.crowds:
                    crowd.ask("end", count=churn // CROWDS)
                self._submit(churn, LOAD)
            time.sleep(min(2.0, left))
        seconds = time.monotonic() - begin
        cores = (_processor_seconds(self._process) - before) / seconds
        if not churn:
            self._quiet_cores = cores
        seen = self._gather()
        rounds = [self._client.round(number) for number in range(first + 1, self._client.round().round + 1)]
        inside = sum(sum(taken for _, taken in each.stages) for each in rounds) / seconds
        self._row(f"{what}: daemon, cores", "< 0.5", f"{cores:.3f}", f"rounds take {inside:.3f} of the time")
        theirs = (self._crowd_seconds() - theirs) / seconds
        self._row(f"{what}: heartbeats/s", "", f"{len(seen.beats) / seconds:.0f}", f"{seen.unheard} not answered")
        at50, at99 = _at(seen.beats, 0.5) * 1000, _at(seen.beats, 0.99) * 1000
        load = f"agents' own processes {theirs:.2f} cores, load {os.getloadavg()[0]:.1f}"
        self._row(f"{what}: heartbeat to answer, ms p50 / p99", "", f"{at50:.1f} / {at99:.1f}", load)
        if churn:
            self._delays(what, seen, at_least=1)

    def pushes(self) -> None:
        """Jobs of which one fits on a node beside the others: all start in one round, and are cancelled in one."""
        _until(lambda: self._running() == REPLICAS, "nothing but the load")
        self._gather()
        begin, before = time.monotonic(), _processor_seconds(self._process)
        for _ in range(PUSHES):
            jobs = self._submit(AGENTS, ONE_PER_NODE)
            _until(lambda: self._running() == REPLICAS + AGENTS, "one more job on each node")
            self._client.cancel([job.id for job in jobs])
            _until(lambda: self._running() == REPLICAS, "them to be gone")
        spent = _processor_seconds(self._process) - before - self._quiet_cores * (time.monotonic() - begin)
        seen = self._gather()
        self._delays("push to all", seen, at_least=round(0.99 * AGENTS))
        self._row(
            "push to all: daemon's processor time beyond quiet, us per arrival",
            "",
            f"{spent / len(seen.arrivals) * 1e6:.0f}",
            f"with submission, start and cancellation of a job in two; load {os.getloadavg()[0]:.1f}",
        )

    def _delays(self, what: str, seen: Gathered, at_least: int) -> None:
        """Of rounds that reached so many nodes."""
        by_round: defaultdict[int, list[float]] = defaultdict(list)
        for _, number, at in seen.arrivals:
            by_round[number].append(at)
        of_rounds = {
            number: [at - _committed(self._client.round(number)) for at in times]
            for number, times in by_round.items()
            if len(times) >= at_least
        }
        delays = [delay for some in of_rounds.values() for delay in some]
        last = sorted(max(some) for some in of_rounds.values())
        self._row(
            f"{what}: commit to agent, s p50 / p99",
            "p99 <= 1",
            f"{_at(delays, 0.5):.3f} / {_at(delays, 0.99):.3f}",
            f"{len(of_rounds)} rounds, {len(delays)} arrivals; the last agent of a round: {_at(last, 0.5):.3f}, "
            f"at worst {_at(last, 1):.3f}",
        )

    def limits(self) -> None:
        """Heartbeats as fast as they are answered, and the same of a server that does nothing."""
        rate, each = _flood(self.crowds, self._process)
        bare_rate, bare_each = _flood_of_nothing()
        self._row(
            "heartbeats without a pause: per second, and processor time of each, us",
            "",
            f"{rate:.0f} / {each * 1e6:.0f}",
            f"a server that does nothing: {bare_rate:.0f} / {bare_each * 1e6:.0f}",
        )
        self._gather()

    def restart(self) -> None:
        """The daemon dies and comes back; so do the watches, and nothing is lost or done twice."""
        _until(lambda: self._running() == REPLICAS, "nothing but the load")
        before = self._starts()
        started = sum(state["started"] for state in self._states())
        self._gather()
        self._daemon.kill()
        began = time.time()
        self._daemon.start()
        answers = time.time() - began
        took = sorted(at - began for at in _all_told(self.crowds).values())
        self._row(
            "kill -9 and start: s until the first and the last watch is back",
            "",
            f"{took[0]:.1f} / {took[-1]:.1f}",
            f"the daemon answers after {answers:.1f} s; half of the watches after {_at(took, 0.5):.1f}",
        )
        rounds = self._client.round().round
        _until(lambda: self._client.round().round > rounds + 2, "two rounds")
        after = self._starts()
        states = self._states()
        lost = sum(node.health is NodeHealth.LOST for node in self._client.nodes())
        twice = sum(state["started"] for state in states) - started + sum(state["started_again"] for state in states)
        same = sum(after.get(job_id) == start for job_id, start in before.items())
        self._row("jobs that run on as before", f"{len(before)}", f"{same}", "")
        self._row("nodes given up, replicas started anew", "0 / 0", f"{lost} / {twice}", "")

    def _starts(self) -> dict[str, float | None]:
        """When each job that runs was started last."""
        return {job.id: job.last_start_time for job in self._client.jobs(states=[JobState.RUNNING])}

    def _submit(self, count: int, way: Configuration) -> list[Job]:
        jobs: list[c.ItemResult] = []
        for first in range(0, count, 1000):
            jobs += self._client.submit([spec("q", way)] * min(1000, count - first), timeout=60)
        assert all(isinstance(job, Job) for job in jobs)
        return [job for job in jobs if isinstance(job, Job)]

    def _running(self) -> int:
        return sum(state["running"] for state in self._states())

    def _states(self) -> list[dict[str, Any]]:
        return [crowd.ask("state") for crowd in self.crowds]

    def _crowd_seconds(self) -> float:
        return float(sum(state["cpu"] for state in self._states()))

    def _gather(self) -> Gathered:
        return _gathered(self.crowds)

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        assert self._daemon.process is not None
        return self._daemon.process

    def _row(self, *cells: str) -> None:
        print(*cells, sep=" | ", file=sys.stderr, flush=True)  # it takes minutes: whoever waits sees how it goes
        self._table.add_row(*cells)


@contextlib.contextmanager
def _all_crowds(address: str) -> Iterator[list[CrowdProcess]]:
    share = math.ceil(AGENTS / CROWDS)
    with contextlib.ExitStack() as exits:
        yield [
            exits.enter_context(_crowd(address, first, min(share, AGENTS - first))) for first in range(0, AGENTS, share)
        ]


def _gathered(crowds: list[CrowdProcess]) -> Gathered:
    found = [crowd.ask("seen") for crowd in crowds]
    return Gathered(
        [tuple(each) for some in found for each in some["arrivals"]],
        [each for some in found for each in some["beats"]],
        sum(some["unheard"] for some in found),
    )


def _all_told(crowds: list[CrowdProcess]) -> dict[str, float]:
    """When each agent got the first desired state that was not gathered yet; returns when all have one."""
    first: dict[str, float] = {}

    def some_more() -> bool:
        for name, _, at in _gathered(crowds).arrivals:
            first.setdefault(name, at)
        return len(first) == AGENTS

    _until(some_more, "every agent's desired state")
    return first


def _flood(crowds: list[CrowdProcess], server: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Heartbeats per second as fast as they are answered, and the server's processor seconds of each."""
    _gathered(crowds)
    before = _processor_seconds(server)
    for crowd in crowds:
        crowd.send("flood", seconds=FLOOD_SECONDS, at_a_time=AT_A_TIME)
    for crowd in crowds:
        crowd.answer()
    answered = len(_gathered(crowds).beats)
    return answered / FLOOD_SECONDS, (_processor_seconds(server) - before) / answered


def _flood_of_nothing() -> tuple[float, float]:
    """The same with a server that does nothing."""
    address = f"127.0.0.1:{free_port()}"
    with (
        subprocess.Popen([sys.executable, "-m", "tests.bench.empty_server", address]) as server,
        _all_crowds(address) as crowds,
    ):
        _all_told(crowds)
        found = _flood(crowds, server)
        server.kill()
    return found


def _committed(summary: RoundSummary) -> float:
    """When its commit was durable, by the wall clock."""
    names = [name for name, _ in summary.stages]
    return summary.time + sum(taken for _, taken in summary.stages[: names.index("commit") + 1])


def _processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """User and system time so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _resident(daemon: DaemonProcess) -> int:
    """Bytes of memory that the daemon has."""
    assert daemon.process is not None
    pages = Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain for {what}")
        time.sleep(0.2)


def _at(values: list[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else math.nan
