"""Which traces can be read, from where in them a replay starts unless told otherwise, and how often it decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from allocator.domain.errors import InvalidInput, Violation
from simulations.traces import batsim, dlrm, gavel, google, openb, own, philly, slurm, swf
from simulations.traces.window import EVERYTHING, Window
from simulations.workload import Workload


@dataclass(frozen=True, slots=True)
class Choices:
    """What some formats leave to choose; None: as the format has it."""

    jobs_per_hour: float | None = None
    queue_by: str | None = None
    machines: str | None = None

    @property
    def given(self) -> dict[str, str | float]:
        """Those that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


AS_IT_IS = Choices()


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """`read(path, window, restart_cost_seconds=..., ...)` gives the workload or raises TraceError."""

    name: str
    about: str
    read: Callable[..., Workload]
    interval_seconds: float
    """Well below the median run time (openb 616 s, Philly 1,321 s, DLRM 8,409 s, RICC 1,218 s, Google 377 s), so that
    waiting for the next round is a small part of a job's time, and not shorter: a round in which nothing happened is
    skipped, but one in which little happened costs as much as any other."""
    default_window: Window = EVERYTHING
    origin: datetime | Callable[[Path], datetime | None] | None = None
    """The date of the trace's second 0, None where it has none; it may stand in the file."""
    tells_restart_costs: bool = False
    """Whether its jobs may say what a restart costs them, so that only the others take what the reader is given."""
    choices: tuple[str, ...] = ()
    """Which of `Choices` its reader takes."""

    def origin_at(self, path: Path) -> datetime | None:
        """The date of second 0 of this trace. Raises TraceError."""
        return self.origin(path) if callable(self.origin) else self.origin

    def workload(self, path: Path, window: Window, restart_cost_seconds: float, choices: Choices) -> Workload:
        """Read it so. Raises TraceError, and InvalidInput for choices that this format does not leave."""
        given = choices.given
        foreign = [name for name in given if name not in self.choices]
        if foreign:
            raise InvalidInput(*(Violation(name, f"does not go with --trace {self.name}") for name in foreign))
        return self.read(path, window, restart_cost_seconds=restart_cost_seconds, **given)


FORMATS: dict[str, TraceFormat] = {
    each.name: each
    for each in (
        TraceFormat("batsim", "a workload of the simulator Batsim: JSON with delays", batsim.read, 60.0),
        TraceFormat("dlrm", "Alibaba 2025: services short of network bandwidth", dlrm.read, 300.0),
        TraceFormat(
            "gavel",
            "Gavel 2020: jobs with a throughput for each GPU model",
            gavel.read,
            360.0,
            choices=("jobs_per_hour", "machines"),
        ),
        TraceFormat(
            "google",
            "Google 2011: the events of a large cluster's tasks",
            google.read,
            60.0,
            google.DEFAULT_WINDOW,
            google.ORIGIN,
        ),
        TraceFormat("openb", "Alibaba 2023: parts of GPUs", openb.read, 60.0, openb.DEFAULT_WINDOW),
        TraceFormat(
            "own",
            "the project's own tables, Parquet or CSV: SCHEMA.md",
            own.read,
            60.0,
            origin=own.origin,
            tells_restart_costs=True,
        ),
        TraceFormat("philly", "Microsoft 2017: gangs of virtual clusters", philly.read, 300.0, origin=philly.ORIGIN),
        TraceFormat(
            "slurm",
            "what `sacct --parsable2` prints, with the nodes that scontrol, sinfo or slurm.conf tell",
            slurm.read,
            60.0,
            origin=slurm.origin,
            choices=("queue_by", "machines"),
        ),
        TraceFormat(
            "swf",
            "the Standard Workload Format of batch systems",
            swf.read,
            300.0,
            origin=swf.origin,
            choices=("queue_by", "machines"),
        ),
    )
}
