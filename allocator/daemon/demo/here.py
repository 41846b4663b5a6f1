"""The demonstration's real part: this machine as a node of the real agent, and the small jobs that run on it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from allocator.agent.records import locked
from allocator.client import AsyncClient
from allocator.daemon.demo import jobs
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import WHOLE
from allocator.domain.process import Process
from allocator.domain.resources import Resources

NODE = "this-machine"
FLAVOR = "local"
LABEL = "demo"
"""Of every node: real or simulated."""
MIB = 2**20
CORES = 1.0
"""That are offered: all that one of the jobs can use, and little enough to go on working beside it."""
_STOP_SECONDS = 20.0
_GRACE_SECONDS = 2.0
_SCRIPTS = Path(jobs.__file__).parent


@dataclass(frozen=True, slots=True)
class RealKind:
    """A job that is submitted to `queue` again `pause` seconds after the last one of it has ended."""

    name: str
    queue: str
    script: str
    argument: str
    pause: float
    whole_machine: bool = False
    """It can use all that is offered, and holds the share of it that its queue is given."""


KINDS = (
    RealKind("burn", "research", "burn.py", "40", 2.0, whole_machine=True),
    RealKind("burn", "batch", "burn.py", "5", 20.0, whole_machine=True),
    RealKind("digits", "production", "digits.py", "60", 5.0),
)


@dataclass(slots=True)
class Here:
    """What is known of this machine: what it offers, what it can enforce, and the real jobs that live now."""

    cores: float = 0.0
    limits: tuple[tuple[str, str], ...] = ()
    """Name and "on", or why it is off."""
    live: dict[str, Job] = field(default_factory=dict)

    def offered(self) -> str:
        """What of this machine, and what of that is enforced, in words."""
        by_reason: dict[str, list[str]] = {}
        for name, state in self.limits:
            by_reason.setdefault(state, []).append(name.removesuffix("-limits"))
        told = ["1 core of this machine" if self.cores == 1 else f"{self.cores:g} cores of this machine"]
        for reason, names in by_reason.items():
            what = ", ".join(names)
            told.append(f"limits on {what}" if reason == "on" else f"no limits on {what}: {reason}")
        return "; ".join(told)

    def lines(self) -> list[str]:
        """One for each real job that lives, for people."""
        told = []
        for job in sorted(self.live.values(), key=lambda job: job.sequence):
            state = job.state.value
            if job.allocation is not None and job.spec.divisible:
                state = f"{job.allocation.placement.millis / WHOLE * self.cores:.2f} cores"
            told.append(f"{job.id} {job.spec.name} ({job.spec.queue}): {state}")
        return told


@contextlib.asynccontextmanager
async def agent(directory: Path, address: str, here: Here) -> AsyncIterator[asyncio.subprocess.Process]:
    """`allocator agent` on this machine, offering one core of it; at the end it ends what runs, and then itself."""
    _remove_old(directory)
    here.cores = CORES
    state = directory / f"agent-{os.getpid()}"
    group = f"allocator-demo-{os.getpid()}"
    with (directory / "agent.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "allocator", "agent", "--address", address, "--json", "--end-jobs"),
            *("--name", NODE, "--flavor", FLAVOR, "--label", f"{LABEL}=real", "--gpus", "0"),
            *("--cpu", f"{here.cores:g}", "--memory", "1GiB", "--most-processes", "64", "--most-file", "16MiB"),
            *("--state", str(state.absolute()), "--cgroup", f"/{group}" if os.getuid() == 0 else group),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # as for the daemon: Ctrl-C is ours
        )
    assert process.stdout is not None
    try:
        here.limits = await _capabilities(process.stdout)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def _remove_old(directory: Path) -> None:
    """What earlier agents have left, as far as they do not live any more."""
    for old in directory.glob("agent-*"):
        with contextlib.suppress(OSError):
            os.close(locked(old))
            shutil.rmtree(old)


async def _capabilities(output: asyncio.StreamReader) -> tuple[tuple[str, str], ...]:
    """What the agent says once it is registered; nothing if it ends before."""
    text = b""
    while line := await output.readline():
        text += line
        with contextlib.suppress(ValueError):
            told: dict[str, dict[str, Any]] = json.loads(text)["capabilities"]
            return tuple((name, "on" if each["on"] else str(each["why"])) for name, each in told.items())
    return ()


def spec(kind: RealKind, cores: float) -> JobSpec:
    """What is submitted."""
    command = (sys.executable, "-I", "-S", str(_SCRIPTS / kind.script), kind.argument)
    if kind.whole_machine:
        demand = Resources(cpu_millicores=round(cores * 1000))
    else:
        demand = Resources(cpu_millicores=50, memory_bytes=64 * MIB)
    return JobSpec(
        queue=kind.queue,
        configurations=(Configuration(FLAVOR, 1, demand),),
        name=kind.name,
        divisible=kind.whole_machine,
        job_class=kind.name,
        labels=(("kind", kind.name), (LABEL, "real")),
        process=Process(command, grace_seconds=_GRACE_SECONDS),
    )


def is_real(job: Job) -> bool:
    """Whether it is one of those that really run."""
    return (LABEL, "real") in job.spec.labels


async def submit(client: AsyncClient, kind: RealKind, here: Here) -> None:
    """One job of the kind after the other, for ever."""
    while True:
        try:
            (answer,) = await client.submit([spec(kind, here.cores)])
        except AllocatorError:
            await asyncio.sleep(kind.pause)
            continue
        if isinstance(answer, Job):
            here.live.setdefault(answer.id, answer)
            while answer.id in here.live:  # noqa: ASYNC110 - until whoever watches all jobs takes it out
                await asyncio.sleep(0.5)
        await asyncio.sleep(kind.pause)
