"""Whether a job may enter a queue: pure, one job at a time, so that one bad item never spoils the batch."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, NotFound, ResourceExhausted
from allocator.domain.job import JobSpec
from allocator.intake.ports import Facts


def refusal(spec: JobSpec, facts: Facts, admitted: Mapping[str, int]) -> AllocatorError | None:
    """Why `spec` cannot be admitted; None if it can. `admitted` counts this batch's admissions by queue."""
    violations = spec.violations()
    if violations:
        return InvalidInput(*violations)
    queue = facts.queue(spec.queue)
    if queue is None:
        return NotFound("queue", spec.queue)
    if queue.cordoned:
        return FailedPrecondition(f"queue {queue.name!r}", "is cordoned and takes no new jobs; submit to another queue")
    if facts.child_queues(queue.name):
        return FailedPrecondition(f"queue {queue.name!r}", "has queues below it; submit to one of those")
    if queue.max_live_jobs is not None:
        live = facts.live_job_count(queue.name) + admitted.get(queue.name, 0)
        if live >= queue.max_live_jobs:
            return ResourceExhausted(
                f"queue {queue.name!r}", f"holds {live} live jobs and may hold {queue.max_live_jobs}", 10.0
            )
    return None
