"""The stream on which the daemon asks an agent for what replicas print: questions come in, answers go out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
from google.protobuf.message import Message

from allocator.client.exchange import Method
from allocator.client.failures import failure_of, stream_ended
from allocator.domain.output import OutputFault, OutputMissing, OutputPiece, OutputQuestion
from allocator.v1 import node_service_pb2 as node_pb
from allocator.wire import output as wire

OutputReader = Callable[[OutputQuestion], Awaitable[OutputPiece]]
"""Answers one question; raises OutputMissing. Cancelled when nobody waits for the answer any more."""

MOST_QUESTIONS = 256
"""At a time, each with one piece in memory; more are told to ask again."""
_TOO_MANY = OutputMissing(OutputFault.BUSY, f"answers {MOST_QUESTIONS} questions already")
_OFFER = Method("NodeService", "OfferOutput", node_pb.OfferOutputResponse)


async def offer_output(channel: grpc.aio.Channel, address: str, nodes: tuple[str, ...], reader: OutputReader) -> None:
    """Serves one stream until it ends, which it does with an AllocatorError: reconnecting is for who calls."""
    stream = channel.stream_stream(
        _OFFER.path,
        request_serializer=node_pb.OfferOutputRequest.SerializeToString,
        response_deserializer=node_pb.OfferOutputResponse.FromString,
    )()
    answering = _Answering(stream, reader)
    try:
        await stream.write(wire.offer_to_proto(nodes))
        async for message in stream:
            answering.hear(message)
    except (grpc.RpcError, asyncio.InvalidStateError) as error:
        if not isinstance(error, grpc.RpcError):
            raise stream_ended(address).error from None
        raise failure_of(error, _OFFER, address, 0.0).error from None
    finally:
        answering.close()
        stream.cancel()
    raise stream_ended(address).error


class _Answering:
    """A task per open question; answers are written one after the other, as fast as the daemon takes them."""

    def __init__(self, stream: grpc.aio.StreamStreamCall[Message, node_pb.OfferOutputResponse],
                 reader: OutputReader) -> None:  # fmt: skip
        self._stream, self._reader = stream, reader
        self._open: dict[int, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()

    def hear(self, message: node_pb.OfferOutputResponse) -> None:
        match message.WhichOneof("message"):
            case "question":
                id_, question = message.question.id, wire.question_from_proto(message.question)
                busy = len(self._open) >= MOST_QUESTIONS
                task = asyncio.create_task(self._answer(id_, question, busy=busy))
                self._open[id_] = task
                task.add_done_callback(lambda _: self._open.pop(id_, None))
            case "withdrawn":
                task_ = self._open.get(message.withdrawn)
                if task_ is not None:
                    task_.cancel()
            case _:  # what a later version of the API may say
                pass

    async def _answer(self, id_: int, question: OutputQuestion, *, busy: bool) -> None:
        outcome: OutputPiece | OutputMissing
        try:
            outcome = _TOO_MANY if busy else await self._reader(question)
        except OutputMissing as missing:
            outcome = missing
        except OSError as error:
            outcome = OutputMissing(OutputFault.UNREADABLE, f"cannot be read: {error.strerror or error}")
        try:
            async with self._writing:
                await self._stream.write(wire.answer_to_proto(id_, outcome))
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the stream has ended, and whoever reads it is told

    def close(self) -> None:
        for task in list(self._open.values()):
            task.cancel()
