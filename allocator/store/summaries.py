"""Round summaries as JSON and back, exactly."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.store.mapping import Row, read, write

_SUMMARY = tuple(field.name for field in fields(RoundSummary))
_FLAVOR = tuple(field.name for field in fields(FlavorUsage))
_QUEUE = tuple(field.name for field in fields(QueueUsage))
_TUPLES = ("preempted", "waiting", "lost", "stages")


def round_row(summary: RoundSummary) -> Row:
    """All columns."""
    return {"number": summary.round, "time": summary.time, "summary": write_summary(summary)}


def write_summary(summary: RoundSummary) -> str:
    content = _named(summary, _SUMMARY)
    content["outcome"] = summary.outcome.value
    content["flavors"] = [_named(usage, _FLAVOR) for usage in summary.flavors]
    content["queues"] = [_named(usage, _QUEUE) for usage in summary.queues]
    return write(content)


def read_summary(text: str) -> RoundSummary:
    content = read(text)
    content["outcome"] = RoundOutcome(content["outcome"])
    content["flavors"] = tuple(FlavorUsage(**usage) for usage in content["flavors"])
    content["queues"] = tuple(QueueUsage(**usage) for usage in content["queues"])
    for field in _TUPLES:
        content[field] = tuple(tuple(entry) for entry in content[field])
    return RoundSummary(**content)


def _named(record: Any, names: tuple[str, ...]) -> Row:
    return {name: getattr(record, name) for name in names}
