"""What values from outside must keep to, so that no single one can upset a round or a terminal.

A round divides, multiplies and takes logarithms of weights and throughputs. Within these bounds every one of those
results is an ordinary float; outside them a single accepted job could stop the rounds of everybody.
"""

from __future__ import annotations

import re

from allocator.domain.errors import Violation

LEAST_WEIGHT, MOST_WEIGHT = 1e-6, 1e6
"""Of a job or a queue, without unit."""
LEAST_THROUGHPUT, MOST_THROUGHPUT = 1e-9, 1e12
"""Work per second of a configuration that can run."""
MOST_SECONDS = 1e9
"""Of a restart's cost or an expected run time: about 32 years."""
MOST_GPUS = 1024
"""Of one node: its devices are told apart one by one."""
MOST_REPLICAS = 100_000
"""Of one gang."""
MOST_NAME = 253
"""Characters of a name."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._\-]{0,251}[A-Za-z0-9])?\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def name_violations(field: str, value: str) -> tuple[Violation, ...]:
    """What is wrong with the name of a node or a flavor."""
    if _NAME.match(value):
        return ()
    return (
        Violation(
            field,
            "must hold only letters, digits, '.', '_' or '-', at most 253 of them, and start and end with a letter or "
            f"digit; got {value!r}",
        ),
    )


def text_violations(field: str, value: str, most: int) -> tuple[Violation, ...]:
    """What is wrong with a text for people of at most `most` characters; control characters would reach terminals."""
    if len(value) > most:
        return (Violation(field, f"must be at most {most} characters, got {len(value)}"),)
    control = _CONTROL.search(value)
    if control is None:
        return ()
    return (
        Violation(field, f"must hold no control characters, got {control.group()!r} at position {control.start()}"),
    )


def printable(value: str) -> str:
    """The text with a space in place of every control character."""
    return _CONTROL.sub(" ", value)


def weight_violations(value: float) -> tuple[Violation, ...]:
    """What is wrong with the weight of a job or a queue."""
    if LEAST_WEIGHT <= value <= MOST_WEIGHT:
        return ()
    return (Violation("weight", f"must be a finite number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, got {value}"),)


def is_throughput(value: float) -> bool:
    """Whether a configuration that can run may have this throughput."""
    return LEAST_THROUGHPUT <= value <= MOST_THROUGHPUT
