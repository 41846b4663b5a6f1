"""What one policy says otherwise than another one, line by line for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.objectives import objective_name
from allocator.domain.policy import Policy
from allocator.domain.quantities import format_amount
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.policyfile import fields as f
from allocator.policyfile.write import split_limits, written_most

Facts = dict[str, dict[str, str]]
"""What there is (`queue research`), and what is said of it (`weight`), in words."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one thing: `before` or `after` is None where there is no such thing, or nothing is said of it then. `what` is
    empty where the whole thing comes or goes.
    """

    thing: str
    what: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        name = f"{self.thing}: {self.what}" if self.what else self.thing
        if self.before is None:
            return f"+ {name}{': ' if not self.what else ' '}{self.after}" if self.after else f"+ {name}"
        if self.after is None:
            return f"- {name}" + (f" {self.before}" if self.what and self.before else "")
        return f"~ {name} {self.before} → {self.after}"


def differences(before: PolicyDocument, after: PolicyDocument, *, prune: bool = False) -> tuple[Difference, ...]:
    """What becomes different when `after` is applied where `before` is in force. Queues that it does not have stay,
    unless `prune`; whether a queue is cordoned stays where it does not say.
    """
    known = {queue.name: queue for queue in before.queues}
    queues = [
        replace(queue, cordoned=known[queue.name].cordoned)
        if queue.name in after.cordon_unsaid and queue.name in known
        else queue
        for queue in after.queues
    ]
    if not prune:
        said = {queue.name for queue in queues}
        queues += [queue for queue in before.queues if queue.name not in said]
    return tuple(_of(_facts(before.policy, before.queues), _facts(after.policy, queues)))


def _of(old: Facts, new: Facts) -> Iterator[Difference]:
    for thing in [*old, *(thing for thing in new if thing not in old)]:
        if thing not in new:
            yield Difference(thing, "", "", None)
        elif thing not in old:
            yield Difference(thing, "", None, ", ".join(f"{key} {value}".strip() for key, value in new[thing].items()))
        else:
            before, after = old[thing], new[thing]
            for what in [*before, *(what for what in after if what not in before)]:
                if before.get(what) != after.get(what):
                    yield Difference(thing, what, before.get(what), after.get(what))


def _facts(policy: Policy, queues: Iterable[Queue]) -> Facts:
    found: Facts = {f.OBJECTIVE: {"": objective_name(policy.fairness, policy.utility)}}
    for setting in f.SETTINGS:
        written = setting.write(getattr(policy, setting.field)).strip('"')
        found.setdefault(setting.section, {})[setting.key] = written
    for each in policy.priority_classes:
        preemptible = "" if each.preemptible else "nobody in it is stopped for others"
        found[f"priority class {each.name}"] = _without_empty({"priority": str(each.priority), "": preemptible})
    for queue in sorted(queues, key=lambda queue: queue.name):
        found[f"queue {queue.name}"] = _queue(queue)
    floating, limits = split_limits(policy)
    for limit in limits:
        found[f"limit {limit.name}"] = _limit(limit)
    for name, amount in floating:
        found[f"floating {name}"] = {"": amount}
    return found


def _queue(queue: Queue) -> dict[str, str]:
    said = {
        "weight": f.written_number(queue.weight),
        "priority": str(queue.priority or ""),
        "discipline": "" if queue.discipline is Discipline.FAIR else queue.discipline.value,
        "max_live_jobs": "" if queue.max_live_jobs is None else str(queue.max_live_jobs),
        "cordoned": "yes" if queue.cordoned else "",
    }
    return _without_empty(said) | {f"quota {quota.flavor}/{quota.resource}": _quota(quota) for quota in queue.quotas}


def _quota(quota: Quota) -> str:
    parts = [format_amount(quota.resource, quota.nominal)]
    for word, amount in (("borrows", quota.borrowing_limit), ("lends", quota.lending_limit)):
        if amount is not None:
            parts.append(f"{word} at most {format_amount(quota.resource, amount)}")
    return " ".join(parts)


def _limit(limit: SideConstraint) -> dict[str, str]:
    most = written_most(limit).strip('"') + (f" {limit.unit}" if limit.unit else "")
    terms: dict[str, str] = {}
    for term in limit.terms:
        kind = f"of {term.resource}{_selected(term)}"
        # Two terms may select the same: then they are told together.
        terms[kind] = f"{terms[kind]} and {_rate(term)}" if kind in terms else _rate(term)
    return {"at most": most} | terms


def _rate(term: Term) -> str:
    return f"× {f.written_number(term.per_unit)}"


def _selected(term: Term) -> str:
    parts = []
    if term.flavors:
        parts.append(f"on {', '.join(term.flavors)}")
    if term.queues:
        parts.append(f"by {', '.join(term.queues)}")
    if term.job_labels:
        parts.append(f"by jobs with {', '.join(f'{key}={value}' for key, value in term.job_labels)}")
    if term.node_labels:
        parts.append(f"on nodes with {', '.join(f'{key}={value}' for key, value in term.node_labels)}")
    return "".join(f" {part}" for part in parts)


def _without_empty(said: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in said.items() if value}
