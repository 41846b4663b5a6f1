"""What replicas print: questions to nodes, their answers, and what readers are sent."""

from __future__ import annotations

import math

from allocator.domain.errors import InvalidInput
from allocator.domain.output import (
    MOST_TAIL_LINES,
    OutputEnd,
    OutputEvent,
    OutputFault,
    OutputMissing,
    OutputPiece,
    OutputPosition,
    OutputQuestion,
    OutputRun,
    OutputWait,
)
from allocator.v1 import job_service_pb2, node_service_pb2, output_pb2
from allocator.wire.fields import Enumeration
from allocator.wire.resources import epoch_from_proto, epoch_to_proto

_FAULTS = Enumeration(OutputFault, output_pb2.OutputFault, "OUTPUT_FAULT")
_WAITS = Enumeration(OutputWait, job_service_pb2.OutputWait, "OUTPUT_WAIT")


# --- between the daemon and who runs replicas


def offer_to_proto(nodes: tuple[str, ...]) -> node_service_pb2.OfferOutputRequest:
    return node_service_pb2.OfferOutputRequest(offer=node_service_pb2.OutputOffer(nodes=nodes))


def offer_from_proto(message: node_service_pb2.OfferOutputRequest) -> tuple[str, ...]:
    """Raises InvalidInput when it is none."""
    nodes = tuple(message.offer.nodes)
    if message.WhichOneof("message") != "offer" or not nodes:
        raise InvalidInput.of("offer", "the first message must be an offer that names at least one node")
    return nodes


def question_to_proto(id_: int, question: OutputQuestion) -> node_service_pb2.OfferOutputResponse:
    start = question.start_epoch
    return node_service_pb2.OfferOutputResponse(
        question=output_pb2.OutputQuestion(
            id=id_,
            node=question.node,
            job_id=question.job_id,
            replica=question.replica,
            errors=question.errors,
            run=question.run,
            start_epoch=None if start is None else epoch_to_proto(start),
            offset=question.offset,
            tail_lines=question.tail_lines,
            most_bytes=question.most_bytes,
            wait_seconds=question.wait_seconds,
        )
    )


def question_from_proto(message: output_pb2.OutputQuestion) -> OutputQuestion:
    return OutputQuestion(
        message.node,
        message.job_id,
        message.replica,
        message.errors,
        message.run,
        epoch_from_proto(message.start_epoch) if message.HasField("start_epoch") else None,
        max(0, message.offset) if message.HasField("offset") else None,
        max(0, message.tail_lines) if message.HasField("tail_lines") else None,
        max(0, message.most_bytes),
        message.wait_seconds if math.isfinite(message.wait_seconds) else 0.0,
    )


def withdrawal_to_proto(id_: int) -> node_service_pb2.OfferOutputResponse:
    return node_service_pb2.OfferOutputResponse(withdrawn=id_)


def answer_to_proto(id_: int, outcome: OutputPiece | OutputMissing) -> node_service_pb2.OfferOutputRequest:
    answer = output_pb2.OutputAnswer(id=id_)
    if isinstance(outcome, OutputPiece):
        answer.piece.CopyFrom(_piece_to_proto(outcome))
    else:
        answer.fault = _FAULTS.number(outcome.fault)
        answer.message = outcome.message[:1024]
    return node_service_pb2.OfferOutputRequest(answer=answer)


def answer_from_proto(message: output_pb2.OutputAnswer) -> OutputPiece | OutputMissing:
    """An agent that says neither is not able to."""
    if message.HasField("piece"):
        return _piece_from_proto(message.piece)
    try:
        fault = _FAULTS.member(message.fault, "fault")
    except InvalidInput:
        fault = OutputFault.UNREADABLE
    return OutputMissing(fault, message.message)


def _piece_to_proto(piece: OutputPiece) -> output_pb2.OutputPiece:
    return output_pb2.OutputPiece(
        run=piece.run,
        start_epoch=epoch_to_proto(piece.start_epoch),
        offset=piece.offset,
        content=piece.content,
        size=piece.size,
        complete=piece.complete,
        shared=piece.shared,
    )


def _piece_from_proto(message: output_pb2.OutputPiece) -> OutputPiece:
    return OutputPiece(
        message.run,
        epoch_from_proto(message.start_epoch),
        message.offset,
        message.content,
        message.size,
        message.complete,
        message.shared,
    )


# --- between readers and the daemon


def read_request_to_proto(
    job_id: str, replica: int, *, errors: bool, tail_lines: int | None, follow: bool, resume: OutputPosition | None
) -> job_service_pb2.ReadOutputRequest:
    return job_service_pb2.ReadOutputRequest(
        job_id=job_id,
        replica=replica,
        errors=errors,
        tail_lines=tail_lines,
        follow=follow,
        resume=None if resume is None else _position_to_proto(resume),
    )


def tail_lines_from_proto(message: job_service_pb2.ReadOutputRequest) -> int | None:
    """Raises InvalidInput."""
    if not message.HasField("tail_lines"):
        return None
    if not 0 <= message.tail_lines <= MOST_TAIL_LINES:
        raise InvalidInput.of("tail_lines", f"must be from 0 to {MOST_TAIL_LINES}, got {message.tail_lines}")
    return message.tail_lines


def resume_from_proto(message: job_service_pb2.ReadOutputRequest) -> OutputPosition | None:
    """Raises InvalidInput."""
    if not message.HasField("resume"):
        return None
    position = _position_from_proto(message.resume)
    if not position.node or not position.run or position.offset < 0:
        raise InvalidInput.of("resume", "must be a position that this service has answered")
    return position


def _position_to_proto(position: OutputPosition) -> job_service_pb2.OutputPosition:
    return job_service_pb2.OutputPosition(
        node=position.node,
        run=position.run,
        start_epoch=epoch_to_proto(position.start_epoch),
        offset=position.offset,
    )


def _position_from_proto(message: job_service_pb2.OutputPosition) -> OutputPosition:
    return OutputPosition(message.node, message.run, epoch_from_proto(message.start_epoch), message.offset)


def event_to_proto(event: OutputEvent) -> job_service_pb2.ReadOutputResponse:
    match event:
        case OutputRun():
            run = job_service_pb2.OutputRun(position=_position_to_proto(event.position), shared=event.shared)
            return job_service_pb2.ReadOutputResponse(run=run)
        case OutputPiece():
            return job_service_pb2.ReadOutputResponse(piece=_piece_to_proto(event))
        case OutputWait():
            return job_service_pb2.ReadOutputResponse(wait=_WAITS.number(event))
        case OutputEnd():
            return job_service_pb2.ReadOutputResponse(end=job_service_pb2.OutputEnd())


def event_from_proto(message: job_service_pb2.ReadOutputResponse) -> OutputEvent | None:
    """None for an event that a later version of the API may add."""
    match message.WhichOneof("event"):
        case "run":
            return OutputRun(_position_from_proto(message.run.position), message.run.shared)
        case "piece":
            return _piece_from_proto(message.piece)
        case "wait":
            return _WAITS.member(message.wait, "wait")
        case "end":
            return OutputEnd()
        case _:
            return None
