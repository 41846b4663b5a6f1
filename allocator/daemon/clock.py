"""Real time for rounds: when the next one is, sooner if there is news, and the way to end them."""

from __future__ import annotations

import math
import threading
import time

HEADROOM_SECONDS = 0.05
"""So long before a round, whoever gives way to rounds may begin nothing more: what it is at takes that long to end."""
REST = 4
"""Rounds that come early leave at least so many times what they take to everybody else."""


class SystemClock:
    """Implements `rounds.ports.Clock` on the machine's clocks; `stop()` from any thread ends the wait.

    After `news()` the next round comes early: as soon as `minimum_interval` seconds have passed from the beginning of
    the last one, and `REST` times what that took. With an infinite one no round does.
    """

    def __init__(self, minimum_interval: float = math.inf) -> None:
        self._minimum_interval = minimum_interval
        self._began = time.monotonic()
        """When the last round did."""
        self._stopping = threading.Event()
        self._called = threading.Event()
        """Set when there is news, and at the end."""
        self.resting = threading.Event()
        """Set while nobody decides anything: before the first round, and from one to the next, or to shortly before
        that where it is known when it comes.
        """
        self.resting.set()

    def now(self) -> float:
        return time.time()

    def wait(self, until: float, *, quiet_until: float) -> bool:  # noqa: ARG002 dashboards want to see quiet rounds too
        ended = time.monotonic()
        rest = max(self._began + self._minimum_interval - ended, REST * (ended - self._began))
        self.resting.set()
        left = until - time.time()
        if rest < left:
            self._stopping.wait(max(0.0, rest))
            left = until - time.time()
            if self._called.wait(max(0.0, left - _headroom(left))):
                until = time.time()
        else:
            self._stopping.wait(max(0.0, left - _headroom(left)))
        self.resting.clear()
        if self._stopping.wait(max(0.0, until - time.time())):
            self.resting.set()
            return False
        self._called.clear()
        self._began = time.monotonic()
        return True

    def pause(self, seconds: float) -> None:
        """After a round that broke: so long whatever happens, and then a round as for news. It may have been known to
        the broken one.
        """
        self.resting.set()
        self._stopping.wait(seconds)
        self.resting.clear()
        self._began = time.monotonic()
        self.news()

    def stopwatch(self) -> float:
        return time.perf_counter()

    def news(self) -> None:
        """Something has happened that a round may answer with another decision."""
        self._called.set()

    def stop(self) -> None:
        """Let the round that is under way end, and start no other."""
        self._stopping.set()
        self._called.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()


def _headroom(left: float) -> float:
    return min(HEADROOM_SECONDS, left / 4)
