"""A real server on a free port of the loopback, a store in memory behind it, and a channel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # ships no py.typed
from grpc import aio

from allocator.domain.job import Job
from allocator.domain.placement import NodeDesired, Placement, ReplicaPlacement
from allocator.domain.plan import Change, Plan, Start
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.intake.ports import Ledger
from allocator.rounds.report import RoundOutcome, RoundSummary
from allocator.rpc import Hub, OnRequest, RpcServer, RpcSettings
from allocator.store.memory import MemoryStore
from allocator.v1.job_service_pb2_grpc import JobServiceStub
from allocator.v1.node_service_pb2_grpc import NodeServiceStub
from allocator.v1.queue_service_pb2_grpc import QueueServiceStub
from allocator.v1.scheduler_service_pb2_grpc import SchedulerServiceStub
from tests.builders import configuration, node, spec

if TYPE_CHECKING:  # these exist in the stubs only
    from allocator.v1.job_service_pb2_grpc import JobServiceAsyncStub
    from allocator.v1.node_service_pb2_grpc import NodeServiceAsyncStub
    from allocator.v1.queue_service_pb2_grpc import QueueServiceAsyncStub
    from allocator.v1.scheduler_service_pb2_grpc import SchedulerServiceAsyncStub

START = 1_800_000_000.0
DEFAULTS = RpcSettings()


class Served:
    """What a test has at hand: the store with queue `q` and node `n1`, the hub, the server, and stubs."""

    def __init__(self, store: MemoryStore, hub: Hub, server: RpcServer, port: int, channel: aio.Channel) -> None:
        self.store, self.hub, self.server, self.port = store, hub, server, port
        self.address = f"127.0.0.1:{port}"
        self.channel = channel
        self.jobs: JobServiceAsyncStub = JobServiceStub(channel)
        self.queues: QueueServiceAsyncStub = QueueServiceStub(channel)
        self.nodes: NodeServiceAsyncStub = NodeServiceStub(channel)
        self.scheduler: SchedulerServiceAsyncStub = SchedulerServiceStub(channel)

    def do(self, command: c.Command) -> Any:
        """Apply a command behind the server's back."""
        return self.store.execute(command, START).result(timeout=60)

    def submit(self, count: int = 1, queue: str = "q", replicas: int = 1) -> list[Job]:
        return list(self.do(c.SubmitJobs((spec(queue, configuration(replicas=replicas, gpu=0)),) * count)))

    def commit(self, *changes: Change) -> tuple[NodeDesired, ...]:
        """What a round does after it has decided, without the push. Returns what is to be pushed."""
        snapshot = self.store.snapshot(START)
        commit = self.store.commit(Plan(snapshot.revision, snapshot.round, changes, (), ()), START)
        assert not commit.rejected
        self.store.record(round_summary(snapshot.round, snapshot.revision), self.store.memory())
        return commit.desired

    def start(self, job: Job, name: str = "n1") -> tuple[NodeDesired, ...]:
        """Place a job, all of it on one node."""
        replicas = (ReplicaPlacement(name),) * job.spec.configurations[0].replicas
        return self.commit(Start(Placement(job.id, 0, replicas)))


async def until(condition: Callable[[], object], patience: float = 90.0) -> None:
    """Return as soon as `condition` holds; TimeoutError when it does not within `patience` seconds."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in gRPC, which has no event for it
            await asyncio.sleep(0.005)


def round_summary(number: int, revision: int = 0) -> RoundSummary:
    return RoundSummary(
        round=number, revision=revision, time=START + number, outcome=RoundOutcome.OPTIMAL, solver="conic",
        iterations=9, fairness=1.0, objective=-1.0, bound=-0.9, gap=0.1, rounding_loss=0.0, started=1, moved=0,
        kept=0, rejected=0, preempted=(), waiting=(), lost=(), flavors=(), queues=(), stages=(("solve", 0.1),),
    )  # fmt: skip


@asynccontextmanager
async def serving(
    settings: RpcSettings = DEFAULTS,
    *,
    store: MemoryStore | None = None,
    ledger: Callable[[MemoryStore], Ledger] = lambda store: store,
    on_request: OnRequest | None = None,
    channel_options: tuple[tuple[str, int], ...] = (),
    shown: Callable[[NodeDesired], NodeDesired] = lambda desired: desired,
) -> AsyncIterator[Served]:
    if store is None:
        store = MemoryStore()
        store.execute(c.CreateQueue(Queue("q")), START).result(timeout=60)
        store.execute(c.RegisterNode(node("n1", cpu=1000)), START).result(timeout=60)
    hub = Hub()
    server = RpcServer(ledger(store), store, hub, lambda: START, settings, on_request, shown=shown)
    port = await server.start("127.0.0.1:0")
    channel = aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1), *channel_options]
    )
    try:
        yield Served(store, hub, server, port, channel)
    finally:
        await channel.close()
        await server.stop(0)


def status_of(error: aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status in the trailers; an empty one when there is none."""
    trailers = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))


def fields_of(status: status_pb2.Status) -> list[str]:
    """The field paths of a BadRequest."""
    bad = error_details_pb2.BadRequest()
    return [violation.field for detail in status.details if detail.Unpack(bad) for violation in bad.field_violations]


def reason_of(status: status_pb2.Status) -> str:
    """The reason of an ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)
