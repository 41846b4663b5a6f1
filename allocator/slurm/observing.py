"""What we would do with a Slurm cluster as it is, written nowhere: who would start, why others wait, what things cost.

All that runs stays where it is: a site that looks on wants to know what to start. One round on facts in memory, the
very same as the daemon's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from allocator.domain.cluster import NodeAvailability
from allocator.domain.job import Job, JobSpec
from allocator.domain.placement import NodeDesired, Placement, ReplicaPlacement
from allocator.domain.plan import Plan, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingReason
from allocator.domain.resources import GPU_MILLIS
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import FlavorUsage
from allocator.slurm.observed import SlurmNode
from allocator.slurm.queued import QueuedJob, spec_of
from allocator.slurm.translation import node_of
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Advice:
    """`starts`: id in Slurm, queue, and the nodes. `waits`: id, queue, and why. `passed_over`: id and why."""

    starts: tuple[tuple[str, str, tuple[str, ...]], ...]
    waits: tuple[tuple[str, str, PendingReason | None], ...]
    passed_over: tuple[tuple[str, str], ...]
    usages: tuple[FlavorUsage, ...]
    """With prices, per display unit."""
    running: int
    outcome: str
    gap: float


def advise(
    nodes: Iterable[SlurmNode],
    jobs: Iterable[QueuedJob],
    now: float,
    by: str = "account",
    weights: dict[str, float] | None = None,
) -> Advice:
    """`by`: what of a job names its queue (`queued.QUEUE_BY`); `weights` of queues, 1 unless said."""
    store = MemoryStore()
    known = [node for node in nodes if node.answers]
    for node in known:
        store.execute(
            c.RegisterNode(node_of(node, (node.used_cpus, node.used_memory_mib, node.used_gpus))), now
        ).result()
    jobs = sorted((job for job in jobs if job.runs or job.wants), key=lambda job: (job.submit_time, job.id))
    for queue in sorted({job.queue(by) for job in jobs}):
        store.execute(c.CreateQueue(Queue(queue, weight=(weights or {}).get(queue, 1.0))), now).result()
    passed_over = _occupy(store, [job for job in jobs if job.runs], now, by)
    for node in known:
        if not node.takes_new_work:
            store.execute(c.SetNodeAvailability(node.name, NodeAvailability.CORDONED), now).result()
    waiting = {}
    for job in jobs:
        if job.wants:
            spec = spec_of(job, store.snapshot(now).nodes, by)
            answer = None if spec is None else _submitted(store, spec, job.submit_time or now)
            if isinstance(answer, Job):
                waiting[answer.id] = job
            else:
                passed_over.append((job.id, "no node has what it names" if answer is None else str(answer)))
    report, _ = run_round(
        store=store, pusher=_Nobody(), clock=_Still(now), solver=ChainSolver(), policy=Policy(), memory=Memory()
    )
    starts = [
        (waiting[change.placement.job_id].id, waiting[change.placement.job_id].queue(by), change.placement.nodes)
        for change in report.plan.changes
        if isinstance(change, Start)
    ]
    reasons = dict(report.plan.waiting)
    waits = [(job.id, job.queue(by), reasons[ours]) for ours, job in waiting.items() if ours in reasons]
    return Advice(
        tuple(starts),
        tuple(waits),
        tuple(passed_over),
        report.summary.flavors,
        sum(job.runs for job in jobs),
        report.summary.outcome.value,
        report.summary.gap,
    )


def _occupy(store: MemoryStore, running: list[QueuedJob], now: float, by: str) -> list[tuple[str, str]]:
    """Put what runs where it runs; what does not fit there as it seems (nodes shared in other ways) is passed over."""
    passed_over = []
    there = {node.name: node for node in store.snapshot(now).nodes}
    taken: Counter[str] = Counter()
    """GPUs by node: Slurm does not tell which, and they are alike."""
    for job in running:
        flavors = Counter(there[name].flavor for name in job.nodes if name in there)
        spec = spec_of(job, there.values(), by)
        if spec is None or len(flavors) != 1 or sum(flavors.values()) != len(job.nodes):
            passed_over.append((job.id, "runs on nodes of several kinds, or on some that do not answer"))
            continue
        (flavor,) = flavors
        ways = [number for number, way in enumerate(spec.configurations) if way.flavor == flavor]
        answer = _submitted(store, spec, now) if ways else None
        snapshot = store.snapshot(now)
        if not isinstance(answer, Job):
            passed_over.append((job.id, "does not fit where it runs, as far as we see"))
            continue
        gpus = spec.configurations[ways[0]].demand.gpu_millis // GPU_MILLIS
        replicas = tuple(ReplicaPlacement(name, tuple(range(taken[name], taken[name] + gpus))) for name in job.nodes)
        change = Start(Placement(answer.id, ways[0], replicas))
        if store.commit(Plan(snapshot.revision, snapshot.round, (change,), (), ()), now).rejected:
            passed_over.append((job.id, "does not fit where it runs, as far as we see"))
            store.execute(c.CancelJobs((answer.id,)), now).result()
        else:
            taken.update(dict.fromkeys(job.nodes, gpus))
    return passed_over


def _submitted(store: MemoryStore, spec: JobSpec, when: float) -> c.ItemResult:
    (answer,) = store.execute(c.SubmitJobs((spec,)), when).result()
    found: c.ItemResult = answer
    return found


class _Nobody:
    """Nothing is pushed anywhere."""

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Nobody hears it."""


class _Still:
    """A clock that stands still: there is one round."""

    def __init__(self, time: float) -> None:
        self._time = time

    def now(self) -> float:
        return self._time

    def wait(self, until: float, *, quiet_until: float) -> bool:  # noqa: ARG002 - a port's
        return False

    def stopwatch(self) -> float:
        return 0.0
