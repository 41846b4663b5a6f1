"""How much disk space the files of each job take together, counted again and again with little processor time.

The kernel can limit one file, and on most file systems not all files of a job. So they are counted, those in the
working directory that the agent made for the job and what it keeps of its output: a job that is over its limit is
ended some seconds later, and not at once. What it writes elsewhere is not counted, nor what it has removed and still
holds open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

LEAST_BYTES = 4096
"""That a file counts, however small: there is only room for so many."""
_BATCH = 500
_PAUSE_SECONDS = 0.01
"""After so many entries: others on this machine, and the agent's other threads, come first."""
_SHARE = 0.1
"""Of the time is spent on counting, at most."""


class DiskUse:
    """Counts on a thread of its own; every method returns at once, and may be called from any thread."""

    def __init__(self, state: Path, seconds: float) -> None:
        """Looks about every so many seconds, less often where there is much to count."""
        self._state, self._seconds = state, seconds
        self._limits: Mapping[str, int] = {}
        self._over: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count, name="disk", daemon=True)
        self._thread.start()

    def watch(self, limits: Mapping[str, int]) -> None:
        """From now on, these: bytes by job id."""
        self._limits = limits

    def over(self) -> frozenset[str]:
        """Jobs that were over their limits when they were last counted."""
        return self._over

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _count(self) -> None:
        spent = 0.0
        while not self._ended.wait(max(self._seconds, spent / _SHARE)):
            began = time.monotonic()
            over = set()
            for job_id, limit in self._limits.items():
                folders = [self._state / kind / job_id for kind in ("work", "output")]
                if taken(folders, limit, self._pause) > limit:
                    over.add(job_id)
            self._over = frozenset(over)
            spent = time.monotonic() - began

    def _pause(self) -> bool:
        return self._ended.wait(_PAUSE_SECONDS)


def taken(folders: list[Path], most: int, pause: Callable[[], bool] = lambda: False) -> int:
    """Bytes on the disk of everything below the folders, as far as it takes to know whether they are more than `most`.

    Folders nested so deeply that they cannot be named count as more. `pause` is called from time to time; nothing is
    counted any more when it says so. Links are not followed.
    """
    found, seen = 0, 0
    ahead = [os.fspath(folder) for folder in folders]
    while ahead:
        try:
            with os.scandir(ahead.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):
                        found += max(LEAST_BYTES, entry.stat(follow_symlinks=False).st_blocks * 512)
                        if entry.is_dir(follow_symlinks=False):
                            ahead.append(entry.path)
                    seen += 1
                    if found > most or (seen % _BATCH == 0 and pause()):
                        return found
        except OSError as error:  # it may be gone by now
            if error.errno == errno.ENAMETOOLONG:
                return most + 1
    return found
