"""Applying a policy: queues and policy become others together, or it is refused with every reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from allocator.domain.applied_policy import MOST_AUTHOR, MOST_COMMENT, MOST_POLICY_TEXT, AppliedPolicy
from allocator.domain.bounds import text_violations
from allocator.domain.errors import FailedPrecondition, InvalidInput, Violation
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.intake.commands import ApplyPolicy
from allocator.intake.ports import ChangeSet, Facts, Outcome

SUBJECT = "policy"


def apply_policy(command: ApplyPolicy, facts: Facts, now: float) -> Outcome:
    """See `ApplyPolicy`."""
    violations = _violations(command)
    if violations:
        raise InvalidInput(*violations)
    applied = facts.applied_policy()
    version = 0 if applied is None else applied.version
    if command.expected_version is not None and command.expected_version != version:
        raise FailedPrecondition(
            SUBJECT,
            f"version {version} is in force, and not {command.expected_version}: somebody else applied one; "
            "look at it and apply again",
        )
    before = {queue.name: queue for queue in facts.all_queues()}
    queues = _queues(command, before)
    gone = sorted(before.keys() - queues.keys())
    refusals = [*_of_queues(queues, before, gone, facts), *_of_classes(command.document.policy, facts)]
    refusals += _of_floating(command.document.policy, applied, facts)
    refusals += _of_limits(command.document.policy, queues)
    if refusals:
        raise FailedPrecondition(SUBJECT, "; ".join(refusals))
    changed = tuple(queue for name, queue in sorted(queues.items()) if before.get(name) != queue)
    policy = command.document.policy
    if applied is not None and not changed and not gone and applied.policy == policy:
        return Outcome(applied)
    made = AppliedPolicy(version + 1, now, policy, command.text, command.author, command.comment)
    return Outcome(made, ChangeSet(queues=changed, deleted_queues=tuple(gone), policy=made))


def limits_naming(queue: str, policy: Policy) -> list[str]:
    """Names of the side constraints that speak of exactly this queue."""
    return [
        limit.name for limit in policy.side_constraints if any(queue in term.queues for term in limit.terms)
    ]  # fmt: skip


def _violations(command: ApplyPolicy) -> list[Violation]:
    found = [*command.document.violations()]
    found += text_violations("author", command.author, MOST_AUTHOR)
    if len(command.comment) > MOST_COMMENT:
        found.append(Violation("comment", f"must be at most {MOST_COMMENT} characters, got {len(command.comment)}"))
    if len(command.text) > MOST_POLICY_TEXT:
        found.append(Violation("text", f"must be at most {MOST_POLICY_TEXT} characters, got {len(command.text)}"))
    if command.prune and not command.document.queues:
        found.append(Violation("prune", "would remove every queue: the file has none"))
    return found


def _queues(command: ApplyPolicy, before: Mapping[str, Queue]) -> dict[str, Queue]:
    """All queues that there would be."""
    found = {} if command.prune else dict(before)
    for queue in command.document.queues:
        quotas = tuple(sorted(queue.quotas, key=lambda quota: (quota.flavor, quota.resource)))
        cordoned = queue.cordoned
        if queue.name in command.document.cordon_unsaid and queue.name in before:
            cordoned = before[queue.name].cordoned
        found[queue.name] = replace(queue, quotas=quotas, cordoned=cordoned)
    return found


def _of_queues(queues: Mapping[str, Queue], before: Mapping[str, Queue], gone: list[str], facts: Facts) -> list[str]:
    found = []
    for name in gone:
        live = facts.live_job_count(name)
        if live:
            found.append(f"queue {name} cannot be removed: it holds {_jobs(live)}; cancel them or let them end first")
    parents = {queue.parent for queue in queues.values() if queue.parent is not None}
    found += [f"queue {name}, above queues of the file, does not exist" for name in sorted(parents - queues.keys())]
    for parent in sorted(parents & before.keys()):
        live = facts.live_job_count(parent)
        if live and not facts.child_queues(parent):
            found.append(f"queue {parent} holds {_jobs(live)} of its own, so no queue can be made below it")
    return found


def _of_classes(policy: Policy, facts: Facts) -> list[str]:
    """Live jobs whose class there would not be any more."""
    known = {each.name for each in policy.priority_classes}
    in_use = facts.live_jobs_by_class()
    return [
        f"priority class {name} cannot be gone: {_jobs(count)} {'is' if count == 1 else 'are'} in it; "
        "keep it, or give them another one first (allocator update --priority-class)"
        for name, count in sorted(in_use.items())
        if count and name not in known
    ]


def _of_floating(policy: Policy, applied: AppliedPolicy | None, facts: Facts) -> list[str]:
    """Resources that would belong to nodes again while jobs run that ask for them: no node has them, so each job would
    be stopped, also those that nobody may stop.
    """
    gone = () if applied is None else sorted({*applied.policy.floating_resources} - {*policy.floating_resources})
    if not gone:
        return []
    running = {job.id: job.spec for node in facts.all_nodes() for job in facts.jobs_on(node.name)}
    found = []
    for name in gone:
        count = sum(any(each.demand.get(name) for each in spec.configurations) for spec in running.values())
        if count:
            asks = "1 running job asks" if count == 1 else f"{count} running jobs ask"
            found.append(f"resource {name} cannot stop floating: {asks} for it; cancel or let them end first")
    return found


def _of_limits(policy: Policy, queues: Mapping[str, Queue]) -> list[str]:
    return [
        f"limit {limit.name} names queue {name}, which would not exist"
        for limit in policy.side_constraints
        for name in dict.fromkeys(name for term in limit.terms for name in term.queues)
        if name not in queues
    ]


def _jobs(count: int) -> str:
    return "1 live job" if count == 1 else f"{count} live jobs"
