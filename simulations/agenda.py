"""Virtual time: what happens when, in one order that never depends on the machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]


class Agenda:
    """Events ordered by time, and in the order they were planned where times are equal. `now` only grows."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._planned: list[tuple[float, int, Action]] = []
        self._numbers = count()

    def plan(self, time: float, action: Action) -> None:
        """Have `action` called when time has come to `time`, which must not lie in the past."""
        if not time >= self.now:
            raise ValueError(f"an event was planned for {time}, but it is {self.now} already")
        heapq.heappush(self._planned, (time, next(self._numbers), action))

    @property
    def next_time(self) -> float | None:
        """When the next event is due; None when nothing is planned."""
        return self._planned[0][0] if self._planned else None

    def run_until(self, until: float) -> int:
        """Let everything happen that is due at or before `until`, then be there. How many events that were."""
        happened = 0
        while self._planned and self._planned[0][0] <= until:
            time, _, action = heapq.heappop(self._planned)
            self.now = time
            action()
            happened += 1
        self.now = max(self.now, until)
        return happened
