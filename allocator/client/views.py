"""Answers that are more than one domain value: a queue with its job counts, a node's lease, the events of a watch."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.queue import Queue


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue and how many jobs wait and run in it now, those of the queues below it included."""

    queue: Queue
    pending_jobs: int
    running_jobs: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The node is lost `lease_seconds` after its last heartbeat; send one every `heartbeat_interval_seconds`."""

    lease_seconds: float
    heartbeat_interval_seconds: float


@dataclass(frozen=True, slots=True)
class Registration:
    """A node as the daemon now knows it, and what it must do to stay known as ready."""

    node: Node
    lease: Lease


@dataclass(frozen=True, slots=True)
class JobChange:
    """A job as it is now: part of the snapshot at first, afterwards because it has changed."""

    job: Job
    cursor: str


@dataclass(frozen=True, slots=True)
class EndOfSnapshot:
    """All that was true when the watch began has been told; what follows are changes."""

    cursor: str


JobEvent = JobChange | EndOfSnapshot
"""`cursor` resumes the watch right after this event, in this process or another."""
