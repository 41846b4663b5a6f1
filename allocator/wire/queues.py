"""Queues with their quotas, and with how many jobs are in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from allocator.domain.errors import InvalidInput
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import MOST_QUOTAS, Quota
from allocator.v1 import queue_pb2
from allocator.wire.fields import Enumeration

_DISCIPLINES = Enumeration(Discipline, queue_pb2.Discipline, "DISCIPLINE")


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Jobs of a queue and of the queues below it that wait and that run."""

    pending: int = 0
    running: int = 0


def queue_to_proto(queue: Queue, counts: QueueCounts = QueueCounts()) -> queue_pb2.Queue:
    return queue_pb2.Queue(
        name=queue.name,
        weight=queue.weight,
        cordoned=queue.cordoned,
        max_live_jobs=queue.max_live_jobs,
        pending_jobs=counts.pending,
        running_jobs=counts.running,
        priority=queue.priority,
        quotas=quotas_to_proto(queue.quotas),
        discipline=discipline_to_proto(queue.discipline),
    )


def queue_from_proto(message: queue_pb2.Queue) -> Queue:
    """Absent weight is 1, an unspecified discipline is fair. Its values are not judged.

    Raises InvalidInput for more quotas than a queue may have, and for a discipline of another version of the API.
    """
    return Queue(
        message.name,
        message.weight if message.HasField("weight") else 1.0,
        message.cordoned,
        message.max_live_jobs if message.HasField("max_live_jobs") else None,
        message.priority,
        quotas_from_proto(message.quotas),
        discipline_from_proto(message.discipline) or Discipline.FAIR,
    )


def queue_counts_from_proto(message: queue_pb2.Queue) -> QueueCounts:
    return QueueCounts(message.pending_jobs, message.running_jobs)


def quotas_to_proto(quotas: Iterable[Quota]) -> list[queue_pb2.Quota]:
    return [
        queue_pb2.Quota(
            flavor=quota.flavor,
            resource=quota.resource,
            nominal=quota.nominal,
            borrowing_limit=quota.borrowing_limit,
            lending_limit=quota.lending_limit,
        )
        for quota in quotas
    ]


def quotas_from_proto(messages: Sequence[queue_pb2.Quota], field: str = "quotas") -> tuple[Quota, ...]:
    """In the order in which they were sent, not judged. Raises InvalidInput if there are too many."""
    if len(messages) > MOST_QUOTAS:
        raise InvalidInput.of(field, f"must be at most {MOST_QUOTAS}, got {len(messages)}")
    return tuple(
        Quota(
            message.flavor,
            message.resource,
            message.nominal,
            message.borrowing_limit if message.HasField("borrowing_limit") else None,
            message.lending_limit if message.HasField("lending_limit") else None,
        )
        for message in messages
    )


def discipline_to_proto(discipline: Discipline | None) -> queue_pb2.Discipline.ValueType:
    return queue_pb2.DISCIPLINE_UNSPECIFIED if discipline is None else _DISCIPLINES.number(discipline)


def discipline_from_proto(number: queue_pb2.Discipline.ValueType, field: str = "discipline") -> Discipline | None:
    """None for UNSPECIFIED. Raises InvalidInput for a discipline of another version of the API."""
    return _DISCIPLINES.member(number, field) if number else None
