"""What the services need from a store besides the ledger; declared here, by the consumer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.report import RoundSummary


class Reads(Protocol):
    """The read side of a store. Every method may be called from any thread.

    Answers show only what is durable, and at least everything that was acknowledged before the call. What does not
    exist raises NotFound. Those of the first group may ask a database, so they are called off the event loop; the
    others answer from memory.
    """

    def snapshot(self, now: float) -> Snapshot:
        """All live facts at one revision, from memory."""
        ...

    def memory(self) -> Memory:
        """What the last recorded round handed on, from memory."""
        ...

    def get_job(self, job_id: str) -> Job: ...

    def list_jobs(
        self, queue: str | None = None, states: Collection[JobState] = (), after_sequence: int = 0, limit: int = 1000
    ) -> tuple[Job, ...]:
        """The first `limit` jobs with a sequence above `after_sequence`, by sequence; of exactly `queue`."""
        ...

    def jobs_changed_since(self, cursor: tuple[int, int], limit: int = 1000) -> tuple[Job, ...]:
        """The first `limit` jobs whose last change, (revision, sequence), lies behind `cursor`, in that order."""
        ...

    def get_round(self, number: int) -> RoundSummary: ...

    def list_rounds(self, before: int | None = None, limit: int = 100) -> tuple[RoundSummary, ...]:
        """The newest `limit` rounds with a number below `before`, newest first."""
        ...

    def get_policy(self, version: int) -> AppliedPolicy: ...

    def list_policies(self, limit: int = 100) -> tuple[AppliedPolicy, ...]:
        """The newest `limit` that were applied, newest first."""
        ...

    def latest_round(self) -> RoundSummary | None: ...

    def current_revision(self) -> int: ...

    def subscribe(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(revision)` after each durable change, on the writer's thread. Returns what ends this."""
        ...

    def queues(self) -> tuple[Queue, ...]:
        """By name."""
        ...

    def get_queue(self, name: str) -> Queue: ...

    def queue_counts(self) -> dict[str, tuple[int, int]]:
        """(pending, running) jobs of exactly this queue, for every queue there is."""
        ...

    def nodes(self) -> tuple[Node, ...]:
        """By name."""
        ...

    def get_node(self, name: str) -> Node: ...

    def desired(self, node: str) -> NodeDesired:
        """What `node` shall run as of now; its epoch is never below that of anything pushed before."""
        ...
