"""Jobs that fill the disk that the agent's own state is on: they can be stopped, and how they ended is known. What
does not begin there for lack of room runs elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from allocator.agent.ability import Patience
from allocator.agent.agent import Agent
from allocator.agent.bandwidth import Unshaped
from allocator.agent.confinement import Confinement
from allocator.agent.instructions import RunnerSettings
from allocator.agent.runner import Runner
from allocator.client import AsyncClient, Configuration, Job, JobSpec, JobState, Queue, Resources
from allocator.domain.cluster import Node
from allocator.intake.commands import ReplicaState
from tests.agent.conftest import Machine, this_machines
from tests.agent.wanted import CPU, SMALL, replica, shell
from tests.daemon.process import running

_FILL = "while [ ! -e {} ]; do cat /dev/zero >> zeros 2> /dev/null; sleep 0.02; done"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The folder of a disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False).returncode:
        pytest.skip("THIS USER CANNOT MOUNT A SMALL DISK")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture
def small(disk: Path, confinement: Confinement) -> Iterator[Machine]:
    """A machine whose state is on a disk of 2 MiB."""
    machine = Machine(disk / "state", confinement)
    yield machine
    for file in disk.glob("state/work/*/zeros"):
        file.unlink()
    machine.close()


def full(machine: Machine) -> bool:
    return os.statvfs(machine.state).f_bavail == 0


def fill(disk: Path) -> Path:
    """All of it; the file that does it."""
    zeros = disk / "zeros"
    with contextlib.suppress(OSError), zeros.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    return zeros


@pytest.mark.parametrize("pages", [0, 2, 4, 6, 7, 8])
def test_whatever_room_there_is_a_job_that_cannot_begin_has_not_failed(small: Machine, disk: Path, pages: int) -> None:
    """Whichever of the files of a start is the first without room."""
    zeros = fill(disk)
    os.truncate(zeros, zeros.stat().st_size - pages * 4096)
    small.want(replica(process=shell("true")))
    small.gone()
    assert [report.message for report in small.runner.reports() if report.state is ReplicaState.FAILED] == []
    begun = [report.state for report in small.runner.reports()] == [ReplicaState.SUCCEEDED]
    assert begun or small.runner.take_refusal()
    zeros.unlink()
    small.want(replica(process=shell("true")))
    if not begun:
        small.want(replica(process=shell("true")))  # what was lost is forgotten, and then begins
    assert small.ended().state is ReplicaState.SUCCEEDED


def test_the_end_of_who_filled_the_disk_is_known_and_the_lease_is_renewed(small: Machine, tmp_path: Path) -> None:
    small.want(replica(process=shell(_FILL.format(tmp_path / "go"))))
    small.until(lambda: full(small))
    small.renew(700.0)
    assert '"lease_seconds": 700.0' in (small.state / "lease.json").read_text()
    (tmp_path / "go").touch()
    (run,) = (small.state / "runs").iterdir()
    small.until((run / "exit.json").exists)
    (small.state / "work/j1/zeros").unlink()
    assert small.ended().state is ReplicaState.SUCCEEDED


def test_who_filled_the_disk_can_be_stopped(small: Machine) -> None:
    small.want(replica(process=shell(_FILL.format("never"))))
    small.until(lambda: full(small))
    small.want()
    (run,) = (small.state / "runs").iterdir()
    small.until((run / "exit.json").exists)


@contextlib.asynccontextmanager
async def agent(client: AsyncClient, name: str, state: Path, confinement: Confinement) -> AsyncIterator[None]:
    """One with little patience; what runs ends with it."""
    here = Node(name, CPU, Resources(cpu_millicores=4000, memory_bytes=2**32))
    runner = Runner(RunnerSettings(name, state), confinement, Unshaped("not here"))
    impatient = Patience(check_every=0.0, told_after=0.5, calm=0.5)
    task = asyncio.create_task(Agent(client, here, runner, end_jobs=True, patience=impatient).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.system
async def test_what_does_not_begin_for_lack_of_room_runs_elsewhere(
    disk: Path, tmp_path: Path, confinement: Confinement
) -> None:
    """On one node a job runs and the disk is full: what is placed there goes to the other, for nothing. When there is
    room again, the node takes work.
    """
    way = Configuration(CPU, 1, SMALL)
    with running(tmp_path) as daemon:
        async with AsyncClient(daemon.address) as client, agent(client, "full", disk / "state", confinement):

            async def submit(script: str, count: int = 1) -> list[str]:
                found = await client.submit([JobSpec("q", (way,), process=shell(script))] * count)
                return [job.id for job in found if isinstance(job, Job)]

            async def until(condition: Callable[[Node, list[Job]], bool], *ids: str) -> list[Job]:
                async with asyncio.timeout(60):
                    while True:
                        found = {node.name: node async for node in client.nodes()}
                        jobs = [await client.job(job_id) for job_id in ids]
                        if "full" in found and condition(found["full"], jobs):
                            return jobs
                        await asyncio.sleep(0.05)

            def over(_: Node, jobs: list[Job]) -> bool:
                return all(job.state.is_final for job in jobs)

            await client.create_queue(Queue("q"))
            await until(lambda *_: True)
            (stays,) = await submit(f"touch begun; until test -e {tmp_path}/go; do sleep 0.05; done")
            await until(lambda *_: (disk / "state/work" / stays / "begun").exists())
            zeros = fill(disk)
            late = await submit("true", 3)
            waiting = await until(lambda node, jobs: bool(node.trouble) and all_wait(jobs), *late)
            assert "No space left on device" in (await client.node("full")).trouble
            assert [(job.failures, job.preemption_count) for job in waiting] == [(0, 0)] * 3
            assert (await client.job(stays)).state is JobState.RUNNING

            other = this_machines("elsewhere")
            async with agent(client, "roomy", tmp_path / "state", other):
                ended = await until(over, *late)
            other.close()
            assert [(job.state, job.failures, job.preemption_count) for job in ended] == [
                (JobState.SUCCEEDED, 0, 0)
            ] * 3
            begun = {folder.name for folder in (disk / "state/work").iterdir()}
            assert begun == {stays}, "nothing else began where there was no room"

            zeros.unlink()
            await until(lambda node, _: not node.trouble)
            await client.drain_node("roomy")
            (later,) = await submit("true")
            (tmp_path / "go").touch()
            last = await until(over, stays, later)
            assert [(job.state, job.failures) for job in last] == [(JobState.SUCCEEDED, 0)] * 2


def all_wait(jobs: list[Job]) -> bool:
    """Whether none of them has a place."""
    return all(job.state is JobState.PENDING for job in jobs)
