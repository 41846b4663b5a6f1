"""Which part of a trace is replayed: from when, to when, said in days, seconds or dates."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from allocator.domain.errors import InvalidInput

DAY = 86400.0
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([ds]?)\Z")


@dataclass(frozen=True, slots=True)
class Window:
    """Jobs that arrive in [start, end), in seconds since the start of the trace.

    `carry_in` also takes the jobs that by the trace ran at `start`, each with what was left of its run time, as if
    submitted at `start`.
    """

    start: float = 0.0
    end: float = math.inf
    carry_in: bool = False

    @property
    def description(self) -> str:
        """One sentence for the notes."""
        end = "the end" if math.isinf(self.end) else f"day {self.end / DAY:g}"
        before = "what ran at its start is taken along" if self.carry_in else "the cluster is empty at its start"
        return f"Jobs arrive from day {self.start / DAY:g} to {end} of the trace; {before}."

    def cut(self, arrived: float, started: float | None, duration: float) -> tuple[float, float] | None:
        """(arrival, run time) of a job inside the window, None outside; `started` None: not known, or never."""
        if self.start <= arrived < self.end:
            return arrived, duration
        if self.carry_in and started is not None and started <= self.start < started + duration:
            return self.start, started + duration - self.start
        return None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise InvalidInput.of("to", f"must be later than from ({self.start:g} s); got {self.end:g} s")


EVERYTHING = Window()


def seconds_into(text: str, field: str, origin: datetime | None) -> float:
    """`12`, `12d` (days), `3600s` (seconds), or an ISO date or time such as 2017-10-01 where the trace has an `origin`.

    Raises InvalidInput that names `field`. Dates without a zone are UTC.
    """
    amount = _AMOUNT.match(text.strip())
    if amount:
        return float(amount[1]) * (1.0 if amount[2] == "s" else DAY)
    accepted = "days (109 or 109d) or seconds (9417600s) since the start of the trace"
    if origin is None:
        raise InvalidInput.of(field, f"must be {accepted}; got {text!r}")
    accepted += f", or a date from {origin:%Y-%m-%d} on (2017-10-01 or 2017-10-01T12:00)"
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput.of(field, f"must be {accepted}; got {text!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = (moment - origin).total_seconds()
    if moment.date() == origin.date():  # a trace that begins in the course of this day has all of it that there is
        return max(0.0, elapsed)
    if elapsed < 0:
        raise InvalidInput.of(field, f"must be {accepted}; got {text!r}")
    return elapsed
