"""What a job file or flags say about what a job runs: its command, retries, and arrays of jobs that are alike.

command: [python, train.py]            # or one text, split as a shell would; nothing else of a shell happens to it
arguments: [--lr, "3"]                 # after those of the command
environment: {EPOCHS: "10"}
directory: /srv/work                   # on the node
output: logs/%j-%a.txt                 # below it: %j job id, %r replica, %a array index, %n node
errors: logs/%j-%a.err
checkpoint_signal: SIGUSR1
grace: 2m
retries: {limit: 3, backoff: 10s, most_backoff: 1h}    # or just 3
array: 0-99                            # or 0-9:2, or 1,5-7, or a list
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from allocator.cli import field_types as f
from allocator.cli.quantities import parse_duration
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.process import MOST_ARRAY_INDEX, MOST_RETRIES, NO_RETRIES, Process, Retries

MOST_IN_ARRAY = 100_000
_SPAN = re.compile(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7})(?::(\d{1,7}))?)?\s*\Z")
_FORM = "must be whole numbers such as 0-99, 0-9:2 (every second one), 1,5-7, or a list of numbers"


def read_command(value: object, path: str) -> tuple[str, ...]:
    """A list of texts, or one text that is split as a shell would split it."""
    if isinstance(value, str):
        try:
            return tuple(shlex.split(value))
        except ValueError as error:
            raise InvalidInput.of(path, f"cannot be split into arguments: {str(error).lower()}") from None
    if not isinstance(value, list):
        raise InvalidInput.of(path, f"must be text or a list of text, got {f.shown(value)}")
    return read_arguments(value, path)


def read_arguments(value: object, path: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInput.of(path, f"must be a list of text, got {f.shown(value)}")
    return tuple(f.text(argument, f"{path}[{index}]") for index, argument in enumerate(value))


def read_environment(value: object, path: str) -> dict[str, str]:
    pairs = f.mapping(value, path, "names of variables to text")
    return {name: f.text(text, f"{path}.{name}") for name, text in pairs.items()}


def read_retries(value: object, path: str) -> Retries:
    """A number, or a mapping of `limit` and waiting times."""
    limit = f.whole(0, MOST_RETRIES)
    if not isinstance(value, dict):
        return Retries(limit(value, path))
    faults: list[Violation] = []
    parsed = f.fields(
        value, path, faults, {"limit": limit, "backoff": parse_duration, "most_backoff": parse_duration}, "retry"
    )
    if not faults and "limit" not in parsed:
        faults.append(Violation(f"{path}.limit", "is missing: say how often it may be tried again at most"))
    if faults:
        raise InvalidInput(*faults)
    parsed.setdefault("most_backoff", max(NO_RETRIES.most_backoff_seconds, parsed.get("backoff", 0.0)))
    names = {"limit": "limit", "backoff": "backoff_seconds", "most_backoff": "most_backoff_seconds"}
    return Retries(**{names[key]: found for key, found in parsed.items()})


def read_array(value: object, path: str) -> tuple[int, ...]:
    """The indices, each once, in their order."""
    parts = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else [value]
    found: dict[int, None] = {}
    for part in parts:
        span = _SPAN.match(str(part)) if isinstance(part, str | int) and not isinstance(part, bool) else None
        if span is None:
            raise InvalidInput.of(path, f"{_FORM}; got {f.shown(value)}")
        first, last, step = int(span[1]), int(span[2] or span[1]), int(span[3] or 1)
        if first > last or step < 1 or last > MOST_ARRAY_INDEX:
            raise InvalidInput.of(path, f"must go up, to {MOST_ARRAY_INDEX} at most; got {str(part).strip()!r}")
        if len(found) + (last - first) // step + 1 > MOST_IN_ARRAY:
            raise InvalidInput.of(path, f"must have at most {MOST_IN_ARRAY} jobs")
        for index in range(first, last + 1, step):
            if index in found:
                raise InvalidInput.of(path, f"{index} is given twice: each index once")
            found[index] = None
    if not found:
        raise InvalidInput.of(path, "must have at least one index")
    return tuple(found)


PROCESS_FIELDS: dict[str, f.Reader] = {
    "command": read_command,
    "arguments": read_arguments,
    "environment": read_environment,
    "directory": f.text,
    "output": f.text,
    "errors": f.text,
    "checkpoint_signal": f.text,
    "grace": parse_duration,
}


def process_of(fields: Mapping[str, Any], prefix: str) -> Process | None:
    """What the job runs, None where it does not say; `prefix` is its path. What is wrong with it, the domain says."""
    given = [name for name in PROCESS_FIELDS if name in fields]
    if not given:
        return None
    if "command" not in fields:
        raise InvalidInput.of(f"{prefix}{given[0]}", "goes with a command, and there is none")
    said = {name: fields[name] for name in ("directory", "output", "errors", "checkpoint_signal") if name in fields}
    if "grace" in fields:
        said["grace_seconds"] = fields["grace"]
    return Process(
        (*fields["command"], *fields.get("arguments", ())),
        tuple(sorted(fields.get("environment", {}).items())),
        **said,
    )


__all__ = [
    "MOST_IN_ARRAY", "PROCESS_FIELDS", "process_of", "read_array", "read_command", "read_environment", "read_retries",
]  # fmt: skip
