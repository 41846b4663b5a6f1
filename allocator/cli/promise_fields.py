"""What a job is promised, as people write it: `deadline: 6h` (from now), `deadline: 2026-03-01T18:00`, and how fast it
runs: `2.0`, or `unknown`.
"""

from __future__ import annotations

import time
from datetime import datetime

from allocator.cli import field_types as f
from allocator.cli.quantities import parse_duration
from allocator.domain.errors import InvalidInput

UNKNOWN = "unknown"
_DEADLINE_EXAMPLES = "how long from now, such as 6h, or a time, such as 2026-03-01T18:00 (local) or 2026-03-01T17:00Z"


def read_deadline(value: object, path: str) -> float:
    """Seconds since the Unix epoch."""
    if isinstance(value, datetime):  # YAML knows times; without a zone they are local
        return value.timestamp()
    if not isinstance(value, str):
        raise InvalidInput.of(path, f"must be {_DEADLINE_EXAMPLES}; got {f.shown(value)}")
    text = value.strip()
    if "-" in text[1:]:
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            raise InvalidInput.of(path, f"cannot read {text!r}; write {_DEADLINE_EXAMPLES}") from None
    try:
        return time.time() + parse_duration(text, path)
    except InvalidInput:
        raise InvalidInput.of(path, f"cannot read {text!r}; write {_DEADLINE_EXAMPLES}") from None


def read_throughput(value: object, path: str) -> float | None:
    """Work per second; None where it is not known."""
    return None if value is None or value == UNKNOWN else f.number(value, path)
