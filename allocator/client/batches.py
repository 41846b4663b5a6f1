"""Requests about many jobs, cut so that neither a request nor its answer is too large for one message.

A job may have 64 KiB of environment and as much again of labels: a few hundred of them fill a message. Every answer
holds the jobs that it is about.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from allocator.client.exchange import Call
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.job import Job, JobSpec
from allocator.intake.commands import ItemResult, SubmitJobs
from allocator.v1 import job_service_pb2 as job_pb
from allocator.wire import commands as wire

MOST_JOBS = 10_000
"""In a request, as the server has it."""
MOST_BYTES = 16 * 2**20
"""Of a request: half of what a server takes unless it is told otherwise."""
MOST_ANSWERED = 200
"""Jobs of a request by ids, whose sizes nobody knows here."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Batches = Generator[Call[Answer], Answer, Answer]
"""Calls, each to be made when the answer to the one before it was sent in; returns all answers as one."""


def submission(
    specs: Sequence[JobSpec], results: Sequence[ItemResult], request_id: str, *, allow_infeasible: bool
) -> job_pb.SubmitJobsRequest:
    """The request for as many as it may hold of those behind the ones whose `results` are known.

    The first has the id that was given, each other one that and the position of its first job, so that who submits the
    same again with the same id gets the same jobs. Raises InvalidInput for what cannot be sent.
    """
    start = len(results)
    ids = [result.id if isinstance(result, Job) else None for result in results]
    some = tuple(from_here(spec, start, ids) for spec in specs[start : start + MOST_JOBS])
    part_id = f"{request_id}+{start}" if start else request_id
    try:
        request = wire.submit_jobs_to_proto(SubmitJobs(some, part_id, feasible_only=not allow_infeasible))
    except ValueError as error:
        raise InvalidInput.of("request", f"cannot be sent: {error}") from None
    left = MOST_BYTES
    for count, job in enumerate(request.jobs):
        left -= job.ByteSize()
        if left < 0 and count:
            del request.jobs[count:]
            break
    return request


def cut(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    """Items of which each answer holds a job; at least one batch, which may be empty."""
    given = tuple(items)
    for start in range(0, max(1, len(given)), MOST_ANSWERED):
        yield given[start : start + MOST_ANSWERED]


def seen_from(field: str, start: int, results: Iterable[ItemResult]) -> tuple[ItemResult, ...]:
    """The results, what is wrong with `field[3]` of a request that began at item `start` told of that item of all."""
    return tuple(_moved(field, start, each) if start and isinstance(each, InvalidInput) else each for each in results)


def _moved(field: str, start: int, refusal: InvalidInput) -> InvalidInput:
    def moved(path: str) -> str:
        head, bracket, rest = path.partition("]")
        number = head.removeprefix(f"{field}[")
        return f"{field}[{int(number) + start}{bracket}{rest}" if number != head and number.isdecimal() else path

    return InvalidInput(*(Violation(moved(each.field), each.description) for each in refusal.violations))


def from_here(spec: JobSpec, start: int, ids: Sequence[str | None] | None) -> JobSpec:
    """The spec for a request whose first job is at position `start` of all; `ids` are those of the jobs before it, None
    for one that was refused. Where nobody knows them (None), InvalidInput if it needs one.
    """
    if not spec.after or not start:
        return spec
    return replace(spec, after=tuple(replace(each, job_id=_from(each.job_id, start, ids)) for each in spec.after))


def _from(job_id: str, start: int, ids: Sequence[str | None] | None) -> str:
    if not job_id.startswith("#") or not job_id[1:].isdecimal():
        return job_id
    position = int(job_id[1:])
    if position >= start:
        return f"#{position - start}"
    if ids is None:
        raise InvalidInput.of("after", f"names job {position} of more than {start}: too far up to be simulated")
    return ids[position] or f"item {position}, which was refused"
