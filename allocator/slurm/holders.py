"""Which Slurm job may run a job of ours: a file per job in the spool, which its scripts and its tasks look at.

A node that nobody can reach may still run what it was given. Slurm calls such a job failed with its node, and another
one takes its place; the file then names the other one, and whoever still runs the first sees that it may not, and
ends. So that it has time to see it, the other one begins only after the fence. The file of a job that came to a proper
end is removed: then nobody has to wait. A Slurm job that is not named begins nothing, so there may be two of them by a
lost answer, and only one runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from allocator.engine.runs import Run

NOBODY = "none"


def holder_file(spool: Path, job_id: str) -> Path:
    """Its line: id of the Slurm job, name of the run's files, and whom it displaced if that one may still be there."""
    return spool / f"{job_id}.holder"


def looks_every(fence_seconds: float) -> float:
    """Seconds between two looks of a task: two of them fit into the fence, and something to be late by."""
    return round(fence_seconds * 0.4, 3)


class Holders:
    """Blocking: files may be on another machine. Used by one thread at a time for each job."""

    def __init__(self, spool: Path, fence_seconds: float, stopwatch: Callable[[], float] = time.monotonic) -> None:
        self._spool, self._fence, self._stopwatch = spool, fence_seconds, stopwatch
        self._since: dict[str, float] = {}
        """When a Slurm job displaced another one."""

    def claim(self, run: Run, slurm_id: str) -> bool:
        """Make it the holder; whether it may begin now, or has to wait for the one before it: then ask again."""
        holder, displaced = self._read(run.job_id)
        if holder == slurm_id and not displaced:
            return True
        if holder != slurm_id:
            displaced = holder
            self._write(run, slurm_id, displaced)
            if not displaced:
                return True
        # after a restart of ours nobody knows how long it has waited: it waits again
        if self._stopwatch() - self._since.setdefault(slurm_id, self._stopwatch()) < self._fence:
            return False
        self._write(run, slurm_id, "")
        return True

    def pass_on(self, run: Run, slurm_id: str) -> None:
        """The holder goes on as another run: there it shall write how it ends."""
        self._write(run, slurm_id, "")

    def settle(self, run: Run, slurm_id: str) -> None:
        """It has properly ended, on nodes that answer: nothing of it is left."""
        self._since.pop(slurm_id, None)
        if self._read(run.job_id)[0] == slurm_id:
            holder_file(self._spool, run.job_id).unlink(missing_ok=True)

    def revoke(self, run: Run) -> None:
        """Nobody wants this run any more; if something of it is left somewhere, it shall end."""
        path = holder_file(self._spool, run.job_id)
        if path.exists() and run.file_name in path.read_text(encoding="ascii", errors="replace").split():
            self._write(run, NOBODY, "")

    def _read(self, job_id: str) -> tuple[str, str]:
        try:
            words = holder_file(self._spool, job_id).read_text(encoding="ascii", errors="replace").split()
        except FileNotFoundError:
            return "", ""
        return (words[0] if words else NOBODY), (words[2] if len(words) > 2 else "")

    def _write(self, run: Run, holder: str, displaced: str) -> None:
        path = holder_file(self._spool, run.job_id)
        part = path.with_suffix(".holder-part")
        part.write_text(f"{holder} {run.file_name} {displaced}".rstrip() + "\n", encoding="ascii")
        part.replace(path)
