"""What a round looks at: immutable, sorted, complete."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.queue import Queue

LimitName = tuple[str, str, str]
"""(queue, flavor, resource): what a limit is known by from one round to the next."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every fact a decision may use. `jobs` are the live ones (pending or running), by sequence; the rest by name.

    `round` is the number of the round that looks, one above the last one recorded.
    """

    revision: int
    round: int
    time: float
    queues: tuple[Queue, ...]
    nodes: tuple[Node, ...]
    jobs: tuple[Job, ...]

    def __post_init__(self) -> None:
        for kind, keys in (
            ("queues", [queue.name for queue in self.queues]),
            ("nodes", [node.name for node in self.nodes]),
            ("jobs", [job.sequence for job in self.jobs]),
        ):
            if not all(map(operator.lt, keys, keys[1:])):
                raise AssertionError(f"snapshot {kind} are not strictly sorted")

    @property
    def flavors(self) -> tuple[str, ...]:
        """Names of the flavors that any node has, sorted."""
        return tuple(sorted({node.flavor for node in self.nodes}))


@dataclass(frozen=True, slots=True)
class Memory:
    """What one round hands to the next, settled from what was applied.

    `credits`: seconds of run time owed (above 0) or received in advance (below 0) at `time`, by job id; absent means 0.
    `pace`: by how much each credit changes per second since then: the share the optimum gave minus 1 if the job runs.
    `prices`: capacity prices of the last solution by (flavor, resource), and `limit_prices` those of queues' limits by
    (queue, flavor, resource), for warm starts; the last known ones where the last solution had none.
    """

    time: float = 0.0
    credits: Mapping[str, float] = field(default_factory=dict)
    pace: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[tuple[str, str], float] = field(default_factory=dict)
    limit_prices: Mapping[LimitName, float] = field(default_factory=dict)

    def credit(self, job_id: str, now: float) -> float:
        """Seconds owed to a job at `now`."""
        return self.credits.get(job_id, 0.0) + self.pace.get(job_id, 0.0) * max(0.0, now - self.time)
