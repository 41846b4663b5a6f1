"""Every call of the API, once: how the request is built from domain values and how its answer is read.

The clients add only sending and waiting. A call is repeatable if it only reads, or is a submit, which carries a request
id always. Field paths in refusals are those of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from allocator.client.exchange import Call, Method, Pages, Stream
from allocator.client.views import EndOfSnapshot, JobChange, JobEvent, Lease, QueueStatus, Registration
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.placement import Epoch, NodeDesired
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.explain.answers import JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrices, PriceExplanation
from allocator.intake.commands import (
    CancelJobs,
    CordonQueue,
    CreateQueue,
    Heartbeat,
    ItemResult,
    JobUpdate,
    RegisterNode,
    ReplicaReport,
    ReportProgress,
    SubmitJobs,
    TaintNode,
    UpdateJobs,
    UpdateQueue,
)
from allocator.rounds.report import RoundSummary
from allocator.v1 import capture_service_pb2 as capture_pb
from allocator.v1 import explain_service_pb2 as explain_pb
from allocator.v1 import job_service_pb2 as job_pb
from allocator.v1 import node_service_pb2 as node_pb
from allocator.v1 import policy_service_pb2 as policy_pb
from allocator.v1 import queue_pb2
from allocator.v1 import queue_service_pb2 as queue_pb
from allocator.v1 import scheduler_service_pb2 as scheduler_pb
from allocator.v1 import simulate_service_pb2 as simulate_pb
from allocator.whatif.answers import CapacityPlan, Change, Offer, Outcome, Question
from allocator.wire import commands as wire
from allocator.wire import explanations as wire_explanations
from allocator.wire import jobs as wire_jobs
from allocator.wire import limits as wire_limits
from allocator.wire import nodes as wire_nodes
from allocator.wire import policies as wire_policies
from allocator.wire import queues as wire_queues
from allocator.wire import rounds as wire_rounds
from allocator.wire import simulations as wire_simulations
from allocator.wire.explanations import PastPrice
from allocator.wire.policies import PolicyCheck, PolicyRecord
from allocator.wire.recording import CapturedRecord, record_from_response
from allocator.wire.rounds import ClusterStatus

PAGE_SIZE = 1000


_SUBMIT = Method("JobService", "SubmitJobs", job_pb.SubmitJobsResponse)
_GET_JOB = Method("JobService", "GetJob", job_pb.GetJobResponse)
_LIST_JOBS = Method("JobService", "ListJobs", job_pb.ListJobsResponse)
_CANCEL = Method("JobService", "CancelJobs", job_pb.CancelJobsResponse)
_UPDATE = Method("JobService", "UpdateJobs", job_pb.UpdateJobsResponse)
_REPORT_PROGRESS = Method("JobService", "ReportProgress", job_pb.ReportProgressResponse)
_WATCH_JOBS = Method("JobService", "WatchJobs", job_pb.WatchJobsResponse)
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
_SIMULATE = Method("SimulateService", "Simulate", simulate_pb.SimulateResponse)
_PLAN_CAPACITY = Method("SimulateService", "PlanCapacity", simulate_pb.PlanCapacityResponse)
_EXPLAIN_JOB = Method("ExplainService", "ExplainJob", explain_pb.ExplainJobResponse)
_EXPLAIN_QUEUE = Method("ExplainService", "ExplainQueue", explain_pb.ExplainQueueResponse)
_EXPLAIN_PRICE = Method("ExplainService", "ExplainPrice", explain_pb.ExplainPriceResponse)
_EXPLAIN_LIMIT = Method("ExplainService", "ExplainLimit", explain_pb.ExplainLimitResponse)
_LIST_LIMIT_PRICES = Method("ExplainService", "ListLimitPrices", explain_pb.ListLimitPricesResponse)


def submit(specs: Iterable[JobSpec], request_id: str | None, *, allow_infeasible: bool) -> Call[tuple[ItemResult, ...]]:
    """Without a request id it makes one, so that a submit can always be repeated."""
    command = SubmitJobs(tuple(specs), request_id or str(uuid4()), feasible_only=not allow_infeasible)
    return Call(_SUBMIT, lambda: wire.submit_jobs_to_proto(command), _results, repeatable=True)


def cancel(job_ids: Iterable[str], message: str) -> Call[tuple[ItemResult, ...]]:
    command = CancelJobs(tuple(job_ids), message)
    return Call(_CANCEL, lambda: wire.cancel_jobs_to_proto(command), _results)


def update(updates: Iterable[JobUpdate]) -> Call[tuple[ItemResult, ...]]:
    command = UpdateJobs(tuple(updates))
    return Call(_UPDATE, lambda: wire.update_jobs_to_proto(command), _results)


def report_progress(job_id: str, throughput: float, epoch: Epoch | None) -> Call[Job]:
    command = ReportProgress(job_id, throughput, epoch)
    return Call(_REPORT_PROGRESS, lambda: wire.report_progress_to_proto(command), _job)


def job(job_id: str) -> Call[Job]:
    return Call(_GET_JOB, lambda: job_pb.GetJobRequest(job_id=job_id), _job, repeatable=True)


def jobs(queue: str, states: Iterable[JobState], page_size: int) -> Pages[Job]:
    numbers = [wire_jobs.JOB_STATES.number(state) for state in states]

    def page(token: str) -> Call[tuple[Sequence[Job], str]]:
        return Call(
            _LIST_JOBS,
            lambda: job_pb.ListJobsRequest(queue=queue, states=numbers, page_size=page_size, page_token=token),
            lambda reply: ([wire_jobs.job_from_proto(message) for message in reply.jobs], reply.next_page_token),
            repeatable=True,
        )

    return Pages(page)


def watch_jobs(queue: str, cursor: str) -> Stream[JobEvent]:
    return Stream(
        _WATCH_JOBS,
        lambda: job_pb.WatchJobsRequest(queue=queue, cursor=cursor),
        _job_event,
        lambda last: watch_jobs(queue, last.cursor),
    )


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


def heartbeat(name: str, reports: Iterable[ReplicaReport]) -> Call[Lease]:
    command = Heartbeat(name, tuple(reports))
    return Call(_HEARTBEAT, lambda: wire.heartbeat_to_proto(command), _lease)


def watch_allocations(name: str) -> Stream[NodeDesired]:
    """A new stream begins with the state that holds then, so to resume is to begin again."""
    return Stream(
        _WATCH_ALLOCATIONS,
        lambda: node_pb.WatchAllocationsRequest(node=name),
        lambda reply: wire_nodes.desired_from_proto(reply.desired),
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


def simulate(changes: Iterable[Change], job_ids: Iterable[str], rounds: int) -> Call[Outcome]:
    """Repeatable only where it is quick: see `explain_job`."""
    question = Question(tuple(changes), tuple(job_ids), rounds)
    return Call(
        _SIMULATE,
        lambda: wire_simulations.question_to_proto(question),
        wire_simulations.outcome_from_proto,
        repeatable=not rounds,
    )


def plan_capacity(budget: float, offers: Iterable[Offer]) -> Call[CapacityPlan]:
    wanted = tuple(offers)
    return Call(
        _PLAN_CAPACITY,
        lambda: wire_simulations.plan_question_to_proto(budget, wanted),
        wire_simulations.plan_from_proto,
    )


def explain_job(job_id: str, *, estimate: bool, what_helps: bool, most_rounds: int) -> Call[JobExplanation]:
    """Repeatable only where it is quick: a long replay that was cut off would be begun again and again."""
    request = explain_pb.ExplainJobRequest(
        job_id=job_id, estimate=estimate, what_helps=what_helps, most_rounds=most_rounds
    )
    return Call(
        _EXPLAIN_JOB,
        lambda: request,
        lambda reply: wire_explanations.job_explanation_from_proto(reply.explanation),
        repeatable=not (estimate or what_helps),
    )


def explain_queue(name: str) -> Call[QueueExplanation]:
    return Call(
        _EXPLAIN_QUEUE,
        lambda: explain_pb.ExplainQueueRequest(queue=name),
        lambda reply: wire_explanations.queue_explanation_from_proto(reply.explanation),
        repeatable=True,
    )


def explain_price(
    flavor: str, resource: str, *, one_more: bool, history: int
) -> Call[tuple[PriceExplanation, tuple[PastPrice, ...]]]:
    return Call(
        _EXPLAIN_PRICE,
        lambda: explain_pb.ExplainPriceRequest(flavor=flavor, resource=resource, one_more=one_more, history=history),
        wire_explanations.price_explanation_from_proto,
        repeatable=True,
    )


def explain_limit(name: str, *, one_more: bool) -> Call[LimitExplanation]:
    return Call(
        _EXPLAIN_LIMIT,
        lambda: explain_pb.ExplainLimitRequest(name=name, one_more=one_more),
        lambda reply: wire_limits.limit_explanation_from_proto(reply.explanation),
        repeatable=True,
    )


def limit_prices() -> Call[LimitPrices]:
    return Call(
        _LIST_LIMIT_PRICES,
        explain_pb.ListLimitPricesRequest,
        lambda reply: wire_limits.limit_prices_from_proto(reply.prices),
        repeatable=True,
    )


def capture_rounds() -> Stream[CapturedRecord]:
    """Whoever connects again gets everything anew, after another beginning."""
    return Stream(
        _CAPTURE_ROUNDS, capture_pb.CaptureRoundsRequest, record_from_response, lambda _: capture_rounds()
    )  # fmt: skip


def _results(reply: job_pb.SubmitJobsResponse) -> tuple[ItemResult, ...]:
    return tuple(wire.result_from_proto(result, f"results[{index}]") for index, result in enumerate(reply.results))


def _job_event(reply: job_pb.WatchJobsResponse) -> JobEvent | None:
    """None for an event that a later version of the API may add."""
    match reply.WhichOneof("event"):
        case "job_change":
            return JobChange(wire_jobs.job_from_proto(reply.job_change.job), reply.job_change.cursor)
        case "end_of_snapshot":
            return EndOfSnapshot(reply.end_of_snapshot.cursor)
        case _:
            return None


def _job(reply: Any) -> Job:
    return wire_jobs.job_from_proto(reply.job)


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
