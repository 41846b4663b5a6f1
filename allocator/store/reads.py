"""What can be asked of a store: live facts from memory, history from wherever the store keeps it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.queue import Queue
from allocator.rounds.report import RoundSummary
from allocator.store.image import Image
from allocator.store.state import LIVE


class Reads(Protocol):
    """The read side of a store, for rpc and the CLI. Every method may be called from any thread.

    Answers show only what is durable, and at least everything that was acknowledged before the call. What does not
    exist raises NotFound; a database that cannot be reached, StoreUnavailable.
    """

    def get_job(self, job_id: str) -> Job:
        """Live or final."""
        ...

    def live_job(self, job_id: str) -> Job | None:
        """From memory; None if it has ended, or there never was one."""
        ...

    def list_jobs(
        self, queue: str | None = None, states: Collection[JobState] = (), after_sequence: int = 0, limit: int = 1000
    ) -> tuple[Job, ...]:
        """The first `limit` jobs with a sequence above `after_sequence`, by sequence.

        `queue`: only those of exactly this queue, which may have been deleted since. `states`: only those in one of
        these; none given means any.
        """
        ...

    def jobs_changed_since(self, cursor: tuple[int, int], limit: int = 1000) -> tuple[Job, ...]:
        """The first `limit` jobs whose last change lies behind `cursor`, in the order of their last change.

        Continue with `Cursor.of(last one)`. Start with `Cursor()` for every job there is, or with
        `Cursor.after(revision)` for what happens from then on. Intermediate versions may be left out, the newest one
        never is.
        """
        ...

    def current_revision(self) -> int:
        """Grows by one with every command or commit that changed a fact."""
        ...

    def subscribe(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener(revision)` after each durable change, from the writer's thread: it must be quick.

        Returns a function that ends this.
        """
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

    def get_round(self, number: int) -> RoundSummary: ...

    def list_rounds(self, before: int | None = None, limit: int = 100) -> tuple[RoundSummary, ...]:
        """The newest `limit` rounds with a number below `before`, newest first."""
        ...

    def latest_round(self) -> RoundSummary | None:
        """The last one recorded."""
        ...

    def applied_policy(self) -> AppliedPolicy | None:
        """The one in force; None if none was applied yet."""
        ...

    def get_policy(self, version: int) -> AppliedPolicy:
        """One that was applied, perhaps long ago."""
        ...

    def list_policies(self, limit: int = 100) -> tuple[AppliedPolicy, ...]:
        """The newest `limit` that were applied, newest first."""
        ...


class LiveReads:
    """The methods of `Reads` that are answered from the image alone, whatever the store."""

    _image: Image

    def live_job(self, job_id: str) -> Job | None:
        return self._image.live_job(job_id)

    def current_revision(self) -> int:
        return self._image.current_revision()

    def subscribe(self, listener: Callable[[int], None]) -> Callable[[], None]:
        return self._image.subscribe(listener)

    def queues(self) -> tuple[Queue, ...]:
        return self._image.queues()

    def get_queue(self, name: str) -> Queue:
        return self._image.get_queue(name)

    def queue_counts(self) -> dict[str, tuple[int, int]]:
        return self._image.queue_counts()

    def nodes(self) -> tuple[Node, ...]:
        return self._image.nodes()

    def get_node(self, name: str) -> Node:
        return self._image.get_node(name)

    def desired(self, node: str) -> NodeDesired:
        return self._image.desired(node)

    def latest_round(self) -> RoundSummary | None:
        return self._image.latest_round()

    def applied_policy(self) -> AppliedPolicy | None:
        return self._image.applied_policy()


def only_live(states: Collection[JobState]) -> bool:
    """Whether the image alone can answer for these states."""
    return bool(states) and LIVE.issuperset(states)
