"""Clusters in a few words, on which real rounds run: for explanations of what those did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory
from allocator.explain.finished import Finished
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore

INTERVAL = 10.0
START = 1000.0


class World:
    """Facts in a real store, whose time stands still between rounds."""

    def __init__(
        self,
        queues: Sequence[Queue | str],
        nodes: Sequence[Node],
        policy: Policy = Policy(),  # noqa: B008
        interval: float = INTERVAL,
    ) -> None:
        self.interval = interval
        self.store = MemoryStore()
        self.policy = policy
        self.time = START
        self.memory = Memory()
        self.report: RoundReport | None = None
        for queue in queues:
            self.do(c.CreateQueue(Queue(queue) if isinstance(queue, str) else queue))
        for node in nodes:
            self.do(c.RegisterNode(node))

    # The clock and the pusher of its rounds.

    def now(self) -> float:
        return self.time

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def stopwatch(self) -> float:
        return 0.0

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        pass

    def do(self, command: c.Command) -> Any:
        return self.store.execute(command, self.time).result()

    def submit(self, *specs: JobSpec) -> list[Job]:
        results = self.do(c.SubmitJobs(specs))
        for result in results:
            assert isinstance(result, Job), result
        return list(results)

    def round(self, *, cold: bool = False) -> RoundReport:
        """One round, an interval after the last."""
        if self.report is not None:
            self.time += self.interval
        memory = self.memory
        if cold:
            memory = Memory(memory.time, memory.sequences, memory.credits, memory.pace, {}, {}, memory.work)
        self.report, self.memory = run_round(
            store=self.store, pusher=self, clock=self, solver=ChainSolver(), policy=self.policy, memory=memory
        )
        return self.report

    @property
    def finished(self) -> Finished:
        assert self.report is not None
        return Finished.of(self.report)

    def job(self, job_id: str) -> Job:
        return self.store.get_job(job_id)


def gpus(flavor: str = "a", count: int = 1, replicas: int = 1, throughput: float = 1.0) -> Configuration:
    """A gang whose replicas take so many GPUs each, and nothing else."""
    return Configuration(flavor, replicas, Resources(gpu_millis=1000 * count), throughput)


def node(name: str, flavor: str = "a", count: int = 4) -> Node:
    """With so many GPUs."""
    return Node(name, flavor, Resources(gpu_millis=1000 * count))


def quota(nominal: int, borrow: int | None = None, lend: int | None = None, flavor: str = "a") -> Quota:
    return Quota(flavor, "gpu", nominal * 1000, *(None if limit is None else limit * 1000 for limit in (borrow, lend)))
