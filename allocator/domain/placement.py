"""A job on named nodes, and what a node is asked to run."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.resources import Resources


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
    """A whole gang: `replicas[r]` says where replica r of `configuration` (an index into the spec's) runs."""

    job_id: str
    configuration: int
    replicas: tuple[ReplicaPlacement, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Node names, sorted, each once."""
        return tuple(sorted({replica.node for replica in self.replicas}))


@dataclass(frozen=True, slots=True)
class Allocation:
    """A committed placement. `finished` holds the replicas that have ended well while others still run; they have given
    their places back.
    """

    placement: Placement
    epoch: Epoch
    start_time: float
    finished: frozenset[int] = frozenset()

    @property
    def standing(self) -> tuple[ReplicaPlacement, ...]:
        """The replicas that still hold their places: those that have not finished."""
        replicas = self.placement.replicas
        if not self.finished:
            return replicas
        return tuple(replica for index, replica in enumerate(replicas) if index not in self.finished)


@dataclass(frozen=True, slots=True)
class DesiredReplica:
    """What one node is asked to run for one replica of one job."""

    job_id: str
    replica: int
    replicas: int
    epoch: Epoch
    flavor: str
    demand: Resources
    gpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeDesired:
    """Everything that shall run on a node; whatever else runs there shall stop. The newest epoch wins."""

    node: str
    epoch: Epoch
    replicas: tuple[DesiredReplica, ...]
