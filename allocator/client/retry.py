"""When a failed call may be repeated, and after how long: exponential backoff with full jitter, as data.

Only calls that are safe to repeat get a schedule at all; that is decided where calls are described (`calls`).
The jitter is drawn evenly from the upper half of each step: clients that failed together do not return together.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from allocator.domain.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` counts the first one: 1 means never retry. Delays in seconds; the n-th is about first_delay * 2^n,
    at most `longest_delay`. Errors: InvalidInput when a bound makes no sense.
    """

    attempts: int = 5
    first_delay: float = 0.1
    longest_delay: float = 3.0

    def __post_init__(self) -> None:
        found = []
        if self.attempts < 1:
            found.append(Violation("attempts", f"must be at least 1, got {self.attempts}"))
        if not (math.isfinite(self.first_delay) and self.first_delay > 0):
            found.append(Violation("first_delay", f"must be a finite number above 0, got {self.first_delay}"))
        if not (math.isfinite(self.longest_delay) and self.longest_delay >= self.first_delay):
            found.append(
                Violation("longest_delay", f"must be a finite number, at least first_delay; got {self.longest_delay}")
            )
        if found:
            raise InvalidInput(*found)

    def delays(self, rng: random.Random) -> Iterator[float]:
        """Seconds to wait before the second, third, ... attempt of one call."""
        for step in range(self.attempts - 1):
            yield self.delay(step, rng)

    def delay(self, step: int, rng: random.Random) -> float:
        """Seconds to wait after the failure number `step` (from 0) in a row."""
        ceiling = min(self.longest_delay, self.first_delay * 2.0 ** min(step, 60))
        return rng.uniform(ceiling / 2, ceiling)


NEVER = RetryPolicy(attempts=1)
