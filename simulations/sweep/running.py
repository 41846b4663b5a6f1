"""Runs replays in processes of this machine, so many at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from simulations.sweep.experiment import Cell
from simulations.sweep.folder import SweepFolder

_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 5.0
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""Several replays share the machine best when each keeps to one core; results do not depend on it."""


class Standing(Enum):
    """How far a replay of a sweep has come."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


Heard = Callable[[Cell, Standing], None]


@dataclass(slots=True)
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]


def command_of(folder: SweepFolder, number: int | str) -> list[str]:
    """What runs one replay of the sweep: the same here and in a task of a cluster."""
    return [sys.executable, "-m", "simulations", "sweep-cell", str(folder.path.resolve()), str(number)]


def run_here(folder: SweepFolder, cells: Iterable[Cell], processes: int, heard: Heard) -> None:
    """Run them in order; `heard` is told what becomes of each. On any exception those that run are stopped first."""
    waiting, running = deque(cells), list[_Running]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                cell = waiting.popleft()
                with _undisturbed():
                    running.append(_Running(cell, _started(folder, cell)))
                heard(cell, Standing.RUNNING)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                done = one.process.returncode == 0 and folder.is_done(one.cell)
                heard(one.cell, Standing.DONE if done else Standing.FAILED)
            time.sleep(_LOOK_SECONDS)
    finally:
        with _undisturbed():
            _stop(running)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is heard at the end: a process that was just started, and not yet noted, would be left running."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _started(folder: SweepFolder, cell: Cell) -> subprocess.Popen[bytes]:
    with folder.log(cell).open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of ours
            command_of(folder, cell.number),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ONE_CORE},
            start_new_session=True,  # Ctrl-C reaches us alone; we say when they stop
        )


def _stop(running: Iterable[_Running]) -> None:
    for one in running:
        one.process.terminate()
    for one in running:
        with suppress(subprocess.TimeoutExpired):
            one.process.wait(_GRACE_SECONDS)
            continue
        one.process.kill()
        one.process.wait()
