"""A node agent that speaks the real NodeService and only pretends to run what it is given."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from allocator.client import AsyncClient, Lease
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, NotFound
from allocator.domain.job import JobSpec
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
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

    def throughput(self, job_id: str, flavor: str) -> float:
        spec = self.specs.get(job_id)
        if spec is None:
            return 1.0
        return max((c.throughput for c in spec.configurations if c.flavor == flavor), default=1.0)


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
        """Stop what is no longer wanted, start what is new; a new epoch of the same replica is a restart."""
        now = time.monotonic()
        wanted = {(replica.job_id, replica.replica): replica for replica in desired.replicas}
        for key, pretence in list(self._running.items()):
            replica = wanted.get(key)
            if replica is None or replica.epoch != pretence.desired.epoch:
                del self._running[key]
                self._leave(pretence, now)
        for key, replica in wanted.items():
            if key not in self._running:
                self._running[key] = self._begin(replica, now)

    def _begin(self, replica: DesiredReplica, now: float) -> Pretence:
        work = self._work.left.get(replica.job_id, 1.0)
        spec = self._work.specs.get(replica.job_id)
        if replica.job_id in self._work.started and spec is not None:
            work += spec.restart_cost_seconds
        elif replica.replica == replica.replicas - 1:
            self._work.started.add(replica.job_id)
        return Pretence(replica, now, self._work.throughput(replica.job_id, replica.flavor), work)

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
