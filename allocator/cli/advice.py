"""What `observe` of an engine says: who would start, who would wait and why, and what things cost."""

from __future__ import annotations

from typing import Protocol

from allocator.cli import schema, screen
from allocator.cli.cluster_view import price_table
from allocator.cli.reasons import why_waiting
from allocator.cli.screen import Column, Table
from allocator.domain.bounds import weight_violations
from allocator.domain.errors import InvalidInput
from allocator.domain.reason import PendingReason
from allocator.rounds.report import FlavorUsage


class Advice(Protocol):
    """As the engines' own."""

    @property
    def starts(self) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
        """Name, queue and nodes."""

    @property
    def waits(self) -> tuple[tuple[str, str, PendingReason | None], ...]:
        """Name, queue and why."""

    @property
    def passed_over(self) -> tuple[tuple[str, str], ...]:
        """Name and why."""

    @property
    def usages(self) -> tuple[FlavorUsage, ...]:
        """With prices."""

    @property
    def running(self) -> int:
        """How many stay as they are."""

    @property
    def outcome(self) -> str:
        """Of the round."""

    @property
    def gap(self) -> float:
        """Of the round."""


def show(found: Advice) -> None:
    """For people."""
    screen.heading("Would start now")
    starts = Table((Column("job"), Column("queue"), Column("nodes")))
    for job, queue, nodes in found.starts:
        starts.add(job, queue, ",".join(nodes))
    screen.show(starts, empty="nobody")
    screen.heading("Would wait")
    waits = Table((Column("job"), Column("queue"), Column("why")))
    for job, queue, reason in found.waits:
        waits.add(job, queue, why_waiting(reason).splitlines()[0])
    screen.show(waits, empty="nobody")
    screen.heading("Prices")
    screen.show(price_table(found.usages), empty="no nodes, so no prices")
    for job, why in found.passed_over:
        screen.remark(f"job {job} is passed over: {why}")
    screen.remark(f"{found.running} jobs run and stay; {found.outcome}, gap {found.gap:.1e}")


def emit(found: Advice) -> None:
    """As JSON."""
    screen.emit_json(
        {
            "starts": [{"job": job, "queue": queue, "nodes": list(nodes)} for job, queue, nodes in found.starts],
            "waits": [
                {"job": job, "queue": queue, "cause": None if reason is None else reason.cause.value}
                for job, queue, reason in found.waits
            ],
            "passed_over": [{"job": job, "why": why} for job, why in found.passed_over],
            "prices": schema.many(schema.price, found.usages),
            "running": found.running,
            "outcome": found.outcome,
            "gap": schema.finite(found.gap),
        }
    )


def pairs(flag: str, given: list[str], pattern: str) -> dict[str, str]:
    """From NAME=VALUE, several times. Raises InvalidInput."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise InvalidInput.of(flag, f"must be {pattern}; got {text!r}")
        found[name] = value
    return found


def weights(given: list[str]) -> dict[str, float]:
    """Of queues, from QUEUE=WEIGHT. Raises InvalidInput."""
    return {name: _weight(text) for name, text in pairs("--weight", given, "QUEUE=WEIGHT").items()}


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    for violation in weight_violations(weight):
        raise InvalidInput.of("--weight", violation.description)
    return weight
