"""Calls about jobs. See `calls`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from allocator.client.batches import Batches, cut, seen_from, submission
from allocator.client.exchange import Call, Method, Pages, Stream
from allocator.client.views import EndOfSnapshot, JobChange, JobEvent
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.output import OutputEvent, OutputPiece, OutputPosition, OutputRun
from allocator.domain.placement import Epoch
from allocator.intake.commands import (
    CancelJobs,
    ItemResult,
    JobUpdate,
    ReportProgress,
    UpdateJobs,
)
from allocator.v1 import job_service_pb2 as job_pb
from allocator.wire import commands as wire
from allocator.wire import jobs as wire_jobs
from allocator.wire import output as wire_output

_SUBMIT = Method("JobService", "SubmitJobs", job_pb.SubmitJobsResponse)
_GET_JOB = Method("JobService", "GetJob", job_pb.GetJobResponse)
_LIST_JOBS = Method("JobService", "ListJobs", job_pb.ListJobsResponse)
_CANCEL = Method("JobService", "CancelJobs", job_pb.CancelJobsResponse)
_UPDATE = Method("JobService", "UpdateJobs", job_pb.UpdateJobsResponse)
_REPORT_PROGRESS = Method("JobService", "ReportProgress", job_pb.ReportProgressResponse)
_READ_OUTPUT = Method("JobService", "ReadOutput", job_pb.ReadOutputResponse)
_WATCH_JOBS = Method("JobService", "WatchJobs", job_pb.WatchJobsResponse)


def submit(
    specs: Iterable[JobSpec], request_id: str | None, *, allow_infeasible: bool
) -> Batches[tuple[ItemResult, ...]]:
    """Without a request id it makes one, so that a submit can always be repeated."""
    wanted, root = tuple(specs), request_id or str(uuid4())
    results: tuple[ItemResult, ...] = ()
    while not results or len(results) < len(wanted):
        request = submission(wanted, results, root, allow_infeasible=allow_infeasible)
        answers = yield Call(_SUBMIT, partial(_itself, request), _results, repeatable=True)
        results += seen_from("jobs", len(results), answers)
        if not answers:
            break
    return results


def cancel(job_ids: Iterable[str], message: str) -> Batches[tuple[ItemResult, ...]]:
    results: tuple[ItemResult, ...] = ()
    for command in (CancelJobs(ids, message) for ids in cut(job_ids)):
        answers = yield Call(_CANCEL, partial(wire.cancel_jobs_to_proto, command), _results)
        results += seen_from("job_ids", len(results), answers)
    return results


def update(updates: Iterable[JobUpdate]) -> Batches[tuple[ItemResult, ...]]:
    results: tuple[ItemResult, ...] = ()
    for command in (UpdateJobs(some) for some in cut(updates)):
        answers = yield Call(_UPDATE, partial(wire.update_jobs_to_proto, command), _results)
        results += seen_from("updates", len(results), answers)
    return results


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


def read_output(
    job_id: str,
    replica: int,
    *,
    errors: bool,
    tail_lines: int | None,
    follow: bool,
    position: OutputPosition | None = None,
) -> Stream[OutputEvent]:
    """`position`: goes on behind it."""

    def resume(last: OutputEvent) -> Stream[OutputEvent]:
        reached = position
        if isinstance(last, OutputRun):
            reached = last.position
        elif isinstance(last, OutputPiece) and position is not None:
            reached = OutputPosition(position.node, last.run, last.start_epoch, last.end)
        return read_output(
            job_id, replica, errors=errors, tail_lines=tail_lines, follow=follow, position=reached
        )  # fmt: skip

    return Stream(
        _READ_OUTPUT,
        lambda: wire_output.read_request_to_proto(
            job_id, replica, errors=errors, tail_lines=tail_lines, follow=follow, resume=position
        ),
        wire_output.event_from_proto,
        resume,
    )


def _itself(request: Message) -> Message:
    return request


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
