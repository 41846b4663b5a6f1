"""What the daemon wants of Slurm's nodes, gang by gang, and the words that tell whose a job of Slurm's is. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.engine.runs import Run, Wanted, waiting_of, wanted_of

_COMMENT = re.compile(r"allocator:([A-Za-z0-9_.\-]+):(\d+)\.(\d+)(?::(\d+))?\Z")


def comment_of(run: Run) -> str:
    """By which its Slurm job is known again, by whoever asks the controller."""
    return f"allocator:{run.job_id}:{run.start}"


def run_of(comment: str) -> Run | None:
    """None where the comment is not ours."""
    found = _COMMENT.match(comment)
    return None if found is None else Run(found[1], Epoch(int(found[2]), int(found[3])))


@dataclass(frozen=True, slots=True)
class Gang:
    """`replicas` by rank, those that have finished left out."""

    run: Run
    replicas: tuple[Wanted, ...]
    waits: bool = False
    """An earlier start may still run on nodes that are not Slurm's: it may not begin yet."""

    @property
    def is_complete(self) -> bool:
        """Whether every node's part of it has been heard of: never start half of one."""
        return len(self.replicas) == self.replicas[0][1].replicas

    @property
    def is_alone(self) -> bool:
        """Whether it is one replica."""
        return self.first.replicas == 1

    @property
    def first(self) -> DesiredReplica:
        return self.replicas[0][1]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Of each replica, by rank."""
        return tuple(node for node, _ in self.replicas)

    @property
    def is_laid_out_by_room(self) -> bool:
        """Whether how many replicas each node has depends on the room that Slurm sees when it begins."""
        return self.replicas_per_node is None

    @property
    def replicas_per_node(self) -> int | None:
        """None where they differ."""
        counts = set(Counter(self.nodes).values())
        return counts.pop() if len(counts) == 1 else None


def gangs_of(desired: Iterable[NodeDesired]) -> Mapping[Run, Gang]:
    """Everything that nodes are asked to run together; of two epochs of a run, the newer replicas."""
    desired = tuple(desired)
    waiting = waiting_of(desired)
    return {run: Gang(run, _newest(wanted), run.job_id in waiting) for run, wanted in wanted_of(desired).items()}


def _newest(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    ranks: dict[int, Wanted] = {}
    for each in wanted:
        known = ranks.get(each.replica.replica)
        if known is None or known.replica.epoch < each.replica.epoch:
            ranks[each.replica.replica] = each
    return tuple(ranks[rank] for rank in sorted(ranks))


def known_of(before: Mapping[Run, Gang], wanted: Mapping[Run, Gang]) -> Mapping[Run, Gang]:
    """Each run with all of its gang that was ever wanted. Nodes are heard of one by one, and replicas that have
    finished are wanted no more; but Slurm holds the whole gang's place until the last has ended, and that is ours.
    """
    kept = {
        run: gang for run, gang in before.items() if run not in wanted or len(wanted[run].replicas) < len(gang.replicas)
    }
    return {**wanted, **kept}
