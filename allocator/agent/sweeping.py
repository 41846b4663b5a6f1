"""Clearing up: what dead supervisors left running, and folders that nobody has used for long."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock, Thread

from allocator.agent import records
from allocator.agent.confinement import Enclosure
from allocator.agent.plan import Phase
from allocator.agent.records import Record

_log = logging.getLogger(__name__)

_PRUNE_SECONDS = 3600.0
"""How often old folders are looked for."""
_CAN_END_SECONDS = 5.0
"""How long it may take the kernel to end what was killed."""


class Sweeper:
    """Removes what nobody has used for long, every hour, on a thread of its own."""

    def __init__(self, state: Path, keep_seconds: float, used: Callable[[], frozenset[str]]) -> None:
        """`used`: jobs whose folders are in use; for any thread."""
        self._state, self._keep_seconds, self._used = state, keep_seconds, used
        self.beginning = Lock()
        """To be held while a run's folders are made."""
        self._next = 0.0
        self._thread: Thread | None = None

    def look(self) -> None:
        """Returns at once."""
        if records.boot_time() <= self._next:
            return
        self._next = records.boot_time() + _PRUNE_SECONDS
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._sweep, name="sweeper", daemon=True)
            self._thread.start()

    def _sweep(self) -> None:
        """On its own thread."""
        try:
            prune(self._state, self._used, self._keep_seconds, self.beginning)
        except OSError as error:
            _log.warning("old folders could not be removed: %s", error)


def end_remains(folder: Path, enclosure: Enclosure) -> None:
    """Kill what is left of the run in `folder`, whose supervisor was killed itself."""
    started = records.read_json(folder / "started.json")
    if started is not None and records.start_ticks(started["command"][0]) == started["command"][1]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started["command"][0], signal.SIGKILL)
    until = time.monotonic() + _CAN_END_SECONDS
    while enclosure.members is not None and time.monotonic() < until:
        for path, text in enclosure.quench:
            with contextlib.suppress(OSError):
                path.write_text(text)
        members = enclosure.members.read_text().split() if enclosure.members.exists() else []
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)


def keep_record(state: Path, record: Record) -> None:
    """Of a run that is forgotten: only if it has printed something, so that whoever asks for that finds it."""
    job_id = record.replica.job_id
    if not records.is_folder_name(job_id):
        return
    with contextlib.suppress(OSError):  # then nobody finds it: no reason not to go on
        if record.output or record.errors or (state / "output" / job_id / f"{record.run_id}.out").stat().st_size:
            folder = state / "ended" / job_id
            folder.mkdir(mode=0o700, exist_ok=True)
            phase = record.phase if record.phase is Phase.ENDED else Phase.LOST
            records.save_file(folder / f"{record.run_id}.json", replace(record, phase=phase))


def drop_empty(state: Path, job_id: str, run_id: str) -> None:
    """Remove what a run that is forgotten has left without anything in it."""
    output = state / "output" / job_id / f"{run_id}.out"
    with contextlib.suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()
    for folder in (output.parent, state / "work" / job_id):
        with contextlib.suppress(OSError):  # most often because it is not empty
            folder.rmdir()


def prune(state: Path, used: Callable[[], frozenset[str]], keep_seconds: float, beginning: Lock) -> None:
    """Remove working directories and outputs of jobs that are not `used` and that nobody has written to for long.

    There may be millions of files, which takes longer than a lease: it is for a thread of its own. None of the folders
    begins to be used while `beginning` is held; then what goes is only given another name. Raises OSError.
    """
    away = state / "away"
    away.mkdir(mode=0o700, exist_ok=True)
    oldest = time.time() - keep_seconds
    for kind in ("work", "output", "ended"):
        for folder in (state / kind).iterdir():
            with contextlib.suppress(FileNotFoundError):  # an empty one goes as soon as its run is forgotten
                if folder.name in used() or _newest(folder) >= oldest:
                    continue
                with beginning:
                    if folder.name not in used():
                        folder.rename(away / f"{kind}.{folder.name}.{time.monotonic_ns()}")
    shutil.rmtree(away, ignore_errors=True)  # with what was left there when an agent was killed


def _newest(folder: Path) -> float:
    """When it, or something right in it, was last written to."""
    newest = folder.lstat().st_mtime
    with contextlib.suppress(NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
    return newest
