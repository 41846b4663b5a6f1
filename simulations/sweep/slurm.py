"""Runs replays as the tasks of a Slurm job array, and follows them.

Only Slurm's stable commands are used: `sbatch --parsable`, `squeue --noheader -o`. The folder of the sweep and this
program must be at the same place on all nodes, as on a shared file system. The array outlives us: who calls the same
command again follows what is still queued, and submits what is missing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from allocator.domain.errors import FailedPrecondition
from simulations.sweep.experiment import Cell
from simulations.sweep.folder import SweepFolder
from simulations.sweep.running import ONE_CORE, Heard, Standing, command_of

JOBS_FILE = "slurm-jobs"
"""One line for each array that was submitted: its id, and the labels of its tasks."""
LOOK_SECONDS = 2.0
LOOKS = 3
"""So often a task's results must be missing after its end before it counts as failed: shared file systems lag."""
PATIENCE_SECONDS = 600.0
"""How long the controller may be away before we give up following."""
_OVER = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
)
_ID = re.compile(r"^(\d+)(;.*)?$")


class SlurmError(Exception):
    """A command of Slurm's failed; its own words."""


@dataclass(frozen=True, slots=True)
class Array:
    """A job array that was submitted: tasks have the numbers of cells in the manifest of that time."""

    job: str
    labels: dict[int, str]


def require_slurm() -> None:
    """FailedPrecondition where its commands are missing."""
    for program in ("sbatch", "squeue"):
        if shutil.which(program) is None:
            raise FailedPrecondition("--slurm", f"needs {program}, which is not installed here; run it on a login node")


def run_in_slurm(
    folder: SweepFolder,
    cells: Sequence[Cell],
    at_once: int,
    options: Sequence[str],
    heard: Heard,
    *,
    follow: bool = True,
    look_seconds: float = LOOK_SECONDS,
) -> str | None:
    """Submit what no array has queued yet, and tell `heard` what becomes of each. The id of the new array, if any.

    Raises FailedPrecondition when Slurm refuses the array, or stays away.
    """
    followed = _Follower(folder, heard)
    queued = {label for label, state in followed.states().items() if state not in _OVER}
    # a task may have ended since the caller looked
    missing = [cell for cell in cells if cell.label not in queued and not folder.is_done(cell)]
    job = _submit(folder, missing, at_once, options) if missing else None
    if follow:
        followed.until_over(cells, look_seconds)
    return job


def _submit(folder: SweepFolder, cells: Sequence[Cell], at_once: int, options: Sequence[str]) -> str:
    home = folder.path.resolve()
    script = home / "slurm.sh"
    settings = " ".join(f"{name}={value}" for name, value in ONE_CORE.items())
    command = shlex.join(command_of(folder, ""))[: -len(" ''")]
    script.write_text(f'#!/bin/sh\nexport {settings}\nexec {command} "$SLURM_ARRAY_TASK_ID"\n', encoding="utf-8")
    arguments = [
        "sbatch",
        "--parsable",
        f"--job-name=sweep-{home.name}",
        f"--array={_ranges(cell.number for cell in cells)}%{at_once}",
        f"--chdir={Path.cwd()}",
        f"--output={home}/logs/%A_%a.log",
        "--ntasks=1",
        "--cpus-per-task=1",
        *options,
        str(script),
    ]
    try:
        answer = _call(arguments)
    except SlurmError as error:
        raise FailedPrecondition("--slurm", f"the job array was refused: {error}") from None
    match = _ID.match(answer.strip())
    if match is None:
        raise FailedPrecondition("--slurm", f"sbatch answered {answer.strip()!r}, which is no job id")
    job = match.group(1)
    for cell in cells:  # a task writes to a name it knows; people look for the replay's
        link = folder.log(cell)
        link.unlink(missing_ok=True)
        link.symlink_to(f"{job}_{cell.number}.log")
    with (home / JOBS_FILE).open("a", encoding="utf-8") as jobs:
        jobs.write("\t".join([job, *(f"{cell.number}:{cell.label}" for cell in cells)]) + "\n")
    return job


def _ranges(numbers: Iterable[int]) -> str:
    """`0-3,7,9-10`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


class _Follower:
    """Sees what becomes of the tasks of every array of the folder."""

    def __init__(self, folder: SweepFolder, heard: Heard) -> None:
        self._folder = folder
        self._heard = heard
        self._told: dict[str, Standing] = {}
        self._missed: dict[str, int] = {}

    def states(self) -> dict[str, str]:
        """Slurm's word for the newest task of each label that it still knows. Raises FailedPrecondition."""
        arrays = _arrays(self._folder)
        if not arrays:
            return {}
        asked = ",".join(array.job for array in arrays)
        answer = _patiently(["squeue", "--noheader", "--array", "--states=all", f"--jobs={asked}", "-o", "%F|%K|%T"])
        labels = {array.job: array.labels for array in arrays}
        found: dict[str, str] = {}
        for line in answer.splitlines():
            job, task, state = [*line.strip().split("|"), "", ""][:3]
            label = labels.get(job, {}).get(int(task)) if task.isdigit() else None
            if label is not None and (label not in found or state not in _OVER):
                found[label] = state
        return found

    def until_over(self, cells: Sequence[Cell], look_seconds: float) -> None:
        """Return when no task of these is queued or runs."""
        while True:
            states = self.states()
            left = 0
            for cell in cells:
                state = states.get(cell.label)
                if self._folder.is_done(cell):
                    self._tell(cell, Standing.DONE)
                    continue
                if state is None or state in _OVER:
                    self._missed[cell.label] = self._missed.get(cell.label, 0) + 1
                    if self._missed[cell.label] >= LOOKS:
                        self._tell(cell, Standing.FAILED)
                        continue
                elif state == "RUNNING":
                    self._tell(cell, Standing.RUNNING)
                left += 1
            if not left:
                return
            time.sleep(look_seconds)

    def _tell(self, cell: Cell, standing: Standing) -> None:
        if self._told.get(cell.label) is not standing:
            self._told[cell.label] = standing
            self._heard(cell, standing)


def _arrays(folder: SweepFolder) -> list[Array]:
    file = folder.path / JOBS_FILE
    if not file.exists():
        return []
    arrays = []
    for line in file.read_text(encoding="utf-8").splitlines():
        job, *tasks = line.split("\t")
        pairs = (task.partition(":") for task in tasks)
        arrays.append(Array(job, {int(number): label for number, _, label in pairs}))
    return arrays


def _patiently(arguments: list[str], sleep: Callable[[float], None] = time.sleep) -> str:
    """A question to a controller that may be restarting. Jobs that it has forgotten are none."""
    waited, pause = 0.0, 1.0
    while True:
        try:
            return _call(arguments)
        except SlurmError as error:
            if "Invalid job id" in str(error):
                return ""
            if waited >= PATIENCE_SECONDS:
                raise FailedPrecondition("--slurm", f"the controller does not answer: {error}") from None
        sleep(pause)
        waited, pause = waited + pause, min(30.0, pause * 2)


def _call(arguments: list[str]) -> str:
    done = subprocess.run(  # noqa: S603 - Slurm's commands with arguments of ours, and no shell
        arguments, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode != 0:
        raise SlurmError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    return done.stdout
