"""What may be run, by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from allocator.domain.process import NO_RETRIES, Process, Retries
from tests import processes


@given(processes.processes)
def test_what_is_right_is_found_right(process: Process) -> None:
    assert process.violations() == []


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"command": ()}, "command", "must begin with a program"),
        ({"command": ("", "x")}, "command", "must begin with a program"),
        ({"command": ("a", "b\0c")}, "command[1]", "NUL"),
        ({"command": ("x" * 65_536,)}, "command", "at most 65536 bytes, got 65537"),
        ({"command": ("x",) * 1025}, "command", "at most 1024 arguments"),
        ({"environment": (("1X", ""),)}, "environment['1X']", "not begin with a digit"),
        ({"environment": (("A=B", ""),)}, "environment['A=B']", "letters, digits and '_'"),
        ({"environment": (("ALLOCATOR_JOB_ID", "j1"),)}, "environment['ALLOCATOR_JOB_ID']", "the agent's"),
        ({"environment": (("X", "\0"),)}, "environment['X']", "NUL"),
        ({"directory": "here"}, "directory", "absolute path without '..', got 'here'"),
        ({"directory": "/srv/../etc"}, "directory", "without '..'"),
        ({"output": "/etc/passwd"}, "output", "below the working directory"),
        ({"errors": "../../etc/passwd"}, "errors", "without '..'"),
        ({"output": ".%a./.%a./etc/passwd"}, "output", "must not become '..'"),
        ({"output": "logs/"}, "output", "a file below"),
        ({"output": "100%.log"}, "output", "%j, %r, %a, %n and %%, and no other %"),
        ({"output": "x%"}, "output", "no other %"),
        ({"checkpoint_signal": "SIGKILL"}, "checkpoint_signal", "must be one of SIGUSR1"),
        ({"grace_seconds": -1.0}, "grace_seconds", "from 0 to 3600, got -1.0"),
        ({"grace_seconds": float("nan")}, "grace_seconds", "got nan"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str, words: str) -> None:
    (found,) = Process(**({"command": ("true",)} | changed)).violations()
    assert found.field == field
    assert words in found.description


def test_retries_wait_twice_as_long_each_time_up_to_a_bound() -> None:
    retries = Retries(limit=9, backoff_seconds=10.0, most_backoff_seconds=60.0)
    assert [retries.delay(failures) for failures in (1, 2, 3, 4, 1000)] == [10.0, 20.0, 40.0, 60.0, 60.0]
    assert NO_RETRIES.limit == 0
    assert [violation.field for violation in Retries(-1, -1.0, float("inf")).violations()] == [
        "limit",
        "backoff_seconds",
        "most_backoff_seconds",
    ]
