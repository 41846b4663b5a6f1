"""What an allocation comes to on this machine: CPU shares, bandwidth, and how soon a change is in force."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.table import Table

from allocator.agent import bandwidth
from allocator.agent.agent import Agent
from allocator.agent.bandwidth import Shaper, Unshaped
from allocator.agent.confinement import Confinement
from allocator.agent.instructions import RunnerSettings
from allocator.agent.runner import Runner
from allocator.client import AsyncClient
from allocator.domain.job import Job
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Resize, Start
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from tests.agent import links
from tests.agent.conftest import Machine, this_machines
from tests.agent.wanted import python, replica, shell
from tests.builders import configuration, node, spec
from tests.rpc.serving import serving

CPU_SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
RESIZES = int(os.environ.get("BENCH_RESIZES", "50"))
SHARES = (0.1, 0.25, 0.5, 0.9)
MEGABITS = (5, 20, 100)
_BUSY = python("while True: pass")


def measure() -> Table:
    """One table for all of it."""
    table = Table(title="Enforcement on this machine", caption=_machine())
    for column in ("what", "wanted", "measured", "off by"):
        table.add_column(column, justify="left" if column == "what" else "right")
    with machine() as made:
        for each in made.confinement.capabilities:
            table.add_row(each.name, "on", "on" if each.on else f"off: {each.why}", "")
        for share in SHARES:
            got = _cpu(made, share)
            table.add_row(f"CPU over {CPU_SECONDS:g} s, cores", f"{share:g}", f"{got:.4f}", f"{got / share - 1:+.1%}")
        table.add_row("share 0.2 to 0.8 cores: seconds until its CPU time shows it", "< 1", f"{_rerated(made):.2f}", "")
        table.add_row("memory limit reached: seconds to the report with the reason", "", f"{_memory(made):.2f}", "")
        table.add_row("start of a command, seconds (median)", "", f"{_starts(made):.3f}", "")
    for megabits in MEGABITS:
        for what, got in _bandwidth(megabits):
            table.add_row(what, f"{megabits}", f"{got:.2f}", f"{got / megabits - 1:+.1%}")
    effects = sorted(asyncio.run(_effects()))
    at99 = effects[min(len(effects) - 1, round(0.99 * len(effects)))]
    table.add_row(
        f"{len(effects)} resizes, commit to kernel: seconds p50 / p99",
        "< 1",
        f"{statistics.median(effects):.3f} / {at99:.3f}",
        "",
    )
    return table


def _machine() -> str:
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} cores; load of everything else on it: {one:.1f} (1 min), {five:.1f} (5 min)"


@contextlib.contextmanager
def machine(shaper: Callable[[Confinement], Shaper] = lambda _: Unshaped("not asked for")) -> Iterator[Machine]:
    """As tests have it."""
    confinement = this_machines("bench")
    with tempfile.TemporaryDirectory() as folder:
        made = Machine(Path(folder) / "state", confinement)
        made.runner.close()
        made.runner = Runner(RunnerSettings("n", made.state), confinement, shaper(confinement))
        made.runner.open()
        try:
            yield made
        finally:
            made.close()
            confinement.close()


def _cpu(made: Machine, cores: float) -> float:
    """Cores that a busy loop with this share gets."""
    made.want(replica(process=_BUSY, demand=Resources(round(1000 * cores), 0, 2**28)))
    made.until(lambda: made.report().cpu_seconds > 0.05)
    got = _rate(made, CPU_SECONDS)
    _end(made)
    return got


def _rate(made: Machine, seconds: float) -> float:
    began, before = time.monotonic(), made.report().cpu_seconds
    time.sleep(seconds)
    after = made.report().cpu_seconds
    return (after - before) / (time.monotonic() - began)


def _rerated(made: Machine) -> float:
    """Seconds after which half a second of CPU time is nearer to the new share than to the old one."""
    made.want(replica(process=_BUSY, demand=Resources(200, 0, 2**28)))
    made.until(lambda: made.report().cpu_seconds > 0.2)
    began = time.monotonic()
    made.want(replica(process=_BUSY, demand=Resources(800, 0, 2**28), epoch=2, start=1), epoch=2)
    while _rate(made, 0.1) < 0.5:
        pass
    took = time.monotonic() - began
    _end(made)
    return took


def _memory(made: Machine) -> float:
    began = time.monotonic()
    process = python("held = []", "while True: held.append(bytearray(1 << 20))")
    made.want(replica(process=process, demand=Resources(1000, 0, 64 * 2**20)))
    assert "memory limit" in made.ended().message
    took = time.monotonic() - began
    _end(made)
    return took


def _starts(made: Machine) -> float:
    """From the decision to its end, of a command that does nothing."""
    took = []
    for number in range(20):
        began = time.monotonic()
        made.want(replica(f"s{number}", Process(("true",))))
        made.ended(f"s{number}")
        took.append(time.monotonic() - began)
    _end(made)
    return statistics.median(took)


def _end(made: Machine) -> None:
    made.want()
    for run in made.runner.runs():
        if run.alive:
            made.runner.kill(run.id)
    made.gone()
    made.want()


def _bandwidth(megabits: int) -> list[tuple[str, float]]:
    """Payload and, with the 66 bytes of headers of each 1514, what is on the wire: Mbit/s."""
    missing = links.why_not()
    if missing:
        return [(f"bandwidth: {missing}", 0.0)]
    with links.link() as wire, machine(lambda groups: bandwidth.find(wire.device, groups)) as made:
        demand = Resources(1000, bandwidth_bytes_per_second=megabits * 10**6 // 8)
        with wire.receiving() as receiver:
            made.want(replica(process=python(links.SENDER), demand=demand))
            got = links.measured(receiver, settle=1.0, seconds=5.0) * 8 / 1e6
    return [("bandwidth, payload, Mbit/s", got), ("bandwidth, on the wire, Mbit/s", got * 1514 / 1448)]


async def _effects() -> list[float]:
    """Seconds from a commit of a new share to the kernel's having it, through a server and an agent."""
    confinement = this_machines("bench")
    with tempfile.TemporaryDirectory() as folder:
        async with serving() as served, AsyncClient(served.address) as client:
            runner = Runner(RunnerSettings("n1", Path(folder)), confinement, Unshaped("not asked for"))
            task = asyncio.create_task(Agent(client, node("n1", cpu=1000), runner).run())
            ways = (configuration(gpu=0, cpu=2.0),)
            (job,) = served.do(
                c.SubmitJobs((spec("q", *ways, divisible=True, process=shell("exec sleep 600", grace=0.0)),))
            )
            assert isinstance(job, Job), job
            here = (ReplicaPlacement("n1"),)
            served.hub.push(served.commit(Start(Placement(job.id, 0, here, 500))))
            quota = await _quota_file(confinement)
            took = []
            for number in range(RESIZES):
                millis = 300 + number
                began = time.perf_counter()
                served.hub.push(served.commit(Resize(Placement(job.id, 0, here, millis))))
                while quota.read_text().split()[0] != str(200 * millis):  # noqa: ASYNC110 - the kernel tells nobody
                    await asyncio.sleep(0.0005)
                took.append(time.perf_counter() - began)
            served.do(c.CancelJobs((job.id,)))
            served.hub.push(served.commit())
            while confinement.known():  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    confinement.close()
    return took


async def _quota_file(confinement: Confinement) -> Path:
    while True:
        for run_id in confinement.known():
            for group in {path.parent for path in confinement.enclose(run_id).join}:
                for name in ("cpu.cfs_quota_us", "cpu.max"):
                    if (group / name).exists():
                        return group / name
        await asyncio.sleep(0.01)
