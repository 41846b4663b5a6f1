"""What a person sees of a sweep while it runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from simulations.screen import duration
from simulations.sweep.experiment import Cell
from simulations.sweep.running import Standing


class SweepBar:
    """Replays done of all, what runs, and the time left; one line for each that ends where there is no terminal.

    The time left is judged by how long those took that this call saw from start to end, so many at a time.
    """

    def __init__(self, console: Console, total: int, done: int, at_once: int) -> None:
        self._console = console
        self._at_once = at_once
        self._began: dict[str, float] = {}
        self._took: list[float] = []
        self._left = total - done
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("sweep"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[running]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("sweep", total=total, completed=done, running="", left="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, cell: Cell, standing: Standing) -> None:
        """A replay began or ended."""
        now = time.monotonic()
        if standing is Standing.RUNNING:
            self._began[cell.label] = now
        else:
            began = self._began.pop(cell.label, None)
            if began is not None:
                self._took.append(now - began)
            self._left -= 1
            self._progress.advance(self._bar)
            if not self._console.is_terminal:
                took = "" if began is None else f" after {duration(now - began)}"
                self._console.print(f"{standing.value} {escape(cell.label)}{took}", highlight=False)
        running = list(self._began)
        more = f" and {len(running) - 2} more" if len(running) > 2 else ""
        self._progress.update(self._bar, running=escape(", ".join(running[:2]) + more), left=self._time_left())

    def _time_left(self) -> str:
        if not self._took:
            return ""
        each = sum(self._took) / len(self._took)
        return f"{duration(each * self._left / min(self._at_once, max(1, self._left)))} left"
