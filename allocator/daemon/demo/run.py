"""The demonstration: a daemon of its own, this machine with a few real jobs, simulated nodes with a stream of pretended
ones, all through the public API, and a live view.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from allocator.client import AsyncClient, JobChange
from allocator.daemon.demo import cluster, here
from allocator.daemon.demo.agent import PretendedWork, SimulatedAgent
from allocator.daemon.demo.here import Here
from allocator.daemon.demo.view import Tally, line, screen
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job, JobState
from allocator.rounds.report import RoundSummary

BACKLOG = 24
"""Waiting jobs above which the demonstration stops submitting more."""


@dataclass(frozen=True, slots=True)
class Options:
    """`directory` is emptied of an earlier demonstration's database. `seconds`: stop by itself that long after the
    daemon answers.
    """

    directory: Path
    seed: int = 1
    jobs_per_second: float = 2.0
    interval_seconds: float = 1.0
    seconds: float | None = None
    picture: Path | None = None
    """Where to save the last screen, as SVG."""


def demonstrate(options: Options) -> int:
    """Run until Ctrl-C, SIGTERM or `options.seconds`. The exit status: 0, or 1 if the daemon did not come up."""
    return asyncio.run(_demonstrate(options))


async def _demonstrate(options: Options) -> int:
    console = Console()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, stop.set)
    options.directory.mkdir(parents=True, exist_ok=True)
    alone = (options.directory / "demo.lock").open("w")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        console.print(f"A demonstration runs in {options.directory} already; name another --directory.", style="red")
        return 4
    for old in options.directory.glob("allocator.db*"):
        old.unlink()
    begin = time.monotonic()
    async with _daemon(options) as (process, address, tally):
        async with AsyncClient(address) as client:
            if not await _answers(client, process, stop):
                console.print(f"The daemon did not start; its log is {options.directory / 'daemon.log'}:", style="red")
                console.print((options.directory / "daemon.log").read_text()[-2000:], markup=False)
                return 0 if stop.is_set() else 1
            if options.seconds is not None:
                loop.call_later(options.seconds, stop.set)
            for queue in cluster.QUEUES:
                await client.create_queue(queue)
            show = Show(console, tally, begin)
            work = PretendedWork()
            tasks: list[asyncio.Task[Any]] = [
                asyncio.create_task(SimulatedAgent(client, node, work).run()) for node in cluster.nodes()
            ]
            tasks += [
                asyncio.create_task(_submit(client, work, tally, options)),
                asyncio.create_task(_count(client, work, tally)),
                asyncio.create_task(_run_here(client, address, options.directory, tally.here)),
                asyncio.create_task(show.follow(client)),
                asyncio.create_task(process.wait()),
                asyncio.create_task(stop.wait()),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                show.close()
                console.print("Ending what runs here ...", style="dim")
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            failures = [r for r in results if isinstance(r, Exception)]
        console.print("Draining the daemon ...", style="dim")
    console.print(f"Stopped. Its log: {options.directory / 'daemon.log'}", style="dim")
    if options.picture is not None:
        show.save(options.picture)
    for failure in failures:
        console.print(f"{type(failure).__name__}: {failure}", style="red", markup=False)
    return 1 if failures or not stop.is_set() else 0


@contextlib.asynccontextmanager
async def _daemon(options: Options) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, Tally]]:
    """The real daemon as a process of its own; SIGTERM and a wait at the end, so that it drains."""
    port, metrics_port = _free_port(50051), _free_port(9464)
    environment = dict(os.environ)
    environment.pop("ALLOCATOR_CONFIG", None)
    environment |= {
        "ALLOCATOR_SERVER__PORT": str(port),
        "ALLOCATOR_METRICS__PORT": str(metrics_port),
        "ALLOCATOR_STORE__URL": f"sqlite:///{options.directory / 'allocator.db'}",
        "ALLOCATOR_ROUNDS__INTERVAL_SECONDS": str(options.interval_seconds),
        "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "1",
        "ALLOCATOR_POLICY__MINIMUM_RUN_SECONDS": "15",
        "ALLOCATOR_POLICY__HYSTERESIS_SECONDS": "10",
        "ALLOCATOR_POLICY__HORIZON_SECONDS": "120",
        "ALLOCATOR_POLICY__CREDIT_LIMIT_SECONDS": "300",
        "ALLOCATOR_LOG__FORMAT": "json",
        "OPENBLAS_NUM_THREADS": "1",
    }
    tally = Tally(
        addresses={
            "try": f"export ALLOCATOR_ADDRESS=127.0.0.1:{port}; allocator jobs",
            "metrics": f"http://127.0.0.1:{metrics_port}/metrics",
            "logs": f"{options.directory}/daemon.log, agent.log",
        }
    )
    with (options.directory / "daemon.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "allocator", "serve"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours; the daemon gets SIGTERM when its clients are gone
        )
    try:
        yield process, f"127.0.0.1:{port}", tally
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


def _free_port(preferred: int) -> int:
    """The preferred port if nobody listens there, any free one otherwise."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise AssertionError("no free port on the loopback address")


