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
    first multiple of `interval` at or after that event, so that rounds stay where they are under a real clock. With an
    interval of 0 it always goes to the next event, whatever `until` says, and everything due at that instant happens:
    there is one round right after each instant at which something happened or to which things stay quiet, as the last
    round said, and none at any other time.
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

    def wait(self, until: float, *, quiet_until: float) -> bool:
        """Move time to `until`, or further when nothing changes before; False when the replay is over."""
        if not until > self._agenda.now and self._interval:
            raise ValueError(f"cannot wait until {until}: it is {self._agenda.now} already")
        asked = quiet_until if self._agenda.now < quiet_until < math.inf else None
        if self._is_stalled(quiet=quiet_until == math.inf, asked=asked is not None):
            return self._end(Ending.STALLED)
        due = [time for time in (self._agenda.next_time, asked) if time is not None]
        if not self._interval:
            until = min(due, default=self._agenda.now)
        elif due and quiet_until > self._agenda.now:
            until = max(until, math.ceil(min(due) / self._interval) * self._interval)
        if until > self._horizon:
            self._agenda.run_until(self._horizon)
            return self._end(Ending.HORIZON)
        self._agenda.run_until(until)
        if self._on_wait is not None:
            self._on_wait(self._agenda.now)
        if self._world.finished:
            return self._end(Ending.FINISHED)
        return True

    def _is_stalled(self, *, quiet: bool, asked: bool) -> bool:
        if self._world.finished:
            return False
        if not self._interval and self._agenda.next_time is None and not asked:
            return True
        if not self._world.exhausted:
            self._fruitless = 0
            return False
        self._fruitless += 1
        return quiet or self._fruitless > PATIENCE

    def _end(self, ending: Ending) -> bool:
        self.ending = ending
        return False
