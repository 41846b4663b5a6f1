"""How fast jobs get on, from the numbers that they write: work done, in the unit of their declared throughputs.

A command writes how much of its work is done, one number that only grows, into the file that `ALLOCATOR_PROGRESS`
names. In a gang the replica of rank 0 counts for all of it. From two numbers and the time between them comes the
throughput that the daemon is told; what passes before the first number is the start, and is not counted.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from allocator.domain.placement import Epoch

FIRST_SECONDS, NEXT_SECONDS = 10.0, 60.0
"""That the first and every later measurement take at least."""
MOST_BYTES = 64
"""A number has no more."""
MOST_AGE_SECONDS = 1.5
"""Of a number that is new: it is looked for every second. Anybody can set the time of a file of theirs."""
_MOST_FILE_BYTES = 2**16
"""A file that is larger is emptied."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a job did per second, in the allocation of `epoch`; of the whole gang."""

    job_id: str
    epoch: Epoch
    throughput: float


class Meter:
    """Of one run: numbers in, throughputs out. Times in seconds from any start."""

    def __init__(self) -> None:
        self._epoch: Epoch | None = None
        self._first: tuple[float, float] | None = None
        """(work, time) where the measurement begins."""
        self._last: tuple[float, float] | None = None
        self._least = FIRST_SECONDS

    def note(self, epoch: Epoch, work: float | None, now: float) -> float | None:
        """Work per second, if enough time has passed for another measurement. A new epoch may be another speed, and a
        number that has become smaller another count: then it is measured anew.
        """
        if epoch != self._epoch:
            # the number that is there may be from before: the measurement begins with the next one
            self._epoch, self._first, self._last, self._least = epoch, None, (work or 0.0, now), FIRST_SECONDS
            return None
        if work is None or self._last is None or work == self._last[0]:
            return None
        if work < self._last[0]:
            self._first = self._last = work, now
            return None
        self._last = work, now
        if self._first is None:
            self._first = self._last
            return None
        done, seconds = work - self._first[0], now - self._first[1]
        if seconds < self._least or done <= 0:
            return None
        self._first, self._least = self._last, NEXT_SECONDS
        return done / seconds


def prepare(file: Path, user: str) -> None:
    """Make an empty file that the job may write, in a folder in which it can put nothing else. Raises OSError."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    if user:
        shutil.chown(file, user)


def read(file: Path) -> tuple[float | None, float]:
    """The number in the file, and how many seconds ago it was written, as far as that can be believed; None where there
    is no number, or none that can be one.
    """
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return None, 0.0
            if found.st_size > _MOST_FILE_BYTES:
                os.ftruncate(descriptor, 0)
            text = os.pread(descriptor, MOST_BYTES + 1, 0)
        finally:
            os.close(descriptor)
        work = float(text) if len(text) <= MOST_BYTES else math.nan
        age = min(max(0.0, time.time() - found.st_mtime), MOST_AGE_SECONDS)
        return (work if math.isfinite(work) and work >= 0 else None), age
    return None, 0.0
