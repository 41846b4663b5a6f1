"""All live facts in memory, and a layer over them in which changes wait until they are durable.

`State` is what is durable; whoever takes a snapshot sees only this. An `Overlay` is made for each batch of changes:
commands of the batch see each other's effects through it, and it either is merged whole, after the transaction, or is
thrown away. Neither locks: `allocator.store.image` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobState
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.ports import ChangeSet, Receipt
from allocator.rounds.report import RoundSummary
from allocator.store.feed import ChangeFeed

Copied = TypeVar("Copied", set[str], list[int])


@dataclass(frozen=True, slots=True)
class Position:
    """How far the facts have come. `recorded` and `committed` are round numbers, 0 before the first."""

    revision: int = 0
    next_sequence: int = 1
    recorded: int = 0
    committed: int = 0


class Archive(Protocol):
    """Where facts are that no round looks at."""

    def job(self, job_id: str) -> Job | None:
        """A final job."""
        ...

    def receipt(self, request_id: str) -> Receipt | None: ...


class State:
    """The durable live facts, indexed for the questions that commands and rounds ask.

    `jobs` holds pending and running jobs in the order of their sequence. `unpushed` names the nodes whose desired state
    changed since the last commit.
    """

    def __init__(self, archive: Archive, feed: ChangeFeed) -> None:
        self.archive = archive
        self.feed = feed
        self.position = Position()
        self.queues: dict[str, Queue] = {}
        self.nodes: dict[str, Node] = {}
        self.jobs: dict[str, Job] = {}
        self.placed: dict[str, set[str]] = {}
        """Node name to the ids of the jobs that have a replica there."""
        self.counts: dict[str, list[int]] = {}
        """Queue name to [pending, running]."""
        self.children: dict[str, set[str]] = {}
        """Queue name to the names of the queues directly below."""
        self.unpushed: set[str] = set()
        self.memory = Memory()
        self.latest_round: RoundSummary | None = None
        self._queue_tuple: tuple[Queue, ...] | None = ()
        self._node_tuple: tuple[Node, ...] | None = ()
        self._job_tuple: tuple[Job, ...] | None = ()

    def all_queues(self) -> tuple[Queue, ...]:
        """By name."""
        if self._queue_tuple is None:
            self._queue_tuple = tuple(self.queues[name] for name in sorted(self.queues))
        return self._queue_tuple

    def all_nodes(self) -> tuple[Node, ...]:
        """By name."""
        if self._node_tuple is None:
            self._node_tuple = tuple(self.nodes[name] for name in sorted(self.nodes))
        return self._node_tuple

    def live_jobs(self) -> tuple[Job, ...]:
        """By sequence."""
        if self._job_tuple is None:
            self._job_tuple = tuple(self.jobs.values())
        return self._job_tuple

    def snapshot(self, now: float) -> Snapshot:
        """Everything a round looks at; shares all objects with this state."""
        return Snapshot(
            revision=self.position.revision,
            round=self.position.recorded + 1,
            time=now,
            queues=self.all_queues(),
            nodes=self.all_nodes(),
            jobs=self.live_jobs(),
        )

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        return _by_sequence(self.jobs[job_id] for job_id in self.placed.get(node, ()))

    def load(self, position: Position, queues: Iterable[Queue], nodes: Iterable[Node], jobs: Iterable[Job]) -> None:
        """Fill this empty state with what was durable; `jobs` are live and by sequence.

        Every node counts as not pushed: nobody knows what reached its agent before the restart.
        """
        overlay = Overlay(self)
        overlay.restore(queues, nodes, jobs)
        overlay.position = position
        overlay.unpushed = set(overlay.nodes)
        self.merge(overlay)

    def merge(self, overlay: Overlay) -> None:
        """Make an overlay's changes part of the state: they are durable now."""
        self.position = overlay.position
        if overlay.queues:
            _update(self.queues, overlay.queues)
            self._queue_tuple = None
        if overlay.nodes:
            _update(self.nodes, overlay.nodes)
            self._node_tuple = None
        if overlay.jobs:
            self._merge_jobs(overlay.jobs)
        for below, above in ((self.placed, overlay.placed), (self.children, overlay.children)):
            _update(below, {key: members or None for key, members in above.items()})
        _update(self.counts, {key: count if any(count) else None for key, count in overlay.counts.items()})
        self.unpushed = overlay.unpushed if overlay.pushed else self.unpushed | overlay.unpushed
        if overlay.round is not None:
            self.latest_round, self.memory = overlay.round

    def _merge_jobs(self, changed: Mapping[str, Job]) -> None:
        for job in changed.values():
            if job.state.is_final:
                self.jobs.pop(job.id, None)
            else:
                self.jobs[job.id] = job
        self._job_tuple = None
        self.feed.append(changed.values())


