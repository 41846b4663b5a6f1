"""NodeService: translate, execute or ask, answer; and carry desired state to agents."""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from allocator.domain.cluster import NodeAvailability
from allocator.domain.placement import NodeDesired
from allocator.intake.commands import RemoveNode, SetNodeAvailability
from allocator.rpc import tokens
from allocator.rpc.backend import Backend, Context
from allocator.rpc.output_relay import Line
from allocator.rpc.paging import by_name
from allocator.v1 import node_service_pb2 as pb
from allocator.v1 import node_service_pb2_grpc as pb_grpc
from allocator.wire import commands, output
from allocator.wire.desired_parts import parts_of
from allocator.wire.nodes import desired_to_proto, node_to_proto


class NodeService(pb_grpc.NodeServiceServicer):
    """See protos/allocator/v1/node_service.proto."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def RegisterNode(self, request: pb.RegisterNodeRequest, context: Context) -> pb.RegisterNodeResponse:
        node = await self._backend.write(commands.register_node_from_proto(request), context)
        return pb.RegisterNodeResponse(
            node=node_to_proto(node),
            lease_seconds=self._backend.settings.lease_seconds,
            heartbeat_interval_seconds=self._heartbeat_interval(),
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        await self._backend.write(commands.heartbeat_from_proto(request), context)
        return pb.HeartbeatResponse(
            lease_seconds=self._backend.settings.lease_seconds, heartbeat_interval_seconds=self._heartbeat_interval()
        )

    def _heartbeat_interval(self) -> float:
        return self._backend.settings.heartbeat_interval(len(self._backend.reads.nodes()))

    async def WatchAllocations(
        self,
        request: pb.WatchAllocationsRequest,
        context: Context,
    ) -> AsyncIterator[pb.WatchAllocationsResponse]:
        # Listen first, then look: what is pushed in between is in the slot, and its epoch tells whether it is news.
        with self._backend.hub.allocations(request.node) as slot:
            desired = self._backend.reads.desired(request.node)
            shown: NodeDesired | None = None
            while True:
                # Also what was pushed before tells that it may be time to look again at who has to wait.
                before, shown = shown, self._backend.shown(desired)
                if shown != before:
                    for message in _told(shown, in_parts=request.in_parts):
                        yield message
                newest = await slot.take()
                if newest.epoch >= desired.epoch:
                    desired = newest

    async def OfferOutput(
        self, requests: AsyncIterator[pb.OfferOutputRequest], context: Context
    ) -> AsyncIterator[pb.OfferOutputResponse]:
        messages = aiter(requests)
        nodes = output.offer_from_proto(await anext(messages, pb.OfferOutputRequest()))
        for name in nodes:
            self._backend.reads.get_node(name)
        with self._backend.outputs.line(nodes) as line:
            listening = asyncio.create_task(_listen(messages, line))
            try:
                async for id_, question in line.questions():
                    yield (
                        output.withdrawal_to_proto(id_) if question is None else output.question_to_proto(id_, question)
                    )
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Context) -> pb.DrainNodeResponse:
        node = await self._backend.write(SetNodeAvailability(request.name, NodeAvailability.DRAINING), context)
        return pb.DrainNodeResponse(node=node_to_proto(node))

    async def CordonNode(self, request: pb.CordonNodeRequest, context: Context) -> pb.CordonNodeResponse:
        availability = NodeAvailability.CORDONED if request.cordoned else NodeAvailability.OPEN
        node = await self._backend.write(SetNodeAvailability(request.name, availability), context)
        return pb.CordonNodeResponse(node=node_to_proto(node))

    async def TaintNode(self, request: pb.TaintNodeRequest, context: Context) -> pb.TaintNodeResponse:
        node = await self._backend.write(commands.taint_node_from_proto(request), context)
        return pb.TaintNodeResponse(node=node_to_proto(node))

    async def RemoveNode(self, request: pb.RemoveNodeRequest, context: Context) -> pb.RemoveNodeResponse:
        await self._backend.write(RemoveNode(request.name), context)
        return pb.RemoveNodeResponse()

    async def GetNode(self, request: pb.GetNodeRequest, context: Context) -> pb.GetNodeResponse:
        return pb.GetNodeResponse(node=node_to_proto(self._backend.reads.get_node(request.name)))

    async def ListNodes(self, request: pb.ListNodesRequest, context: Context) -> pb.ListNodesResponse:
        nodes, token = by_name(self._backend.reads.nodes(), request.page_size, request.page_token)
        response = pb.ListNodesResponse(next_page_token=token)
        bytes_left = self._backend.settings.max_message_bytes // 4
        for node in nodes:
            message = node_to_proto(node)
            bytes_left -= message.ByteSize()
            if bytes_left < 0 and response.nodes:  # a thousand nodes with all the labels they may have exceed a message
                response.next_page_token = tokens.page_token(response.nodes[-1].name)
                break
            response.nodes.append(message)
        return response


def _told(desired: NodeDesired, *, in_parts: bool) -> Iterable[pb.WatchAllocationsResponse]:
    return parts_of(desired) if in_parts else (pb.WatchAllocationsResponse(desired=desired_to_proto(desired)),)


async def _listen(messages: AsyncIterator[pb.OfferOutputRequest], line: Line) -> None:
    """Hear answers until the agent says no more."""
    try:
        async for message in messages:
            if message.WhichOneof("message") == "answer":
                line.answered(message.answer.id, output.answer_from_proto(message.answer))
    finally:
        line.close()
