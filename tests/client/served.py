"""A real server on real facts in memory, for tests of the client and the command line: rounds run when told to."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundSummary
from allocator.rpc.hub import Hub
from allocator.rpc.server import RpcServer
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore


class WallClock:
    """The system's time; `ahead` seconds may be added to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def stopwatch(self) -> float:
        return time.perf_counter()


class Served:
    """Start, stop, and start again on the same port, with the same facts."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = WallClock()
        self.port = 0
        self.policy = Policy()
        self._memory = Memory()
        self._hub = Hub()
        self._server: RpcServer | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._hub = Hub()
        self._server = RpcServer(self.store, self.store, self._hub, self.clock.now)
        self.port = self._on_loop(self._server.start(f"127.0.0.1:{self.port}"))

    def stop(self) -> None:
        if self._server is not None:
            self._on_loop(self._server.stop(0.5))
            self._server = None

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def execute(self, command: c.Command) -> Any:
        return self.store.execute(command, self.clock.now()).result()

    def round(self) -> RoundSummary:
        """One real round; its answers are pushed."""
        report, self._memory = run_round(
            store=self.store,
            pusher=self._hub,
            clock=self.clock,
            solver=ChainSolver(),
            policy=self.policy,
            memory=self._memory,
        )
        self._hub.observe(report)
        return report.summary

    def populate(self, queues: tuple[str, ...] = ("q",), nodes: tuple[Node, ...] = ()) -> None:
        for queue in queues:
            self.execute(c.CreateQueue(Queue(queue)))
        for node in nodes:
            self.execute(c.RegisterNode(node))

    def finish(self, job: Job, state: c.ReplicaState = c.ReplicaState.SUCCEEDED, message: str = "") -> None:
        """Let the agents of a running job say that all its replicas have ended."""
        running = self.store.get_job(job.id)
        assert running.allocation is not None
        for number, replica in enumerate(running.allocation.placement.replicas):
            report = c.ReplicaReport(job.id, number, running.allocation.epoch, state, message)
            self.execute(c.Heartbeat(replica.node, (report,)))

    def _on_loop(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=60)
