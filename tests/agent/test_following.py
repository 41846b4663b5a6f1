"""Reading output through the daemon, from a job of the agent to a client, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.agent.confinement import Confinement
from allocator.client import AsyncClient, OutputEvent, OutputPiece, OutputRun, OutputWait
from allocator.domain.errors import FailedPrecondition, InvalidInput, NotFound, ResourceExhausted
from allocator.domain.job import JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Preempt, Start
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason
from allocator.intake import commands as c
from allocator.rpc import Hub, RpcServer, RpcSettings
from tests.agent.test_agent import QUICK, agent, now, start, state, submit
from tests.agent.wanted import shell
from tests.builders import node
from tests.rpc.serving import START, Served, serving, until

__all__ = ["state"]
PATIENCE = 60
PATIENT = RpcSettings(lease_seconds=600, heartbeat_interval_seconds=0.2)


@asynccontextmanager
async def client(served: Served) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.address, timeout=PATIENCE) as made:
        yield made


async def read(reader: AsyncClient, job_id: str, **how: object) -> bytes:
    """All of it."""
    async with asyncio.timeout(PATIENCE):
        events = reader.read_output(job_id, **how)  # type: ignore[arg-type] # flags of read_output
        return b"".join([event.content async for event in events if isinstance(event, OutputPiece)])


async def test_a_follower_sees_everything_from_before_the_start_to_the_end(
    state: Path, confinement: Confinement
) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement), client(served) as reader:
        job = submit(served, shell("echo one; until test -e go; do sleep 0.02; done; echo two"))
        seen: list[OutputEvent] = []
        following = asyncio.create_task(_rest(reader.read_output(job.id, follow=True), seen))
        await until(lambda: OutputWait.NOT_STARTED in seen)
        with pytest.raises(FailedPrecondition, match="has not started yet"):
            await read(reader, job.id)
        start(served, job)
        await until(lambda: any(isinstance(event, OutputPiece) for event in seen))
        assert await read(reader, job.id) == b"one\n"
        (state / "work" / job.id / "go").touch()
        await asyncio.wait_for(following, PATIENCE)
        assert b"".join(event.content for event in seen if isinstance(event, OutputPiece)) == b"one\ntwo\n"
        assert now(served, job).state is JobState.SUCCEEDED
        assert await read(reader, job.id) == b"one\ntwo\n", "of a job that has ended"
        assert await read(reader, job.id, tail_lines=1) == b"two\n"
        assert await read(reader, job.id, follow=True) == b"one\ntwo\n"


async def test_a_follower_goes_on_with_the_next_run(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement), client(served) as reader:
        job = submit(served, shell("[ -e it ] && { echo run; exit; }; touch it; echo run; exec sleep 600", grace=1.0))
        start(served, job)
        events = aiter(reader.read_output(job.id, follow=True))
        seen: list[OutputEvent] = [await anext(events), await anext(events)]
        why = PendingReason(PendingCause.INSUFFICIENT_CAPACITY)
        served.hub.push(served.commit(Preempt(job.id, PreemptionReason.FAIR_SHARE, why)))
        while OutputWait.NOT_STARTED not in seen:
            seen.append(await asyncio.wait_for(anext(events), PATIENCE))
        start(served, job)
        async with asyncio.timeout(PATIENCE):
            seen += [event async for event in events]
        assert [event.content for event in seen if isinstance(event, OutputPiece)] == [b"run\n"] * 2
        runs = [event.position.run for event in seen if isinstance(event, OutputRun)]
        assert len(set(runs)) == 2


async def test_reading_goes_on_where_it_was_after_the_agents_restart(state: Path, confinement: Confinement) -> None:
    async with serving(PATIENT) as served, client(served) as reader:
        async with agent(served.port, state, confinement):
            job = submit(served, shell("echo one; until test -e go; do sleep 0.02; done; echo two"))
            start(served, job)
            events = aiter(reader.read_output(job.id, follow=True))
            seen: list[OutputEvent] = [await anext(events), await anext(events)]
        while OutputWait.NODE_AWAY not in seen:
            seen.append(await asyncio.wait_for(anext(events), PATIENCE))
        with pytest.raises(FailedPrecondition, match="not heard of"):
            await read(reader, job.id)
        async with agent(served.port, state, confinement):
            (state / "work" / job.id / "go").touch()
            async with asyncio.timeout(PATIENCE):
                seen += [event async for event in events]
        assert b"".join(event.content for event in seen if isinstance(event, OutputPiece)) == b"one\ntwo\n"


async def test_a_daemon_that_restarts_is_asked_where_it_was(state: Path, confinement: Confinement) -> None:
    async with serving(PATIENT) as served, agent(served.port, state, confinement), client(served) as reader:
        job = submit(served, shell("echo one; until test -e go; do sleep 0.02; done; echo two"))
        start(served, job)
        events = aiter(reader.read_output(job.id, follow=True))
        seen: list[OutputEvent] = [await anext(events), await anext(events)]
        await served.server.stop(0.2)
        following = asyncio.create_task(_rest(events, seen))
        again = RpcServer(served.store, served.store, Hub(), lambda: START, PATIENT)
        await again.start(served.address)
        (state / "work" / job.id / "go").touch()
        await asyncio.wait_for(following, PATIENCE)
        await again.stop(0.2)
        assert b"".join(event.content for event in seen if isinstance(event, OutputPiece)) == b"one\ntwo\n"


async def _rest(events: AsyncIterator[OutputEvent], seen: list[OutputEvent]) -> None:
    async for event in events:
        seen.append(event)  # noqa: PERF401 - each as it comes: others look meanwhile


async def test_a_reader_that_goes_away_ends_the_reading_and_a_slow_one_slows_it(
    state: Path, confinement: Confinement
) -> None:
    """Two followers of one endless job: one that never reads is not read ahead for, and neither leaves anything."""
    small = replace(PATIENT, most_output_readers=2)
    async with serving(small) as served, agent(served.port, state, confinement):
        job = submit(served, shell("exec yes", grace=0.0))
        start(served, job)
        async with client(served) as slow, client(served) as gone, client(served) as third:
            waiting = aiter(slow.read_output(job.id, follow=True))
            await anext(waiting)
            first = await anext(waiting)
            assert isinstance(first, OutputPiece)
            going = aiter(gone.read_output(job.id, follow=True))
            await anext(going)
            with pytest.raises(ResourceExhausted, match="2 already"):
                await read(AsyncClient(served.address, retry=replace(third._retry, attempts=1)), job.id)
            await gone.close()
            await until(lambda: served.server._backend.outputs._readers == 1)
            second = await anext(waiting)
            assert isinstance(second, OutputPiece)
            assert second.offset == first.end, "nothing is left out for who is slow"
        await until(lambda: served.server._backend.outputs._readers == 0)
        served.do(c.CancelJobs((job.id,)))
        served.hub.push(served.commit())


async def test_refusals_say_what_is_wrong(state: Path, confinement: Confinement) -> None:
    async with serving(QUICK) as served, agent(served.port, state, confinement), client(served) as reader:
        with pytest.raises(NotFound):
            await read(reader, "j99", follow=True)
        job = submit(served, shell("echo x"))
        for replica in (-1, 1):
            with pytest.raises(InvalidInput, match="must be 0, the only one"):
                await read(reader, job.id, replica=replica)
        with pytest.raises(InvalidInput, match="tail_lines"):
            await read(reader, job.id, tail_lines=200_000)
        served.do(c.RegisterNode(replace(node("n2", cpu=1000), simulated=True)))
        served.hub.push(served.commit(Start(Placement(job.id, 0, (ReplicaPlacement("n2"),)))))
        for follow in (False, True):
            with pytest.raises(FailedPrecondition, match="'n2': is simulated"):
                await read(reader, job.id, follow=follow)
        silent = submit(served, shell("true"))
        start(served, silent)
        await until(lambda: now(served, silent).state is JobState.SUCCEEDED)
        served.hub.push(served.commit())
        with suppress(FailedPrecondition):  # until the agent has forgotten it, it is known to have printed nothing
            assert await read(reader, silent.id) == b""
        cancelled = submit(served, shell("true"))
        served.do(c.CancelJobs((cancelled.id,)))
        with pytest.raises(FailedPrecondition, match="without having run"):
            await read(reader, cancelled.id, follow=True)
