"""What holds a replica to its limits: the port that the kinds of control groups stand behind.

A replica's processes enter its control groups before its command begins, so that whatever it starts is inside, too.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PRECEDENCE = 4
"""How much more of a contended core goes to jobs than to the rest of the machine, which must stay responsive."""
LEAST_PERIOD_MICROSECONDS = 100_000
"""In which a CPU quota is counted."""
_LEAST_QUOTA_MICROSECONDS = 1_000
"""That the kernel accepts."""


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether this machine can enforce something; `why` not, if so."""

    name: str
    on: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica may use. None: no limit of its own."""

    cpu_millicores: int = 0
    """Zero: only what nobody else wants."""
    memory_bytes: int | None = None
    processes: int | None = None

    def quota(self) -> tuple[int, int] | None:
        """(quota, period) in microseconds of processor time per microseconds; None: none."""
        if not self.cpu_millicores:
            return None
        period = LEAST_PERIOD_MICROSECONDS
        while self.cpu_millicores * period // 1000 < _LEAST_QUOTA_MICROSECONDS and period < 1_000_000:
            period *= 2
        period = min(period, 1_000_000)
        return max(_LEAST_QUOTA_MICROSECONDS, self.cpu_millicores * period // 1000), period


@dataclass(frozen=True, slots=True)
class Usage:
    """What a replica has used since it began."""

    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    memory_kills: int = 0
    """Processes that the kernel killed because the memory limit was reached."""


@dataclass(frozen=True, slots=True)
class Enclosure:
    """What a supervisor must know of the control groups of one replica."""

    join: tuple[Path, ...] = ()
    """Files to write "0" into, to enter."""
    quench: tuple[tuple[Path, str], ...] = ()
    """Files to write into before its processes are killed, so that no new ones come."""
    members: Path | None = None
    """File with the numbers of its processes."""
    unified: Path | None = None
    """Its folder in the unified hierarchy, by which its packets are known."""


class Confinement(Protocol):
    """Control groups, one set per run. Methods may raise OSError."""

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """Of `cpu-limits`, `memory-limits` and `process-limits`, each once."""
        ...

    def enclose(self, run_id: str) -> Enclosure:
        """Make the groups of a run, if need be; they have no limits yet, or those that they had."""
        ...

    def limit(self, run_id: str, limits: Limits) -> None:
        """Change them while it runs. OSError where memory cannot be taken back yet."""
        ...

    def usage(self, run_id: str) -> Usage:
        """Nothing where there are no such groups."""
        ...

    def remove(self, run_id: str) -> bool:
        """Whether the groups are gone; False as long as processes are left in them."""
        ...

    def known(self) -> frozenset[str]:
        """Runs that have groups."""
        ...

    def close(self) -> None:
        """Remove the group that all of them are in, if it is empty."""
        ...


@dataclass(frozen=True, slots=True)
class Unconfined:
    """A machine, or a user, without control groups: nothing is enforced, and it says so."""

    why: str
    capabilities: tuple[Capability, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = ("cpu-limits", "memory-limits", "process-limits")
        object.__setattr__(self, "capabilities", tuple(Capability(name, on=False, why=self.why) for name in names))

    def enclose(self, run_id: str) -> Enclosure:  # noqa: ARG002 - the port's
        return Enclosure()

    def limit(self, run_id: str, limits: Limits) -> None:
        """Nothing to do."""

    def usage(self, run_id: str) -> Usage:  # noqa: ARG002
        return Usage()

    def remove(self, run_id: str) -> bool:  # noqa: ARG002
        return True

    def known(self) -> frozenset[str]:
        return frozenset()

    def close(self) -> None:
        """Nothing to do."""


def read_number(path: Path) -> int:
    """The number in a file of a control group; 0 where it says nothing, or has no such file."""
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def read_field(path: Path, name: str) -> int:
    """The number beside `name` in a file of such lines; 0 where it is not there."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def remove_group(path: Path) -> bool:
    """Whether the group is gone, with the groups that its processes made below it."""
    try:
        inner = [entry for entry in path.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return True
    gone = [remove_group(entry) for entry in inner]
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return all(gone)
