"""The one write path: a command and the facts make an answer and new versions of records. Pure.

Every command of `allocator.intake.commands` has one function here. A batch command answers item by item; anything else
is refused whole by raising an AllocatorError, and then changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from allocator.domain.bounds import LEAST_THROUGHPUT, MOST_THROUGHPUT, is_throughput
from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.errors import AlreadyExists, FailedPrecondition, InvalidInput, NotFound
from allocator.domain.job import Job, JobSpec, JobState, revised
from allocator.domain.placement import WHOLE
from allocator.domain.priority_class import PriorityClass, unknown_class
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.intake import learning, receipts
from allocator.intake.admission import priority_classes, refusal
from allocator.intake.apply_policy import apply_policy, limits_naming
from allocator.intake.dependencies import awaiting, finder, resolved, with_those_that_wait
from allocator.intake.ending import ended, replica_reported, replicas_succeeded
from allocator.intake.ports import ChangeSet, Facts, Outcome


def apply(command: c.Command, facts: Facts, now: float) -> Outcome:
    """What `command` answers and changes at time `now`. Raises AllocatorError when it is refused whole.

    However a job came to its end by it, those that wait for the job are told.
    """
    outcome = _applied(command, facts, now)
    jobs = outcome.changes.jobs
    if not any(job.state.is_final for job in jobs):
        return outcome
    return Outcome(outcome.answer, replace(outcome.changes, jobs=with_those_that_wait(jobs, facts, now)))


def _applied(command: c.Command, facts: Facts, now: float) -> Outcome:  # noqa: C901 - a table, one case per command
    match command:
        case c.SubmitJobs():
            return _submit(command, facts, now)
        case c.CancelJobs():
            return _cancel(command, facts, now)
        case c.UpdateJobs():
            return _update_jobs(command, facts)
        case c.ReportProgress():
            return _report_progress(command, facts, now)
        case c.CreateQueue():
            return _create_queue(command.queue, facts)
        case c.UpdateQueue():
            return _update_queue(command, facts)
        case c.CordonQueue():
            return _queue_changed(replace(_queue(command.name, facts), cordoned=command.cordoned))
        case c.DeleteQueue():
            return _delete_queue(command.name, facts)
        case c.ApplyPolicy():
            return apply_policy(command, facts, now)
        case c.RegisterNode():
            return _register(command.node, facts)
        case c.Heartbeat():
            return _heartbeat(command, facts, now)
        case c.SetNodeAvailability():
            return _node_changed(_node(command.node, facts), availability=command.availability)
        case c.TaintNode():
            return _taint_node(command, facts)
        case c.LoseNode():
            return _node_changed(_node(command.node, facts), health=NodeHealth.LOST)
        case c.RemoveNode():
            return _remove_node(command.node, facts)


# --- jobs ---------------------------------------------------------------------------------------------------------


_AS_IT_IS: dict[JobState, str] = {
    JobState.PENDING: "is pending",
    JobState.RUNNING: "is running",
    JobState.SUCCEEDED: "has already succeeded",
    JobState.FAILED: "has already failed",
    JobState.CANCELLED: "has already been cancelled",
}
"""What a job in the state does, after "the job"."""


def job_id(sequence: int) -> str:
    """The id of the job admitted as number `sequence`."""
    return f"j{sequence}"


def _submit(command: c.SubmitJobs, facts: Facts, now: float) -> Outcome:
    body = receipts.digest(command) if command.request_id else ""
    if command.request_id:
        receipt = facts.receipt(command.request_id)
        if receipt is not None:
            if receipt.digest != body:
                raise AlreadyExists(
                    "request", command.request_id, "was used before with other jobs; use a new request_id"
                )
            return Outcome(receipts.answers(receipt, facts))
    answers: list[c.ItemResult] = []
    admitted: Counter[str] = Counter()
    nodes = facts.all_nodes() if command.feasible_only else None
    sequence = facts.next_sequence()
    batch: dict[str, Job] = {}
    given: list[str | None] = []
    for spec in command.specs:
        answer: c.ItemResult | None = spec if isinstance(spec, InvalidInput) else None
        if isinstance(spec, JobSpec):
            answer = refusal(spec, facts, admitted, now, nodes)
            answer = answer or _admitted(spec, sequence, given, finder(facts, batch), now)
        assert answer is not None
        answers.append(answer)
        given.append(answer.id if isinstance(answer, Job) else None)
        if isinstance(answer, Job):
            batch[answer.id] = answer
            admitted[answer.spec.queue] += not answer.state.is_final
            sequence += 1
    jobs = tuple(batch.values())
    keep = command.request_id and receipts.worth_keeping(tuple(answers))
    kept = (receipts.make(command.request_id, body, now, tuple(answers)),) if keep else ()
    return Outcome(tuple(answers), ChangeSet(jobs=jobs, receipts=kept))


def _admitted(
    spec: JobSpec, sequence: int, given: Sequence[str | None], find: Callable[[str], Job | None], now: float
) -> c.ItemResult:
    """The new job, waiting for whom it comes after; refused if those cannot be."""
    job = Job(job_id(sequence), sequence, spec, submit_time=now)
    if not spec.after:
        return job
    try:
        return awaiting(revised(job, spec=resolved(spec, given)), find, now)
    except InvalidInput as error:
        return error


def _cancel(command: c.CancelJobs, facts: Facts, now: float) -> Outcome:
    changed: dict[str, Job] = {}
    answers: list[c.ItemResult] = []
    for name in command.job_ids:
        job = changed.get(name) or facts.job(name)
        if job is None:
            answers.append(NotFound("job", name))
        elif job.state is JobState.CANCELLED:
            answers.append(job)
        elif job.state.is_final:
            answers.append(FailedPrecondition(f"job {name!r}", f"{_AS_IT_IS[job.state]}; nothing to cancel"))
        else:
            changed[name] = ended(job, JobState.CANCELLED, now, command.message)
            answers.append(changed[name])
    return Outcome(tuple(answers), ChangeSet(jobs=tuple(changed.values())))


def _update_jobs(command: c.UpdateJobs, facts: Facts) -> Outcome:
    changed: dict[str, Job] = {}
    answers: list[c.ItemResult] = []
    classes = priority_classes(facts)
    for update in command.updates:
        answer = _updated(update, changed.get(update.job_id) or facts.job(update.job_id), classes)
        if isinstance(answer, Job):
            changed[answer.id] = answer
        answers.append(answer)
    return Outcome(tuple(answers), ChangeSet(jobs=tuple(changed.values())))


def _updated(update: c.JobUpdate, job: Job | None, classes: tuple[PriorityClass, ...]) -> c.ItemResult:
    if job is None:
        return NotFound("job", update.job_id)
    if job.state.is_final:
        return FailedPrecondition(f"job {job.id!r}", f"{_AS_IT_IS[job.state]}; only live jobs can be updated")
    spec = job.spec
    if update.weight is not None:
        spec = replace(spec, weight=update.weight)
    if update.priority_class is not None:
        spec = replace(spec, priority_class=update.priority_class)
    wrong = [v for v in spec.violations() if v.field == "weight"]
    unknown = unknown_class(spec.priority_class, classes)
    if unknown is not None and update.priority_class is not None:
        wrong.append(unknown)
    if wrong:
        return InvalidInput(*wrong)
    return replace(job, spec=spec)


def _report_progress(command: c.ReportProgress, facts: Facts, now: float) -> Outcome:
    if not is_throughput(command.throughput):
        raise InvalidInput.of(
            "throughput",
            f"must be a finite number from {LEAST_THROUGHPUT:g} to {MOST_THROUGHPUT:g}, got {command.throughput}",
        )
    job = facts.job(command.job_id)
    if job is None:
        raise NotFound("job", command.job_id)
    if job.allocation is None:
        raise FailedPrecondition(f"job {job.id!r}", f"{_AS_IT_IS[job.state]}; only a running job makes progress")
    if command.epoch is not None and command.epoch != job.allocation.epoch:
        raise FailedPrecondition(
            f"job {job.id!r}", f"runs since epoch {job.allocation.epoch}, the report is about {command.epoch}"
        )
    configuration = job.spec.configurations[job.allocation.placement.configuration]
    reference = job.reference_configuration(configuration.flavor)
    # Three digits: more would only make jobs that are alike look different to the grouping.
    declared = configuration.throughput * job.allocation.placement.millis / WHOLE
    measured = float(f"{command.throughput * reference.throughput / declared:.3g}")
    known = dict(job.measured_throughput) | {configuration.flavor: measured}
    changed = replace(
        job,
        measured_throughput=tuple(sorted(known.items())),
        work_done_seconds=job.work_done(now),  # at the speed that was believed until now
        work_counted_time=now,
    )
    for index, other in enumerate(job.spec.configurations):
        if other.throughput > 0 and not is_throughput(changed.throughput(other)):
            raise InvalidInput.of(
                "throughput",
                f"is too far from the declared {declared:g}, got {command.throughput:g}: "
                f"configurations[{index}] would count with {changed.throughput(other):g} and must stay within "
                f"{LEAST_THROUGHPUT:g} to {MOST_THROUGHPUT:g}",
            )
    if changed.measured_throughput == job.measured_throughput:
        return Outcome(job)
    return Outcome(changed, learning.observing(job, changed, command.throughput, facts, now))


# --- queues -------------------------------------------------------------------------------------------------------


def _queue(name: str, facts: Facts) -> Queue:
    queue = facts.queue(name)
    if queue is None:
        raise NotFound("queue", name)
    return queue


def _queue_changed(queue: Queue) -> Outcome:
    """Quotas are judged in the order in which they were given, so that indices are the caller's, and kept sorted."""
    violations = queue.violations()
    if violations:
        raise InvalidInput(*violations)
    kept = replace(queue, quotas=tuple(sorted(queue.quotas, key=lambda quota: (quota.flavor, quota.resource))))
    return Outcome(kept, ChangeSet(queues=(kept,)))


