"""The agent against a real server: what is committed runs here, what happens here is known there."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from allocator.agent.agent import Agent
from allocator.agent.bandwidth import Unshaped
from allocator.agent.confinement import Confinement
from allocator.agent.instructions import RunnerSettings
from allocator.agent.plan import Phase
from allocator.agent.runner import Runner
from allocator.client import AsyncClient, Lease, RetryPolicy
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Epoch, Placement, ReplicaPlacement
from allocator.domain.plan import Resize, Start
from allocator.domain.process import Process
from allocator.intake import commands as c
from allocator.rpc import RpcSettings
from allocator.store.memory import MemoryStore
from tests.agent.wanted import shell
from tests.builders import configuration, node, spec
from tests.rpc.serving import Served, serving, until

HERE = ReplicaPlacement("n1")
ONCE = RetryPolicy(attempts=1)
QUICK = RpcSettings(lease_seconds=2.0, heartbeat_interval_seconds=0.2)


@asynccontextmanager
async def agent(port: int, state: Path, confinement: Confinement, name: str = "n1") -> AsyncIterator[Runner]:
    runner = Runner(RunnerSettings(name, state), confinement, Unshaped("not here"))
    async with AsyncClient(f"127.0.0.1:{port}", retry=RetryPolicy(attempts=1)) as client:
        registered = asyncio.Event()
        task = asyncio.create_task(
            Agent(client, replace(node("n1", cpu=1000), name=name), runner, lambda _: registered.set()).run()
        )
        waiting = asyncio.create_task(registered.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        try:
            if task.done():
                await task
            yield runner
        finally:
            waiting.cancel()
            task.cancel()
            await asyncio.gather(task, waiting, return_exceptions=True)


@pytest.fixture
def state(tmp_path: Path, confinement: Confinement) -> Iterator[Path]:
    """A state folder in which nothing runs any more at the end."""
    yield tmp_path / "state"
    runner = Runner(RunnerSettings("n1", tmp_path / "state"), confinement, Unshaped("not here"))
    runner.open()
    for run in runner.runs():
        if run.alive:
            runner.kill(run.id)
    while any(run.alive for run in runner.runs()):
        runner.look()
    runner.close()


def submit(served: Served, process: Process | None, count: int = 1) -> Job:
    ways = [configuration(replicas=n, gpu=0, throughput=n, cpu=0.5) for n in range(1, count + 1)]
    (job,) = served.do(c.SubmitJobs((spec("q", *ways, resizable=count > 1, process=process),)))
    assert isinstance(job, Job), job
    return job


def start(served: Served, job: Job, count: int = 1) -> None:
    served.hub.push(served.commit(Start(Placement(job.id, count - 1, (HERE,) * count))))


def now(served: Served, job: Job) -> Job:
    found = served.store.get_job(job.id)
    assert found is not None
    return found


async def test_a_job_runs_and_its_end_is_known_at_once(state: Path, confinement: Confinement) -> None:
    seldom = RpcSettings(lease_seconds=600, heartbeat_interval_seconds=300)
    async with serving(seldom) as served, agent(served.port, state, confinement):
        good, bad = submit(served, shell("echo hello")), submit(served, shell("exit 4"))
        start(served, good)
        start(served, bad)
        await until(lambda: now(served, good).state is JobState.SUCCEEDED)
        await until(lambda: now(served, bad).state is JobState.FAILED)
        assert "exit code 4" in now(served, bad).message


async def test_a_gang_succeeds_when_all_of_it_has(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement):
        job = submit(
            served, shell("test $ALLOCATOR_RANK/$ALLOCATOR_REPLICAS = $0 || sleep 0.2; echo $ALLOCATOR_PEERS"), 3
        )
        start(served, job, 3)
        await until(lambda: now(served, job).state.is_final)
        assert now(served, job).state is JobState.SUCCEEDED
        printed = [file.read_text() for file in (state / "output" / job.id).iterdir()]
        assert printed == ["n1,n1,n1\n"] * 3


async def test_what_was_cancelled_is_stopped(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement) as runner:
        job = submit(served, shell("exec sleep 600"))
        start(served, job)
        await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
        served.do(c.CancelJobs((job.id,)))
        served.hub.push(served.commit())
        await until(lambda: runner.runs() == ())


async def test_who_cannot_write_down_its_lease_says_what_it_has_seen(
    state: Path, confinement: Confinement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for its word would wait for a lucky moment, long after its supervisors have stopped what ran."""
    said: list[Epoch | None] = []
    heartbeat = AsyncClient.heartbeat

    async def listened(self: AsyncClient, *args: Any, seen: Epoch | None = None, **kwargs: Any) -> Lease:
        said.append(seen)
        return await heartbeat(self, *args, seen=seen, **kwargs)

    def read_only(*_: float) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(AsyncClient, "heartbeat", listened)
    short = RpcSettings(lease_seconds=1.0, heartbeat_interval_seconds=0.1)
    async with serving(short) as served, agent(served.port, state, confinement) as runner:
        start(served, submit(served, shell("exec sleep 600")))
        await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
        monkeypatch.setattr(runner, "renew", read_only)
        await until(lambda: not any(run.alive for run in runner.runs()))
        await asyncio.sleep(0.5)
        said.clear()
        await until(lambda: len(said) == 5)
        assert Epoch(0, 0) not in said


