"""A NodeService that does nothing, on the same library: what a heartbeat costs before anybody has looked at it.

`python -m tests.bench.empty_server ADDRESS`
"""
# ruff: noqa: N802 - gRPC names the methods

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from allocator.rpc import RpcSettings
from allocator.v1 import epoch_pb2, node_pb2
from allocator.v1 import node_service_pb2 as pb
from allocator.v1 import node_service_pb2_grpc as pb_grpc

HARDLY_EVER = 600.0


class Empty(pb_grpc.NodeServiceServicer):
    """Knows every node, wants nothing of it, and is content with few heartbeats."""

    async def RegisterNode(self, request: pb.RegisterNodeRequest, context: Any) -> pb.RegisterNodeResponse:
        node = node_pb2.Node()
        node.CopyFrom(request.node)
        node.availability = node_pb2.NODE_AVAILABILITY_OPEN
        node.health = node_pb2.NODE_HEALTH_READY
        return pb.RegisterNodeResponse(node=node, lease_seconds=HARDLY_EVER, heartbeat_interval_seconds=HARDLY_EVER)

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Any) -> pb.HeartbeatResponse:
        return pb.HeartbeatResponse(lease_seconds=HARDLY_EVER, heartbeat_interval_seconds=HARDLY_EVER)

    async def WatchAllocations(
        self, request: pb.WatchAllocationsRequest, context: Any
    ) -> AsyncIterator[pb.WatchAllocationsResponse]:
        yield pb.WatchAllocationsResponse(
            desired=node_pb2.NodeDesired(node=request.node, epoch=epoch_pb2.Epoch(round=1, revision=1))
        )
        await asyncio.Event().wait()


async def _main(address: str) -> None:
    server = aio.server(options=RpcSettings().channel_options())
    pb_grpc.add_NodeServiceServicer_to_server(Empty(), server)  # type: ignore[abstract] # it is asked for nothing else
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
