"""Which traces can be read, from where in them a replay starts unless told otherwise, and how often it decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from simulations.traces import dlrm, openb, philly
from simulations.traces.window import Window
from simulations.workload import Workload


class Read(Protocol):
    """Reads one kind of trace. Raises TraceError."""

    def __call__(self, path: Path, window: Window = ..., *, restart_cost_seconds: float = ...) -> Workload: ...


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """`origin` is the date of the trace's second 0, None where it has none."""

    name: str
    read: Read
    default_window: Window
    origin: datetime | None
    interval_seconds: float
    """Well below the median run time (openb 616 s, Philly 1,321 s, DLRM 8,409 s), so that waiting for the next round is
    a small part of a job's time, and not shorter: a round in which nothing happened is skipped, but one in which little
    happened costs as much as any other."""


FORMATS: dict[str, TraceFormat] = {
    "dlrm": TraceFormat("dlrm", dlrm.read, dlrm.DEFAULT_WINDOW, None, 300.0),
    "openb": TraceFormat("openb", openb.read, openb.DEFAULT_WINDOW, None, 60.0),
    "philly": TraceFormat("philly", philly.read, philly.DEFAULT_WINDOW, philly.ORIGIN, 300.0),
}
