"""What is kept in the spool, beside who may run a job (`holders`): of each run its hosts, its log, which of its tasks
have begun, and what it ended with; and which nodes are closed by us. Blocking: it may be on another machine.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from allocator.engine.runs import Run

_CLOSED = "closed-nodes"


def exits_folder(spool: Path) -> Path:
    """Of the exit codes alone, a file per run: whoever looks for new ones lists no more than those."""
    return spool / "exits"


class Spool:
    """At the same place on all nodes. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self) -> None:
        exits_folder(self._folder).mkdir(parents=True, exist_ok=True)

    def hosts(self, run: Run) -> Path:
        """Where the nodes of its replicas are written for sbatch."""
        return self._of(run, "hosts")

    def exit_text(self, run: Run) -> str | None:
        """What its batch script wrote when it ended; None if it has not."""
        try:
            return self._exit(run).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return None

    def exits(self) -> frozenset[str]:
        """File names of the runs whose batch scripts wrote what they ended with. FileNotFoundError unless prepared."""
        return frozenset(file.name for file in exits_folder(self._folder).iterdir())

    def has_begun(self, run: Run) -> bool:
        """Whether one of its tasks has."""
        try:
            return any(self._of(run, "started").iterdir())
        except FileNotFoundError:
            return False

    def carry_on(self, before: Run, after: Run) -> None:
        """What runs as the one goes on as the other: so that has begun, and its log is the same file."""
        with suppress(FileNotFoundError):
            shutil.copytree(self._of(before, "started"), self._of(after, "started"), dirs_exist_ok=True)
        with suppress(OSError):  # where there are no links, what was printed is found as the first run's only
            os.link(self._of(before, "log"), self._of(after, "log"))

    def forget(self, run: Run) -> None:
        """Only what it printed stays."""
        for file in (self._of(run, "hosts"), self._exit(run)):
            file.unlink(missing_ok=True)
        for what in ("started", "started.done"):
            shutil.rmtree(self._of(run, what), ignore_errors=True)

    def closed_nodes(self) -> frozenset[str]:
        """Those that we closed, or whoever drove before us; perhaps some more."""
        try:
            return frozenset((self._folder / _CLOSED).read_text(encoding="utf-8").split())
        except FileNotFoundError:
            return frozenset()

    def write_closed_nodes(self, nodes: Iterable[str]) -> None:
        new = self._folder / f"{_CLOSED}.part"
        new.write_text("".join(f"{node}\n" for node in sorted(nodes)), encoding="utf-8")
        new.replace(self._folder / _CLOSED)

    def _exit(self, run: Run) -> Path:
        return exits_folder(self._folder) / run.file_name

    def _of(self, run: Run, what: str) -> Path:
        return self._folder / f"{run.file_name}.{what}"
