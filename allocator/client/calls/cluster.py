"""Calls about queues, nodes, rounds and policies: what the cluster is and does. See `calls`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from allocator.client.exchange import PAGE_SIZE, Call, Method, Pages, Stream
from allocator.client.views import Lease, QueueStatus, Registration
from allocator.domain.cluster import Node
from allocator.domain.placement import Epoch, JobStart, NodeDesired
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.intake.commands import (
    CordonQueue,
    CreateQueue,
    Heartbeat,
    RegisterNode,
    ReplicaReport,
    TaintNode,
    UpdateQueue,
)
from allocator.rounds.report import RoundSummary
from allocator.v1 import capture_service_pb2 as capture_pb
from allocator.v1 import node_service_pb2 as node_pb
from allocator.v1 import policy_service_pb2 as policy_pb
from allocator.v1 import queue_pb2
from allocator.v1 import queue_service_pb2 as queue_pb
from allocator.v1 import scheduler_service_pb2 as scheduler_pb
from allocator.wire import commands as wire
from allocator.wire import nodes as wire_nodes
from allocator.wire import policies as wire_policies
from allocator.wire import queues as wire_queues
from allocator.wire import rounds as wire_rounds
from allocator.wire.desired_parts import Parts
from allocator.wire.policies import PolicyCheck, PolicyRecord
from allocator.wire.recording import CapturedRecord, record_from_response
from allocator.wire.rounds import ClusterStatus

_CREATE_QUEUE = Method("QueueService", "CreateQueue", queue_pb.CreateQueueResponse)
_GET_QUEUE = Method("QueueService", "GetQueue", queue_pb.GetQueueResponse)
_LIST_QUEUES = Method("QueueService", "ListQueues", queue_pb.ListQueuesResponse)
_UPDATE_QUEUE = Method("QueueService", "UpdateQueue", queue_pb.UpdateQueueResponse)
_DELETE_QUEUE = Method("QueueService", "DeleteQueue", queue_pb.DeleteQueueResponse)
_CORDON_QUEUE = Method("QueueService", "CordonQueue", queue_pb.CordonQueueResponse)
_REGISTER_NODE = Method("NodeService", "RegisterNode", node_pb.RegisterNodeResponse)
_HEARTBEAT = Method("NodeService", "Heartbeat", node_pb.HeartbeatResponse)
_WATCH_ALLOCATIONS = Method("NodeService", "WatchAllocations", node_pb.WatchAllocationsResponse)
_GET_NODE = Method("NodeService", "GetNode", node_pb.GetNodeResponse)
_LIST_NODES = Method("NodeService", "ListNodes", node_pb.ListNodesResponse)
_DRAIN_NODE = Method("NodeService", "DrainNode", node_pb.DrainNodeResponse)
_CORDON_NODE = Method("NodeService", "CordonNode", node_pb.CordonNodeResponse)
_TAINT_NODE = Method("NodeService", "TaintNode", node_pb.TaintNodeResponse)
_REMOVE_NODE = Method("NodeService", "RemoveNode", node_pb.RemoveNodeResponse)
_GET_ROUND = Method("SchedulerService", "GetRound", scheduler_pb.GetRoundResponse)
_LIST_ROUNDS = Method("SchedulerService", "ListRounds", scheduler_pb.ListRoundsResponse)
_WATCH_ROUNDS = Method("SchedulerService", "WatchRounds", scheduler_pb.WatchRoundsResponse)
_STATUS = Method("SchedulerService", "GetClusterStatus", scheduler_pb.GetClusterStatusResponse)
_CAPTURE_ROUNDS = Method("CaptureService", "CaptureRounds", capture_pb.CaptureRoundsResponse)
_CHECK_POLICY = Method("PolicyService", "CheckPolicy", policy_pb.CheckPolicyResponse)
_GET_POLICY = Method("PolicyService", "GetPolicy", policy_pb.GetPolicyResponse)
_LIST_POLICIES = Method("PolicyService", "ListPolicies", policy_pb.ListPoliciesResponse)
_APPLY_POLICY = Method("PolicyService", "ApplyPolicy", policy_pb.ApplyPolicyResponse)


def queue(name: str) -> Call[QueueStatus]:
    return Call(
        _GET_QUEUE,
        lambda: queue_pb.GetQueueRequest(name=name),
        lambda reply: _queue_status(reply.queue),
        repeatable=True,
    )


def queues() -> Pages[QueueStatus]:
    def page(token: str) -> Call[tuple[Sequence[QueueStatus], str]]:
        return Call(
            _LIST_QUEUES,
            lambda: queue_pb.ListQueuesRequest(page_size=PAGE_SIZE, page_token=token),
            lambda reply: ([_queue_status(message) for message in reply.queues], reply.next_page_token),
            repeatable=True,
        )

    return Pages(page)


def create_queue(new: Queue) -> Call[Queue]:
    return Call(_CREATE_QUEUE, lambda: wire.create_queue_to_proto(CreateQueue(new)), _queue)


def update_queue(
    name: str,
    weight: float | None,
    max_live_jobs: int | None,
    priority: int | None,
    quotas: Iterable[Quota] | None,
    discipline: Discipline | None,
    *,
    clear_max_live_jobs: bool,
) -> Call[Queue]:
    command = UpdateQueue(
        name,
        weight,
        max_live_jobs,
        clear_max_live_jobs,
        priority,
        None if quotas is None else tuple(quotas),
        discipline,
    )
    return Call(_UPDATE_QUEUE, lambda: wire.update_queue_to_proto(command), _queue)


def delete_queue(name: str) -> Call[None]:
    return Call(_DELETE_QUEUE, lambda: queue_pb.DeleteQueueRequest(name=name), _nothing)


def cordon_queue(name: str, *, cordoned: bool) -> Call[Queue]:
    return Call(_CORDON_QUEUE, lambda: wire.cordon_queue_to_proto(CordonQueue(name, cordoned)), _queue)


def node(name: str) -> Call[Node]:
    return Call(_GET_NODE, lambda: node_pb.GetNodeRequest(name=name), _node, repeatable=True)


def nodes() -> Pages[Node]:
    def page(token: str) -> Call[tuple[Sequence[Node], str]]:
        return Call(
            _LIST_NODES,
            lambda: node_pb.ListNodesRequest(page_size=PAGE_SIZE, page_token=token),
            lambda reply: ([wire_nodes.node_from_proto(message) for message in reply.nodes], reply.next_page_token),
            repeatable=True,
        )

    return Pages(page)


def drain_node(name: str) -> Call[Node]:
    return Call(_DRAIN_NODE, lambda: node_pb.DrainNodeRequest(name=name), _node)


def cordon_node(name: str, *, cordoned: bool) -> Call[Node]:
    return Call(_CORDON_NODE, lambda: node_pb.CordonNodeRequest(name=name, cordoned=cordoned), _node)


def taint_node(name: str, taints: Mapping[str, str], removed: Iterable[str]) -> Call[Node]:
    command = TaintNode(name, tuple(sorted(taints.items())), tuple(removed))
    return Call(_TAINT_NODE, lambda: wire.taint_node_to_proto(command), _node)


def remove_node(name: str) -> Call[None]:
    return Call(_REMOVE_NODE, lambda: node_pb.RemoveNodeRequest(name=name), _nothing)


def register_node(new: Node) -> Call[Registration]:
    return Call(
        _REGISTER_NODE,
        lambda: wire.register_node_to_proto(RegisterNode(new)),
        lambda reply: Registration(wire_nodes.node_from_proto(reply.node), _lease(reply)),
    )


def heartbeat(
    name: str, reports: Iterable[ReplicaReport], seen: Epoch | None, leaving: Iterable[JobStart]
) -> Call[Lease]:
    command = Heartbeat(name, tuple(reports), seen, tuple(leaving))
    return Call(_HEARTBEAT, lambda: wire.heartbeat_to_proto(command), _lease)


def watch_allocations(name: str) -> Stream[NodeDesired]:
    """A new stream begins with the state that holds then, so to resume is to begin again."""
    parts = Parts()
    return Stream(
        _WATCH_ALLOCATIONS,
        lambda: node_pb.WatchAllocationsRequest(node=name, in_parts=True),
        parts.add,
        lambda _: watch_allocations(name),
    )


def round_(number: int | None) -> Call[RoundSummary]:
    return Call(_GET_ROUND, lambda: scheduler_pb.GetRoundRequest(round=number), _round, repeatable=True)


def rounds(page_size: int) -> Pages[RoundSummary]:
    def page(token: str) -> Call[tuple[Sequence[RoundSummary], str]]:
        return Call(
            _LIST_ROUNDS,
            lambda: scheduler_pb.ListRoundsRequest(page_size=page_size, page_token=token),
            lambda reply: (
                [wire_rounds.round_from_proto(message) for message in reply.rounds],
                reply.next_page_token,
            ),
            repeatable=True,
        )

    return Pages(page)


def watch_rounds(after: int | None) -> Stream[RoundSummary]:
    return Stream(
        _WATCH_ROUNDS,
        lambda: scheduler_pb.WatchRoundsRequest(after_round=after),
        _round,
        lambda last: watch_rounds(last.round),
    )


def status() -> Call[ClusterStatus]:
    return Call(_STATUS, scheduler_pb.GetClusterStatusRequest, wire_rounds.cluster_status_from_proto, repeatable=True)


def capture_rounds() -> Stream[CapturedRecord]:
    """Whoever connects again gets everything anew, after another beginning."""
    return Stream(
        _CAPTURE_ROUNDS, capture_pb.CaptureRoundsRequest, record_from_response, lambda _: capture_rounds()
    )  # fmt: skip


def check_policy(text: str, *, prune: bool) -> Call[PolicyCheck]:
    request = policy_pb.CheckPolicyRequest
    return Call(_CHECK_POLICY, lambda: request(text=text, prune=prune), wire_policies.check_from_proto, repeatable=True)


def policy(version: int | None) -> Call[PolicyRecord]:
    return Call(_GET_POLICY, lambda: policy_pb.GetPolicyRequest(version=version), _policy, repeatable=True)


def policies(limit: int) -> Call[tuple[PolicyRecord, ...]]:
    return Call(
        _LIST_POLICIES,
        lambda: policy_pb.ListPoliciesRequest(page_size=limit),
        lambda reply: tuple(map(wire_policies.policy_from_proto, reply.policies)),
        repeatable=True,
    )


def apply_policy(
    text: str, expected_version: int | None, author: str, comment: str, *, prune: bool
) -> Call[PolicyRecord]:
    return Call(
        _APPLY_POLICY,
        lambda: wire_policies.apply_request(text, expected_version, author, comment, prune=prune),
        _policy,
    )


def _policy(reply: Any) -> PolicyRecord:
    return wire_policies.policy_from_proto(reply.policy)


def _queue(reply: Any) -> Queue:
    return wire_queues.queue_from_proto(reply.queue)


def _queue_status(message: queue_pb2.Queue) -> QueueStatus:
    counts = wire_queues.queue_counts_from_proto(message)
    return QueueStatus(wire_queues.queue_from_proto(message), counts.pending, counts.running)


def _node(reply: Any) -> Node:
    return wire_nodes.node_from_proto(reply.node)


def _lease(reply: Any) -> Lease:
    return Lease(reply.lease_seconds, reply.heartbeat_interval_seconds)


def _round(reply: Any) -> RoundSummary:
    return wire_rounds.round_from_proto(reply.round)


def _nothing(_: Any) -> None:
    return None
