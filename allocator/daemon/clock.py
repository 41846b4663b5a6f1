"""Real time for rounds, and the way to end them."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """Implements `rounds.ports.Clock` on the machine's clocks; `stop()` from any thread ends the wait."""

    def __init__(self) -> None:
        self._stopping = threading.Event()

    def now(self) -> float:
        return time.time()

    def wait(self, until: float, *, quiescent: bool) -> bool:  # noqa: ARG002 dashboards want to see quiet rounds too
        return not self._stopping.wait(max(0.0, until - time.time()))

    def stopwatch(self) -> float:
        return time.perf_counter()

    def stop(self) -> None:
        """Let the round that is under way end, and start no other."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()
