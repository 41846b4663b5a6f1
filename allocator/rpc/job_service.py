"""JobService: translate, execute or ask, answer."""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from allocator.domain.job import Job, JobState
from allocator.intake.commands import CancelJobs, ItemResult, SubmitJobs, UpdateJobs
from allocator.rpc import tokens
from allocator.rpc.backend import Backend, Context
from allocator.rpc.job_watch import watch_jobs
from allocator.rpc.output_reading import Wanted, read_output
from allocator.v1 import job_service_pb2 as pb
from allocator.v1 import job_service_pb2_grpc as pb_grpc
from allocator.wire import commands, output
from allocator.wire.errors import under
from allocator.wire.jobs import JOB_STATES, job_to_proto

SCAN_JOBS = 10_000
"""Jobs looked at for one page of a queue that has queues below it; then the page ends early."""


class JobService(pb_grpc.JobServiceServicer):
    """See protos/allocator/v1/job_service.proto."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._page_bytes = backend.settings.max_message_bytes // 4

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, context: Context) -> pb.SubmitJobsResponse:
        command: SubmitJobs = await self._backend.translate(
            len(request.jobs), lambda: commands.submit_jobs_from_proto(request)
        )
        if not self._backend.settings.reject_infeasible:
            command = replace(command, feasible_only=False)
        answers = await self._backend.write(command, context)
        return pb.SubmitJobsResponse(results=await self._results(_located("jobs", answers)))

    async def CancelJobs(self, request: pb.CancelJobsRequest, context: Context) -> pb.CancelJobsResponse:
        command: CancelJobs = commands.cancel_jobs_from_proto(request)
        answers = await self._backend.write(command, context)
        return pb.CancelJobsResponse(results=await self._results(_located("job_ids", answers)))

    async def UpdateJobs(self, request: pb.UpdateJobsRequest, context: Context) -> pb.UpdateJobsResponse:
        command: UpdateJobs = commands.update_jobs_from_proto(request)
        answers = await self._backend.write(command, context)
        return pb.UpdateJobsResponse(results=await self._results(_located("updates", answers)))

    async def ReportProgress(self, request: pb.ReportProgressRequest, context: Context) -> pb.ReportProgressResponse:
        job = await self._backend.write(commands.report_progress_from_proto(request), context)
        return pb.ReportProgressResponse(job=job_to_proto(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        return pb.GetJobResponse(job=job_to_proto(await self._backend.ask(self._backend.reads.get_job, request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        size = tokens.page_size(request.page_size)
        states = frozenset(JOB_STATES.member(state, f"states[{index}]") for index, state in enumerate(request.states))
        filters = (request.queue, *sorted(state.value for state in states))
        after = tokens.page_after_number(request.page_token, *filters) or 0
        found, more = await self._backend.ask(self._page, request.queue, states, after, size)
        response = pb.ListJobsResponse()
        bytes_left = self._page_bytes
        for job in found:
            message = job_to_proto(job)
            bytes_left -= message.ByteSize()
            if bytes_left < 0 and response.jobs:
                # A job of 100,000 replicas is megabytes long: pages are bounded in bytes as well.
                response.next_page_token = tokens.page_token(str(response.jobs[-1].sequence), *filters)
                return response
            response.jobs.append(message)
        if more is not None:
            response.next_page_token = tokens.page_token(str(more), *filters)
        return response

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Context) -> AsyncIterator[pb.WatchJobsResponse]:
        async for message in watch_jobs(self._backend, request.queue, request.cursor):
            yield message

    async def ReadOutput(self, request: pb.ReadOutputRequest, context: Context) -> AsyncIterator[pb.ReadOutputResponse]:
        wanted = Wanted(
            request.job_id,
            request.replica,
            request.errors,
            output.tail_lines_from_proto(request),
            request.follow,
            output.resume_from_proto(request),
        )
        async for event in read_output(self._backend, wanted):
            yield output.event_to_proto(event)

    def _page(self, queue: str, states: frozenset[JobState], after: int, size: int) -> tuple[list[Job], int | None]:
        """At most `size` jobs behind the sequence number `after`, and the number to go on behind; None at the end."""
        reads = self._backend.reads
        below = f"{queue}/"
        if not queue or not any(other.name.startswith(below) for other in reads.queues()):
            jobs = reads.list_jobs(queue or None, states, after, size)
            return list(jobs), jobs[-1].sequence if len(jobs) == size else None
        found: list[Job] = []
        for _ in range(SCAN_JOBS // tokens.MAX_PAGE):
            jobs = reads.list_jobs(None, states, after, tokens.MAX_PAGE)
            for job in jobs:
                after = job.sequence
                if job.spec.queue == queue or job.spec.queue.startswith(below):
                    found.append(job)
                    if len(found) == size:
                        return found, after
            if len(jobs) < tokens.MAX_PAGE:
                return found, None
        return found, after

    async def _results(self, answers: Sequence[ItemResult]) -> list[pb.JobResult]:
        return await self._backend.translate(len(answers), lambda: [commands.result_to_proto(a) for a in answers])


def _located(field: str, answers: Iterable[ItemResult]) -> list[ItemResult]:
    """The answers to the items of `field`, the field paths of refusals seen from the request."""
    return [_seen_from(f"{field}[{index}]", answer) for index, answer in enumerate(answers)]


def _seen_from(where: str, answer: ItemResult) -> ItemResult:
    return answer if isinstance(answer, Job) else under(answer, where)
