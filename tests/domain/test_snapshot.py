"""Snapshots: their order is checked, except where the owner of the facts keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.job import Job, JobState, revised
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason
from allocator.domain.snapshot import Snapshot
from tests.builders import node, spec

JOBS = tuple(Job(f"j{sequence}", sequence, spec(), 0.0) for sequence in (1, 2, 5))


def test_a_snapshot_of_what_is_sorted_is_the_same_either_way() -> None:
    facts = (7, 3, 5.0, (Queue("a"), Queue("b")), (node("n1"), node("n2")), JOBS)
    assert Snapshot.of_sorted(*facts) == Snapshot(*facts)
    assert Snapshot.of_sorted(*facts).flavors == ("a100",)


@pytest.mark.parametrize("jobs", [JOBS[::-1], (JOBS[0], JOBS[0])])
def test_disorder_is_refused(jobs: tuple[Job, ...]) -> None:
    with pytest.raises(AssertionError, match="jobs are not strictly sorted"):
        Snapshot(7, 3, 5.0, (), (), jobs)


def test_a_revised_job_is_what_replace_makes() -> None:
    reason = PendingReason(PendingCause.FRAGMENTED)
    changes = {"state": JobState.PENDING, "pending_reason": reason, "revision": 9, "message": "why"}
    assert revised(JOBS[1], **changes) == replace(JOBS[1], **changes)  # type: ignore[arg-type]  # of several types
    assert revised(JOBS[1]) == JOBS[1]
