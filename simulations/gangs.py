"""What a simulated cluster keeps: of each job the work that is left, its gang where it is now, and of each node what it
was told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from allocator.domain.cluster import Node
from allocator.domain.placement import DesiredReplica, Epoch
from allocator.domain.resources import Resources
from simulations.workload import Arrival

BEFORE_ANY = Epoch(-1, -1)


@dataclass(slots=True)
class Work:
    """What is left to do for one job. Seconds are of running in the fastest configuration unless said otherwise."""

    arrival: Arrival
    remaining: float
    sequence: int = 0
    """The job's number of admission."""
    starts: int = 0
    epoch: Epoch = BEFORE_ANY
    """That of the newest gang there was."""
    flavor: str = ""
    """Where it ran last."""
    restart_seconds: float = 0.0
    """Time spent on restarts so far, in virtual seconds."""
    end: float | None = None


@dataclass(slots=True)
class Gang:
    """A job's replicas where they are now. `since` is when it last began to make progress, None while it is halted."""

    job_id: str
    epoch: Epoch
    start_epoch: Epoch
    places: dict[int, str]
    demand: Resources
    """Of the whole gang."""
    rate: float
    """Work done per second, 1 in the fastest configuration."""
    speed: float
    """The same in the unit of the job's throughputs."""
    factor: float = 1.0
    """What interference leaves of the speed."""
    since: float | None = None
    restarting: float = 0.0
    """Seconds after `since` before work goes on."""
    generation: int = 0
    """Counts starts and halts, so that what was planned for later knows whether it is still meant."""
    planned: int = 0
    """Counts completions that were planned: only the last one is meant."""
    run: int = -1
    """Its entry in the log of runs, while it makes progress."""


@dataclass(slots=True)
class Agent:
    """One node: its newest desired state, and whether it is up to act on it."""

    node: Node
    up: bool = True
    epoch: Epoch = BEFORE_ANY
    replicas: dict[tuple[str, int], DesiredReplica] = field(default_factory=dict)
