"""All live facts in memory, as far as they are durable, indexed for what commands and rounds ask.

Changes arrive only as an `Overlay` (see `allocator.store.overlay`), merged whole. Nothing here locks:
`allocator.store.image` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.job import Job, JobState, revised
from allocator.domain.placement import DesiredReplica
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory, Since, Snapshot
from allocator.intake.ports import Receipt
from allocator.placement.verify import NodeUsage
from allocator.rounds.report import RoundSummary
from allocator.store.feed import ChangeFeed

if TYPE_CHECKING:
    from allocator.store.overlay import Overlay


@dataclass(frozen=True, slots=True)
class Position:
    """How far the facts have come. `recorded` and `committed` are round numbers, 0 before the first."""

    revision: int = 0
    next_sequence: int = 1
    recorded: int = 0
    committed: int = 0


class Seen(NamedTuple):
    """What of the live jobs rounds see, and what they do not; true from `since` to `until` if nothing changes."""

    jobs: tuple[Job, ...]
    held: tuple[Job, ...]
    late: frozenset[str] = frozenset()
    """Ids of those of `held` that wait for a time."""
    since: float = -math.inf
    until: float = math.inf


class Archive(Protocol):
    """Where facts are that no round looks at."""

    def job(self, job_id: str) -> Job | None:
        """A final job."""
        ...

    def receipt(self, request_id: str) -> Receipt | None: ...


class State:
    """The durable live facts.

    `jobs` holds pending and running jobs in the order of their sequence; a job is the same object until it changes.
    Those that are held (`Job.is_held`) are beside them, too, so that a snapshot need not look at every job: in
    `awaiting` those that wait for others, in `delayed` those that wait for a time, also once it has passed. `waiters`
    has, by job id, the ids of those that wait for the job.

    Shortages change every round for most jobs that wait: the newest numbers for an unchanged cause are beside the jobs,
    in `fresh` by job id, and whoever shows a job to people asks `shown`. `unpushed` names the nodes whose desired state
    changed since the last commit, `replaced` the jobs through which it did, and `told` has what nodes were told then.
    """

    def __init__(self, archive: Archive, feed: ChangeFeed) -> None:
        self.archive = archive
        self.feed = feed
        self.position = Position()
        self.queues: dict[str, Queue] = {}
        self.nodes: dict[str, Node] = {}
        self.jobs: dict[str, Job] = {}
        self.estimates: dict[EstimateName, Estimate] = {}
        self.applied: AppliedPolicy | None = None
        self.awaiting: dict[str, Job] = {}
        self.delayed: dict[str, float] = {}
        self.waiters: dict[str, set[str]] = {}
        self.fresh: dict[str, PendingReason] = {}
        self.placed: dict[str, set[str]] = {}
        """Node name to the ids of the jobs that have a replica there."""
        self.used: dict[str, NodeUsage] = {}
        """Node name to what running jobs hold there."""
        self.limited: dict[str, set[str]] = {}
        """Node name to the ids of the jobs there that limit how many replicas may be together."""
        self.counts: dict[str, list[int]] = {}
        """Queue name to [pending, running]."""
        self.children: dict[str, set[str]] = {}
        """Queue name to the names of the queues directly below."""
        self.unpushed: set[str] = set()
        self.replaced: set[str] = set()
        self.told: dict[str, tuple[DesiredReplica, ...]] = {}
        self.lease_seconds = 0.0
        """The longest lease that any agent may hold; 0 if none was promised yet."""
        self.memory = Memory()
        self.latest_round: RoundSummary | None = None
        self._queue_tuple: tuple[Queue, ...] | None = None
        self._node_tuple: tuple[Node, ...] | None = None
        self._job_tuple: tuple[Job, ...] | None = None
        self._seen: Seen | None = None
        self._last: Seen = Seen((), ())
        self._changed: dict[str, Job] = {}
        """Jobs that changed since `_last`."""
        self._since: Since | None = None
        self._estimate_tuple: tuple[Estimate, ...] | None = None

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

    def all_estimates(self) -> tuple[Estimate, ...]:
        """By name."""
        if self._estimate_tuple is None:
            self._estimate_tuple = tuple(self.estimates[name] for name in sorted(self.estimates))
        return self._estimate_tuple

    def live_jobs(self) -> tuple[Job, ...]:
        """By sequence."""
        if self._job_tuple is None:
            self._job_tuple = tuple(self.jobs.values())
        return self._job_tuple

    def _seen_at(self, now: float) -> Seen:
        """Which live jobs rounds see at `now`."""
        seen = self._seen
        if seen is None or not seen.since <= now < seen.until:
            seen = self._look(now)
            changed = self._changed
            for job_id in seen.late ^ self._last.late:
                if job_id in self.jobs:
                    changed[job_id] = self.jobs[job_id]
            self._since = Since(self._last.jobs, tuple(changed.values()))
            self._seen = self._last = seen
            self._changed = {}
        return seen

    def _look(self, now: float) -> Seen:
        late = frozenset(job_id for job_id, time in self.delayed.items() if now < time)
        jobs = self.live_jobs()
        held: tuple[Job, ...] = ()
        if late or self.awaiting:
            hidden = self.awaiting.keys() | late if late else self.awaiting
            jobs = tuple([job for job in jobs if job.id not in hidden])
            held = by_sequence([*self.awaiting.values(), *(self.jobs[job_id] for job_id in late)])
        times = self.delayed.values()
        return Seen(
            jobs,
            held,
            late,
            max((time for time in times if time <= now), default=-math.inf),
            min((time for time in times if now < time), default=math.inf),
        )

    def snapshot(self, now: float) -> Snapshot:
        """Everything a round looks at; shares all objects with this state."""
        seen = self._seen_at(now)
        return Snapshot.of_sorted(
            revision=self.position.revision,
            round=self.position.recorded + 1,
            time=now,
            queues=self.all_queues(),
            nodes=self.all_nodes(),
            jobs=seen.jobs,
            estimates=self.all_estimates(),
            applied=self.applied,
            since=self._since,
            held=seen.held,
            next_sequence=self.position.next_sequence,
        )

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        """Running jobs with a replica on `node`, by sequence."""
        return by_sequence(self.jobs[job_id] for job_id in self.placed.get(node, ()))

    def shown(self, job: Job) -> Job:
        """The job with the newest numbers of its reason to wait; a version that is not the newest stays as it is."""
        fresh = self.fresh.get(job.id)
        return job if fresh is None or self.jobs.get(job.id) is not job else revised(job, pending_reason=fresh)

    def merge(self, overlay: Overlay) -> None:
        """Make an overlay's changes part of the state: they are durable now."""
        self.position = overlay.position
        if overlay.queues:
            _update(self.queues, overlay.queues)
            _update(self.children, {name: names or None for name, names in overlay.children.items()})
            self._queue_tuple = None
        if overlay.nodes:
            _update(self.nodes, overlay.nodes)
            self._node_tuple = None
        if overlay.jobs:
            self._merge_jobs(overlay)
            self._job_tuple = self._seen = None
        if overlay.estimates:
            _update(self.estimates, overlay.estimates)
            self._estimate_tuple = None
        if overlay.policies:
            self.applied = overlay.policies[-1]
        if overlay.fresh:
            _update(self.fresh, overlay.fresh)
        if overlay.pushed:
            self.unpushed, self.replaced = overlay.unpushed, overlay.replaced
        else:
            self.unpushed |= overlay.unpushed
            self.replaced |= overlay.replaced
        if overlay.told:
            _update(self.told, overlay.told)
        if overlay.lease_seconds is not None:
            self.lease_seconds = overlay.lease_seconds
        if overlay.round is not None:
            self.latest_round, self.memory = overlay.round

    def _merge_jobs(self, overlay: Overlay) -> None:
        for job in overlay.jobs.values():
            if job.state in LIVE:
                self.jobs[job.id] = job
            else:
                self.jobs.pop(job.id, None)
            self._hold(job)
        self._changed.update(overlay.jobs)
        _update(self.waiters, {job_id: waiting or None for job_id, waiting in overlay.waiters.items()})
        _update(self.placed, {node: names or None for node, names in overlay.placed.items()})
        self.used.update(overlay.used)
        _update(self.used, {node: None for node, names in overlay.placed.items() if not names})
        _update(self.limited, {node: names or None for node, names in overlay.limited.items()})
        _update(self.counts, {queue: count if any(count) else None for queue, count in overlay.counts.items()})
        self.feed.append(overlay.jobs.values())

    def _hold(self, job: Job) -> None:
        """Put it beside the others if rounds do not see it, or not always."""
        waits = job.state is JobState.PENDING
        if waits and job.waits_for:
            self.awaiting[job.id] = job
        elif self.awaiting:
            self.awaiting.pop(job.id, None)
        if waits and job.not_before is not None and not job.waits_for:
            self.delayed[job.id] = job.not_before
        elif self.delayed:
            self.delayed.pop(job.id, None)


LIVE: frozenset[JobState] = frozenset(state for state in JobState if not state.is_final)


def by_sequence(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Sorted by order of admission."""
    return tuple(sorted(jobs, key=_sequence))


_sequence = attrgetter("sequence")


def _update(below: dict[Any, Any], above: Mapping[Any, Any]) -> None:
    """Set what is above; None removes."""
    for key, value in above.items():
        if value is None:
            below.pop(key, None)
        else:
            below[key] = value
