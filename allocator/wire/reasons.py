"""Why jobs wait and why they were stopped."""

from __future__ import annotations

from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.v1 import reason_pb2
from allocator.wire.fields import Enumeration, clamped

PENDING_CAUSES = Enumeration(PendingCause, reason_pb2.PendingCause, "PENDING_CAUSE")
PREEMPTION_REASONS = Enumeration(PreemptionReason, reason_pb2.PreemptionReason, "PREEMPTION_REASON")


def pending_reason_to_proto(reason: PendingReason) -> reason_pb2.PendingReason:
    return reason_pb2.PendingReason(
        cause=PENDING_CAUSES.number(reason.cause),
        shortages=[
            reason_pb2.Shortage(flavor=s.flavor, resource=s.resource, missing=clamped(s.missing))
            for s in reason.shortages
        ],
    )


def pending_reason_from_proto(message: reason_pb2.PendingReason, where: str) -> PendingReason:
    return PendingReason(
        PENDING_CAUSES.member(message.cause, f"{where}.cause"),
        tuple(Shortage(s.flavor, s.resource, s.missing) for s in message.shortages),
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
