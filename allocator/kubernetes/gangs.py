"""What the daemon wants of Kubernetes' nodes, gang by gang. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from allocator.domain.placement import Epoch, NodeDesired
from allocator.engine.runs import Run, Wanted, waiting_of, wanted_of


@dataclass(frozen=True, slots=True)
class Gang:
    """`wanted`: all that nodes were last told, those that have finished left out. While a resize is on its way, some
    nodes know of the newest epoch and others do not yet.
    """

    run: Run
    wanted: tuple[Wanted, ...]
    newest: Epoch
    is_complete: bool
    """Whether all of the newest epoch is known: never start half of it."""
    waits: bool = False
    """An earlier start may still run on nodes that are not Kubernetes': it may not begin yet."""

    @property
    def current(self) -> tuple[Wanted, ...]:
        """Those of the newest epoch, by rank."""
        return tuple(
            sorted(
                (each for each in self.wanted if each.replica.epoch == self.newest),
                key=lambda each: each.replica.replica,
            )
        )


def gangs_of(desired: Iterable[NodeDesired]) -> Mapping[Run, Gang]:
    """Everything that nodes are asked to run together."""
    desired = tuple(desired)
    told = {state.node: state.epoch for state in desired}
    waiting = waiting_of(desired)
    return {run: _gang(run, wanted, told, waits=run.job_id in waiting) for run, wanted in wanted_of(desired).items()}


def _gang(run: Run, wanted: list[Wanted], told: Mapping[str, Epoch], *, waits: bool) -> Gang:
    """A rank that is missing has finished, if its node was told something since the gang was given its places."""
    newest = max((each.replica for each in wanted), key=lambda replica: replica.epoch)
    known = {each.replica.replica for each in wanted if each.replica.epoch == newest.epoch}
    complete = all(
        rank < len(newest.peers) and told.get(newest.peers[rank], Epoch(-1, -1)) >= newest.epoch
        for rank in range(newest.replicas)
        if rank not in known
    )
    in_order = sorted(wanted, key=lambda each: (each.node, each.replica.epoch, each.replica.replica))
    return Gang(run, tuple(in_order), newest.epoch, complete, waits)
