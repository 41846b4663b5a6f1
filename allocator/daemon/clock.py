"""Real time for rounds, and the way to end them."""

from __future__ import annotations

import threading
import time

HEADROOM_SECONDS = 0.05
"""So long before a round, whoever gives way to rounds may begin nothing more: what it is at takes that long to end."""


class SystemClock:
    """Implements `rounds.ports.Clock` on the machine's clocks; `stop()` from any thread ends the wait."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self.resting = threading.Event()
        """Set while nobody decides anything: before the first round, and from one to shortly before the next."""
        self.resting.set()

    def now(self) -> float:
        return time.time()

    def wait(self, until: float, *, quiet_until: float) -> bool:  # noqa: ARG002 dashboards want to see quiet rounds too
        self.resting.set()
        left = until - time.time()
        stopped = self._stopping.wait(max(0.0, left - min(HEADROOM_SECONDS, left / 4)))
        if stopped:
            return False
        self.resting.clear()
        if self._stopping.wait(max(0.0, until - time.time())):
            self.resting.set()
            return False
        return True

    def stopwatch(self) -> float:
        return time.perf_counter()

    def stop(self) -> None:
        """Let the round that is under way end, and start no other."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()