def _create_queue(queue: Queue, facts: Facts) -> Outcome:
    outcome = _queue_changed(queue)
    if facts.queue(queue.name) is not None:
        raise AlreadyExists("queue", queue.name)
    if queue.parent is not None:
        _queue(queue.parent, facts)
        live = facts.live_job_count(queue.parent)
        if live:
            raise FailedPrecondition(
                f"queue {queue.parent!r}",
                f"holds {_counted(live, 'live job')} of its own, so no queue can be made below it",
            )
    return outcome


def _update_queue(command: c.UpdateQueue, facts: Facts) -> Outcome:
    queue = _queue(command.name, facts)
    if command.weight is not None:
        queue = replace(queue, weight=command.weight)
    if command.clear_max_live_jobs:
        queue = replace(queue, max_live_jobs=None)
    elif command.max_live_jobs is not None:
        queue = replace(queue, max_live_jobs=command.max_live_jobs)
    if command.priority is not None:
        queue = replace(queue, priority=command.priority)
    if command.quotas is not None:
        queue = replace(queue, quotas=command.quotas)
    if command.discipline is not None:
        queue = replace(queue, discipline=command.discipline)
    return _queue_changed(queue)


def _delete_queue(name: str, facts: Facts) -> Outcome:
    queue = _queue(name, facts)
    children = len(facts.child_queues(name))
    if children:
        those = _one_or_many(children, "that", "those")
        raise FailedPrecondition(f"queue {name!r}", f"has {_counted(children, 'queue')} below it; delete {those} first")
    live = facts.live_job_count(name)
    if live:
        them = _one_or_many(live, "it", "them")
        raise FailedPrecondition(
            f"queue {name!r}", f"holds {_counted(live, 'live job')}; cancel {them} or let {them} end first"
        )
    applied = facts.applied_policy()
    naming = [] if applied is None else limits_naming(queue.name, applied.policy)
    if naming:
        raise FailedPrecondition(
            f"queue {name!r}", f"is named by limit {naming[0]} of the policy in force; apply one that does not first"
        )
    return Outcome(None, ChangeSet(deleted_queues=(queue.name,)))


