"""What a job is promised, as people write it: `deadline: 6h` (from now), `deadline: 2026-03-01T18:00`, or `2026-03-01`,
the end of that day; and how fast it runs: `2.0`, or `unknown`.
"""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from allocator.cli import field_types as f
from allocator.cli.quantities import parse_duration
from allocator.domain.errors import InvalidInput

UNKNOWN = "unknown"
_DEADLINE_EXAMPLES = (
    "how long from now, such as 6h, a time, such as 2026-03-01T18:00 (local) or 2026-03-01T17:00Z, or a day, such as "
    "2026-03-01 (its end, local)"
)


def read_deadline(value: object, path: str) -> float:
    """Seconds since the Unix epoch."""
    if isinstance(value, datetime):  # YAML knows times; without a zone they are local
        return value.timestamp()
    if isinstance(value, date):
        value = value.isoformat()
    if not isinstance(value, str):
        raise InvalidInput.of(path, f"must be {_DEADLINE_EXAMPLES}; got {f.shown(value)}")
    text = value.strip()
    if "-" in text[1:]:
        try:
            day = _day(text)
            return datetime.fromisoformat(text).timestamp() if day is None else _end_of(day)
        except (ValueError, OverflowError):
            raise InvalidInput.of(path, f"cannot read {text!r}; write {_DEADLINE_EXAMPLES}") from None
    try:
        return time.time() + parse_duration(text, path)
    except InvalidInput:
        raise InvalidInput.of(path, f"cannot read {text!r}; write {_DEADLINE_EXAMPLES}") from None


def _day(text: str) -> date | None:
    """None: it is more than a day, or none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _end_of(day: date) -> float:
    """Who says "by Friday" means all of Friday."""
    return datetime.combine(day + timedelta(days=1), time_of_day()).timestamp()


def read_throughput(value: object, path: str) -> float | None:
    """Work per second; None where it is not known."""
    return None if value is None or value == UNKNOWN else f.number(value, path)
