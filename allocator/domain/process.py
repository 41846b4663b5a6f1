"""What a job runs, and what becomes of it when it fails: the command of each replica, retries, what it comes after.

Every replica of a gang runs the same command, as a process group of its own on its node. There is no shell: arguments
reach the program as they are, whatever characters they hold.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.errors import Violation

MOST_ARGUMENTS = 1024
MOST_BYTES = 65_536
"""Of the command with its environment: it travels with the desired state of nodes."""
MOST_VARIABLES = 256
MOST_PATH = 1024
MOST_GRACE = 3600.0
MOST_RETRIES = 1000
MOST_DEPENDENCIES = 256
MOST_ARRAY_INDEX = 999_999
RESERVED_PREFIX = "ALLOCATOR_"
"""Environment variables that only agents set."""
CHECKPOINT_SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGINT", "SIGHUP", "SIGTERM")
PLACEHOLDERS = "jran"
"""After a % in the name of an output file: job id, replica's rank, array index, node. %% is a %."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACEHOLDER = re.compile(r"%(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Process:
    """What each replica runs."""

    command: tuple[str, ...]
    """The program, and its arguments."""
    environment: tuple[tuple[str, str], ...] = ()
    """Sorted (name, value) pairs, beside those that the agent sets (`ALLOCATOR_*`, `CUDA_VISIBLE_DEVICES`)."""
    directory: str = ""
    """Absolute path of the working directory on the node; empty: one that the agent makes for the job."""
    output: str = ""
    """File for what it prints, below the working directory, with placeholders; empty: one that the agent keeps."""
    errors: str = ""
    """The same for its standard error; empty: with its output."""
    checkpoint_signal: str = ""
    """Sent when the job is to leave its place for others, `grace_seconds` before SIGKILL; empty: SIGTERM."""
    grace_seconds: float = 30.0
    """How long it may take to end once it was told to."""

    def violations(self) -> list[Violation]:
        """What is wrong with it, by field."""
        found = [*self._command_violations(), *self._environment_violations()]
        if not found and self._size() > MOST_BYTES:
            found.append(
                Violation("command", f"and environment must have at most {MOST_BYTES} bytes, got {self._size()}")
            )
        found += _directory_violations(self.directory)
        for field, path in (("output", self.output), ("errors", self.errors)):
            found += _file_violations(field, path)
        if self.checkpoint_signal and self.checkpoint_signal not in CHECKPOINT_SIGNALS:
            found.append(
                Violation(
                    "checkpoint_signal",
                    f"must be one of {', '.join(CHECKPOINT_SIGNALS)}, or empty; got {self.checkpoint_signal!r}",
                )
            )
        if not 0 <= self.grace_seconds <= MOST_GRACE:
            found.append(
                Violation("grace_seconds", f"must be a number from 0 to {MOST_GRACE:g}, got {self.grace_seconds}")
            )
        return found

    def _command_violations(self) -> list[Violation]:
        if not self.command or not self.command[0]:
            return [Violation("command", "must begin with a program")]
        if len(self.command) > MOST_ARGUMENTS:
            return [Violation("command", f"must have at most {MOST_ARGUMENTS} arguments, got {len(self.command)}")]
        return [
            Violation(f"command[{index}]", "must hold no NUL character")
            for index, argument in enumerate(self.command)
            if "\0" in argument
        ][:1]

    def _environment_violations(self) -> list[Violation]:
        if len(self.environment) > MOST_VARIABLES:
            return [
                Violation("environment", f"must have at most {MOST_VARIABLES} variables, got {len(self.environment)}")
            ]
        found = []
        for name, value in self.environment:
            where = f"environment[{name!r}]"
            if not _VARIABLE.match(name):
                found.append(Violation(where, "must be letters, digits and '_', and not begin with a digit"))
            elif name.startswith(RESERVED_PREFIX):
                found.append(Violation(where, f"must not begin with {RESERVED_PREFIX}: those are the agent's"))
            elif "\0" in value:
                found.append(Violation(where, "must hold no NUL character"))
        return found

    def _size(self) -> int:
        texts = [*self.command, *(text for pair in self.environment for text in pair)]
        return sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)

    @property
    def checkpoint(self) -> signal.Signals:
        """The signal by which it is told to leave its place."""
        return signal.Signals[self.checkpoint_signal or "SIGTERM"]


class Condition(Enum):
    """When a job that comes after another may start."""

    SUCCEEDED = "succeeded"
    ENDED = "ended"
    """In whatever way."""
    FAILED = "failed"
    """Or was cancelled."""


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """The job may not start before the other one has ended so; if that can no longer be, it fails."""

    job_id: str
    condition: Condition = Condition.SUCCEEDED

    def violations(self) -> list[Violation]:
        return [] if self.job_id else [Violation("job_id", "must name a job")]


@dataclass(frozen=True, slots=True)
class Retries:
    """A failed job waits, longer each time, and goes back into its queue. Preemptions and lost nodes do not count."""

    limit: int = 0
    """How often at most."""
    backoff_seconds: float = 10.0
    """Before the first retry; twice that before the next, and so on."""
    most_backoff_seconds: float = 3600.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure, counted from 1."""
        return min(self.most_backoff_seconds, self.backoff_seconds * 2.0 ** min(failures - 1, 64))

    def violations(self) -> list[Violation]:
        found = []
        if not 0 <= self.limit <= MOST_RETRIES:
            found.append(Violation("limit", f"must be from 0 to {MOST_RETRIES}, got {self.limit}"))
        for field in ("backoff_seconds", "most_backoff_seconds"):
            seconds = getattr(self, field)
            if not 0 <= seconds <= MOST_SECONDS:
                found.append(Violation(field, f"must be a number from 0 to {MOST_SECONDS:g}, got {seconds}"))
        return found


NO_RETRIES = Retries()


def _directory_violations(path: str) -> list[Violation]:
    if not path:
        return []
    if "\0" in path or len(path) > MOST_PATH:
        return [Violation("directory", f"must have at most {MOST_PATH} characters, none of them NUL")]
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        return [Violation("directory", f"must be an absolute path without '..', got {path!r}")]
    return []


def _file_violations(field: str, path: str) -> list[Violation]:
    if not path:
        return []
    if "\0" in path or len(path) > MOST_PATH:
        return [Violation(field, f"must have at most {MOST_PATH} characters, none of them NUL")]
    if path.startswith("/") or ".." in PurePosixPath(path).parts or path.endswith("/"):
        return [Violation(field, f"must be a file below the working directory, without '..'; got {path!r}")]
    if ".." in PurePosixPath(_PLACEHOLDER.sub(lambda found: "%" * (found[1] == "%"), path)).parts:
        return [Violation(field, f"must not become '..' where a placeholder is empty; got {path!r}")]
    if any(letter not in {*PLACEHOLDERS, "%"} for letter in _PLACEHOLDER.findall(path)):
        known = ", ".join(f"%{letter}" for letter in PLACEHOLDERS)
        return [Violation(field, f"may hold {known} and %%, and no other %; got {path!r}")]
    return []