async def _answers(client: AsyncClient, process: asyncio.subprocess.Process, stop: asyncio.Event) -> bool:
    """Wait until the daemon answers; False if it ended, or if it is time to stop."""
    while process.returncode is None and not stop.is_set():
        try:
            await client.status(timeout=1.0)
        except AllocatorError:
            await asyncio.sleep(0.05)
        else:
            return True
    return False


async def _submit(client: AsyncClient, work: PretendedWork, tally: Tally, options: Options) -> None:
    """Submit jobs at random moments, as long as the backlog is not too long."""
    source = random.Random(options.seed)  # noqa: S311 a demonstration, not a secret
    count = BACKLOG * 2
    while True:
        drawn = [cluster.draw(source) for _ in range(count)]
        answers = await client.submit([spec for spec, _ in drawn]) if drawn else ()
        for answer, (spec, seconds) in zip(answers, drawn, strict=True):
            if isinstance(answer, Job):
                work.add(answer.id, spec, seconds)
                tally.submitted += 1
        await asyncio.sleep(source.expovariate(options.jobs_per_second))
        count = 1 if tally.waiting < BACKLOG else 0


async def _run_here(client: AsyncClient, address: str, directory: Path, tally: Here) -> None:
    """This machine as a node, and its real jobs. Raises AgentEnded."""
    async with here.agent(directory, address, tally) as process, asyncio.TaskGroup() as tasks:
        if tally.limits:
            for kind in here.KINDS:
                tasks.create_task(here.submit(client, kind, tally))
        await process.wait()
        raise AgentEnded(f"the agent ended with {process.returncode}; its log is {directory / 'agent.log'}")


class AgentEnded(Exception):
    """Nothing runs on this machine any more."""


async def _count(client: AsyncClient, work: PretendedWork, tally: Tally) -> None:
    """Follow every job's life."""
    live: dict[str, Job] = {}
    async for event in client.watch_jobs():
        if not isinstance(event, JobChange):
            continue
        job, before = event.job, live.get(event.job.id)
        preempted = job.preemption_count - (before.preemption_count if before else 0)
        tally.preempted += max(0, preempted)
        if job.first_start_time is not None and (before is None or before.first_start_time is None):
            tally.started += 1
        if here.is_real(job):
            tally.here.live[job.id] = job
        if job.state.is_final:
            tally.finished += 1
            tally.here.live.pop(job.id, None)
            live.pop(job.id, None)
            work.left.pop(job.id, None)
            work.specs.pop(job.id, None)
            work.started.discard(job.id)
        else:
            live[job.id] = job
        tally.waiting = sum(other.state is JobState.PENDING for other in live.values())


class Show:
    """The live view on a terminal, a line every few rounds elsewhere."""

    def __init__(self, console: Console, tally: Tally, begin: float) -> None:
        self._console = console
        self._tally = tally
        self._begin = begin
        self._last: RoundSummary | None = None
        self._live = Live(screen(None, tally), console=console, auto_refresh=False, screen=False)
        if console.is_terminal:
            self._live.start()

    async def follow(self, client: AsyncClient) -> None:
        """Draw every round as it comes."""
        async for summary in client.watch_rounds():
            if self._tally.first_allocation_seconds is None and summary.started:
                self._tally.first_allocation_seconds = time.monotonic() - self._begin
            self._last = summary
            if self._console.is_terminal:
                self._live.update(screen(summary, self._tally, self._console.height), refresh=True)
            elif summary.round % 5 == 1:
                self._console.print(line(summary, self._tally), highlight=False)

    def save(self, path: Path) -> None:
        """Draw the last screen as SVG; with the fonts at hand, because a picture should not ask the network."""
        paper = Console(record=True, width=100, file=io.StringIO())
        paper.print(screen(self._last, self._tally))
        drawing = re.sub(r"@font-face {.*?}", "", paper.export_svg(title="allocator demo"), flags=re.DOTALL)
        path.write_text(drawing, encoding="utf-8")

    def close(self) -> None:
        """Leave the last screen standing."""
        if self._console.is_terminal:
            self._live.stop()
        elif self._last is not None:
            self._console.print(screen(self._last, self._tally))