async def test_a_resize_changes_what_runs_without_a_restart(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement) as runner:
        job = submit(served, shell("echo begun; exec sleep 600"), 2)
        start(served, job, 1)
        await until(lambda: len(runner.runs()) == 1)
        served.hub.push(served.commit(Resize(Placement(job.id, 1, (HERE, HERE)))))
        await until(lambda: len(runner.runs()) == 2)
        served.hub.push(served.commit(Resize(Placement(job.id, 0, (HERE,)))))
        await until(lambda: len(runner.runs()) == 1)
        (run,) = runner.runs()
        assert run.id.endswith(".0"), "the one that began first"
        assert run.replica.epoch != run.replica.start_epoch


async def test_a_job_goes_on_through_the_agents_restart(state: Path, confinement: Confinement) -> None:
    async with serving() as served:
        async with agent(served.port, state, confinement) as runner:
            job = submit(served, shell("echo begun; until test -e go; do sleep 0.02; done"))
            start(served, job)
            await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
        async with agent(served.port, state, confinement):
            (state / "work" / job.id / "go").touch()
            await until(lambda: now(served, job).state is JobState.SUCCEEDED)
        (output,) = (state / "output" / job.id).iterdir()
        assert output.read_text() == "begun\n"


async def test_who_has_lost_the_daemon_stops_and_asks_anew(state: Path, confinement: Confinement) -> None:
    """What it was told before counts no more, even though nobody took it back."""
    store = MemoryStore()
    async with serving(QUICK) as first:
        store = first.store
        job = submit(first, shell("echo begun; exec sleep 600"))
        start(first, job)
        port = first.port
        running = agent(port, state, confinement)
        runner = await running.__aenter__()
        await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
    # the daemon is gone
    await until(lambda: runner.runs() == (), 20)
    await running.__aexit__(None, None, None)
    async with serving(QUICK, store=store) as second, agent(second.port, state, confinement) as runner:
        await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
        assert now(second, job).state is JobState.RUNNING


class Moving:
    """A client of one daemon, and later of another one."""

    def __init__(self) -> None:
        self.of: AsyncClient | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


async def test_a_daemon_from_a_backup_is_believed_though_its_epochs_are_older(
    state: Path, confinement: Confinement
) -> None:
    client: Any = Moving()
    runner = Runner(RunnerSettings("n1", state), confinement, Unshaped("not here"))
    made = Agent(client, node("n1", cpu=1000), runner)

    task = None
    try:
        async with AsyncExitStack() as clients:
            async with serving(QUICK) as first:
                client.of = await clients.enter_async_context(AsyncClient(f"127.0.0.1:{first.port}", retry=ONCE))
                for _ in range(9):
                    first.commit()
                job = submit(first, shell("exec sleep 600"))
                start(first, job)
                task = asyncio.create_task(made.run())
                await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
            await until(lambda: runner.runs() == (), 20)
            async with serving(QUICK) as second:
                client.of = await clients.enter_async_context(AsyncClient(f"127.0.0.1:{second.port}", retry=ONCE))
                again = submit(second, shell("echo believed"))
                start(second, again)
                await until(lambda: now(second, again).state is JobState.SUCCEEDED, 20)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        if task is not None:
            task.cancel()


async def test_a_daemon_that_has_forgotten_everything(state: Path, confinement: Confinement) -> None:
    """It registers again, and stops what nobody knows any more."""
    async with serving(QUICK) as served, agent(served.port, state, confinement) as runner:
        job = submit(served, shell("exec sleep 600"))
        start(served, job)
        await until(lambda: any(run.phase is Phase.RUNNING for run in runner.runs()))
        served.do(c.CancelJobs((job.id,)))
        served.do(c.SetNodeAvailability("n1", node("n1").availability.DRAINING))
        served.commit()  # not pushed: the agent is not told
        served.do(c.RemoveNode("n1"))
        await until(lambda: runner.runs() == ())
        assert served.store.get_node("n1").name == "n1"


async def test_a_node_that_cannot_be_is_refused_in_words(state: Path, confinement: Confinement) -> None:
    async with serving() as served:
        with pytest.raises(InvalidInput):
            async with agent(served.port, state, confinement, name="a" * 1000):
                pass


async def test_a_hundred_jobs_that_end_at_once(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement):
        jobs = [submit(served, Process(("true",))) for _ in range(100)]
        for job in jobs:
            start(served, job)
        await until(lambda: all(now(served, job).state is JobState.SUCCEEDED for job in jobs))
