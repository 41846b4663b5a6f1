"""How a run ended, in words for its owner."""

from __future__ import annotations

import signal

from allocator.agent.confinement import Usage
from allocator.agent.records import Record


def has_failed(record: Record) -> bool:
    """Of a run that has ended."""
    return record.exit_code != 0


def failure_message(memory_limit: int | None, code: int | None, said: str, usage: Usage) -> str:
    """Empty where all went well. `code`: 128 and the signal's number for who was ended by one; None: not known."""
    if code == 0:
        return ""
    if usage.memory_kills:
        limit = "" if memory_limit is None else f" of {binary(memory_limit)}"
        return f"killed: it reached its memory limit{limit} ({_ending(code)})"
    if said:
        return f"could not be started: {said}" if code == 127 else said
    if code == 128 + signal.SIGXFSZ:
        return f"killed: a file grew beyond the limit for one file ({_ending(code)})"
    return _ending(code)


def _ending(code: int | None) -> str:
    if code is None:
        return "how it ended is not known"
    if code > 128:
        try:
            return f"ended by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"exit code {code}"


def binary(amount: int) -> str:
    """1536 MiB rather than 1.5 GiB: the number that was asked for is recognised."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if amount % size == 0 and amount >= size:
            return f"{amount // size} {unit}"
    return f"{amount} bytes"
