"""What is kept in the spool, beside who may run a job (`holders`): of each run its hosts, its log, which of its tasks
have begun, and what it ended with; and which nodes are closed by us. Blocking: it may be on another machine.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from allocator.engine.runs import Run

_CLOSED = "closed-nodes"
_MOST_READ = 16
"""Bytes of an exit code. Jobs of the same user may put anything there."""
_KINDS = ("hosts", "started", "started.done")
_OF_A_RUN = re.compile(r"(?P<run>.+-[0-9]+\.[0-9]+)\.(hosts|started|started\.done|part|exit)")
"""All but what it printed; the last of them as of earlier versions."""


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
            file = os.open(self._exit(run), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return ""
            raise
        try:
            return os.read(file, _MOST_READ).decode("ascii", errors="replace")
        except IsADirectoryError:
            return ""
        finally:
            os.close(file)

    def exits(self) -> frozenset[str]:
        """File names of the runs whose batch scripts wrote what they ended with. FileNotFoundError unless prepared."""
        return frozenset(os.listdir(exits_folder(self._folder)))  # noqa: PTH208 many times a second

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
        _remove(self._exit(run))
        for what in _KINDS:
            _remove(self._of(run, what))

    def forget_all_but(self, runs: Iterable[Run]) -> None:
        """What bridges before this one left, and did not live to forget."""
        kept = {run.file_name for run in runs}
        for file in exits_folder(self._folder).iterdir():
            if file.name not in kept:
                _remove(file)
        for file in self._folder.iterdir():
            found = _OF_A_RUN.fullmatch(file.name)
            if found is not None and found["run"] not in kept:
                _remove(file)

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


def _remove(path: Path) -> None:
    """Whatever it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
