"""Clearing up: what dead supervisors left running, and folders that nobody has used for long."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from allocator.agent import records
from allocator.agent.confinement import Enclosure

_CAN_END_SECONDS = 5.0
"""How long it may take the kernel to end what was killed."""


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


def drop_empty(state: Path, job_id: str, run_id: str) -> None:
    """Remove what a run that is forgotten has left without anything in it."""
    output = state / "output" / job_id / f"{run_id}.out"
    with contextlib.suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()
    for folder in (output.parent, state / "work" / job_id):
        with contextlib.suppress(OSError):  # most often because it is not empty
            folder.rmdir()


def prune(state: Path, used: frozenset[str], keep_seconds: float) -> None:
    """Remove working directories and outputs of jobs that are not `used` and that nobody has written to for long."""
    oldest = time.time() - keep_seconds
    for kind in ("work", "output"):
        for folder in (state / kind).iterdir():
            entries = [folder, *folder.iterdir()] if folder.is_dir() else [folder]
            newest = max(entry.lstat().st_mtime for entry in entries)
            if folder.name not in used and newest < oldest:
                shutil.rmtree(folder, ignore_errors=True)
