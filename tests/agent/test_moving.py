"""A job that changes nodes begins on the new ones when its old replicas are gone: a real daemon and real agents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from allocator.agent.bandwidth import Unshaped
from allocator.agent.confinement import Confinement
from allocator.agent.instructions import RunnerSettings
from allocator.agent.runner import Runner
from allocator.client import Client
from allocator.domain.job import Job, JobState
from allocator.domain.process import Process, Retries
from allocator.domain.queue import Queue
from tests.agent.conftest import this_machines
from tests.agent.test_agent import agent
from tests.agent.wanted import python, shell
from tests.builders import configuration, spec
from tests.daemon.process import DaemonProcess, running
from tests.rpc.serving import until

pytestmark = pytest.mark.system
PATIENCE = 60.0
_LINES = (
    "import os, signal, sys, time",
    "def note(word):",
    "    with open({diary!r}, 'a') as file:",
    "        file.write(word + chr(10))",
    "def checkpoint(*_):",
    "    while not os.path.exists({written!r}): time.sleep(0.01)",
    "    note('end')",
    "    sys.exit(0)",
    "signal.signal(signal.SIGTERM, checkpoint)",
    "note('begin')",
    "while True: time.sleep(60)",
)


class Site:
    """A daemon, a client, machines with agents, and a folder that all of them see."""

    def __init__(self, daemon: DaemonProcess, client: Client, folder: Path, exits: AsyncExitStack) -> None:
        self.daemon, self.client, self.folder, self._exits = daemon, client, folder, exits
        client.create_queue(Queue("q"))

    async def add(self, name: str) -> None:
        """A machine whose agent follows the daemon, and on which nothing runs any more at the end."""
        confinement = this_machines(f"moving-{name}")
        self._exits.callback(_end_everything, self.folder / name, confinement)
        await self._exits.enter_async_context(agent(self.daemon.port, self.folder / name, confinement, name))

    def submit(self, process: Process, replicas: int = 1, cores: int = 600) -> Job:
        """A gang of which each machine has room for one replica."""
        (job,) = self.client.submit([spec("q", configuration(gpu=0, cpu=cores, replicas=replicas), process=process)])
        assert isinstance(job, Job), job
        return job

    def checkpointing(self) -> Process:
        """Tells the diary when it begins, and when its checkpoint is written: that takes until `write_checkpoints`."""
        names = {"diary": str(self.folder / "diary"), "written": str(self.folder / "written")}
        return python(*(line.format(**names) for line in _LINES), grace=PATIENCE)

    def write_checkpoints(self) -> None:
        (self.folder / "written").touch()

    def diary(self) -> list[str]:
        path = self.folder / "diary"
        return path.read_text().split() if path.exists() else []

    def nodes_of(self, job: Job) -> tuple[str, ...]:
        allocation = self.client.job(job.id).allocation
        return () if allocation is None else allocation.placement.nodes

    async def everybody_has_heard(self, replicas: int) -> None:
        """So many open machines have done what was decided before: something decided later has run on each."""
        job = self.submit(Process(("true",)), replicas, cores=300)
        await until(lambda: self.client.job(job.id).state is JobState.SUCCEEDED, PATIENCE)


def _end_everything(state: Path, confinement: Confinement) -> None:
    runner = Runner(RunnerSettings("n", state), confinement, Unshaped("not here"))
    runner.open()
    for run in runner.runs():
        if run.alive:
            runner.kill(run.id)
    while any(run.alive for run in runner.runs()):
        runner.look()
    runner.close()
    confinement.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Heartbeats are so seldom that what has to be known at once must be told at once."""
    seldom = {
        "ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "900",
        "ALLOCATOR_NODES__HEARTBEAT_INTERVAL_SECONDS": "300",
    }
    with running(tmp_path, **seldom) as daemon, Client(daemon.address) as client:
        async with AsyncExitStack() as exits:
            yield Site(daemon, client, tmp_path, exits)


async def test_a_gang_that_changes_nodes_begins_when_all_of_it_has_ended(site: Site) -> None:
    await site.add("n1")
    await site.add("n2")
    job = site.submit(site.checkpointing(), replicas=2)
    await until(lambda: site.diary() == ["begin"] * 2, PATIENCE)
    await site.add("n3")
    site.client.drain_node("n1")
    await until(lambda: site.nodes_of(job) == ("n2", "n3"), PATIENCE)
    await site.everybody_has_heard(2)
    assert site.diary() == ["begin"] * 2
    site.write_checkpoints()
    await until(lambda: len(site.diary()) == 6, PATIENCE)
    assert site.diary() == ["begin"] * 2 + ["end"] * 2 + ["begin"] * 2
    await who_has_left_already_keeps_nobody_waiting(site, job)


async def who_has_left_already_keeps_nobody_waiting(site: Site, job: Job) -> None:
    """A try that failed leaves nothing to wait for, and the machine says so before its next heartbeat is due."""
    site.client.cancel([job.id])
    script = f"[ -e {site.folder}/tried ] && exit; touch {site.folder}/tried; exit 3"
    (again,) = site.client.submit(
        [spec("q", configuration(gpu=0, cpu=600), process=shell(script), retries=Retries(1, 1.0))]
    )
    assert isinstance(again, Job)
    await until(lambda: site.client.job(again.id).failures == 1, PATIENCE)
    (tried,) = [name for name in ("n2", "n3") if (site.folder / name / "work" / again.id).exists()]
    site.client.cordon_node(tried)
    await until(lambda: site.client.job(again.id).state is JobState.SUCCEEDED, PATIENCE)


async def test_a_daemon_that_restarts_meanwhile_waits_for_who_was_leaving(site: Site) -> None:
    await site.add("n1")
    job = site.submit(site.checkpointing())
    await until(lambda: site.diary() == ["begin"], PATIENCE)
    await site.add("n2")
    site.client.drain_node("n1")
    await until(lambda: site.nodes_of(job) == ("n2",), PATIENCE)
    site.daemon.kill()
    site.daemon.start()
    await site.everybody_has_heard(1)
    assert site.diary() == ["begin"]
    site.write_checkpoints()
    await until(lambda: len(site.diary()) == 3, PATIENCE)
    assert site.diary() == ["begin", "end", "begin"]
