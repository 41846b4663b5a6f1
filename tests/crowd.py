"""Node agents by the hundreds, as coroutines that speak the real protocol, each over a connection of its own.

They register, hold their watch, and report with each heartbeat what they were told to run. Nothing really runs: a
replica goes on until `end` says that it has ended, and what shall leave is gone at once. Unlike machines, they note
what happened to them.

As a program (`python -m tests.crowd ADDRESS FIRST COUNT`) it takes one order per line as JSON on its standard input,
and answers each with one line (`orders`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from allocator.client import AsyncClient, Lease, RetryPolicy
from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, NotFound
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.intake.commands import ReplicaReport, ReplicaState
from tests.builders import node

CORES, MEMORY_GIB = 16, 64

Run = tuple[str, Epoch, int]
"""A replica's job, the epoch at which that started, and its number."""


@dataclass
class Seen:
    """What has happened to the crowd since it was last asked, times by the wall clock."""

    arrivals: list[tuple[str, int, float]] = field(default_factory=list)
    """Node, round and time of every desired state."""
    beats: list[float] = field(default_factory=list)
    """Seconds from each heartbeat to its answer."""
    unheard: int = 0
    """Heartbeats that failed."""


class CrowdAgent:
    """One node's agent. `start_counts` has how often each replica was started, by the whole crowd."""

    def __init__(self, client: AsyncClient, machine: Node, seen: list[Seen], start_counts: Counter[Run]) -> None:
        self.client = client
        self.node = machine
        self.running: dict[Run, DesiredReplica] = {}
        self.ended: set[Run] = set()
        self._seen = seen
        self._start_counts = start_counts
        self._newest = Epoch(0, 0)
        self._wake = asyncio.Event()
        self._backoff = RetryPolicy(first_delay=0.2, longest_delay=5.0)
        self._rng = random.Random(machine.name)

    async def run(self) -> None:
        lease = await self._register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._heartbeats(lease))

    def end(self, run: Run) -> None:
        """The replica has succeeded; that is told at once."""
        self.ended.add(run)
        self._wake.set()

    async def beat(self) -> Lease:
        """One heartbeat. Raises AllocatorError."""
        sent = time.perf_counter()
        lease = await self.client.heartbeat(self.node.name, self._reports(), seen=self._newest, timeout=10.0)
        self._seen[0].beats.append(time.perf_counter() - sent)
        return lease

    async def _register(self) -> Lease:
        failures = 0
        while True:
            try:
                return (await self.client.register_node(self.node)).lease
            except AllocatorError:
                await asyncio.sleep(self._backoff.delay(failures, self._rng))
                failures += 1

    async def _heartbeats(self, lease: Lease) -> None:
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                pause = lease.heartbeat_interval_seconds * self._rng.uniform(0.9, 1)
                async with asyncio.timeout(self._backoff.delay(failures - 1, self._rng) if failures else pause):
                    await self._wake.wait()
            self._wake.clear()
            try:
                lease = await self.beat()
                failures = 0
            except NotFound:
                self._newest = Epoch(0, 0)
                lease = await self._register()
            except AllocatorError:
                failures += 1
                self._seen[0].unheard += 1

    async def _watch(self) -> None:
        while True:
            try:
                async for desired in self.client.watch_allocations(self.node.name):
                    self._seen[0].arrivals.append((self.node.name, desired.epoch.round, time.time()))
                    if desired.epoch >= self._newest:
                        self._newest = desired.epoch
                        self._follow(desired)
                        if desired.is_awaited:
                            self._wake.set()
            except AllocatorError:
                await asyncio.sleep(self._backoff.delay(0, self._rng))

    def _follow(self, desired: NodeDesired) -> None:
        wanted = {
            run: each
            for each in desired.replicas
            if (run := (each.job_id, each.start_epoch, each.replica)) in self.running
            or each.job_id not in desired.waiting
        }
        self._start_counts.update(wanted.keys() - self.running.keys())
        self.running = wanted
        self.ended &= wanted.keys()

    def _reports(self) -> list[ReplicaReport]:
        used = time.monotonic()
        return [
            ReplicaReport(
                each.job_id,
                each.replica,
                each.epoch,
                ReplicaState.SUCCEEDED if run in self.ended else ReplicaState.RUNNING,
                cpu_seconds=used,
                peak_memory_bytes=2**20,
            )
            for run, each in self.running.items()
        ]


class Crowd:
    """Agents of the given nodes, for as long as it is open: `async with Crowd(address, nodes) as crowd`."""

    def __init__(self, address: str, nodes: Iterable[Node]) -> None:
        self._seen = [Seen()]
        self.start_counts: Counter[Run] = Counter()
        self.agents = [CrowdAgent(AsyncClient(address), each, self._seen, self.start_counts) for each in nodes]
        self._tasks: list[asyncio.Task[None]] = []
        self._rng = random.Random(0)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(agent.run()) for agent in self.agents]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(agent.client.close() for agent in self.agents))

    def take_seen(self) -> Seen:
        """What has happened since this was last asked. Raises whatever ended an agent."""
        for task in self._tasks:
            if task.done():
                task.result()
        seen, self._seen[0] = self._seen[0], Seen()
        return seen

    def running(self) -> dict[Run, str]:
        """What runs, and on which node."""
        return {run: agent.node.name for agent in self.agents for run in agent.running}

    def end(self, count: int) -> int:
        """Let so many replicas that run succeed, chosen at random; how many there were."""
        alive = [(agent, run) for agent in self.agents for run in agent.running.keys() - agent.ended]
        chosen = self._rng.sample(alive, min(count, len(alive)))
        for agent, run in chosen:
            agent.end(run)
        return len(chosen)

    async def flood(self, seconds: float, at_a_time: int) -> int:
        """Send heartbeats without a pause, so many at a time, beside the ordinary ones; how many were answered."""
        until = time.perf_counter() + seconds

        async def some(agents: list[CrowdAgent]) -> int:
            answered = 0
            while True:
                for agent in agents:
                    if time.perf_counter() > until:
                        return answered
                    await agent.beat()
                    answered += 1

        shares = [self.agents[first::at_a_time] for first in range(min(at_a_time, len(self.agents)))]
        return sum(await asyncio.gather(*map(some, shares)))


def machines(first: int, count: int) -> list[Node]:
    """Nodes of a crowd, by number."""
    return [
        node(f"n{number:05}", "cpu", cpu=CORES, gpu=0, memory_gib=MEMORY_GIB) for number in range(first, first + count)
    ]


async def orders(crowd: Crowd, order: dict[str, Any]) -> Any:
    """The answer to one order: `seen`, `state`, `end` (count) or `flood` (seconds, at_a_time)."""
    match order["order"]:
        case "seen":
            return vars(crowd.take_seen())
        case "state":
            usage = resource.getrusage(resource.RUSAGE_SELF)
            return {
                "running": len(crowd.running()),
                "started": crowd.start_counts.total(),
                "started_again": sum(count > 1 for count in crowd.start_counts.values()),
                "cpu": usage.ru_utime + usage.ru_stime,
                "peak_bytes": 1024 * usage.ru_maxrss,
            }
        case "end":
            return crowd.end(order["count"])
        case "flood":
            return await crowd.flood(order["seconds"], order["at_a_time"])
    raise ValueError(f"no such order: {order}")


async def _main(address: str, first: str, count: str) -> None:
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with Crowd(address, machines(int(first), int(count))) as crowd:
        async for line in lines:
            print(json.dumps(await orders(crowd, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
