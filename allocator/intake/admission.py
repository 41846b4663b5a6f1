"""Whether a job may enter a queue: pure, one job at a time, so that one bad item never spoils the batch."""

from __future__ import annotations

from collections.abc import Mapping

from allocator.domain.cluster import Node
from allocator.domain.errors import AllocatorError, FailedPrecondition, InvalidInput, NotFound, ResourceExhausted
from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from allocator.domain.priority_class import BUILT_IN, PriorityClass, unknown_class
from allocator.domain.queue import Queue
from allocator.intake.feasibility import infeasible
from allocator.intake.ports import Facts
from allocator.intake.promising import never_kept


def refusal(
    spec: JobSpec, facts: Facts, admitted: Mapping[str, int], now: float, nodes: tuple[Node, ...] | None = None
) -> AllocatorError | None:
    """Why `spec` cannot be admitted; None if it can. `admitted` counts this batch's admissions by queue. With `nodes`,
    all that are known, also what can never run is refused, and promises that could never be kept.
    """
    violations = [*spec.violations()]
    if not any(violation.field == "priority_class" for violation in violations):
        unknown = unknown_class(spec.priority_class, priority_classes(facts))
        violations += [] if unknown is None else [unknown]
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
    if nodes is None:
        return None
    policy = policy_in_force(facts)
    never = infeasible(spec, nodes, with_those_above(queue, facts), policy)
    if never is not None:
        return FailedPrecondition("cluster", f"can never run this job as it is: {never}")
    late = never_kept(spec, nodes, now, () if policy is None else policy.floating_resources)
    return None if late is None else FailedPrecondition("cluster", f"can never keep what this job asks for: {late}")


def priority_classes(facts: Facts) -> tuple[PriorityClass, ...]:
    """Those that jobs may be in now."""
    policy = policy_in_force(facts)
    return BUILT_IN if policy is None else policy.priority_classes


def policy_in_force(facts: Facts) -> Policy | None:
    """The one that was applied last; None: rounds are decided by what whoever runs them was started with."""
    applied = facts.applied_policy()
    return None if applied is None else applied.policy


def with_those_above(queue: Queue, facts: Facts) -> list[Queue]:
    """The queue and all above it."""
    found = [queue]
    while found[-1].parent is not None:
        above = facts.queue(found[-1].parent)
        if above is None:
            break
        found.append(above)
    return found
