"""What replicas print, read piece by piece where they run: questions, pieces, and what a reader hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.domain.placement import Epoch

MOST_TAIL_LINES = 100_000
MOST_PIECE_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class OutputQuestion:
    """Asks a node for a piece of what a replica printed. `run`: as an earlier piece named it; empty: the newest one of
    `start_epoch`, if that is given. `offset` in bytes; None: where the run begins, or its last `tail_lines` do. With
    `most_bytes` of 0 only the run is asked for. `wait_seconds`: how long to wait for more, or for the run to begin.
    """

    node: str
    job_id: str
    replica: int = 0
    errors: bool = False
    """Its standard error, where the job names a file for that."""
    run: str = ""
    start_epoch: Epoch | None = None
    offset: int | None = None
    tail_lines: int | None = None
    most_bytes: int = 2**16
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """`content` was printed by `run` behind `offset` bytes; `size` is how many there were in all."""

    run: str
    start_epoch: Epoch
    offset: int
    content: bytes
    size: int
    complete: bool = False
    """Nothing more comes behind it."""
    shared: bool = False
    """What all replicas have printed is in one."""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + len(self.content)


class OutputFault(Enum):
    """Why a piece cannot be had."""

    NO_RUN = "no_run"
    """There is none here that was asked for; it may not have begun."""
    GONE = "gone"
    """Its file was removed, or cut off."""
    UNREADABLE = "unreadable"
    BUSY = "busy"
    """Too many questions at a time."""


class OutputMissing(Exception):
    """Raised by who reads, instead of a piece: `message` is for people."""

    def __init__(self, fault: OutputFault, message: str) -> None:
        self.fault, self.message = fault, message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class OutputPosition:
    """How far a reader has got: it goes on behind `offset` bytes of a run."""

    node: str
    run: str
    start_epoch: Epoch
    offset: int


@dataclass(frozen=True, slots=True)
class OutputRun:
    """What follows was printed by this run."""

    position: OutputPosition
    shared: bool = False
    """What all replicas have printed is in one."""


class OutputWait(Enum):
    """Why there is nothing to read for now."""

    NOT_STARTED = "not_started"
    NODE_AWAY = "node_away"


@dataclass(frozen=True, slots=True)
class OutputEnd:
    """All there was has been told."""


OutputEvent = OutputRun | OutputPiece | OutputWait | OutputEnd
