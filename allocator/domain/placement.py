"""A job on named nodes, and what a node is asked to run."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.process import Process
from allocator.domain.resources import Resources

WHOLE = 1000
"""Thousandths of its demand that a job holds, unless it is divisible."""


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """When something was decided. Newest wins; per job and per node it only grows."""

    round: int
    revision: int

    def __str__(self) -> str:
        return f"{self.round}.{self.revision}"


@dataclass(frozen=True, slots=True)
class ReplicaPlacement:
    """One replica on one node. `gpus` are device indices: wholly its own, or a single one of which it has a part."""

    node: str
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """A whole gang: `replicas[r]` says where replica r of `configuration` (an index into the spec's) runs.

    `millis`: of a divisible job, the thousandths of its demand that it holds, 1 to 1000; 1000 for every other job.
    """

    job_id: str
    configuration: int
    replicas: tuple[ReplicaPlacement, ...]
    millis: int = WHOLE

    @property
    def nodes(self) -> tuple[str, ...]:
        """Node names, sorted, each once."""
        if len(self.replicas) == 1:
            return (self.replicas[0].node,)
        return tuple(sorted({replica.node for replica in self.replicas}))


def held(demand: Resources, millis: int) -> Resources:
    """What a replica with this demand holds of it: every amount times millis / 1000, rounded up to integer units."""
    if millis == WHOLE:
        return demand
    return Resources.of({name: -(-amount * millis // WHOLE) for name, amount in demand.items()})


@dataclass(frozen=True, slots=True)
class Allocation:
    """A committed placement. `finished` holds the replicas that have ended well while others still run; they have given
    their places back. A resize gives it a new epoch, but no new start: `started` is then the epoch of its last start.
    """

    placement: Placement
    epoch: Epoch
    start_time: float
    finished: frozenset[int] = frozenset()
    started: Epoch | None = None
    """None: `epoch` is that of its start."""

    @property
    def start_epoch(self) -> Epoch:
        """When the run began that goes on now: the same through every resize."""
        return self.epoch if self.started is None else self.started

    @property
    def standing(self) -> tuple[ReplicaPlacement, ...]:
        """The replicas that still hold their places: those that have not finished."""
        replicas = self.placement.replicas
        if not self.finished:
            return replicas
        return tuple(replica for index, replica in enumerate(replicas) if index not in self.finished)


@dataclass(frozen=True, slots=True)
class DesiredReplica:
    """What one node is asked to run for one replica of one job.

    `start_epoch`: what already runs here of the job since that very start goes on, whatever number and epoch it had
    before; a job's replicas on one node keep their order. `demand` is what it may use: of a divisible job, `millis`
    thousandths of the configuration's.
    """

    job_id: str
    replica: int
    replicas: int
    epoch: Epoch
    flavor: str
    demand: Resources
    gpus: tuple[int, ...]
    start_epoch: Epoch
    millis: int = WHOLE
    process: Process | None = None
    peers: tuple[str, ...] = ()
    """Names of the nodes of all replicas, by rank, where there is a process to tell them to."""
    array_index: int | None = None
    failures: int = 0
    """How often the job has failed before."""
    queue: str = ""


@dataclass(frozen=True, slots=True, order=True)
class JobStart:
    """One start of a job: what runs of it since then belongs together, through every resize."""

    job_id: str
    start_epoch: Epoch


@dataclass(frozen=True, slots=True)
class NodeDesired:
    """Everything that shall run on a node; whatever else runs there shall stop. The newest epoch wins."""

    node: str
    epoch: Epoch
    replicas: tuple[DesiredReplica, ...]
    waiting: frozenset[str] = frozenset()
    """Ids of jobs of which nothing may begin there yet, because an earlier start may still run elsewhere."""
    is_awaited: bool = False
    """Whether somebody waits for word that what was there before has ended."""
