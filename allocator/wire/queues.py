"""Queues, with how many jobs are in them."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.queue import Queue
from allocator.v1 import queue_pb2


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
    )


def queue_from_proto(message: queue_pb2.Queue) -> Queue:
    """Absent weight is 1. Its values are not judged."""
    return Queue(
        message.name,
        message.weight if message.HasField("weight") else 1.0,
        message.cordoned,
        message.max_live_jobs if message.HasField("max_live_jobs") else None,
    )


def queue_counts_from_proto(message: queue_pb2.Queue) -> QueueCounts:
    return QueueCounts(message.pending_jobs, message.running_jobs)
