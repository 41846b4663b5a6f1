"""CaptureService by its clients: every round, whole, for as long as they keep up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest

from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport
from allocator.rpc import RpcSettings
from allocator.solvers import ChainSolver
from allocator.v1 import capture_service_pb2 as pb
from allocator.v1.capture_service_pb2_grpc import CaptureServiceStub
from allocator.wire.recording import CaptureBegin, CaptureDecoder, CapturedRound
from tests.builders import spec
from tests.rpc.serving import START, Served, reason_of, serving, status_of, until

if TYPE_CHECKING:
    from allocator.v1.capture_service_pb2_grpc import CaptureServiceAsyncStub


class Rounds:
    """Decides rounds on a served store and tells the hub, when it is told to."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._memory = Memory()
        self.reports: list[RoundReport] = []

    def now(self) -> float:
        return START + 10.0 * len(self.reports)

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def round(self) -> None:
        report, self._memory = run_round(
            store=self._served.store,
            pusher=self._served.hub,
            clock=self,
            solver=ChainSolver(),
            policy=Policy(),
            memory=self._memory,
        )
        self.reports.append(report)
        self._served.hub.observe(report)


def capturing(served: Served) -> AsyncIterator[pb.CaptureRoundsResponse]:
    stub: CaptureServiceAsyncStub = CaptureServiceStub(served.channel)
    return aiter(stub.CaptureRounds(pb.CaptureRoundsRequest()))


def watchers(served: Served) -> int:
    return served.hub.counts["captures"].watchers


async def next_round(stream: AsyncIterator[pb.CaptureRoundsResponse], decoder: CaptureDecoder) -> CapturedRound:
    while True:
        found = decoder.read((await anext(stream)).record.SerializeToString())
        if found is not None:
            assert isinstance(found, CapturedRound)
            return found


async def test_every_round_is_told_as_it_was(served: Served) -> None:
    rounds, decoder = Rounds(served), CaptureDecoder()
    served.submit(2)
    rounds.round()
    stream = capturing(served)
    begin = decoder.read((await anext(stream)).record.SerializeToString())
    assert isinstance(begin, CaptureBegin)
    assert begin.interval_seconds == 10.0
    assert begin.machine["numpy"]
    for _ in range(3):
        (job, *_) = served.submit(2)
        rounds.round()
        found = await next_round(stream, decoder)
        report = rounds.reports[-1]
        assert found.snapshot == report.snapshot
        assert found.memory == report.before
        assert found.changes == report.plan.changes
        served.do(c.CancelJobs((job.id,)))
    assert [ended.message for ended in found.ended] == [""]
    assert found.ended[0].state.is_final


async def test_facts_that_do_not_change_are_not_told_again(served: Served) -> None:
    rounds = Rounds(served)
    served.submit(1)
    stream = capturing(served)
    await anext(stream)
    rounds.round()
    rounds.round()
    rounds.round()
    kinds: list[str | None] = []
    while len(kinds) < 4 or kinds[-1] != "round":
        kinds.append((await anext(stream)).record.WhichOneof("content"))
    assert kinds == ["facts", "round", "facts", "round"]  # the job, and that it was started
    last = (await anext(stream)).record
    assert last.WhichOneof("content") == "round"
    assert not last.round.HasField("policy")
    assert not last.round.memory.HasField("work")


async def test_who_falls_behind_is_ended_and_told_so() -> None:
    async with serving(RpcSettings(capture_rounds=2)) as served:
        rounds, stream = Rounds(served), capturing(served)
        await anext(stream)
        for _ in range(4):  # nothing of the server runs meanwhile
            rounds.round()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(stream)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "more than 2 rounds behind" in (raised.value.details() or "")
        await until(lambda: watchers(served) == 0)
        counts = served.hub.counts["captures"]
        assert (counts.pushes, counts.coalesced) == (3, 3)


async def test_who_does_not_read_holds_up_no_round() -> None:
    heavy = spec(labels=tuple((f"note{number:02}", "x" * 1000) for number in range(60)))
    async with serving(RpcSettings(capture_rounds=3)) as served:
        rounds, stream = Rounds(served), capturing(served)
        await anext(stream)
        for _ in range(40):
            served.do(c.SubmitJobs((heavy,) * 20))
            rounds.round()
            await asyncio.sleep(0)  # the server has its turn, but nobody reads
        assert len(rounds.reports) == 40
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await to_the_end(stream)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def to_the_end(stream: AsyncIterator[pb.CaptureRoundsResponse]) -> None:
    async for _ in stream:
        pass


async def test_only_so_many_capture_at_a_time() -> None:
    async with serving(RpcSettings(most_captures=1)) as served:
        first = capturing(served)
        await anext(first)
        second = capturing(served)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await anext(second)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1 are under way already" in (raised.value.details() or "")


async def test_a_server_that_drains_says_so(served: Served) -> None:
    stream = capturing(served)
    await anext(stream)
    await served.server.begin_drain()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(stream)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(status_of(raised.value)) == "SERVER_DRAINING"