class Overlay:
    """Facts of a batch that is not durable yet, over those of a `State` (implements Facts and CommitFacts).

    A value None in `queues` and `nodes` means deleted. `jobs` holds the newest version of every job that changed, live
    or final. `round` is what was recorded, if anything was.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.position = state.position
        self.queues: dict[str, Queue | None] = {}
        self.nodes: dict[str, Node | None] = {}
        self.jobs: dict[str, Job] = {}
        self.receipts: dict[str, Receipt] = {}
        self.placed: _Shadow[set[str]] = _Shadow(state.placed, set)
        self.counts: _Shadow[list[int]] = _Shadow(state.counts, _zeros)
        self.children: _Shadow[set[str]] = _Shadow(state.children, set)
        self.unpushed: set[str] = set()
        self.pushed = False
        self.round: tuple[RoundSummary, Memory] | None = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to make durable."""
        return self.position != self.state.position or bool(self.receipts) or self.round is not None

    @property
    def revision(self) -> int:
        return self.position.revision

    def queue(self, name: str) -> Queue | None:
        return self.queues[name] if name in self.queues else self.state.queues.get(name)

    def child_queues(self, name: str) -> tuple[Queue, ...]:
        found = (self.queue(child) for child in sorted(self.children.look(name)))
        return tuple(queue for queue in found if queue is not None)

    def live_job_count(self, queue: str) -> int:
        return sum(self.counts.look(queue))

    def node(self, name: str) -> Node | None:
        return self.nodes[name] if name in self.nodes else self.state.nodes.get(name)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        return _by_sequence(
            self.jobs.get(job_id) or self.state.jobs[job_id] for job_id in self.placed.look(node)
        )

    def live_job(self, job_id: str) -> Job | None:
        """The job, if it is pending or running."""
        job = self.jobs.get(job_id)
        if job is None:
            return self.state.jobs.get(job_id)
        return None if job.state.is_final else job

    def job(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id) or self.state.jobs.get(job_id) or self.state.archive.job(job_id)

    def receipt(self, request_id: str) -> Receipt | None:
        return self.receipts.get(request_id) or self.state.archive.receipt(request_id)

    def next_sequence(self) -> int:
        return self.position.next_sequence

    def absorb(self, changes: ChangeSet) -> None:
        """Take over the effects of one command; if a fact changed, they make one new revision."""
        for receipt in changes.receipts:
            self.receipts[receipt.request_id] = receipt
        if not (changes.jobs or changes.queues or changes.deleted_queues or changes.nodes or changes.deleted_nodes):
            return
        revision = self.revision + 1
        next_sequence = self.position.next_sequence
        for job in sorted(changes.jobs, key=_sequence):
            self._put_job(replace(job, revision=revision))
            next_sequence = max(next_sequence, job.sequence + 1)
        for queue in changes.queues:
            self._put_queue(queue)
        for name in changes.deleted_queues:
            self._drop_queue(name)
        self.nodes.update({node.name: node for node in changes.nodes})
        self.nodes.update(dict.fromkeys(changes.deleted_nodes))
        self.position = replace(self.position, revision=revision, next_sequence=next_sequence)

    def restore(self, queues: Iterable[Queue], nodes: Iterable[Node], jobs: Iterable[Job]) -> None:
        """Take over facts as they are, without making a revision."""
        for queue in queues:
            self._put_queue(queue)
        self.nodes.update({node.name: node for node in nodes})
        for job in jobs:
            self._put_job(job)

    def take_unpushed(self) -> set[str]:
        """Nodes whose desired state changed since this was last asked; from now on none."""
        names = self.unpushed if self.pushed else self.state.unpushed | self.unpushed
        self.unpushed = set()
        self.pushed = True
        return {name for name in names if self.node(name) is not None}

    def stamped(self, answer: Any) -> Any:
        """A command's answer, its jobs carrying the revision that the command made."""
        if isinstance(answer, Job):
            return self.jobs.get(answer.id, answer)
        if isinstance(answer, tuple):
            return tuple(self.jobs.get(item.id, item) if isinstance(item, Job) else item for item in answer)
        return answer

    def _put_job(self, job: Job) -> None:
        before = self.live_job(job.id)
        self.jobs[job.id] = job
        if before is not None:
            self.counts[before.spec.queue][before.state is JobState.RUNNING] -= 1
        if not job.state.is_final:
            self.counts[job.spec.queue][job.state is JobState.RUNNING] += 1
        old = None if before is None else before.allocation
        if old is job.allocation:
            return
        if old is not None:
            for name in old.placement.nodes:
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

    def _drop_queue(self, name: str) -> None:
        queue = self.queue(name)
        self.queues[name] = None
        if queue is not None and queue.parent is not None:
            self.children[queue.parent].discard(name)


class _Shadow(dict[str, Copied]):
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
        return self.get(key) or self._below.get(key, ()) if key not in self else self[key]


def _zeros(counts: Iterable[int]) -> list[int]:
    return list(counts) or [0, 0]


def _update(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Set what is above; None removes."""
    for key, value in above.items():
        if value is None:
            below.pop(key, None)
        else:
            below[key] = value


def _sequence(job: Job) -> int:
    return job.sequence


def _by_sequence(jobs: Iterable[Job]) -> tuple[Job, ...]:
    return tuple(sorted(jobs, key=_sequence))