# --- nodes --------------------------------------------------------------------------------------------------------


def _node(name: str, facts: Facts) -> Node:
    node = facts.node(name)
    if node is None:
        raise NotFound("node", name)
    return node


def _node_changed(
    node: Node, *, availability: NodeAvailability | None = None, health: NodeHealth | None = None
) -> Outcome:
    changed = replace(node, availability=availability or node.availability, health=health or node.health)
    return Outcome(changed, ChangeSet(nodes=(changed,) if changed != node else ()))


def _taint_node(command: c.TaintNode, facts: Facts) -> Outcome:
    node = _node(command.node, facts)
    kept = {key: value for key, value in node.taints if key not in command.removed}
    changed = replace(node, taints=tuple(sorted((kept | dict(command.taints)).items())))
    wrong = [violation for violation in changed.violations() if violation.field.startswith("taints")]
    if wrong:
        raise InvalidInput(*wrong)
    return Outcome(changed, ChangeSet(nodes=(changed,) if changed != node else ()))


def _register(node: Node, facts: Facts) -> Outcome:
    violations = node.violations()
    if violations:
        raise InvalidInput(*violations)
    known = facts.node(node.name)
    registered = replace(node, health=NodeHealth.READY)
    if known is not None:
        registered = replace(registered, availability=known.availability, taints=known.taints)
        holds = len(facts.jobs_on(node.name))
        if known.flavor != node.flavor and holds:
            raise FailedPrecondition(
                f"node {node.name!r}",
                f"runs {_counted(holds, 'job')} as flavor {known.flavor!r}; "
                f"drain it before it registers as {node.flavor!r}",
            )
    return Outcome(registered, ChangeSet(nodes=(registered,) if registered != known else ()))


