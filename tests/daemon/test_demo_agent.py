"""The agent of the demonstration, against a real server: what was resized goes on, what was moved starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from allocator.client import AsyncClient
from allocator.daemon.demo.agent import PretendedWork, SimulatedAgent
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Move, Resize, Start
from allocator.domain.reason import PreemptionReason
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.rpc.serving import Served, serving, until

HERE = ReplicaPlacement("n1")


@asynccontextmanager
async def agent(served: Served, work: PretendedWork) -> AsyncIterator[None]:
    async with AsyncClient(f"127.0.0.1:{served.port}") as client:
        running = asyncio.create_task(SimulatedAgent(client, node("n1", cpu=1000), work).run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def elastic(served: Served) -> Job:
    """Of one or two replicas; to stop it costs more than anybody waits."""
    ways = [configuration(replicas=count, gpu=0, throughput=count) for count in (1, 2)]
    (job,) = served.do(c.SubmitJobs((spec("q", *ways, resizable=True, restart_cost_seconds=1000.0),)))
    assert isinstance(job, Job)
    return job


def sized(job: Job, count: int) -> Placement:
    return Placement(job.id, count - 1, (HERE,) * count)


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
async def test_a_resized_job_ends_without_having_restarted(first: int, then: int) -> None:
    async with serving() as served:
        work = PretendedWork()
        job = elastic(served)
        work.add(job.id, job.spec, 2.0)
        async with agent(served, work):
            served.hub.push(served.commit(Start(sized(job, first))))
            await until(lambda: job.id in work.started)
            served.hub.push(served.commit(Resize(sized(job, then))))
            await until(lambda: served.store.get_job(job.id).state is JobState.SUCCEEDED)


async def test_a_moved_job_pays_for_its_restart() -> None:
    """Another job, with more to do, begins after the move and ends all the same before it."""
    async with serving() as served:
        work = PretendedWork()
        job = elastic(served)
        work.add(job.id, job.spec, 0.5)
        (longer,) = served.do(c.SubmitJobs((spec("q", configuration(gpu=0)),)))
        work.add(longer.id, longer.spec, 1.5)
        async with agent(served, work):
            served.hub.push(served.commit(Start(sized(job, 1))))
            await until(lambda: job.id in work.started)
            served.hub.push(served.commit(Move(sized(job, 1), PreemptionReason.RECONFIGURED)))
            served.hub.push(served.commit(Start(Placement(longer.id, 0, (HERE,)))))
            await until(lambda: served.store.get_job(longer.id).state is JobState.SUCCEEDED)
            assert served.store.get_job(job.id).state is JobState.RUNNING
