"""Deadlines, minimum throughputs and learned throughputs in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from allocator.cli import screen, words
from allocator.cli.quantities import age, significant
from allocator.domain.job import Job
from allocator.explain.answers import ConfigurationCost, JobThroughput
from allocator.rounds.promise import JobPromise, PromiseState

MEASURED, LEARNED, UNKNOWN = "*", "~", "?"
_LEGEND = {
    MEASURED: "measured by the job itself",
    LEARNED: "not declared: learned from what its class reported",
    UNKNOWN: "nobody knows yet: not declared, and not tried",
}


def promise(found: JobPromise, now: float) -> str:
    """How it stands, what it needs and gets, and what would do."""
    return "\n".join([_standing(found, now), *(f"- {line}" for line in _what_would_do(found))])


def _standing(found: JobPromise, now: float) -> str:
    what = "minimum throughput" if found.deadline is None else "deadline"
    if found.state is PromiseState.MISSED:
        assert found.deadline is not None
        return f"deadline missed {age(now - found.deadline)} ago; the job goes on"
    needs = f"needs {words.percent(found.needed_share)} of the time in its best configuration"
    gets = f"gets {words.percent(found.given_share)}"
    if found.state is PromiseState.KEPT:
        by = "" if found.deadline is None else f", {screen.local_time(found.deadline)}"
        return f"{what} kept{by}: {needs}, {gets}"
    return f"{what} at risk: {needs}, {gets}"


def in_short(found: JobPromise) -> str:
    """On one line, with when it would end."""
    if found.state is PromiseState.MISSED:
        return "deadline missed"
    told = _standing(found, 0.0)
    if found.state is not PromiseState.AT_RISK or found.deadline is None:
        return told
    if found.expected_end is None:
        return f"{told}, and would never end"
    return f"{told}, and would end {screen.local_time(found.expected_end)}, after {screen.local_time(found.deadline)}"


def _what_would_do(found: JobPromise) -> list[str]:
    if found.state is not PromiseState.AT_RISK:
        return []
    lines = []
    if found.needed_share > 1 and found.deadline is not None:
        lines.append("even all its time would not do any more")
    if found.weight is not None:
        lines.append(f"it would hold if its queue had weight {words.weight(found.weight)}")
    if found.deadline is not None:
        late = "" if found.expected_end is None else f"at that share it ends {screen.local_time(found.expected_end)}"
        lines.append(late or "it gets nothing: it would never end")
    return lines


def throughputs(ways: Sequence[ConfigurationCost], found: Sequence[JobThroughput]) -> str:
    """A line for each configuration of which more, or less, is known than was declared."""
    if len(found) == len(ways) and all(each.declared is None and each.measured is None for each in found):
        return "not declared, and not tried yet: all of its configurations count alike until then" if found else ""
    return "\n".join(_throughput(ways[each.index], each) for each in found if each.index < len(ways))


def marks(found: Sequence[JobThroughput]) -> dict[int, str]:
    """What stands behind a speed, by the index of the configuration: see `legend`."""
    return {each.index: UNKNOWN if each.measured is None else LEARNED for each in found if each.declared is None}


def legend(told: Iterable[str]) -> str:
    """What the marks that are in a table mean, each once; empty if there are none."""
    there = set(told)
    return "; ".join(f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in there)


def _throughput(way: ConfigurationCost, found: JobThroughput) -> str:
    where = way.flavor if way.replicas == 1 else f"{way.replicas} x {way.flavor}"
    said = "not declared" if found.declared is None else f"declared {significant(found.declared)}"
    if found.measured is None:
        return f"{where}: {said}, guessed at {significant(found.used)} until it was tried"
    sure = f" +- {words.percent(found.uncertainty)} of {significant(found.observations)}" if found.observations else ""
    wrong = ": wrong" if found.wrong else ""
    return f"{where}: {said}, measured {significant(found.measured)}{sure}{wrong}"


def deadline(job: Job, now: float) -> str:
    """When it wants to have ended, and whether it has."""
    when = job.spec.deadline
    if when is None:
        return ""
    told = screen.local_time(when)
    if job.end_time is not None:
        late = job.end_time - when
        return f"{told}, missed by {age(late)}" if late > 0 else f"{told}, met"
    return f"{told}, in {age(when - now)}" if when > now else f"{told}, missed {age(now - when)} ago; it goes on"


def misdeclared(job: Job) -> str:
    """Of its own reports, those that are far from what it declared."""
    known = dict(job.measured_throughput)
    lines = []
    for way in job.spec.configurations:
        if way.flavor in known and way.declared and way.throughput > 0:
            measured = job.throughput(way)
            if not 1 / 1.2 <= measured / way.throughput <= 1.2:
                lines.append(f"{way.flavor}: declared {significant(way.throughput)}, measured {significant(measured)}")
    return "\n".join(lines)