def _heartbeat(command: c.Heartbeat, facts: Facts, now: float) -> Outcome:
    node = _node(command.node, facts)
    alive = node if node.health is NodeHealth.READY else replace(node, health=NodeHealth.READY)
    changed: dict[str, Job] = {}
    for (job_id, epoch, state), reports in groupby(command.reports, key=_ABOUT):
        job = changed.get(job_id) or facts.job(job_id)
        if job is None:
            continue
        if state is c.ReplicaState.SUCCEEDED:  # a gang's replicas on the node are many, and end together
            after = replicas_succeeded(job, epoch, {report.replica for report in reports}, node.name, now)
            if after is not None:
                changed[job_id] = after
            continue
        if state is c.ReplicaState.NOT_BEGUN and not node.trouble:
            continue  # it would be placed there again at once, and again
        for report in reports:
            after = replica_reported(changed.get(job_id, job), report, node.name, now)
            if after is not None:
                changed[job_id] = after
    return Outcome(alive, ChangeSet(jobs=tuple(changed.values()), nodes=() if alive is node else (alive,)))


_ABOUT = attrgetter("job_id", "epoch", "state")


def _remove_node(name: str, facts: Facts) -> Outcome:
    node = _node(name, facts)
    if node.health is NodeHealth.READY and node.availability is not NodeAvailability.DRAINING:
        raise FailedPrecondition(f"node {name!r}", "is ready and not draining; drain it first")
    holds = len(facts.jobs_on(name))
    if holds:
        them = _one_or_many(holds, "it", "them")
        raise FailedPrecondition(
            f"node {name!r}", f"still holds {_counted(holds, 'job')}; wait for the next round or cancel {them}"
        )
    return Outcome(None, ChangeSet(deleted_nodes=(name,)))


# --- words --------------------------------------------------------------------------------------------------------


def _one_or_many(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _counted(count: int, noun: str) -> str:
    """The number and what is counted: 1 job, 2 jobs."""
    return f"{count} {_one_or_many(count, noun, noun + 's')}"
