"""What the daemon wants of single nodes, put together by the starts of jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """One start of one job: an engine runs it at most once."""

    job_id: str
    start: Epoch

    @property
    def file_name(self) -> str:
        """Nobody else's."""
        return f"{self.job_id}-{self.start}"


class Wanted(NamedTuple):
    """One replica, and the node it belongs on."""

    node: str
    replica: DesiredReplica


def wanted_of(desired: Iterable[NodeDesired]) -> Mapping[Run, list[Wanted]]:
    """By run, what nodes were last told, in their order. Replicas that have finished are wanted no more; while a resize
    is on its way, some nodes know of the newest epoch and others do not yet.
    """
    found: dict[Run, list[Wanted]] = {}
    for state in desired:
        for replica in state.replicas:
            found.setdefault(Run(replica.job_id, replica.start_epoch), []).append(Wanted(state.node, replica))
    return found


def waiting_of(desired: Iterable[NodeDesired]) -> frozenset[str]:
    """Jobs of which nothing may begin yet, because an earlier start may still run on nodes of another engine."""
    return frozenset[str]().union(*(state.waiting for state in desired))
