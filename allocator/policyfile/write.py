"""Writes a policy as a file that `read` reads back to exactly the same, every setting with the value it has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.cluster import Labels
from allocator.domain.objectives import NORMALISED_THROUGHPUT, OBJECTIVES
from allocator.domain.policy import Policy
from allocator.domain.quantities import format_amount, parse_amount
from allocator.domain.queue import Discipline, Queue
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.policyfile import fields as f

Lines = Iterator[str]
_BARE = re.compile(r"[A-Za-z0-9_\-]+\Z")
_ABOUT = {
    f.OBJECTIVE: "wishes: what is traded against each other",
    f.HISTORY: "what queues had before counts",
    f.SOLVER: "how exactly, and how hard to try",
    "limit": "limits: never broken",
    "floating": "what belongs to no node, such as licences, and how many there are",
}


def written(document: PolicyDocument, header: Iterable[str] = ()) -> str:
    """The file, after `header` as comments. Queues that do not say whether they are cordoned are written without."""
    policy = document.policy
    floating, limits = split_limits(policy)
    lines = [f"# {line}".rstrip() for line in header]
    lines.append("version = 1")
    for section in (f.OBJECTIVE, f.HISTORY, f.SOLVER):
        lines += ["", f"[{section}]  # {_ABOUT[section]}"]
        if section == f.OBJECTIVE:
            lines += objective_lines(policy)
        for setting in f.SETTINGS:
            if setting.section == section:
                lines.append(f"{setting.key} = {setting.write(getattr(policy, setting.field))}")
    for each in policy.priority_classes:
        lines += ["", "[[priority_class]]", f"name = {f.written_text(each.name)}", f"priority = {each.priority}"]
        if not each.preemptible:
            lines.append("preemptible = false")
    for queue in document.queues:
        lines += ["", "[[queue]]", *queue_lines(queue, cordoned=queue.name not in document.cordon_unsaid)]
    for index, limit in enumerate(limits):
        lines += ["", "[[limit]]" + ("" if index else f"  # {_ABOUT['limit']}"), *limit_lines(limit)]
    if floating:
        lines += ["", f"[floating]  # {_ABOUT['floating']}"]
        lines += [f"{_key(name)} = {amount}" for name, amount in floating]
    return "\n".join(lines) + "\n"


def objective_lines(policy: Policy) -> Lines:
    """Its name, or what stands for it."""
    for name, objective in OBJECTIVES.items():
        if objective == (policy.fairness, policy.utility):
            yield f"{f.NAME} = {f.written_text(name)}"
            return
    yield f"{f.ALPHA} = {f.written_number(policy.fairness)}"
    if policy.utility != NORMALISED_THROUGHPUT:
        yield f"{f.UTILITY} = {f.written_text(policy.utility)}"


def queue_lines(queue: Queue, *, cordoned: bool) -> Lines:
    """Everything about it but what has its default; whether it is `cordoned` is said or left open."""
    yield f"name = {f.written_text(queue.name)}"
    yield f"weight = {f.written_number(queue.weight)}"
    if queue.priority:
        yield f"priority = {queue.priority}"
    if queue.discipline is not Discipline.FAIR:
        yield f"discipline = {f.written_text(queue.discipline.value)}"
    if queue.max_live_jobs is not None:
        yield f"max_live_jobs = {queue.max_live_jobs}"
    if cordoned:
        yield f"cordoned = {'true' if queue.cordoned else 'false'}"
    if queue.quotas:
        yield "quota = ["
        for quota in queue.quotas:
            parts = [f"flavor = {f.written_text(quota.flavor)}", f"resource = {f.written_text(quota.resource)}"]
            amounts = (("nominal", quota.nominal), ("borrow", quota.borrowing_limit), ("lend", quota.lending_limit))
            parts += [f"{name} = {written_amount(quota.resource, n)}" for name, n in amounts if n is not None]
            yield f"    {{ {', '.join(parts)} }},"
        yield "]"


def limit_lines(limit: SideConstraint) -> Lines:
    """Its name, how much, and its terms."""
    yield f"name = {f.written_text(limit.name)}"
    yield f"most = {written_most(limit)}"
    if limit.unit:
        yield f"unit = {f.written_text(limit.unit)}"
    for term in limit.terms:
        yield "[[limit.term]]"
        yield from term_lines(term)


def term_lines(term: Term) -> Lines:
    """What it counts, without what selects everything."""
    yield f"resource = {f.written_text(term.resource)}"
    if term.per_unit != 1:
        yield f"per_unit = {f.written_number(term.per_unit)}"
    for name, values in (("flavors", term.flavors), ("queues", term.queues)):
        if values:
            yield f"{name} = {_list(values)}"
    for name, labels in (("job_labels", term.job_labels), ("node_labels", term.node_labels)):
        if labels:
            yield f"{name} = {_table(labels)}"


def split_limits(policy: Policy) -> tuple[list[tuple[str, str]], tuple[SideConstraint, ...]]:
    """What floats, with the amount as it is written, and the limits that are not said thereby. A floating resource
    whose only limit of that name counts nothing else says it in one line; if any does not, all are written in full.
    """
    names = set(policy.floating_resources)
    others = tuple(limit for limit in policy.side_constraints if limit.name not in names)
    by_name = {limit.name: limit for limit in policy.side_constraints if limit.name in names}
    said = {name: limit for name, limit in by_name.items() if limit == SideConstraint(name, (Term(name),), limit.most)}
    in_order = tuple(said[name] for name in policy.floating_resources if name in said)
    if (*others, *in_order) != policy.side_constraints:
        return [(name, "inf") for name in policy.floating_resources], policy.side_constraints
    amounts = {name: f.written_number(limit.most or 0.0) for name, limit in said.items()}
    return [(name, amounts.get(name, "inf")) for name in policy.floating_resources], others


def written_most(limit: SideConstraint) -> str:
    """As TOML: a number, or a part in percent."""
    if limit.most_part is None:
        return f.written_number(limit.most or 0.0)
    percent = Decimal(repr(limit.most_part)) * 100
    return f'"{_plain(percent)} %"'


def written_amount(resource: str, amount: int) -> str:
    """As TOML: a number where the unit goes without saying, unless a float could not hold it."""
    text = format_amount(resource, amount)
    if text.isdecimal():
        return text
    is_number = text.replace(".", "", 1).isdecimal() and parse_amount(resource, float(text)) == amount
    return text if is_number else f.written_text(text)


def _plain(value: Decimal) -> str:
    """Without an exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _key(name: str) -> str:
    return name if _BARE.match(name) else f.written_text(name)


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(f.written_text, values))}]"


def _table(labels: Labels) -> str:
    return f"{{ {', '.join(f'{_key(key)} = {f.written_text(value)}' for key, value in labels)} }}"
