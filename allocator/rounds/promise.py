"""What became of a deadline and a minimum throughput, as plain values: clients need no numerical libraries for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PromiseState(Enum):
    """Whether a job's deadline and minimum throughput hold."""

    KEPT = "kept"
    """The optimum gives it the share of the time that it needs."""
    AT_RISK = "at_risk"
    """It gives less: its queue cannot pay for it, limits do not allow it, or there is nothing that it could run on."""
    MISSED = "missed"
    """Its deadline has passed."""


@dataclass(frozen=True, slots=True)
class JobPromise:
    """What a job with a deadline or a minimum throughput needs, and gets. Shares are of its time in its best
    configuration, times are seconds since the Unix epoch.
    """

    state: PromiseState
    deadline: float | None
    minimum_throughput: float | None
    needed_share: float
    """From now on; above 1 where even all its time does not do, 0 where only a deadline was wanted that is past."""
    given_share: float
    """By the optimum."""
    expected_end: float | None
    """At that; None without a deadline, or if it gets nothing."""
    weight: float | None = None
    """Of its queue, with which it would hold; None if that was not asked for, or no weight was found."""
