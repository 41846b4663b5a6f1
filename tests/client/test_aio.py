"""The asyncio client: the same calls, awaited; and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from allocator.client import AsyncClient, EndOfSnapshot, Job, JobChange, JobEvent, JobState, Unreachable
from allocator.client.retry import NEVER
from allocator.domain.errors import NotFound
from tests.builders import node, spec
from tests.client.conftest import QUICK
from tests.client.served import Served


async def test_calls_pages_and_watches(served: Served) -> None:
    served.populate(("q",), (node("n1"),))
    async with AsyncClient(served.address, retry=QUICK) as client:
        results = await client.submit([spec("q") for _ in range(5)])
        assert all(isinstance(result, Job) for result in results)
        assert [job.id async for job in client.jobs(page_size=2)] == ["j1", "j2", "j3", "j4", "j5"]
        with pytest.raises(NotFound):
            await client.job("j99")
        seen = []
        async for event in client.watch_jobs():
            seen.append(event)
            if isinstance(event, EndOfSnapshot):
                break
        assert [event.job.id for event in seen if isinstance(event, JobChange)] == ["j1", "j2", "j3", "j4", "j5"]
        assert (await client.status()).pending_jobs == 5


async def test_a_watch_goes_on_where_it_was_when_the_server_comes_back(served: Served) -> None:
    served.populate()
    async with AsyncClient(served.address, retry=QUICK) as client:
        await client.submit([spec("q")])
        events = client.watch_jobs()
        assert isinstance(await anext(events), JobChange)
        assert isinstance(await anext(events), EndOfSnapshot)
        await asyncio.to_thread(served.stop)
        await asyncio.to_thread(served.start)
        await client.cancel(["j1"])
        states = [event.job.state async for event in _until_change(events)]
        assert states == [JobState.CANCELLED]


async def _until_change(events: AsyncIterator[JobEvent]) -> AsyncIterator[JobChange]:
    async for event in events:
        if isinstance(event, JobChange):
            yield event
            return


async def test_closing_the_client_ends_its_watches_and_leaves_the_task_alone(served: Served) -> None:
    client = AsyncClient(served.address)
    events = client.watch_jobs()
    await anext(events)
    reader = asyncio.create_task(_all(events))
    await asyncio.sleep(0)
    await client.close()
    assert await asyncio.wait_for(reader, 10) == []


async def test_cancelling_a_reader_cancels_it(served: Served) -> None:
    async with AsyncClient(served.address) as client:
        events = client.watch_jobs()
        await anext(events)
        reader = asyncio.create_task(_all(events))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader


async def _all(events: AsyncIterator[JobEvent]) -> list[JobEvent]:
    return [event async for event in events]


async def test_nobody_there(served: Served) -> None:
    address = served.address
    await asyncio.to_thread(served.stop)
    async with AsyncClient(address, retry=NEVER) as client:
        with pytest.raises(Unreachable, match=address):
            await client.status()
