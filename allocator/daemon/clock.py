"""Real time for rounds, and the way to end them."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """Implements `rounds.ports.Clock` on the machine's clocks; `stop()` from any thread ends the wait."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self.resting = threading.Event()
        """Set while nobody decides anything: before the first round, and from one to the next."""
        self.resting.set()

    def now(self) -> float:
        return time.time()

    def wait(self, until: float, *, quiescent: bool) -> bool:  # noqa: ARG002 dashboards want to see quiet rounds too
        self.resting.set()
        stopped = self._stopping.wait(max(0.0, until - time.time()))
        if not stopped:
            self.resting.clear()
        return not stopped

    def stopwatch(self) -> float:
        return time.perf_counter()

    def stop(self) -> None:
        """Let the round that is under way end, and start no other."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()
