"""Kernels: whose turn it is: by priority class, phase, credit, share, admission; and a heap of those who join late."""

from __future__ import annotations

from allocator.placement.space import Integers
from allocator.placement.world import Jobs


def comes_before(jobs: Jobs, first: int, second: int) -> bool:
    """Whether the turn of one job comes before that of another."""
    if jobs.priority[first] != jobs.priority[second]:
        return bool(jobs.priority[first] > jobs.priority[second])
    if jobs.phase[first] != jobs.phase[second]:
        return bool(jobs.phase[first] < jobs.phase[second])
    if jobs.credit[first] != jobs.credit[second]:
        return bool(jobs.credit[first] > jobs.credit[second])
    if jobs.share_steps[first] != jobs.share_steps[second]:
        return bool(jobs.share_steps[first] > jobs.share_steps[second])
    return first < second


def push(jobs: Jobs, heap: Integers, job: int) -> None:
    """Add a turn to the heap."""
    at = heap[-1]
    heap[-1] += 1
    while at > 0:
        above = (at - 1) // 2
        if not comes_before(jobs, job, heap[above]):
            break
        heap[at] = heap[above]
        at = above
    heap[at] = job


def pop(jobs: Jobs, heap: Integers) -> int:
    """Remove the first turn."""
    top = heap[0]
    heap[-1] -= 1
    count = heap[-1]
    job = heap[count]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= count:
            break
        if below + 1 < count and comes_before(jobs, heap[below + 1], heap[below]):
            below += 1
        if not comes_before(jobs, heap[below], job):
            break
        heap[at] = heap[below]
        at = below
    heap[at] = job
    return int(top)


KERNELS = (comes_before, push, pop)
"""In order: each calls only those before it."""
