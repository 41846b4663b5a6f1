"""The live facts, shared: any thread may read them while one writer replaces them.

The lock is held for dictionary work only, never while something is being made durable.
"""

from __future__ import annotations

import bisect
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from operator import attrgetter

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.errors import NotFound
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Epoch, NodeDesired
from allocator.domain.queue import Queue
from allocator.domain.remembered import remembered
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.commit import desired_state
from allocator.rounds.report import RoundSummary
from allocator.store.feed import Cursor
from allocator.store.overlay import Overlay
from allocator.store.state import State

log = logging.getLogger(__name__)


@remembered
def _in_order_of_change(jobs: tuple[Job, ...]) -> list[Job]:
    return sorted(jobs, key=attrgetter("revision", "sequence"))


class Image:
    """A `State` behind a lock, with listeners. The live half of `allocator.store.reads.Reads`."""

    def __init__(self, state: State) -> None:
        self._lock = threading.Lock()
        self._state = state
        self._listeners: list[Callable[[int], None]] = []

    # --- writing, by one thread ---

    @property
    def state(self) -> State:
        """For the writer, which alone changes it and may read it without the lock."""
        return self._state

    def merge(self, overlay: Overlay) -> None:
        """Show what has become durable, and tell listeners if facts changed."""
        with self._lock:
            before = self._state.position.revision
            self._state.merge(overlay)
            revision = self._state.position.revision
        if revision != before:
            self._notify(revision)

    def replace(self, state: State) -> None:
        """Show other facts altogether."""
        with self._lock:
            self._state = state
        self._notify(state.position.revision)

    def _notify(self, revision: int) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(revision)
            except Exception:  # its own failure: the facts are durable already, and others listen too
                log.exception("a listener to changes failed at revision %d", revision)

    # --- reading, by any thread ---

    def subscribe(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Call `listener` with the new revision after each durable change, on the writer's thread: it must be quick.

        Returns a function that ends this.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def snapshot(self, now: float) -> Snapshot:
        with self._lock:
            return self._state.snapshot(now)

    def memory(self) -> Memory:
        return self._state.memory

    def applied_policy(self) -> AppliedPolicy | None:
        return self._state.applied

    def current_revision(self) -> int:
        return self._state.position.revision

    def latest_round(self) -> RoundSummary | None:
        return self._state.latest_round

    def live_job(self, job_id: str) -> Job | None:
        with self._lock:
            job = self._state.jobs.get(job_id)
            return None if job is None else self._state.shown(job)

    def live_jobs(
        self, queue: str | None, states: Collection[JobState], after_sequence: int, limit: int
    ) -> tuple[Job, ...]:
        """Pending and running jobs in one of `states`, by sequence."""
        with self._lock:
            jobs = self._state.live_jobs()
        found: list[Job] = []
        start = bisect.bisect_right(jobs, after_sequence, key=lambda job: job.sequence)
        for index in range(start, len(jobs)):
            job = jobs[index]
            if len(found) >= limit:
                break
            if job.state in states and (queue is None or job.spec.queue == queue):
                found.append(job)
        return self._shown(found)

    def recent_changes(self, cursor: tuple[int, int], limit: int) -> tuple[Job, ...] | None:
        """From the feed; None if it does not reach back that far."""
        with self._lock:
            found = self._state.feed.since(cursor, limit)
        return None if found is None else self._shown(found)

    def live_changes(self, cursor: tuple[int, int], limit: int) -> tuple[int, tuple[Job, ...]]:
        """The current revision, and the first `limit` live jobs whose last change lies behind `cursor`, in order."""
        with self._lock:
            revision, jobs = self._state.position.revision, self._state.live_jobs()
        in_order = _in_order_of_change(jobs)
        first = bisect.bisect_right(in_order, cursor, key=Cursor.of)
        return revision, self._shown(in_order[first : first + limit])

    def _shown(self, jobs: Iterable[Job]) -> tuple[Job, ...]:
        """With the newest numbers of their reasons to wait."""
        with self._lock:
            return tuple(map(self._state.shown, jobs))

    def queues(self) -> tuple[Queue, ...]:
        with self._lock:
            return self._state.all_queues()

    def get_queue(self, name: str) -> Queue:
        queue = self._state.queues.get(name)
        if queue is None:
            raise NotFound("queue", name)
        return queue

    def queue_counts(self) -> dict[str, tuple[int, int]]:
        with self._lock:
            counts = self._state.counts
            found = {name: counts.get(name, (0, 0)) for name in sorted(self._state.queues)}
            return {name: (pending, running) for name, (pending, running) in found.items()}

    def nodes(self) -> tuple[Node, ...]:
        with self._lock:
            return self._state.all_nodes()

    def find_node(self, name: str) -> Node | None:
        return self._state.nodes.get(name)

    def get_node(self, name: str) -> Node:
        node = self.find_node(name)
        if node is None:
            raise NotFound("node", name)
        return node

    def desired(self, node: str) -> NodeDesired:
        with self._lock:
            if node not in self._state.nodes:
                raise NotFound("node", node)
            jobs = self._state.jobs_on(node)
            position = self._state.position
        return desired_state(node, jobs, Epoch(position.committed, position.revision))
