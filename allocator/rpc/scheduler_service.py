"""SchedulerService: what the rounds did, and how the cluster is."""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.errors import InvalidInput, NotFound
from allocator.domain.resources import resource_names, total
from allocator.rounds.report import FlavorUsage, RoundSummary
from allocator.rpc import tokens
from allocator.rpc.backend import Backend, Context
from allocator.rpc.ports import Reads
from allocator.v1 import scheduler_service_pb2 as pb
from allocator.v1 import scheduler_service_pb2_grpc as pb_grpc
from allocator.wire.rounds import ClusterStatus, NodeCounts, cluster_status_to_proto, round_to_proto

PAGE = 100
_MAX_ROUND = 2**62


class SchedulerService(pb_grpc.SchedulerServiceServicer):
    """See protos/allocator/v1/scheduler_service.proto."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def GetRound(self, request: pb.GetRoundRequest, context: Context) -> pb.GetRoundResponse:
        reads = self._backend.reads
        if request.HasField("round"):
            found = await self._backend.ask(reads.get_round, request.round)
        else:
            newest = reads.latest_round()
            if newest is None:
                raise NotFound("round", "newest")
            found = newest
        return pb.GetRoundResponse(round=round_to_proto(found))

    async def ListRounds(self, request: pb.ListRoundsRequest, context: Context) -> pb.ListRoundsResponse:
        size = tokens.page_size(request.page_size)
        before = tokens.page_after_number(request.page_token)
        found = await self._backend.ask(self._backend.reads.list_rounds, before, size)
        more = len(found) == size and found[-1].round > 1
        return pb.ListRoundsResponse(
            rounds=[round_to_proto(summary) for summary in found],
            next_page_token=tokens.page_token(str(found[-1].round)) if more else "",
        )

    async def WatchRounds(
        self,
        request: pb.WatchRoundsRequest,
        context: Context,
    ) -> AsyncIterator[pb.WatchRoundsResponse]:
        reads, hub = self._backend.reads, self._backend.hub
        with hub.rounds() as slot:
            newest = reads.latest_round()
            last = 0 if newest is None else newest.round - 1
            if request.HasField("after_round"):
                last = request.after_round
                if not 0 <= last <= _MAX_ROUND:
                    raise InvalidInput.of("after_round", f"must be a round's number or 0, got {last}")
            while True:
                for summary in await self._backend.ask(rounds_after, reads, last):
                    yield pb.WatchRoundsResponse(round=round_to_proto(summary))
                    hub.counts["rounds"].pushes += 1
                    last = summary.round
                hub.check_open()
                newest = reads.latest_round()
                if newest is None or newest.round <= last:
                    await slot.take()

    async def GetClusterStatus(
        self,
        request: pb.GetClusterStatusRequest,
        context: Context,
    ) -> pb.GetClusterStatusResponse:
        return cluster_status_to_proto(cluster_status(self._backend.reads))


def rounds_after(reads: Reads, last: int) -> tuple[RoundSummary, ...]:
    """The oldest rounds that are kept with a number above `last`, oldest first, at most a page of them."""
    newest = reads.latest_round()
    if newest is None or newest.round <= last:
        return ()
    if newest.round == last + 1:
        return (newest,)
    # Old rounds are dropped, so the next number may be far behind `last`: find the smallest one that is kept.
    low, high = last + 1, newest.round
    while low < high and not _between(reads, last, low + PAGE):
        middle = (low + high) // 2
        if _between(reads, last, middle + 1):
            high = middle
        else:
            low = middle + 1
    return tuple(s for s in reversed(reads.list_rounds(low + PAGE, PAGE)) if s.round > last)


def _between(reads: Reads, last: int, before: int) -> bool:
    """Whether any round is kept with a number above `last` and below `before`."""
    return any(summary.round > last for summary in reads.list_rounds(before, 1))


def cluster_status(reads: Reads) -> ClusterStatus:
    """How the cluster is, from memory alone."""
    nodes = reads.nodes()
    counts = reads.queue_counts().values()
    newest = reads.latest_round()
    return ClusterStatus(
        revision=reads.current_revision(),
        nodes=_node_counts(nodes),
        pending_jobs=sum(pending for pending, _ in counts),
        running_jobs=sum(running for _, running in counts),
        flavors=_capacities(nodes) if newest is None else newest.flavors,
        queues=() if newest is None else newest.queues,
        last_round=newest,
    )


def _node_counts(nodes: tuple[Node, ...]) -> NodeCounts:
    ready = Counter(node.availability for node in nodes if node.health is NodeHealth.READY)
    takers = sum(node.takes_new_work for node in nodes)
    return NodeCounts(
        open=takers,
        cordoned=ready[NodeAvailability.CORDONED],
        draining=ready[NodeAvailability.DRAINING],
        lost=len(nodes) - ready.total(),
        in_trouble=ready[NodeAvailability.OPEN] - takers,
    )


def _capacities(nodes: tuple[Node, ...]) -> tuple[FlavorUsage, ...]:
    """What the ready nodes have; nothing is known to be asked for, held or priced."""
    ready = [node for node in nodes if node.health is NodeHealth.READY]
    usages = []
    for flavor in sorted({node.flavor for node in ready}):
        capacities = [node.capacity for node in ready if node.flavor == flavor]
        sums = total(capacities)
        usages += [FlavorUsage(flavor, name, sums.get(name), 0, 0, 0.0) for name in resource_names(capacities)]
    return tuple(usages)
