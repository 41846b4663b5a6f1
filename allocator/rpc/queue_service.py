"""QueueService: translate, execute or ask, answer."""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

from collections import Counter

from allocator.domain.queue import Queue
from allocator.intake.commands import DeleteQueue
from allocator.rpc import tokens
from allocator.rpc.backend import Backend, Context
from allocator.rpc.paging import by_name
from allocator.v1 import queue_pb2
from allocator.v1 import queue_service_pb2 as pb
from allocator.v1 import queue_service_pb2_grpc as pb_grpc
from allocator.wire import commands
from allocator.wire.queues import QueueCounts, queue_to_proto


class QueueService(pb_grpc.QueueServiceServicer):
    """See protos/allocator/v1/queue_service.proto."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._page_bytes = backend.settings.max_message_bytes // 4

    async def CreateQueue(self, request: pb.CreateQueueRequest, context: Context) -> pb.CreateQueueResponse:
        queue = await self._backend.write(commands.create_queue_from_proto(request), context)
        return pb.CreateQueueResponse(queue=self._counted(queue))

    async def UpdateQueue(self, request: pb.UpdateQueueRequest, context: Context) -> pb.UpdateQueueResponse:
        queue = await self._backend.write(commands.update_queue_from_proto(request), context)
        return pb.UpdateQueueResponse(queue=self._counted(queue))

    async def CordonQueue(self, request: pb.CordonQueueRequest, context: Context) -> pb.CordonQueueResponse:
        queue = await self._backend.write(commands.cordon_queue_from_proto(request), context)
        return pb.CordonQueueResponse(queue=self._counted(queue))

    async def DeleteQueue(self, request: pb.DeleteQueueRequest, context: Context) -> pb.DeleteQueueResponse:
        await self._backend.write(DeleteQueue(request.name), context)
        return pb.DeleteQueueResponse()

    async def GetQueue(self, request: pb.GetQueueRequest, context: Context) -> pb.GetQueueResponse:
        return pb.GetQueueResponse(queue=self._counted(self._backend.reads.get_queue(request.name)))

    async def ListQueues(self, request: pb.ListQueuesRequest, context: Context) -> pb.ListQueuesResponse:
        queues, token = by_name(self._backend.reads.queues(), request.page_size, request.page_token)
        items = sum(1 + len(queue.quotas) for queue in queues)
        return await self._backend.translate(items, lambda: self._page(queues, token))

    def _page(self, queues: tuple[Queue, ...], token: str) -> pb.ListQueuesResponse:
        """At most a quarter of a message: a thousand queues with all the quotas they may have would exceed one."""
        counts = rolled_up(self._backend.reads.queue_counts())
        response = pb.ListQueuesResponse(next_page_token=token)
        bytes_left = self._page_bytes
        for queue in queues:
            message = queue_to_proto(queue, counts.get(queue.name, QueueCounts()))
            bytes_left -= message.ByteSize()
            if bytes_left < 0 and response.queues:
                response.next_page_token = tokens.page_token(response.queues[-1].name)
                return response
            response.queues.append(message)
        return response

    def _counted(self, queue: Queue) -> queue_pb2.Queue:
        counts = rolled_up(self._backend.reads.queue_counts())
        return queue_to_proto(queue, counts.get(queue.name, QueueCounts()))


def rolled_up(counts: dict[str, tuple[int, int]]) -> dict[str, QueueCounts]:
    """From (pending, running) of exactly each queue to those of each queue and everything below it."""
    pending: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for name, (waits, runs) in counts.items():
        above = name
        while above:
            pending[above] += waits
            running[above] += runs
            above = above.rpartition("/")[0]
    return {name: QueueCounts(pending[name], running[name]) for name in counts}
