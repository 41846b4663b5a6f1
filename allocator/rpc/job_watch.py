"""One WatchJobs stream: a snapshot of the live jobs, then whatever changes, without loss and without a table of events.

The store's feed is ordered by (revision, sequence) of each job's last change. A snapshot begins by noting the revision
R; then the live jobs are read page by page, and after that everything that changed behind R. A job that changes while
pages are read is sent again, newer; one that ends before its page is read is sent as an end. So the newest version of
every job is sent in the end, whatever happens in between, also when a client resumes in the middle with a cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from allocator.domain.errors import FailedPrecondition
from allocator.domain.job import Job, JobState
from allocator.rpc.backend import Backend
from allocator.rpc.tokens import LAST, JobCursor
from allocator.v1 import job_service_pb2 as pb
from allocator.wire.jobs import job_to_proto

PAGE = 500
_LIVE = (JobState.PENDING, JobState.RUNNING)


async def watch_jobs(backend: Backend, queue: str, cursor_text: str) -> AsyncIterator[pb.WatchJobsResponse]:
    """The stream, without end. Raises Draining when the server stops; InvalidInput, FailedPrecondition (cursor)."""
    with backend.hub.jobs() as slot:
        cursor = _beginning(backend, queue, cursor_text)
        stream = _Stream(backend, queue)
        if cursor.in_snapshot:
            async for message in stream.snapshot(cursor):
                yield message
            cursor = JobCursor(cursor.revision, LAST)
        at_end = False
        while True:
            jobs = await backend.ask(backend.reads.jobs_changed_since, (cursor.revision, cursor.sequence), PAGE)
            for job in jobs:
                cursor = JobCursor(job.revision, job.sequence)
                if stream.wants(job):
                    yield stream.change(job, cursor)
            backend.hub.check_open()
            if len(jobs) == PAGE:
                continue
            if not at_end:
                at_end = True
                yield pb.WatchJobsResponse(end_of_snapshot=pb.EndOfSnapshot(cursor=cursor.written(queue)))
            await slot.take()
            await asyncio.sleep(backend.settings.watch_gather_seconds)


class _Stream:
    """What a stream is about, and its messages."""

    def __init__(self, backend: Backend, queue: str) -> None:
        self._backend = backend
        self._queue = queue
        self._below = f"{queue}/"

    def wants(self, job: Job) -> bool:
        return not self._queue or job.spec.queue == self._queue or job.spec.queue.startswith(self._below)

    def change(self, job: Job, cursor: JobCursor) -> pb.WatchJobsResponse:
        self._backend.hub.counts["jobs"].pushes += 1
        return pb.WatchJobsResponse(job_change=pb.JobChange(job=job_to_proto(job), cursor=cursor.written(self._queue)))

    async def snapshot(self, cursor: JobCursor) -> AsyncIterator[pb.WatchJobsResponse]:
        """The live jobs behind the cursor's sequence number."""
        after = cursor.sequence
        while True:
            jobs = await self._backend.ask(self._backend.reads.list_jobs, None, _LIVE, after, PAGE)
            for job in jobs:
                after = job.sequence
                if self.wants(job):
                    yield self.change(job, JobCursor(cursor.revision, after, in_snapshot=True))
            self._backend.hub.check_open()
            if len(jobs) < PAGE:
                return


def _beginning(backend: Backend, queue: str, cursor_text: str) -> JobCursor:
    now = backend.reads.current_revision()
    if not cursor_text:
        return JobCursor(now, 0, in_snapshot=True)
    cursor = JobCursor.read(cursor_text, queue)
    if cursor.revision > now:
        raise FailedPrecondition(
            "cursor", f"is at revision {cursor.revision}, this store only at {now}: watch again without a cursor"
        )
    return cursor
