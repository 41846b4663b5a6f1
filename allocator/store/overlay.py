"""A layer over the live facts in which a batch of changes waits until it is durable.

Commands of the batch see each other's effects through it; nobody else sees any of them. Afterwards it is merged whole
into the `State`, or, if the batch could not be made durable, thrown away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.job import Job, JobState, revised
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired, ReplicaPlacement, held
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory
from allocator.intake.ports import ChangeSet, Receipt
from allocator.placement.verify import NodeUsage
from allocator.rounds.commit import desired_states
from allocator.rounds.report import RoundSummary
from allocator.store.state import LIVE, Position, State, by_sequence

Copied = TypeVar("Copied")


class Overlay:
    """Implements `intake.ports.Facts` and `rounds.commit.CommitFacts` for one batch.

    `jobs` holds the newest version of every job that changed, live or final, and `fresh` the newest numbers for an
    unchanged cause of waiting, by job id, which need not become durable; None means that there are none any more. None
    in `queues`, `nodes` and `estimates` means deleted. `round` is what was recorded, if anything was.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.position = state.position
        self.queues: dict[str, Queue | None] = {}
        self.nodes: dict[str, Node | None] = {}
        self.jobs: dict[str, Job] = {}
        self.estimates: dict[EstimateName, Estimate | None] = {}
        self.policies: list[AppliedPolicy] = []
        """Those that were applied, the newest last."""
        self.fresh: dict[str, PendingReason | None] = {}
        self.receipts: dict[str, Receipt] = {}
        self.placed: Shadow[set[str]] = Shadow(state.placed, set)
        self.used: Shadow[NodeUsage] = Shadow(state.used, _usage_to_change)
        self.limited: Shadow[set[str]] = Shadow(state.limited, set)
        self.counts: Shadow[list[int]] = Shadow(state.counts, _two_counts)
        self.waiters: Shadow[set[str]] = Shadow(state.waiters, set)
        self.children: Shadow[set[str]] = Shadow(state.children, set)
        self.unpushed: set[str] = set()
        self.replaced: set[str] = set()
        self.told: dict[str, tuple[DesiredReplica, ...] | None] = {}
        self.pushed = False
        self.lease_seconds: float | None = None
        self.round: tuple[RoundSummary, Memory] | None = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to make durable."""
        beside = bool(self.receipts) or self.round is not None or self.lease_seconds is not None
        return self.position != self.state.position or beside

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

    def all_queues(self) -> tuple[Queue, ...]:
        if not self.queues:
            return self.state.all_queues()
        queues = {queue.name: queue for queue in self.state.all_queues()} | self.queues
        return tuple(queue for _, queue in sorted(queues.items()) if queue is not None)

    def live_job_count(self, queue: str) -> int:
        return sum(self.counts.look(queue))

    def live_jobs_by_class(self) -> Counter[str]:
        jobs = self.state.jobs | self.jobs
        return Counter(job.spec.priority_class for job in jobs.values() if job.state in LIVE)

    def applied_policy(self) -> AppliedPolicy | None:
        return self.policies[-1] if self.policies else self.state.applied

    def node(self, name: str) -> Node | None:
        return self.nodes[name] if name in self.nodes else self.state.nodes.get(name)

    def all_nodes(self) -> tuple[Node, ...]:
        if not self.nodes:
            return self.state.all_nodes()
        nodes = {node.name: node for node in self.state.all_nodes()} | self.nodes
        return tuple(node for _, node in sorted(nodes.items()) if node is not None)

    def jobs_on(self, node: str) -> tuple[Job, ...]:
        above, below = self.jobs, self.state.jobs
        return by_sequence([above.get(job_id) or below[job_id] for job_id in self.placed.look(node)])

    def usage(self, node: str) -> NodeUsage:
        return self.used.look(node) or NodeUsage()

    def is_limited(self, node: str) -> bool:
        return bool(self.limited.look(node))

    def job(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id) or self.state.jobs.get(job_id) or self.state.archive.job(job_id)

    def jobs_waiting_for(self, job_id: str) -> tuple[Job, ...]:
        above, below = self.jobs, self.state.jobs
        return by_sequence([above.get(waiting) or below[waiting] for waiting in self.waiters.look(job_id)])

    def receipt(self, request_id: str) -> Receipt | None:
        return self.receipts.get(request_id) or self.state.archive.receipt(request_id)

    def next_sequence(self) -> int:
        return self.position.next_sequence

    def estimate(self, name: EstimateName) -> Estimate | None:
        return self.estimates[name] if name in self.estimates else self.state.estimates.get(name)

    def all_estimates(self) -> tuple[Estimate, ...]:
        if not self.estimates:
            return self.state.all_estimates()
        found = {estimate.name: estimate for estimate in self.state.all_estimates()} | self.estimates
        return tuple(estimate for _, estimate in sorted(found.items()) if estimate is not None)

    # --- changes ---

    def absorb(self, changes: ChangeSet) -> None:
        """Take over the effects of one command. If any fact is another one afterwards, they make one new revision."""
        for receipt in changes.receipts:
            self.receipts[receipt.request_id] = receipt
        revision = self.revision + 1
        next_sequence = self.position.next_sequence
        effects = 0
        for job in sorted(changes.jobs, key=lambda job: job.sequence):
            before = self._known_job(job.id)
            if job != before:
                self._put_job(revised(job, revision=revision), before)
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
        for estimate in changes.estimates:
            if estimate != self.estimate(estimate.name):
                self.estimates[estimate.name] = estimate
                effects += 1
        for name in changes.forgotten_estimates:
            self.estimates[name] = None
        if changes.policy is not None:
            self.policies.append(changes.policy)
            effects += 1
        effects += sum(map(self._drop_queue, changes.deleted_queues)) + sum(map(self._drop_node, changes.deleted_nodes))
        if effects:
            position = self.position
            self.position = Position(revision, next_sequence, position.recorded, position.committed)

    def restore(
        self,
        queues: Iterable[Queue],
        nodes: Iterable[Node],
        jobs: Iterable[Job],
        estimates: Iterable[Estimate] = (),
        policy: AppliedPolicy | None = None,
    ) -> None:
        """Take over facts as they were durable, without making a revision; `jobs` are live and by sequence.

        Every node counts as not pushed: nobody knows what reached its agent before the restart.
        """
        for queue in queues:
            self._put_queue(queue)
        self.nodes.update({node.name: node for node in nodes})
        self.estimates.update({estimate.name: estimate for estimate in estimates})
        self.policies = [] if policy is None else [policy]
        for job in jobs:
            self._put_job(job, None)
        self.unpushed.update(self.nodes)

    def refresh(self, reasons: Iterable[tuple[str, PendingReason]]) -> None:
        """Give waiting jobs fresh numbers for the same cause. The jobs stay the objects that they are."""
        self.fresh.update(reasons)

    def take_unpushed(self, epoch: Epoch) -> tuple[NodeDesired, ...]:
        """The desired state of nodes where it changed since this was last asked, by name; from now on there are none.

        Of a node that was told before, only the jobs that changed are looked at.
        """
        names = self.unpushed if self.pushed else self.state.unpushed | self.unpushed
        replaced = self.replaced if self.pushed else self.state.replaced | self.replaced
        before = {name: self.told[name] if name in self.told else self.state.told.get(name) for name in sorted(names)}
        jobs = {job.id: job for name, told in before.items() if told is None for job in self.jobs_on(name)}
        for job_id in replaced:
            job = self._known_job(job_id)
            if job is not None:
                jobs[job_id] = job
        found = []
        for added in desired_states(list(before), by_sequence(jobs.values()), epoch):
            told = before[added.node]
            replicas = added.replicas if told is None else self._joined(told, replaced, added.replicas)
            self.told[added.node] = replicas if self.node(added.node) is not None else None
            found.append(NodeDesired(added.node, epoch, replicas))
        self.unpushed, self.replaced, self.pushed = set(), set(), True
        return tuple(found)

    def _joined(
        self, told: tuple[DesiredReplica, ...], replaced: set[str], added: tuple[DesiredReplica, ...]
    ) -> tuple[DesiredReplica, ...]:
        """What was told, less what belongs to `replaced`, and what was added: by sequence of the jobs and replica."""
        staying = tuple([replica for replica in told if replica.job_id not in replaced])
        if not (staying and added):
            return staying or added
        if self._sequence_of(staying[-1]) < self._sequence_of(added[0]):
            return staying + added
        return tuple(sorted(staying + added, key=self._sequence_of))

    def _sequence_of(self, replica: DesiredReplica) -> int:
        job = self.jobs.get(replica.job_id) or self.state.jobs[replica.job_id]
        return job.sequence

    def stamped(self, answer: Any) -> Any:
        """A command's answer, its jobs carrying the revision that the command made, and the newest numbers."""
        if isinstance(answer, Job):
            return self._shown(answer)
        if isinstance(answer, tuple):
            return tuple(self._shown(item) if isinstance(item, Job) else item for item in answer)
        return answer

    def _shown(self, answer: Job) -> Job:
        job = self.jobs.get(answer.id, answer)
        if job.state is not JobState.PENDING:
            return job
        fresh = self.fresh[job.id] if job.id in self.fresh else self.state.fresh.get(job.id)
        return job if fresh is None else revised(job, pending_reason=fresh)

    def _known_job(self, job_id: str) -> Job | None:
        """Without asking the archive."""
        return self.jobs.get(job_id) or self.state.jobs.get(job_id)

    def _put_job(self, job: Job, before: Job | None) -> None:
        self.jobs[job.id] = job
        if before is not None and before.pending_reason is not job.pending_reason:
            self.fresh[job.id] = None
        if before is not None and before.state in LIVE:
            self.counts[before.spec.queue][before.state is JobState.RUNNING] -= 1
        if job.state in LIVE:
            self.counts[job.spec.queue][job.state is JobState.RUNNING] += 1
        self._await(job, () if before is None else before.waits_for)
        allocation = None if before is None else before.allocation
        if allocation is job.allocation:
            return
        if allocation is not None and job.allocation is not None and allocation.placement is job.allocation.placement:
            ended = job.allocation.finished - allocation.finished
            replicas = job.allocation.placement.replicas
            self._hold(job, [replicas[index] for index in ended], -1)
            self.unpushed.update([replicas[index].node for index in ended])
            self.replaced.add(job.id)
            return
        self.replaced.add(job.id)
        if before is not None and allocation is not None:
            self._hold(before, allocation.standing, -1)
            for name in allocation.placement.nodes:
                self.placed[name].discard(job.id)
                if name in self.limited or name in self.state.limited:
                    self.limited[name].discard(job.id)
            self.unpushed.update(allocation.placement.nodes)
        if job.allocation is not None:
            self._hold(job, job.allocation.standing, 1)
            for name in job.allocation.placement.nodes:
                self.placed[name].add(job.id)
                if job.spec.constraints.at_most:
                    self.limited[name].add(job.id)
            self.unpushed.update(job.allocation.placement.nodes)

    def _await(self, job: Job, before: tuple[str, ...]) -> None:
        """Note for whom it waits, and for whom no more; `before`: for whom it did."""
        if job.waits_for == before:
            return
        for job_id in before:
            self.waiters[job_id].discard(job.id)
        for job_id in job.waits_for:
            self.waiters[job_id].add(job.id)

    def _hold(self, job: Job, replicas: Iterable[ReplicaPlacement], count: int) -> None:
        """Add replicas of the job, each as often as `count`, to what its nodes give."""
        assert job.allocation is not None
        placement = job.allocation.placement
        demand = held(job.spec.configurations[placement.configuration].demand, placement.millis)
        for replica in replicas:
            self.used[replica.node].add(demand, replica.gpus, count)

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
            self.nodes[name] = self.told[name] = None
            self.unpushed.add(name)  # an agent that still watches is told to stop everything
        return known


class Shadow(dict[str, Copied]):
    """Entries of a dictionary below, each copied at its first touch: changing one changes nothing below."""

    def __init__(self, below: Mapping[str, Copied], copy: Callable[[Any], Copied]) -> None:
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


def _usage_to_change(usage: NodeUsage | tuple[()]) -> NodeUsage:
    return usage.copy() if usage else NodeUsage()


def _two_counts(counts: Iterable[int]) -> list[int]:
    return list(counts) or [0, 0]
