"""How far queues were from what they are entitled to: in each round, hour by hour, and over all their busy time.

A queue counts while it wants something. The error is the mean, over time and over the queues that count, of |share held
- share entitled to|. Taken over windows of time it compares their means in each window, so that what one round took and
another gave back within the window is no error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.judging.shares import QueueShares
from simulations.sums import Sum

Floats = NDArray[np.float64]

HOUR = 3600.0


def jain_index(values: list[float]) -> float | None:
    """(sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything. None for no values."""
    squares = math.fsum(value * value for value in values)
    return math.fsum(values) ** 2 / (len(values) * squares) if squares else None


def evenness(
    found: QueueShares, times: Floats, seconds: Floats, queues: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
    """(over all queues, by queue) for rounds at `times` (T,) that last for `seconds` (T,)."""
    made = Evenness(times, seconds, queues)
    made.add(found)
    return made.result()


class Evenness:
    """`evenness`, of shares that come in parts, one after another in order of rounds."""

    def __init__(self, times: Floats, seconds: Floats, queues: Sequence[str]) -> None:
        self._seconds = seconds
        self._queues = queues
        self._hour = ((times - times[:1].sum()) // HOUR).astype(np.int64)
        self._hourly = _Windows(int(self._hour.max(initial=0)) + 1, len(queues))
        self._altogether = _Windows(1, len(queues))
        self._lasted, self._error, self._short = Sum(), Sum(), Sum()

    def add(self, found: QueueShares) -> None:
        """Of some rounds, that follow those that were added before."""
        wants = found.demand > 0
        at, queue = found.at[wants], found.queue[wants]
        lasted, held, entitled = self._seconds[at], found.held[wants], found.entitled[wants]
        self._hourly.add(self._hour[at], queue, lasted, held, entitled)
        self._altogether.add(np.zeros(len(at), dtype=np.int64), queue, lasted, held, entitled)
        self._lasted.add(lasted)
        self._error.add(np.abs(held - entitled) * lasted)
        self._short.add(np.maximum(entitled - held, 0.0) * lasted)

    def result(self) -> tuple[dict[str, Any], dict[str, dict[str, float | None]]]:
        """(over all queues, by queue)"""
        altogether = self._altogether
        satisfaction = np.divide(
            altogether.held, altogether.entitled, out=np.full(len(self._queues), np.nan), where=altogether.entitled > 0
        )
        overall = {
            "jain_index": jain_index(satisfaction[np.isfinite(satisfaction)].tolist()),
            "error": self._mean(self._error),
            "shortfall": self._mean(self._short),
            "error_hourly": self._hourly.error,
            "error_altogether": altogether.error,
        }
        by_queue: dict[str, dict[str, float | None]] = {}
        for number, name in enumerate(self._queues):
            time = float(altogether.seconds[number])
            by_queue[name] = {
                "entitled_share": float(altogether.entitled[number]) / time if time else None,
                "held_share": float(altogether.held[number]) / time if time else None,
                "held_over_entitled": float(satisfaction[number]) if np.isfinite(satisfaction[number]) else None,
            }
        return overall, by_queue

    def _mean(self, total: Sum) -> float | None:
        lasted = self._lasted.value
        return total.value / lasted if lasted else None


class _Windows:
    """Sums over windows of time and queues, flat: window x queues + queue."""

    def __init__(self, windows: int, queues: int) -> None:
        self._queues = queues
        self.seconds, self.held, self.entitled = (np.zeros(windows * queues) for _ in range(3))

    def add(
        self, window: NDArray[np.int64], queue: NDArray[np.int64], lasted: Floats, held: Floats, entitled: Floats
    ) -> None:
        key = window * self._queues + queue
        np.add.at(self.seconds, key, lasted)
        np.add.at(self.held, key, lasted * held)
        np.add.at(self.entitled, key, lasted * entitled)

    @property
    def error(self) -> float | None:
        """The mean of |mean held - mean entitled| over windows and queues, by the time they count for."""
        total = math.fsum(self.seconds.tolist())
        return math.fsum(np.abs(self.held - self.entitled).tolist()) / total if total else None


def error_by_round(found: QueueShares, rounds: int) -> tuple[Floats, Floats]:
    """(T,) mean of |held - entitled| over queues that want something, and Jain's index of held / entitled; NaN where
    nobody wants anything.
    """
    wants = found.demand > 0
    at = found.at[wants]
    held, entitled = found.held[wants], found.entitled[wants]
    ratio = np.divide(held, entitled, out=np.zeros_like(held), where=entitled > 0)

    def added(values: Floats) -> Floats:
        return np.bincount(at, weights=values, minlength=rounds).astype(np.float64)

    count, error = added(np.ones(len(at))), added(np.abs(held - entitled))
    first, second = added(ratio), added(ratio**2)
    nothing = np.full(rounds, np.nan)
    return (
        np.divide(error, count, out=nothing.copy(), where=count > 0),
        np.divide(first**2, count * second, out=nothing, where=second > 0),
    )
