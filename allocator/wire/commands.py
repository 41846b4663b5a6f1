"""Commands as requests and requests as commands; the client builds the former, the server reads the latter.

A request that is wrong as a whole raises InvalidInput. In a batch a wrong item is an InvalidInput in its place, and the
other items are not harmed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from allocator.domain.bounds import text_violations
from allocator.domain.cluster import MOST_TAINTS
from allocator.domain.errors import AllocatorError, InvalidInput, Violation
from allocator.domain.job import Job, JobSpec
from allocator.intake import commands as c
from allocator.v1 import job_service_pb2, node_service_pb2, queue_service_pb2
from allocator.wire.errors import error_from_status, error_to_status
from allocator.wire.fields import MAX_REQUEST_ID, MAX_TEXT, bounded, labels_from_proto, valid, within
from allocator.wire.jobs import job_from_proto, job_to_proto, spec_to_proto, valid_spec_from_proto
from allocator.wire.nodes import (
    job_start_from_proto,
    job_start_to_proto,
    node_to_proto,
    registered_node_from_proto,
    report_from_proto,
    report_to_proto,
)
from allocator.wire.queues import (
    discipline_from_proto,
    discipline_to_proto,
    queue_from_proto,
    queue_to_proto,
    quotas_from_proto,
    quotas_to_proto,
)
from allocator.wire.resources import epoch_from_proto, epoch_to_proto

Message = TypeVar("Message")
Value = TypeVar("Value")

# --- jobs ---------------------------------------------------------------------------------------------------------


def submit_jobs_to_proto(command: c.SubmitJobs) -> job_service_pb2.SubmitJobsRequest:
    """Raises the refusal of an item that could not be read: it has no message."""
    message = job_service_pb2.SubmitJobsRequest(
        request_id=command.request_id, allow_infeasible=not command.feasible_only
    )
    for spec in command.specs:
        if isinstance(spec, InvalidInput):
            raise spec
        message.jobs.append(spec_to_proto(spec))
    return message


def submit_jobs_from_proto(message: job_service_pb2.SubmitJobsRequest) -> c.SubmitJobs:
    """An item that cannot mean anything is what is wrong with it, its field paths beginning at the item."""
    bounded("jobs", len(message.jobs))
    if len(message.request_id) > MAX_REQUEST_ID:
        raise InvalidInput.of(
            "request_id", f"must be at most {MAX_REQUEST_ID} characters, got {len(message.request_id)}"
        )
    specs: list[JobSpec | InvalidInput] = []
    for item in message.jobs:
        try:
            specs.append(valid_spec_from_proto(item))
        except InvalidInput as error:
            specs.append(error)
    body = _body(message) if message.request_id else ""
    return c.SubmitJobs(tuple(specs), message.request_id, body, feasible_only=not message.allow_infeasible)


def _body(message: job_service_pb2.SubmitJobsRequest) -> str:
    """Identifies the whole request but its id. Of what was received, not of what was understood: two requests that are
    wrong in different ways differ, and so do fields that this version does not know.
    """
    body = job_service_pb2.SubmitJobsRequest()
    body.CopyFrom(message)
    body.ClearField("request_id")
    return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()


def cancel_jobs_to_proto(command: c.CancelJobs) -> job_service_pb2.CancelJobsRequest:
    return job_service_pb2.CancelJobsRequest(job_ids=command.job_ids, message=command.message)


def cancel_jobs_from_proto(message: job_service_pb2.CancelJobsRequest) -> c.CancelJobs:
    bounded("job_ids", len(message.job_ids))
    valid("", text_violations("message", message.message, MAX_TEXT))
    return c.CancelJobs(tuple(message.job_ids), message.message)


def update_jobs_to_proto(command: c.UpdateJobs) -> job_service_pb2.UpdateJobsRequest:
    return job_service_pb2.UpdateJobsRequest(
        updates=[
            job_service_pb2.JobUpdate(job_id=u.job_id, weight=u.weight, priority_class=u.priority_class)
            for u in command.updates
        ]
    )


def update_jobs_from_proto(message: job_service_pb2.UpdateJobsRequest) -> c.UpdateJobs:
    """The values are judged when they are applied, item by item."""
    bounded("updates", len(message.updates))
    return c.UpdateJobs(
        tuple(
            c.JobUpdate(
                update.job_id,
                update.weight if update.HasField("weight") else None,
                update.priority_class if update.HasField("priority_class") else None,
            )
            for update in message.updates
        )
    )


def report_progress_to_proto(command: c.ReportProgress) -> job_service_pb2.ReportProgressRequest:
    return job_service_pb2.ReportProgressRequest(
        job_id=command.job_id,
        throughput=command.throughput,
        epoch=None if command.epoch is None else epoch_to_proto(command.epoch),
    )


def report_progress_from_proto(message: job_service_pb2.ReportProgressRequest) -> c.ReportProgress:
    return c.ReportProgress(
        message.job_id, message.throughput, epoch_from_proto(message.epoch) if message.HasField("epoch") else None
    )


def result_to_proto(result: c.ItemResult) -> job_service_pb2.JobResult:
    if isinstance(result, Job):
        return job_service_pb2.JobResult(job=job_to_proto(result))
    return job_service_pb2.JobResult(error=error_to_status(result))


def result_from_proto(message: job_service_pb2.JobResult, where: str = "result") -> c.ItemResult:
    """Raises InvalidInput when neither a job nor an error is set."""
    match message.WhichOneof("outcome"):
        case "job":
            return job_from_proto(message.job)
        case "error":
            return error_from_status(message.error) or AllocatorError(message.error.message)
    raise InvalidInput.of(where, "must hold a job or an error")


# --- queues -------------------------------------------------------------------------------------------------------


def create_queue_to_proto(command: c.CreateQueue) -> queue_service_pb2.CreateQueueRequest:
    return queue_service_pb2.CreateQueueRequest(queue=queue_to_proto(command.queue))


def create_queue_from_proto(message: queue_service_pb2.CreateQueueRequest) -> c.CreateQueue:
    if not message.HasField("queue"):
        raise InvalidInput.of("queue", "must be given")
    try:
        queue = queue_from_proto(message.queue)
    except InvalidInput as error:
        raise within(error, "queue") from None
    valid("queue", queue.violations())
    return c.CreateQueue(queue)


def update_queue_to_proto(command: c.UpdateQueue) -> queue_service_pb2.UpdateQueueRequest:
    message = queue_service_pb2.UpdateQueueRequest(
        name=command.name,
        weight=command.weight,
        priority=command.priority,
        quotas=quotas_to_proto(command.quotas or ()),
        clear_quotas=command.quotas == (),
        discipline=discipline_to_proto(command.discipline),
    )
    if command.clear_max_live_jobs:
        message.clear_max_live_jobs = True
    elif command.max_live_jobs is not None:
        message.max_live_jobs = command.max_live_jobs
    return message


def update_queue_from_proto(message: queue_service_pb2.UpdateQueueRequest) -> c.UpdateQueue:
    """The values are judged when they are applied, with those that the queue has."""
    if message.quotas and message.clear_quotas:
        raise InvalidInput.of("clear_quotas", "must be false where quotas are given: those replace all that it has")
    return c.UpdateQueue(
        message.name,
        message.weight if message.HasField("weight") else None,
        message.max_live_jobs if message.HasField("max_live_jobs") else None,
        message.clear_max_live_jobs,
        message.priority if message.HasField("priority") else None,
        quotas_from_proto(message.quotas) if message.quotas or message.clear_quotas else None,
        discipline_from_proto(message.discipline),
    )


def cordon_queue_to_proto(command: c.CordonQueue) -> queue_service_pb2.CordonQueueRequest:
    return queue_service_pb2.CordonQueueRequest(name=command.name, cordoned=command.cordoned)


def cordon_queue_from_proto(message: queue_service_pb2.CordonQueueRequest) -> c.CordonQueue:
    return c.CordonQueue(message.name, message.cordoned)


# --- nodes --------------------------------------------------------------------------------------------------------


def taint_node_to_proto(command: c.TaintNode) -> node_service_pb2.TaintNodeRequest:
    return node_service_pb2.TaintNodeRequest(
        name=command.node, taints=dict(command.taints), removed_keys=command.removed
    )


def taint_node_from_proto(message: node_service_pb2.TaintNodeRequest) -> c.TaintNode:
    """The taints are judged with those that the node has."""
    bounded("removed_keys", len(message.removed_keys))
    taints = labels_from_proto(message.taints, "taints", MOST_TAINTS)
    return c.TaintNode(message.name, taints, tuple(message.removed_keys))


def register_node_to_proto(command: c.RegisterNode) -> node_service_pb2.RegisterNodeRequest:
    return node_service_pb2.RegisterNodeRequest(node=node_to_proto(command.node))


def register_node_from_proto(message: node_service_pb2.RegisterNodeRequest) -> c.RegisterNode:
    if not message.HasField("node"):
        raise InvalidInput.of("node", "must be given")
    try:
        node = registered_node_from_proto(message.node)
    except InvalidInput as error:
        raise within(error, "node") from None
    valid("node", node.violations())
    return c.RegisterNode(node)


def heartbeat_to_proto(command: c.Heartbeat) -> node_service_pb2.HeartbeatRequest:
    return node_service_pb2.HeartbeatRequest(
        node=command.node,
        reports=[report_to_proto(report) for report in command.reports],
        seen_epoch=None if command.seen is None else epoch_to_proto(command.seen),
        leaving=[job_start_to_proto(start) for start in command.leaving],
    )


def heartbeat_from_proto(message: node_service_pb2.HeartbeatRequest) -> c.Heartbeat:
    """Raises InvalidInput with every violation of every item: an agent that sends nonsense is broken as a whole."""
    bounded("reports", len(message.reports))
    bounded("leaving", len(message.leaving))
    found: list[Violation] = []
    reports = _each("reports", message.reports, report_from_proto, found)
    leaving = _each("leaving", message.leaving, job_start_from_proto, found)
    if found:
        raise InvalidInput(*found)
    seen = epoch_from_proto(message.seen_epoch) if message.HasField("seen_epoch") else None
    return c.Heartbeat(message.node, reports, seen, leaving)


def _each(
    name: str, messages: Iterable[Message], translate: Callable[[Message], Value], found: list[Violation]
) -> tuple[Value, ...]:
    """What can be translated; what is wrong with the others is added to `found`."""
    values = []
    for index, message in enumerate(messages):
        try:
            values.append(translate(message))
        except InvalidInput as error:
            found += within(error, f"{name}[{index}]").violations
    return tuple(values)
