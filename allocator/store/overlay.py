"""A layer over the live facts in which a batch of changes waits until it is durable.

Commands of the batch see each other's effects through it; nobody else sees any of them. Afterwards it is merged whole
into the `State`, or, if the batch could not be made durable, thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, TypeVar

from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory
from allocator.intake.ports import ChangeSet, Receipt
from allocator.rounds.report import RoundSummary
from allocator.store.state import LIVE, State, by_sequence

Copied = TypeVar("Copied", bound=Collection[Any])


class Overlay:
    """Implements `intake.ports.Facts` and `rounds.commit.CommitFacts` for one batch.

    `jobs` holds the newest version of every job that changed, live or final, and `refreshed` those that only got fresh
    numbers in their pending reason, which need not become durable. None in `queues` and `nodes` means deleted. `round`
    is what was recorded, if anything was.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.position = state.position
        self.queues: dict[str, Queue | None] = {}
        self.nodes: dict[str, Node | None] = {}
        self.jobs: dict[str, Job] = {}
        self.refreshed: dict[str, Job] = {}
        self.receipts: dict[str, Receipt] = {}
        self.placed: Shadow[set[str]] = Shadow(state.placed, set)
        self.counts: Shadow[list[int]] = Shadow(state.counts, _two_counts)
        self.children: Shadow[set[str]] = Shadow(state.children, set)
        self.unpushed: set[str] = set()
        self.pushed = False
        self.round: tuple[RoundSummary, Memory] | None = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to make durable."""
        return self.position != self.state.position or bool(self.receipts) or self.round is not None

    # --- facts ---

    @property
    def revision(self) -> int:
        return self.position.revision

    def queue(self, name: str) -> Queue | None:
        return self.queues[name] if name in self.queues else self.state.queues.get(name)

    def child_queues(self, name: str) -> tuple[Queue, ...]:
        names = self.children.look(name)
        if not names:
            return ()
        return tuple(queue for queue in map(self.queue, sorted(names)) if queue is not None)

    def live_job_count(self, queue: str) -> int:
        return sum(self.counts.look(queue))

    def node(self, name: str) -> Node | None:
        return self.nodes[name] if name in self.nodes else self.state.nodes.get(name)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        return by_sequence(self.jobs.get(job_id) or self.state.jobs[job_id] for job_id in self.placed.look(node))

    def job(self, job_id: str) -> Job | None:
        return self._known_job(job_id) or self.state.archive.job(job_id)

    def receipt(self, request_id: str) -> Receipt | None:
        return self.receipts.get(request_id) or self.state.archive.receipt(request_id)

    def next_sequence(self) -> int:
        return self.position.next_sequence

    # --- changes ---

    def absorb(self, changes: ChangeSet) -> None:
        """Take over the effects of one command. If any fact is another one afterwards, they make one new revision."""
        for receipt in changes.receipts:
            self.receipts[receipt.request_id] = receipt
        revision = self.revision + 1
        next_sequence = self.position.next_sequence
        effects = 0
        for job in sorted(changes.jobs, key=lambda job: job.sequence):
            if job != self._known_job(job.id):
                self._put_job(stamp(job, revision))
                next_sequence = max(next_sequence, job.sequence + 1)
                effects += 1
        for queue in changes.queues:
            if queue != self.queue(queue.name):
                self._put_queue(queue)
                effects += 1
        for node in changes.nodes:
            known = self.node(node.name)
            if node != known:
                if known is None or known.health is not node.health:
                    self.unpushed.add(node.name)  # its agent may be running what was decided before it went
                self.nodes[node.name] = node
                effects += 1
        effects += sum(map(self._drop_queue, changes.deleted_queues)) + sum(map(self._drop_node, changes.deleted_nodes))
        if effects:
            self.position = replace(self.position, revision=revision, next_sequence=next_sequence)

    def restore(self, queues: Iterable[Queue], nodes: Iterable[Node], jobs: Iterable[Job]) -> None:
        """Take over facts as they were durable, without making a revision; `jobs` are live and by sequence.

        Every node counts as not pushed: nobody knows what reached its agent before the restart.
        """
        for queue in queues:
            self._put_queue(queue)
        self.nodes.update({node.name: node for node in nodes})
        for job in jobs:
            self._put_job(job)
        self.unpushed.update(self.nodes)

    def refresh(self, job_id: str, reason: PendingReason) -> None:
        """Give a waiting job fresh numbers for the same cause."""
        job = self._known_job(job_id)
        if job is not None and job.state is JobState.PENDING:
            fresh = _with(job, _REASON, reason)
            (self.jobs if job_id in self.jobs else self.refreshed)[job_id] = fresh

    def take_unpushed(self) -> list[str]:
        """Nodes whose desired state changed since this was last asked, sorted; from now on none."""
        names = self.unpushed if self.pushed else self.state.unpushed | self.unpushed
        self.unpushed = set()
        self.pushed = True
        return sorted(names)

    def stamped(self, answer: Any) -> Any:
        """A command's answer, its jobs carrying the revision that the command made."""
        if isinstance(answer, Job):
            return self.jobs.get(answer.id, answer)
        if isinstance(answer, tuple):
            return tuple(self.jobs.get(item.id, item) if isinstance(item, Job) else item for item in answer)
        return answer

    def _known_job(self, job_id: str) -> Job | None:
        """Without asking the archive."""
        return self.jobs.get(job_id) or self.refreshed.get(job_id) or self.state.jobs.get(job_id)

    def _put_job(self, job: Job) -> None:
        before = self._known_job(job.id)
        self.jobs[job.id] = job
        if before is not None and before.state in LIVE:
            self.counts[before.spec.queue][before.state is JobState.RUNNING] -= 1
        if job.state in LIVE:
            self.counts[job.spec.queue][job.state is JobState.RUNNING] += 1
        allocation = None if before is None else before.allocation
        if allocation is job.allocation:
            return
        if allocation is not None and job.allocation is not None and allocation.placement is job.allocation.placement:
            ended = job.allocation.finished - allocation.finished
            self.unpushed.update(job.allocation.placement.replicas[index].node for index in ended)
            return
        if allocation is not None:
            for name in allocation.placement.nodes:
                self.placed[name].discard(job.id)
                self.unpushed.add(name)
        if job.allocation is not None:
            for name in job.allocation.placement.nodes:
                self.placed[name].add(job.id)
                self.unpushed.add(name)

    def _put_queue(self, queue: Queue) -> None:
        self.queues[queue.name] = queue
        if queue.parent is not None:
            self.children[queue.parent].add(queue.name)

    def _drop_queue(self, name: str) -> bool:
        queue = self.queue(name)
        if queue is None:
            return False
        self.queues[name] = None
        if queue.parent is not None:
            self.children[queue.parent].discard(name)
        return True

    def _drop_node(self, name: str) -> bool:
        known = self.node(name) is not None
        if known:
            self.nodes[name] = None
            self.unpushed.add(name)  # an agent that still watches is told to stop everything
        return known


class Shadow(dict[str, Copied]):
    """Entries of a dictionary below, each copied at its first touch: changing one changes nothing below."""

    def __init__(self, below: Mapping[str, Copied], copy: Callable[[Iterable[Any]], Copied]) -> None:
        super().__init__()
        self._below = below
        self._copy = copy

    def __missing__(self, key: str) -> Copied:
        value = self[key] = self._copy(self._below.get(key, ()))
        return value

    def look(self, key: str) -> Copied | tuple[()]:
        """The entry, for reading only."""
        value = self.get(key)
        return self._below.get(key, ()) if value is None else value


def _two_counts(counts: Iterable[int]) -> list[int]:
    return list(counts) or [0, 0]


_FIELDS = tuple(field.name for field in fields(Job))
_REVISION, _REASON = _FIELDS.index("revision"), _FIELDS.index("pending_reason")
_values = attrgetter(*_FIELDS)


def _with(job: Job, field: int, value: Any) -> Job:
    """`replace` with one field by its index, in a third of the time: this runs for every job that changes."""
    values = list(_values(job))
    values[field] = value
    return Job(*values)


def stamp(job: Job, revision: int) -> Job:
    """The same job, changed at `revision`."""
    return _with(job, _REVISION, revision)
