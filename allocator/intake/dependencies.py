"""Jobs that come after others: what they wait for, and what becomes of them when those end. Pure.

Within one submission a job may name an earlier one of it by its position: `#0` is the first. So a whole pipeline can be
submitted at once, although no job has an id yet.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.job import Job, JobSpec, JobState, revised
from allocator.domain.process import Condition, Dependency
from allocator.domain.reason import PendingCause, PendingReason
from allocator.intake.ports import Facts

AWAITED = PendingReason(PendingCause.DEPENDENCY)
_POSITION = re.compile(r"#(0|[1-9][0-9]{0,8})\Z")
_MEETS: dict[Condition, tuple[JobState, ...]] = {
    Condition.SUCCEEDED: (JobState.SUCCEEDED,),
    Condition.ENDED: (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED),
    Condition.FAILED: (JobState.FAILED, JobState.CANCELLED),
}
_ENDED: dict[JobState, str] = {
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "was cancelled",
}


def resolved(spec: JobSpec, given: Sequence[str | None]) -> JobSpec:
    """The spec with ids instead of positions: `given` are the ids of the jobs before it, None of those refused.

    Raises InvalidInput naming the field.
    """
    wrong: list[Violation] = []
    after: list[Dependency] = []
    for index, dependency in enumerate(spec.after):
        try:
            after.append(replace(dependency, job_id=_id(dependency.job_id, given)))
        except InvalidInput as error:
            wrong += [violation.under(f"after[{index}]") for violation in error.violations]
    if len({each.job_id for each in after}) < len(after) and not wrong:  # by its id, and by its position
        wrong = [Violation("after", "must name each job once")]
    if wrong:
        raise InvalidInput(*wrong)
    return replace(spec, after=tuple(after)) if tuple(after) != spec.after else spec


def _id(text: str, given: Sequence[str | None]) -> str:
    """An id as it is; that of the job at a position such as `#3`."""
    if not text.startswith("#"):
        return text
    position = _POSITION.match(text)
    if position is None or int(position[1]) >= len(given):
        earlier = f"#0 to #{len(given) - 1}" if given else "there is none"
        raise InvalidInput.of(
            "job_id",
            f"must be a job's id, or the position of an earlier job of this request ({earlier}); got {text!r}",
        )
    found = given[int(position[1])]
    if found is None:
        raise InvalidInput.of("job_id", f"job {text} of this request was refused")
    return found


def awaiting(job: Job, find: Callable[[str], Job | None], now: float) -> Job:
    """The new job, waiting for those that have not ended; failed already if one of them has ended otherwise.

    `find` gives every job that it may name. Raises InvalidInput naming the field of one that there is not.
    """
    known: dict[str, Job] = {}
    wrong = []
    for index, dependency in enumerate(job.spec.after):
        found = find(dependency.job_id)
        if found is None:
            wrong.append(Violation(f"after[{index}].job_id", f"there is no job {dependency.job_id!r}"))
        else:
            known[dependency.job_id] = found
    if wrong:
        raise InvalidInput(*wrong)
    broken = next((each for each in job.spec.after if _is_broken(each, known[each.job_id])), None)
    if broken is not None:
        return _never_to_start(job, broken, known[broken.job_id], now)
    waits_for = tuple(sorted(name for name, other in known.items() if not other.state.is_final))
    return revised(job, waits_for=waits_for, pending_reason=AWAITED) if waits_for else job


def with_those_that_wait(changed: Iterable[Job], facts: Facts, now: float) -> tuple[Job, ...]:
    """The changed jobs, and all that is different because some of them have ended: whoever waits for one waits for it
    no more, or has failed where it can never start now, and so on with those that wait for that one.
    """
    newest = {job.id: job for job in changed}
    ended = deque(job for job in newest.values() if job.state.is_final)
    while ended:
        other = ended.popleft()
        for waiting in facts.jobs_waiting_for(other.id):
            job = newest.get(waiting.id, waiting)
            if other.id in job.waits_for:
                newest[job.id] = after = _told(job, other, now)
                if after.state.is_final:
                    ended.append(after)
    return tuple(newest.values())


def _told(job: Job, other: Job, now: float) -> Job:
    """The job after one that it waits for has ended."""
    dependency = next(each for each in job.spec.after if each.job_id == other.id)
    if _is_broken(dependency, other):
        return _never_to_start(job, dependency, other, now)
    waits_for = tuple(name for name in job.waits_for if name != other.id)
    return revised(job, waits_for=waits_for, pending_reason=AWAITED if waits_for else None)


def _is_broken(dependency: Dependency, other: Job) -> bool:
    return other.state.is_final and other.state not in _MEETS[dependency.condition]


def _never_to_start(job: Job, dependency: Dependency, other: Job, now: float) -> Job:
    must = {Condition.SUCCEEDED: "succeed", Condition.FAILED: "fail", Condition.ENDED: "end"}[dependency.condition]
    return revised(
        job,
        state=JobState.FAILED,
        pending_reason=None,
        waits_for=(),
        end_time=now,
        message=f"never started: {other.id} had to {must} first, and {_ENDED[other.state]}",
    )


def finder(facts: Facts, batch: Mapping[str, Job]) -> Callable[[str], Job | None]:
    """Looks among the jobs of a batch, and among all that were there before."""

    def find(job_id: str) -> Job | None:
        return batch.get(job_id) or facts.job(job_id)

    return find
