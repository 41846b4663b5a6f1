"""CaptureService: every round as it was, for whoever keeps it. Rounds hand over what is immutable and go on at once.

What has changed since the last round is found, and written, on a thread of its own, which gives way to rounds: threads
of one process take the time from one another. Each capture holds a few rounds that wait; one that needs more is ended.
"""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import allocator
from allocator.domain.errors import ResourceExhausted
from allocator.domain.giving_way import checkpoint, giving_way
from allocator.rounds.captured import EndedJobs, SeenRound
from allocator.rounds.machine import machine
from allocator.rpc.backend import Backend, Context
from allocator.rpc.patience import Patience
from allocator.v1 import capture_service_pb2 as pb
from allocator.v1 import capture_service_pb2_grpc as pb_grpc
from allocator.wire.recording import CaptureBegin, CaptureEncoder

MOST_PATIENCE, PATIENCE = 1.0, 0.25
"""What is written of a round gives way to other rounds for so many seconds in all, or for so much of the time from one
round to the next if that is less: rounds that never rest shall not make a capture fall behind.
"""

Answer = TypeVar("Answer")


class CaptureService(pb_grpc.CaptureServiceServicer):
    """See protos/allocator/v1/capture_service.proto. `rest` waits, at most for so many seconds, until no round is under
    way.
    """

    def __init__(self, backend: Backend, rest: Callable[[float], object] = lambda _: None) -> None:
        self._backend = backend
        self._rest = rest
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capture")

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def CaptureRounds(
        self, request: pb.CaptureRoundsRequest, context: Context
    ) -> AsyncIterator[pb.CaptureRoundsResponse]:
        backend = self._backend
        most = backend.settings.most_captures
        if backend.hub.counts["captures"].watchers >= most:
            raise ResourceExhausted("captures", f"{most} are under way already")
        with backend.hub.captures(backend.settings.capture_rounds) as rounds:
            encoder, ended = CaptureEncoder(), EndedJobs(backend.reads)
            begin = await self._on_thread(lambda: encoder.begin(self._begin()))
            yield pb.CaptureRoundsResponse(record=begin)
            while True:
                seen = await rounds.take()
                records = _written(encoder, ended, seen)
                patience = Patience(self._rest, min(MOST_PATIENCE, PATIENCE * self._interval))
                while (record := await self._on_thread(partial(_next, records, patience))) is not None:
                    yield pb.CaptureRoundsResponse(record=record)

    def _begin(self) -> CaptureBegin:
        return CaptureBegin(allocator.__version__, self._backend.now(), self._interval, machine=machine())

    @property
    def _interval(self) -> float:
        return self._backend.settings.round_interval_seconds

    async def _on_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _written(encoder: CaptureEncoder, ended: EndedJobs, seen: SeenRound) -> Iterator[pb.CaptureRecord]:
    """Each record when it is asked for."""
    checkpoint()
    yield from encoder.round(seen, ended.by(seen.snapshot.revision))


def _next(records: Iterator[pb.CaptureRecord], patience: Patience) -> pb.CaptureRecord | None:
    with giving_way(patience):
        return next(records, None)
