"""Why jobs wait and why they were stopped."""

from __future__ import annotations

from functools import lru_cache

from allocator.domain.reason import (
    Examined,
    LimitExcess,
    PendingCause,
    PendingReason,
    PreemptionReason,
    QuotaExcess,
    Refusal,
    Shortage,
)
from allocator.v1 import reason_pb2
from allocator.wire.fields import Enumeration, clamped, time_from_proto, time_to_proto

PENDING_CAUSES = Enumeration(PendingCause, reason_pb2.PendingCause, "PENDING_CAUSE")
PREEMPTION_REASONS = Enumeration(PreemptionReason, reason_pb2.PreemptionReason, "PREEMPTION_REASON")
REFUSALS = Enumeration(Refusal, reason_pb2.Refusal, "REFUSAL")


@lru_cache(maxsize=1024)
def pending_reason_to_proto(reason: PendingReason) -> reason_pb2.PendingReason:
    """The same message for equal reasons, of which there are few: it must not be changed."""
    until = reason.reserved_until
    return reason_pb2.PendingReason(
        cause=PENDING_CAUSES.number(reason.cause),
        shortages=[
            reason_pb2.Shortage(flavor=s.flavor, resource=s.resource, missing=clamped(s.missing), held=clamped(s.held))
            for s in reason.shortages
        ],
        examined=[_examined_to_proto(examined) for examined in reason.examined],
        reserved_for=reason.reserved_for,
        reserved_until=None if until is None else time_to_proto(until),
        excesses=[
            reason_pb2.QuotaExcess(
                queue=e.queue,
                flavor=e.flavor,
                resource=e.resource,
                used=clamped(e.used),
                most=clamped(e.most),
                missing=clamped(e.missing),
            )
            for e in reason.excesses
        ],
        limits=[
            reason_pb2.LimitExcess(
                name=e.name, used=clamped(e.used), most=clamped(e.most), takes=clamped(e.takes), unit=e.unit
            )
            for e in reason.limits
        ],
    )


def pending_reason_from_proto(message: reason_pb2.PendingReason, where: str) -> PendingReason:
    """The same object for equal messages, of which there are few."""
    return _read(message.SerializeToString(deterministic=True), where)


@lru_cache(maxsize=1024)
def _read(content: bytes, where: str) -> PendingReason:
    message = reason_pb2.PendingReason.FromString(content)
    return PendingReason(
        PENDING_CAUSES.member(message.cause, f"{where}.cause"),
        tuple(Shortage(s.flavor, s.resource, s.missing, s.held) for s in message.shortages),
        tuple(
            _examined_from_proto(examined, f"{where}.examined[{index}]")
            for index, examined in enumerate(message.examined)
        ),
        tuple(message.reserved_for),
        time_from_proto(message.reserved_until, f"{where}.reserved_until")
        if message.HasField("reserved_until")
        else None,
        tuple(QuotaExcess(e.queue, e.flavor, e.resource, e.used, e.most, e.missing) for e in message.excesses),
        tuple(LimitExcess(e.name, e.used, e.most, e.takes, e.unit) for e in message.limits),
    )


def _examined_to_proto(examined: Examined) -> reason_pb2.Examined:
    return reason_pb2.Examined(
        flavor=examined.flavor,
        nodes=examined.nodes,
        refused=[
            reason_pb2.RefusedNodes(refusal=REFUSALS.number(refusal), nodes=nodes)
            for refusal, nodes in examined.refused
        ],
        lacking=[reason_pb2.LackingNodes(resource=resource, nodes=nodes) for resource, nodes in examined.lacking],
        replicas=examined.replicas,
        room=examined.room,
        places=examined.places,
    )


def _examined_from_proto(message: reason_pb2.Examined, where: str) -> Examined:
    return Examined(
        message.flavor,
        message.nodes,
        tuple(
            (REFUSALS.member(refused.refusal, f"{where}.refused[{index}].refusal"), refused.nodes)
            for index, refused in enumerate(message.refused)
        ),
        tuple((lacking.resource, lacking.nodes) for lacking in message.lacking),
        message.replicas,
        message.room,
        message.places,
    )


def preemption_counts_to_proto(counts: tuple[tuple[str, int], ...]) -> list[reason_pb2.PreemptionCount]:
    """From (PreemptionReason value, number of jobs)."""
    return [
        reason_pb2.PreemptionCount(reason=PREEMPTION_REASONS.number(PreemptionReason(reason)), jobs=jobs)
        for reason, jobs in counts
    ]


def preemption_count_from_proto(message: reason_pb2.PreemptionCount, where: str) -> tuple[str, int]:
    """To (PreemptionReason value, number of jobs)."""
    return PREEMPTION_REASONS.member(message.reason, f"{where}.reason").value, message.jobs


def pending_counts_to_proto(counts: tuple[tuple[str, int], ...]) -> list[reason_pb2.PendingCount]:
    """From (PendingCause value, number of jobs)."""
    return [
        reason_pb2.PendingCount(cause=PENDING_CAUSES.number(PendingCause(cause)), jobs=jobs) for cause, jobs in counts
    ]


def pending_count_from_proto(message: reason_pb2.PendingCount, where: str) -> tuple[str, int]:
    """To (PendingCause value, number of jobs)."""
    return PENDING_CAUSES.member(message.cause, f"{where}.cause").value, message.jobs
