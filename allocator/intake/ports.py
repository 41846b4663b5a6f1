"""What intake needs from a store, and what a store gets from intake."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.job import Job
from allocator.domain.queue import Queue
from allocator.intake.commands import Command


@dataclass(frozen=True, slots=True)
class Receipt:
    """Remembers a request id, a `digest` of its body, and what was answered per item; made and read by `receipts`."""

    request_id: str
    digest: str
    time: float
    answers: tuple[tuple[str, str], ...]
    """("job", id), or (error class name, its arguments as JSON)"""


class Facts(Protocol):
    """The facts as the writer sees them: committed ones under those of this batch."""

    def queue(self, name: str) -> Queue | None: ...

    def child_queues(self, name: str) -> tuple[Queue, ...]:
        """Queues directly below `name`."""
        ...

    def all_queues(self) -> tuple[Queue, ...]:
        """By name."""
        ...

    def live_job_count(self, queue: str) -> int:
        """Pending and running jobs of exactly this queue."""
        ...

    def live_jobs_by_class(self) -> Mapping[str, int]:
        """Pending and running jobs by priority class; every one of them is looked at."""
        ...

    def applied_policy(self) -> AppliedPolicy | None:
        """The one that was applied last."""
        ...

    def node(self, name: str) -> Node | None: ...

    def all_nodes(self) -> tuple[Node, ...]:
        """By name; the very same object until a node changes."""
        ...

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        ...

    def job(self, job_id: str) -> Job | None:
        """Live or final."""
        ...

    def jobs_waiting_for(self, job_id: str) -> tuple[Job, ...]:
        """Jobs that have this one among `waits_for`, by sequence."""
        ...

    def receipt(self, request_id: str) -> Receipt | None: ...

    def next_sequence(self) -> int:
        """The sequence number of the next job to be admitted."""
        ...

    def estimate(self, name: EstimateName) -> Estimate | None:
        """What is known of a configuration of a class of jobs."""
        ...

    def all_estimates(self) -> tuple[Estimate, ...]:
        """By name; the very same object until one changes."""
        ...


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """New versions of records, whole. The store stamps `Job.revision`. Order within a field does not matter."""

    jobs: tuple[Job, ...] = ()
    queues: tuple[Queue, ...] = ()
    deleted_queues: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()
    deleted_nodes: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    forgotten_estimates: tuple[EstimateName, ...] = ()
    policy: AppliedPolicy | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command's answer (see each command) and what changes with it."""

    answer: Any
    changes: ChangeSet = field(default_factory=ChangeSet)


class Ledger(Protocol):
    """The write side of a store, for rpc, the daemon and the simulated world."""

    def execute(self, command: Command, now: float) -> Future[Any]:
        """Apply `command` through `allocator.intake.apply.apply`; commands take effect in the order of the calls.

        The future holds the command's answer once it is durable, or the AllocatorError that refused it.
        """
        ...
