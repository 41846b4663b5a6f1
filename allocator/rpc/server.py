"""The gRPC server: services, health, reflection, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped] # ships no stubs
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped] # ships no stubs

from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.intake.ports import Ledger
from allocator.rpc.backend import Backend
from allocator.rpc.capture_service import CaptureService
from allocator.rpc.explain_service import ExplainService
from allocator.rpc.hub import Hub
from allocator.rpc.interceptor import CallInterceptor, OnRequest
from allocator.rpc.job_service import JobService
from allocator.rpc.node_service import NodeService
from allocator.rpc.policy_service import PolicyService
from allocator.rpc.ports import Reads
from allocator.rpc.queue_service import QueueService
from allocator.rpc.scheduler_service import SchedulerService
from allocator.rpc.settings import RpcSettings
from allocator.rpc.simulate_service import SimulateService
from allocator.v1 import (
    capture_service_pb2,
    explain_service_pb2,
    job_service_pb2,
    node_service_pb2,
    policy_service_pb2,
    queue_service_pb2,
    scheduler_service_pb2,
    simulate_service_pb2,
)
from allocator.v1.capture_service_pb2_grpc import add_CaptureServiceServicer_to_server
from allocator.v1.explain_service_pb2_grpc import add_ExplainServiceServicer_to_server
from allocator.v1.job_service_pb2_grpc import add_JobServiceServicer_to_server
from allocator.v1.node_service_pb2_grpc import add_NodeServiceServicer_to_server
from allocator.v1.policy_service_pb2_grpc import add_PolicyServiceServicer_to_server
from allocator.v1.queue_service_pb2_grpc import add_QueueServiceServicer_to_server
from allocator.v1.scheduler_service_pb2_grpc import add_SchedulerServiceServicer_to_server
from allocator.v1.simulate_service_pb2_grpc import add_SimulateServiceServicer_to_server

SERVICES: tuple[str, ...] = tuple(
    service.full_name
    for module in (
        capture_service_pb2,
        explain_service_pb2,
        job_service_pb2,
        node_service_pb2,
        policy_service_pb2,
        queue_service_pb2,
        scheduler_service_pb2,
        simulate_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
_HEALTH_PATIENCE_SECONDS = 1.0


class RpcServer:
    """Serves the API on one event loop; all methods are called there.

    `clock_now` gives seconds since the epoch for the commands. `hub` is also the daemon's Pusher and one of its
    Observers. `on_request` is called when a call of our services ends.
    `policy` is that of the rounds while none was applied. `rest` waits, at most for so many seconds, until no round
    is under way: what replays rounds goes on between them. `shown`: a node's desired state as its agent shall see it
    now (`Departures.shown`).
    """

    def __init__(
        self,
        ledger: Ledger,
        reads: Reads,
        hub: Hub,
        clock_now: Callable[[], float],
        settings: RpcSettings = RpcSettings(),  # noqa: B008 - frozen
        on_request: OnRequest | None = None,
        policy: Callable[[], Policy] = Policy,
        rest: Callable[[float], object] = lambda _: None,
        shown: Callable[[NodeDesired], NodeDesired] = lambda desired: desired,
    ) -> None:
        self._backend = Backend(ledger, reads, hub, clock_now, settings, shown)
        self._explaining = ExplainService(self._backend, rest)
        self._simulating = SimulateService(self._backend, policy, rest)
        self._arranging = PolicyService(self._backend, policy)
        self._capturing = CaptureService(self._backend, rest)
        self._health = health.aio.HealthServicer()
        self._on_request = on_request
        self._server: aio.Server | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self, address: str) -> int:
        """Listen on `address` (host:port, port 0 for any free one) and serve. Returns the port.

        Raises OSError when nothing can listen there.
        """
        server = aio.server(
            interceptors=[CallInterceptor(self._on_request)], options=self._backend.settings.channel_options()
        )
        add_JobServiceServicer_to_server(JobService(self._backend), server)
        add_QueueServiceServicer_to_server(QueueService(self._backend), server)
        add_NodeServiceServicer_to_server(NodeService(self._backend), server)
        add_SchedulerServiceServicer_to_server(SchedulerService(self._backend), server)
        add_ExplainServiceServicer_to_server(self._explaining, server)
        add_SimulateServiceServicer_to_server(self._simulating, server)
        add_PolicyServiceServicer_to_server(self._arranging, server)
        add_CaptureServiceServicer_to_server(self._capturing, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(
                f"cannot listen on {address}: is the port taken, or the address not this machine's?"
            ) from error
        self._backend.hub.attach(asyncio.get_running_loop())
        self._unsubscribe = self._backend.reads.subscribe(self._backend.hub.changed)
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        return port

    async def begin_drain(self) -> None:
        """Say NOT_SERVING, then refuse what would change facts and end the watches; other calls are still answered.

        May be called again.
        """
        # A client that watches health and does not read could hold this up.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._health.enter_graceful_shutdown(), _HEALTH_PATIENCE_SECONDS)
        self._backend.draining = True
        self._backend.hub.close()
        self._backend.outputs.close()

    async def stop(self, grace: float) -> None:
        """Drain, give calls under way `grace` seconds to end, and close. What was begun to be written is written."""
        await self.begin_drain()
        self._unsubscribe()
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None
        self._backend.hub.detach()
        self._explaining.close()
        self._simulating.close()
        self._capturing.close()
        self._backend.close()
