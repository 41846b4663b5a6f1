"""Why a job is not even looked at yet, in words: whom it waits for, or when it is tried again."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.cli import screen
from allocator.cli.words import joined
from allocator.domain.job import Job
from allocator.domain.process import Condition, Dependency
from allocator.domain.reason import PendingCause, PendingReason

_TO = {Condition.SUCCEEDED: "to succeed", Condition.ENDED: "to end", Condition.FAILED: "to fail"}
_MOST_TOLD = 8


def waits_for(after: Sequence[Dependency]) -> str:
    """`waits for j3 to succeed, and j4 and j5 to end`."""
    told, parts = after[:_MOST_TOLD], []
    for condition, words in _TO.items():
        names = [each.job_id for each in told if each.condition is condition]
        if names:
            parts.append(f"{joined(names)} {words}")
    more = f", and for {len(after) - len(told)} more" if len(after) > len(told) else ""
    return f"waits for {', and '.join(parts)}{more}"


def tried_again(failures: int, not_before: float) -> str:
    """`failed twice, tries again at 2026-11-22 17:40:05 CET`."""
    return f"failed {times(failures)}, tries again at {screen.local_time(not_before)}"


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def held(reason: PendingReason | None, after: Sequence[Dependency], failures: int, not_before: float | None) -> str:
    """Why a pending job is held; empty if it is not. `after`: whom it still waits for."""
    if reason is None:
        return ""
    if reason.cause is PendingCause.DEPENDENCY and after:
        return waits_for(after)
    if reason.cause is PendingCause.BACKOFF and not_before is not None:
        return tried_again(failures, not_before)
    return ""


def of_job(job: Job) -> str:
    """The same of a job."""
    after = [each for each in job.spec.after if each.job_id in job.waits_for]
    return held(job.pending_reason, after, job.failures, job.not_before)


def in_short(job: Job) -> str:
    """For a table: `waits for j3 and 4 more`."""
    reason = job.pending_reason
    if reason is None or reason.cause is not PendingCause.DEPENDENCY or not job.waits_for:
        return of_job(job)
    first = next((each.job_id for each in job.spec.after if each.job_id in job.waits_for), job.waits_for[0])
    more = len(job.waits_for) - 1
    return f"waits for {first}" + (f" and {more} more" if more else "")
