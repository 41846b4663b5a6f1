"""A node agent that speaks the real NodeService and only pretends to run what it is given."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from allocator.client import AsyncClient, Lease
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, NotFound
from allocator.domain.job import JobSpec
from allocator.domain.placement import WHOLE, DesiredReplica, Epoch, NodeDesired
from allocator.intake.commands import ReplicaReport, ReplicaState


@dataclass(slots=True)
class PretendedWork:
    """What there is to do: seconds of run time at throughput 1 that each job still needs. Shared by all agents."""

    left: dict[str, float] = field(default_factory=dict)
    specs: dict[str, JobSpec] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)

    def add(self, job_id: str, spec: JobSpec, work_seconds: float) -> None:
        self.left[job_id] = work_seconds
        self.specs[job_id] = spec

    def throughput(self, replica: DesiredReplica) -> float:
        """Work per second of the gang that the replica is part of; 1 where nothing else is known."""
        spec = self.specs.get(replica.job_id)
        if spec is None:
            return 1.0
        fitting = [c.throughput for c in spec.configurations if c.flavor == replica.flavor]
        exact = [
            c.throughput for c in spec.configurations if (c.flavor, c.replicas) == (replica.flavor, replica.replicas)
        ]
        return max(exact or fitting, default=1.0) * replica.millis / WHOLE


@dataclass(frozen=True, slots=True)
class Pretence:
    """One replica that pretends to run: since when, how fast, and how much there is to do."""

    desired: DesiredReplica
    since: float
    throughput: float
    work_seconds: float

    def done(self, now: float) -> float:
        """Work done so far."""
        return (now - self.since) * self.throughput

    def report(self, now: float) -> ReplicaReport:
        ended = self.done(now) >= self.work_seconds
        state = ReplicaState.SUCCEEDED if ended else ReplicaState.RUNNING
        return ReplicaReport(self.desired.job_id, self.desired.replica, self.desired.epoch, state)


class SimulatedAgent:
    """Registers one node, follows its desired state, and reports with every heartbeat. Ends when cancelled."""

    def __init__(self, client: AsyncClient, node: Node, work: PretendedWork) -> None:
        self._client = client
        self._node = node
        self._work = work
        self._running: dict[tuple[str, int], Pretence] = {}
        self._newest = Epoch(0, 0)

    async def run(self) -> None:
        """Register, then watch and report side by side."""
        lease = await self._register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._report(lease))

    async def _register(self) -> Lease:
        while True:
            try:
                return (await self._client.register_node(self._node)).lease
            except AllocatorError:
                await asyncio.sleep(0.2)

    async def _watch(self) -> None:
        async for desired in self._client.watch_allocations(self._node.name):
            if desired.epoch >= self._newest:
                self._newest = desired.epoch
                self._follow(desired)

    def _follow(self, desired: NodeDesired) -> None:
        """Stop what is no longer wanted, start what is new. What runs since the same start goes on: a job that was
        resized does not restart, though its replicas may have other numbers now.
        """
        now = time.monotonic()
        before = self._running
        self._running = {}
        since_start: dict[tuple[str, Epoch], list[Pretence]] = {}
        for pretence in before.values():
            since_start.setdefault((pretence.desired.job_id, pretence.desired.start_epoch), []).append(pretence)
        for replica in desired.replicas:
            going_on = since_start.get((replica.job_id, replica.start_epoch))
            key = (replica.job_id, replica.replica)
            self._running[key] = self._resume(going_on.pop(0), replica, now) if going_on else self._begin(replica, now)
        for left_over in since_start.values():
            for pretence in left_over:
                self._leave(pretence, now)

    def _begin(self, replica: DesiredReplica, now: float) -> Pretence:
        work = self._work.left.get(replica.job_id, 1.0)
        spec = self._work.specs.get(replica.job_id)
        if replica.start_epoch != replica.epoch:
            pass  # it joins a gang that goes on
        elif replica.job_id in self._work.started and spec is not None:
            work += spec.restart_cost_seconds
        elif replica.replica == replica.replicas - 1:
            self._work.started.add(replica.job_id)
        return Pretence(replica, now, self._work.throughput(replica), work)

    def _resume(self, pretence: Pretence, replica: DesiredReplica, now: float) -> Pretence:
        """The same replica under its new name, from now on at its new speed."""
        if replica == pretence.desired:
            return pretence
        left = max(0.0, pretence.work_seconds - pretence.done(now))
        if replica.job_id in self._work.left:
            self._work.left[replica.job_id] = left
        return Pretence(replica, now, self._work.throughput(replica), left)

    def _leave(self, pretence: Pretence, now: float) -> None:
        """Keep what was done, once per gang."""
        if pretence.desired.replica == 0 and pretence.desired.job_id in self._work.left:
            self._work.left[pretence.desired.job_id] = max(0.5, pretence.work_seconds - pretence.done(now))

    async def _report(self, lease: Lease) -> None:
        while True:
            now = time.monotonic()
            reports = [pretence.report(now) for pretence in self._running.values()]
            try:
                lease = await self._client.heartbeat(self._node.name, reports)
            except NotFound:
                lease = await self._register()
            except AllocatorError:
                pass  # the daemon is away: what runs goes on, the next heartbeat will tell
            await asyncio.sleep(min(1.0, lease.heartbeat_interval_seconds))
