"""A small cluster that lives: real store, intake, rounds and metrics; agents that report jobs done after a moment."""

from __future__ import annotations

import threading
import time
from itertools import count
from types import TracebackType
from typing import Self

from allocator.daemon.ledger import ObservedLedger
from allocator.daemon.liveness import Liveness
from allocator.daemon.scheduler import Scheduler
from allocator.domain.cluster import Node
from allocator.domain.errors import NotFound
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.placement import Epoch
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from allocator.metrics import FinishedJobs, Metrics, MetricsServer
from allocator.rpc.hub import Hub
from allocator.solvers.chain import ChainSolver
from allocator.store.memory import MemoryStore

INTERVAL = 0.2
_BEAT = 0.1
_RUN_SECONDS = 0.5
_GIB = 2**30


def _node(name: str, flavor: str, gpus: int) -> Node:
    capacity = Resources(
        cpu_millicores=32_000,
        gpu_millis=gpus * 1000,
        memory_bytes=256 * _GIB,
        bandwidth_bytes_per_second=10 * 10**9,
        disk_bytes=10**12,
        extra=(("licence", 4),),
    )
    return Node(name, flavor, capacity, simulated=True)


NODES = (_node("n1", "a100", 4), _node("n2", "a100", 4), _node("n3", "t4", 2))
QUEUES = ("research", "serving")


def _spec(queue: str) -> JobSpec:
    demand = Resources(4000, 1000, 16 * _GIB, 10**9, 10**9, (("licence", 1),))
    return JobSpec(
        queue,
        (Configuration("a100", 1, demand, 3.0), Configuration("t4", 1, demand, 1.0)),
        restart_cost_seconds=60.0,
    )


class SmallCluster:
    """Runs rounds every `INTERVAL` seconds and always has more work than room, until it is left."""

    def __init__(self) -> None:
        self.metrics = Metrics(version="test", round_interval=INTERVAL)
        self.server = MetricsServer(self.metrics.registry)
        self._store = MemoryStore()
        self._liveness = Liveness(timeout_seconds=60.0)
        self._ledger = ObservedLedger(self._store, self._liveness, self.metrics)
        hub = Hub()
        self._scheduler = Scheduler(
            store=self._store,
            pusher=hub,
            observers=[self.metrics, hub, FinishedJobs(self._store, self.metrics)],
            solver=ChainSolver(),
            policy=Policy,
            interval_seconds=INTERVAL,
            on_broken_round=self.metrics.count_broken_round,
        )
        self.metrics.set_push_source(hub.stream_counts)
        self.metrics.set_node_source(lambda: self._liveness.longest_silence(self._store.nodes()))
        self._leaving = threading.Event()
        self._agents = threading.Thread(target=self._live, name="agents")
        self._begun: dict[tuple[str, Epoch], float] = {}

    def __enter__(self) -> Self:
        for queue in QUEUES:
            self._do(c.CreateQueue(Queue(queue)))
        for node in NODES:
            self._do(c.RegisterNode(node))
        self._do(c.SubmitJobs(tuple(_spec(queue) for queue in QUEUES for _ in range(12))))
        self.server.start()
        self._scheduler.start()
        self._agents.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._agents.join()
        self._scheduler.stop()
        self.server.stop()

    def _do(self, command: c.Command) -> None:
        began = time.perf_counter()
        self._ledger.execute(command, time.time()).result()
        seconds = time.perf_counter() - began
        self.metrics.observe_store_batch(1, seconds)
        self.metrics.rpc_request(f"test.Service/{type(command).__name__}", "OK", seconds)

    def _live(self) -> None:
        for beat in count():
            if self._leaving.wait(_BEAT):
                return
            silent = "n3" if beat % 40 > 30 else ""
            if beat % 40 == 31:
                self._do(c.LoseNode("n3"))
            for node in NODES:
                if node.name != silent:
                    self._do(c.Heartbeat(node.name, self._done(node.name)))
            if beat % 5 == 0:
                self._do(c.SubmitJobs(tuple(_spec(queue) for queue in QUEUES)))
                self._do_wrong()

    def _do_wrong(self) -> None:
        """What clients get wrong: jobs for a queue that is not there, and a queue that is not there."""
        self._do(c.SubmitJobs((_spec("nobody"),)))
        try:
            self._do(c.DeleteQueue("nobody"))
        except NotFound:
            self.metrics.rpc_request("test.Service/DeleteQueue", "NOT_FOUND", 0.001)

    def _done(self, node: str) -> tuple[c.ReplicaReport, ...]:
        now = time.monotonic()
        return tuple(
            c.ReplicaReport(replica.job_id, replica.replica, replica.epoch, c.ReplicaState.SUCCEEDED)
            for replica in self._store.desired(node).replicas
            if now - self._begun.setdefault((replica.job_id, replica.epoch), now) > _RUN_SECONDS
        )
