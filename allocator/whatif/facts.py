"""A copy of a snapshot's facts that commands and plans may change: what a store is to the rounds, without a store.

It shares every object with the snapshot until that object changes, so a fork costs what is changed, and a round on it
knows everybody else again by identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import attrgetter

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.job import Job, JobState
from allocator.domain.placement import held
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.ports import ChangeSet, Receipt
from allocator.placement.verify import NodeUsage, replicas_by_node

_NOBODY: frozenset[str] = frozenset()


class ForkedFacts:
    """Implements `intake.ports.Facts` and `rounds.commit.CommitFacts`. Jobs that ended before the fork are not kept."""

    def __init__(
        self, snapshot: Snapshot, memory: Memory, find: Callable[[str], Job | None] = lambda _job_id: None
    ) -> None:
        """`find` gives jobs that had ended before, for those that come after them."""
        self._find = find
        self.revision = snapshot.revision
        self._queues = {queue.name: queue for queue in snapshot.queues}
        self._nodes = {node.name: node for node in snapshot.nodes}
        live = sorted((*snapshot.jobs, *snapshot.held), key=_sequence) if snapshot.held else snapshot.jobs
        self._jobs = {job.id: job for job in live}
        self._ended: dict[str, Job] = {}
        self._counts = Counter(job.spec.queue for job in live)
        last = [job.sequence for job in live[-1:]] + list(memory.sequences[-1:])
        # Also where nobody told the next number: a job that ended may still have credit under its own.
        self._next = max(snapshot.next_sequence, max(last, default=0) + 1)
        self._on_node: dict[str, set[str]] | None = None
        self._node_tuple = snapshot.nodes
        self._queue_tuple = snapshot.queues
        self._estimates = {estimate.name: estimate for estimate in snapshot.estimates}
        self._estimate_tuple = snapshot.estimates
        self._applied = snapshot.applied
        self._held = {job.id: job for job in snapshot.held}
        """Those that wait for others, or wait or waited for a time."""
        self._job_tuple: tuple[Job, ...] | None = snapshot.jobs if not snapshot.held else None

    # --- what commands and commits ask ---

    def queue(self, name: str) -> Queue | None:
        return self._queues.get(name)

    def child_queues(self, name: str) -> tuple[Queue, ...]:
        return tuple(queue for queue in self._queue_tuple if queue.parent == name)

    def all_queues(self) -> tuple[Queue, ...]:
        return self._queue_tuple

    def live_job_count(self, queue: str) -> int:
        return self._counts[queue]

    def live_jobs_by_class(self) -> Counter[str]:
        return Counter(job.spec.priority_class for job in self._jobs.values())

    def applied_policy(self) -> AppliedPolicy | None:
        return self._applied

    def node(self, name: str) -> Node | None:
        return self._nodes.get(name)

    def all_nodes(self) -> tuple[Node, ...]:
        return self._node_tuple

    def job(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id) or self._ended.get(job_id) or self._find(job_id)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        return tuple(sorted((self._jobs[name] for name in self._there(node)), key=_sequence))

    def usage(self, node: str) -> NodeUsage:
        usage = NodeUsage()
        for job in self.jobs_on(node):
            assert job.allocation is not None
            placement = job.allocation.placement
            demand = held(job.spec.configurations[placement.configuration].demand, placement.millis)
            for name, (count, devices) in replicas_by_node(job.allocation.standing).items():
                if name == node:
                    usage.add(demand, devices, count)
        return usage

    def is_limited(self, node: str) -> bool:
        return any(self._jobs[name].spec.constraints.at_most for name in self._there(node))

    def jobs_waiting_for(self, job_id: str) -> tuple[Job, ...]:
        return tuple(sorted((job for job in self._held.values() if job_id in job.waits_for), key=_sequence))

    def receipt(self, request_id: str) -> Receipt | None:  # noqa: ARG002 - nothing was ever answered here
        return None

    def next_sequence(self) -> int:
        return self._next

    def estimate(self, name: EstimateName) -> Estimate | None:
        return self._estimates.get(name)

    def all_estimates(self) -> tuple[Estimate, ...]:
        return self._estimate_tuple

    # --- changes ---

    def decide_by(self, policy: Policy) -> None:
        """The policy in force becomes another, if one was applied."""
        if self._applied is not None:
            self._applied = replace(self._applied, policy=policy)

    def absorb(self, changes: ChangeSet) -> None:
        """Take over what a command or a commit changes; receipts are not kept."""
        self.revision += 1
        for job in changes.jobs:
            self._put_job(job)
        if changes.queues or changes.deleted_queues:
            self._queues |= {queue.name: queue for queue in changes.queues}
            for name in changes.deleted_queues:
                self._queues.pop(name, None)
            self._queue_tuple = tuple(self._queues[name] for name in sorted(self._queues))
        if changes.nodes or changes.deleted_nodes:
            self._nodes |= {node.name: node for node in changes.nodes}
            for name in changes.deleted_nodes:
                self._nodes.pop(name, None)
            self._node_tuple = tuple(self._nodes[name] for name in sorted(self._nodes))
        if changes.estimates or changes.forgotten_estimates:
            self._estimates |= {estimate.name: estimate for estimate in changes.estimates}
            for forgotten in changes.forgotten_estimates:
                self._estimates.pop(forgotten, None)
            self._estimate_tuple = tuple(self._estimates[found] for found in sorted(self._estimates))

        if changes.policy is not None:
            self._applied = changes.policy

    def snapshot(self, round_number: int, time: float) -> Snapshot:
        """The facts as they are now."""
        if self._job_tuple is None or self._held:
            self._job_tuple = tuple(job for job in self._jobs.values() if not _is_held(job, time))
        held = tuple(sorted((job for job in self._held.values() if _is_held(job, time)), key=_sequence))
        return Snapshot.of_sorted(
            self.revision,
            round_number,
            time,
            self._queue_tuple,
            self._node_tuple,
            self._job_tuple,
            self._estimate_tuple,
            self._applied,
            held=held,
            next_sequence=self._next,
        )

    def _put_job(self, job: Job) -> None:
        before = self._jobs.get(job.id)
        self._job_tuple = None
        self._next = max(self._next, job.sequence + 1)
        if self._on_node is not None:
            for name in _nodes_of(before):
                self._on_node[name].discard(job.id)
            for name in _nodes_of(job):
                self._on_node.setdefault(name, set()).add(job.id)
        if job.state.is_final:
            self._jobs.pop(job.id, None)
            self._ended[job.id] = job
        else:
            self._jobs[job.id] = job
        if job.state is JobState.PENDING and (job.waits_for or job.not_before is not None):
            self._held[job.id] = job
        else:
            self._held.pop(job.id, None)
        self._counts[job.spec.queue] += (not job.state.is_final) - (before is not None)

    def _there(self, node: str) -> frozenset[str] | set[str]:
        """Ids of the jobs on a node; who is where is read once, when first asked."""
        if self._on_node is None:
            self._on_node = {}
            for job in self._jobs.values():
                for name in _nodes_of(job):
                    self._on_node.setdefault(name, set()).add(job.id)
        return self._on_node.get(node, _NOBODY)


_sequence = attrgetter("sequence")


def _is_held(job: Job, time: float) -> bool:
    return job.state is JobState.PENDING and job.is_held(time)


def _nodes_of(job: Job | None) -> Iterable[str]:
    return () if job is None or job.allocation is None else job.allocation.placement.nodes
