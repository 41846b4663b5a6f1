"""Every call of the API, once: how the request is built from domain values and how its answer is read.

The clients add only sending and waiting. A call is repeatable if it only reads, or is a submit, which carries a request
id always. Field paths in refusals are those of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from allocator.client.exchange import Call, Pages, Stream
from allocator.client.views import EndOfSnapshot, JobChange, JobEvent, Lease, QueueStatus, Registration
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.placement import Epoch, NodeDesired
from allocator.domain.queue import Queue
from allocator.intake.commands import ItemResult, JobUpdate, ReplicaReport
from allocator.rounds.report import RoundSummary
from allocator.v1 import job_service_pb2 as job_pb
from allocator.v1 import node_service_pb2 as node_pb
from allocator.v1 import queue_service_pb2 as queue_pb
from allocator.v1 import scheduler_service_pb2 as scheduler_pb
from allocator.wire import errors as wire_errors
from allocator.wire import jobs as wire_jobs
from allocator.wire import nodes as wire_nodes
from allocator.wire import queues as wire_queues
from allocator.wire import resources as wire_resources
from allocator.wire import rounds as wire_rounds
from allocator.wire.rounds import ClusterStatus

PAGE_SIZE = 1000


def submit(specs: Iterable[JobSpec], request_id: str | None) -> Call[tuple[ItemResult, ...]]:
    request = job_pb.SubmitJobsRequest(
        jobs=[wire_jobs.spec_to_proto(spec) for spec in specs], request_id=request_id or str(uuid4())
    )
    return Call("JobService", "SubmitJobs", request, job_pb.SubmitJobsResponse, _results, repeatable=True)


def cancel(job_ids: Iterable[str], message: str) -> Call[tuple[ItemResult, ...]]:
    request = job_pb.CancelJobsRequest(job_ids=list(job_ids), message=message)
    return Call("JobService", "CancelJobs", request, job_pb.CancelJobsResponse, _results)


def update(updates: Iterable[JobUpdate]) -> Call[tuple[ItemResult, ...]]:
    request = job_pb.UpdateJobsRequest(
        updates=[
            job_pb.JobUpdate(job_id=u.job_id, weight=u.weight, priority_class=u.priority_class) for u in updates
        ]
    )
    return Call("JobService", "UpdateJobs", request, job_pb.UpdateJobsResponse, _results)


def report_progress(job_id: str, throughput: float, epoch: Epoch | None) -> Call[Job]:
    request = job_pb.ReportProgressRequest(
        job_id=job_id,
        throughput=throughput,
        epoch=None if epoch is None else wire_resources.epoch_to_proto(epoch),
    )
    return Call("JobService", "ReportProgress", request, job_pb.ReportProgressResponse, _job)


def job(job_id: str) -> Call[Job]:
    request = job_pb.GetJobRequest(job_id=job_id)
    return Call("JobService", "GetJob", request, job_pb.GetJobResponse, _job, repeatable=True)


def jobs(queue: str, states: Iterable[JobState], page_size: int) -> Pages[Job]:
    numbers = [wire_jobs.JOB_STATES.number(state) for state in states]

    def page(token: str) -> Call[tuple[Sequence[Job], str]]:
        request = job_pb.ListJobsRequest(
            queue=queue,
            states=numbers,  # type: ignore[arg-type] # the stub wants the enumeration's own integer type
            page_size=page_size,
            page_token=token,
        )
        return Call("JobService", "ListJobs", request, job_pb.ListJobsResponse, read, repeatable=True)

    def read(reply: job_pb.ListJobsResponse) -> tuple[Sequence[Job], str]:
        return [wire_jobs.job_from_proto(message) for message in reply.jobs], reply.next_page_token

    return Pages(page)


def watch_jobs(queue: str, cursor: str) -> Stream[JobEvent]:
    def read(reply: job_pb.WatchJobsResponse) -> JobEvent | None:
        if reply.HasField("job_change"):
            return JobChange(wire_jobs.job_from_proto(reply.job_change.job), reply.job_change.cursor)
        if reply.HasField("end_of_snapshot"):
            return EndOfSnapshot(reply.end_of_snapshot.cursor)
        return None

    return Stream(
        "JobService",
        "WatchJobs",
        job_pb.WatchJobsRequest(queue=queue, cursor=cursor),
        job_pb.WatchJobsResponse,
        read,
        lambda event: watch_jobs(queue, event.cursor),
    )


def queue(name: str) -> Call[QueueStatus]:
    request = queue_pb.GetQueueRequest(name=name)
    return Call("QueueService", "GetQueue", request, queue_pb.GetQueueResponse, _queue_status, repeatable=True)


def queues(page_size: int = PAGE_SIZE) -> Pages[QueueStatus]:
    def page(token: str) -> Call[tuple[Sequence[QueueStatus], str]]:
        request = queue_pb.ListQueuesRequest(page_size=page_size, page_token=token)
        return Call("QueueService", "ListQueues", request, queue_pb.ListQueuesResponse, read, repeatable=True)

    def read(reply: queue_pb.ListQueuesResponse) -> tuple[Sequence[QueueStatus], str]:
        return [_queue_with_counts(message) for message in reply.queues], reply.next_page_token

    return Pages(page)


def create_queue(new: Queue) -> Call[Queue]:
    request = queue_pb.CreateQueueRequest(queue=wire_queues.queue_to_proto(new))
    return Call("QueueService", "CreateQueue", request, queue_pb.CreateQueueResponse, _queue)


def update_queue(
    name: str, weight: float | None, max_live_jobs: int | None, *, clear_max_live_jobs: bool
) -> Call[Queue]:
    request = queue_pb.UpdateQueueRequest(name=name, weight=weight, max_live_jobs=max_live_jobs)
    if clear_max_live_jobs:
        request.clear_max_live_jobs = True
    return Call("QueueService", "UpdateQueue", request, queue_pb.UpdateQueueResponse, _queue)


def delete_queue(name: str) -> Call[None]:
    request = queue_pb.DeleteQueueRequest(name=name)
    return Call("QueueService", "DeleteQueue", request, queue_pb.DeleteQueueResponse, _nothing)


def cordon_queue(name: str, *, cordoned: bool) -> Call[Queue]:
    request = queue_pb.CordonQueueRequest(name=name, cordoned=cordoned)
    return Call("QueueService", "CordonQueue", request, queue_pb.CordonQueueResponse, _queue)


def node(name: str) -> Call[Node]:
    request = node_pb.GetNodeRequest(name=name)
    return Call("NodeService", "GetNode", request, node_pb.GetNodeResponse, _node, repeatable=True)


def nodes(page_size: int = PAGE_SIZE) -> Pages[Node]:
    def page(token: str) -> Call[tuple[Sequence[Node], str]]:
        request = node_pb.ListNodesRequest(page_size=page_size, page_token=token)
        return Call("NodeService", "ListNodes", request, node_pb.ListNodesResponse, read, repeatable=True)

    def read(reply: node_pb.ListNodesResponse) -> tuple[Sequence[Node], str]:
        return [wire_nodes.node_from_proto(message) for message in reply.nodes], reply.next_page_token

    return Pages(page)


def drain_node(name: str) -> Call[Node]:
    request = node_pb.DrainNodeRequest(name=name)
    return Call("NodeService", "DrainNode", request, node_pb.DrainNodeResponse, _node)


def cordon_node(name: str, *, cordoned: bool) -> Call[Node]:
    request = node_pb.CordonNodeRequest(name=name, cordoned=cordoned)
    return Call("NodeService", "CordonNode", request, node_pb.CordonNodeResponse, _node)


def remove_node(name: str) -> Call[None]:
    request = node_pb.RemoveNodeRequest(name=name)
    return Call("NodeService", "RemoveNode", request, node_pb.RemoveNodeResponse, _nothing)


def register_node(new: Node) -> Call[Registration]:
    def read(reply: node_pb.RegisterNodeResponse) -> Registration:
        return Registration(wire_nodes.node_from_proto(reply.node), _lease(reply))

    request = node_pb.RegisterNodeRequest(node=wire_nodes.node_to_proto(new))
    return Call("NodeService", "RegisterNode", request, node_pb.RegisterNodeResponse, read)


def heartbeat(name: str, reports: Iterable[ReplicaReport]) -> Call[Lease]:
    request = node_pb.HeartbeatRequest(node=name, reports=[wire_nodes.report_to_proto(report) for report in reports])
    return Call("NodeService", "Heartbeat", request, node_pb.HeartbeatResponse, _lease)


def watch_allocations(name: str) -> Stream[NodeDesired]:
    """A new stream begins with the state that holds then, so resuming is beginning again."""

    def read(reply: node_pb.WatchAllocationsResponse) -> NodeDesired:
        return wire_nodes.desired_from_proto(reply.desired)

    request = node_pb.WatchAllocationsRequest(node=name)
    return Stream(
        "NodeService",
        "WatchAllocations",
        request,
        node_pb.WatchAllocationsResponse,
        read,
        lambda _: watch_allocations(name),
    )


def round_(number: int | None) -> Call[RoundSummary]:
    request = scheduler_pb.GetRoundRequest(round=number)
    return Call("SchedulerService", "GetRound", request, scheduler_pb.GetRoundResponse, _round, repeatable=True)


def rounds(page_size: int) -> Pages[RoundSummary]:
    def page(token: str) -> Call[tuple[Sequence[RoundSummary], str]]:
        request = scheduler_pb.ListRoundsRequest(page_size=page_size, page_token=token)
        return Call(
            "SchedulerService", "ListRounds", request, scheduler_pb.ListRoundsResponse, read, repeatable=True
        )

    def read(reply: scheduler_pb.ListRoundsResponse) -> tuple[Sequence[RoundSummary], str]:
        return [wire_rounds.round_from_proto(message) for message in reply.rounds], reply.next_page_token

    return Pages(page)


def watch_rounds(after: int | None) -> Stream[RoundSummary]:
    return Stream(
        "SchedulerService",
        "WatchRounds",
        scheduler_pb.WatchRoundsRequest(after_round=after),
        scheduler_pb.WatchRoundsResponse,
        _round,
        lambda last: watch_rounds(last.round),
    )


def status() -> Call[ClusterStatus]:
    return Call(
        "SchedulerService",
        "GetClusterStatus",
        scheduler_pb.GetClusterStatusRequest(),
        scheduler_pb.GetClusterStatusResponse,
        wire_rounds.cluster_status_from_proto,
        repeatable=True,
    )


def _results(reply: Any) -> tuple[ItemResult, ...]:
    return tuple(
        wire_errors.error_from_status(result.error)
        if result.HasField("error")
        else wire_jobs.job_from_proto(result.job)
        for result in reply.results
    )


def _job(reply: Any) -> Job:
    return wire_jobs.job_from_proto(reply.job)


def _queue(reply: Any) -> Queue:
    return wire_queues.queue_from_proto(reply.queue)


def _queue_status(reply: Any) -> QueueStatus:
    return _queue_with_counts(reply.queue)


def _queue_with_counts(message: Any) -> QueueStatus:
    counts = wire_queues.queue_counts_from_proto(message)
    return QueueStatus(wire_queues.queue_from_proto(message), counts.pending, counts.running)


def _node(reply: Any) -> Node:
    return wire_nodes.node_from_proto(reply.node)


def _lease(reply: Any) -> Lease:
    return Lease(reply.lease_seconds, reply.heartbeat_interval_seconds)


def _round(reply: Any) -> RoundSummary:
    return wire_rounds.round_from_proto(reply.round)


def _nothing(_: Message) -> None:
    return None
