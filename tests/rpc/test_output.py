"""OfferOutput and ReadOutput with agents that a test plays: who is asked, and what agents cannot do to a reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from allocator.client import AsyncClient, OutputPiece
from allocator.domain.errors import FailedPrecondition, NotFound
from allocator.domain.output import OutputFault, OutputMissing, OutputQuestion
from allocator.domain.placement import Epoch
from allocator.intake import commands as c
from allocator.v1 import job_service_pb2 as jobs
from allocator.v1 import node_service_pb2 as nodes
from tests.builders import node
from tests.rpc.serving import Served, fields_of, serving, status_of, until

PATIENCE = 60
FIRST = Epoch(1, 0)
Answer = Callable[[OutputQuestion], Awaitable[OutputPiece]]


def answering(content: bytes, start: Epoch = FIRST) -> Answer:
    """A run that is over, and has printed this."""

    async def answer(question: OutputQuestion) -> OutputPiece:
        offset = question.offset or 0
        piece = content[offset : offset + question.most_bytes]
        return OutputPiece("r", start, offset, piece, len(content), complete=offset + len(piece) >= len(content))

    return answer


@asynccontextmanager
async def offering(served: Served, answer: Answer, *names: str) -> AsyncIterator[AsyncClient]:
    known = served.server._backend.outputs._lines
    name = (*names, "n1")[0]
    before = known.get(name)
    async with AsyncClient(served.address) as client:
        task = asyncio.create_task(client.offer_output(names or ("n1",), answer))
        await until(lambda: task.done() or (name in known and known[name] is not before))
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def read(client: AsyncClient, job_id: str, *, follow: bool = False) -> bytes:
    async with asyncio.timeout(PATIENCE):
        events = client.read_output(job_id, follow=follow)
        return b"".join([event.content async for event in events if isinstance(event, OutputPiece)])


async def test_a_stream_begins_with_an_offer_of_nodes_that_are_known(served: Served) -> None:
    for first in (nodes.OfferOutputRequest(), nodes.OfferOutputRequest(offer={"nodes": []})):  # type: ignore[arg-type] # plain values

        async def requests(message: nodes.OfferOutputRequest = first) -> AsyncIterator[nodes.OfferOutputRequest]:
            yield message

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(served.nodes.OfferOutput(requests())))
        assert fields_of(status_of(refused.value)) == ["offer"]
    async with AsyncClient(served.address) as client:
        with pytest.raises(NotFound):
            await client.offer_output(("n7",), answering(b""))


async def test_of_a_job_that_has_ended_the_newest_run_that_any_node_knows_is_read(served: Served) -> None:
    served.do(c.RegisterNode(node("n2", cpu=1000)))
    (job,) = served.submit()
    served.start(job)
    served.do(c.CancelJobs((job.id,)))
    async with (
        offering(served, answering(b"new" * 100_000, start=Epoch(3, 1)), "n1") as client,
        offering(served, answering(b"old"), "n2"),
    ):
        assert await read(client, job.id) == b"new" * 100_000


async def test_a_newer_stream_takes_the_place_of_an_older_one(served: Served) -> None:
    (job,) = served.submit()
    served.start(job)
    async with offering(served, answering(b"old")) as client:
        async with offering(served, answering(b"new")):
            assert await read(client, job.id) == b"new"
        await until(lambda: served.server._backend.outputs.nodes() == ())


@pytest.mark.parametrize("lie", ["too much", "elsewhere", "another run", "nothing", "broken"])
async def test_an_agent_that_answers_something_else_is_not_believed(served: Served, lie: str) -> None:
    async def answer(question: OutputQuestion) -> OutputPiece:
        if question.offset is None:
            return OutputPiece("r", FIRST, 0, b"x", 10)
        if lie == "too much":
            return OutputPiece("r", FIRST, question.offset, b"x" * (question.most_bytes + 1), 10**6)
        if lie == "elsewhere":
            return OutputPiece("r", FIRST, question.offset + 1, b"x", 10)
        if lie == "another run":
            return OutputPiece("s", FIRST, question.offset, b"x", 10)
        if lie == "broken":
            raise OSError(5, "Input/output error")
        raise OutputMissing(OutputFault.UNREADABLE, "")

    (job,) = served.submit()
    served.start(job)
    async with offering(served, answer) as client:
        with pytest.raises(FailedPrecondition):
            await read(client, job.id)
        served.start(served.submit()[0])  # the server goes on


async def test_a_reader_that_goes_away_withdraws_its_question(served: Served) -> None:
    asked, withdrawn = asyncio.Event(), asyncio.Event()

    async def answer(question: OutputQuestion) -> OutputPiece:
        asked.set()
        try:
            await asyncio.sleep(600)
        finally:
            withdrawn.set()
        raise AssertionError

    (job,) = served.submit()
    served.start(job)
    async with offering(served, answer):
        call = served.jobs.ReadOutput(jobs.ReadOutputRequest(job_id=job.id, follow=True))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        call.cancel()
        await asyncio.wait_for(withdrawn.wait(), PATIENCE)


async def test_a_server_that_drains_ends_both_kinds_of_streams() -> None:
    async with serving() as served:
        (job,) = served.submit()
        async with AsyncClient(served.address) as client:
            offer = asyncio.create_task(client.offer_output(("n1",), answering(b"")))
            await until(lambda: served.server._backend.outputs.nodes() == ("n1",))
            call = served.jobs.ReadOutput(jobs.ReadOutputRequest(job_id=job.id, follow=True))
            await anext(aiter(call))
            await served.server.begin_drain()
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await anext(aiter(call))
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
            with pytest.raises(Exception, match="about to stop"):
                await asyncio.wait_for(offer, PATIENCE)
