"""A clock that is moved by events instead of waiting for them: the Clock of a replay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from simulations.agenda import Agenda

PATIENCE = 100
"""Rounds without anything running or arriving after which the jobs that are left are taken to wait for ever."""


class Ending(Enum):
    """Why a replay is over."""

    FINISHED = "finished"
    """Every job came to its end."""
    STALLED = "stalled"
    """Jobs are left that nothing which is still to come would start."""
    HORIZON = "horizon"
    """The time to which it was to go is reached."""


class Progress(Protocol):
    """What the clock must know of the world to tell when it is over."""

    @property
    def finished(self) -> bool:
        """No job is live and none is to come."""
        ...

    @property
    def exhausted(self) -> bool:
        """Nothing runs, nothing is to arrive, and every node is up: only a round can change anything."""
        ...


class VirtualClock:
    """Implements `allocator.rounds.ports.Clock` over an Agenda.

    `wait` lets everything due until then happen. When nothing would change before the next event, it goes on to the
    first multiple of `interval` at or after that event, so that rounds stay where they are under a real clock.
    `on_wait` is called with the time after each wait; what it raises ends the replay.
    """

    def __init__(
        self,
        agenda: Agenda,
        world: Progress,
        *,
        interval: float,
        horizon: float = math.inf,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        self.ending: Ending | None = None
        self._agenda = agenda
        self._world = world
        self._interval = interval
        self._horizon = horizon
        self._on_wait = on_wait
        self._fruitless = 0

    def now(self) -> float:
        """Virtual seconds."""
        return self._agenda.now

    def stopwatch(self) -> float:
        """Real seconds: how long stages take is the one thing a replay does not make up."""
        return time.perf_counter()

    def wait(self, until: float, *, quiescent: bool) -> bool:
        """Move time to `until`, or further when nothing changes before; False when the replay is over."""
        if not until > self._agenda.now:
            raise ValueError(f"cannot wait until {until}: it is {self._agenda.now} already")
        if self._is_stalled(quiescent=quiescent):
            return self._end(Ending.STALLED)
        if quiescent:
            until = max(until, self._boundary_after_next_event())
        if until > self._horizon:
            self._agenda.run_until(self._horizon)
            return self._end(Ending.HORIZON)
        self._agenda.run_until(until)
        if self._on_wait is not None:
            self._on_wait(self._agenda.now)
        if self._world.finished:
            return self._end(Ending.FINISHED)
        return True

    def _is_stalled(self, *, quiescent: bool) -> bool:
        if not self._world.exhausted or self._world.finished:
            self._fruitless = 0
            return False
        self._fruitless += 1
        return quiescent or self._fruitless > PATIENCE

    def _boundary_after_next_event(self) -> float:
        following = self._agenda.next_time
        if following is None:
            return -math.inf
        return math.ceil(following / self._interval) * self._interval

    def _end(self, ending: Ending) -> bool:
        self.ending = ending
        return False
