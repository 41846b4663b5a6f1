"""Dominant resource fairness between queues: the queue whose dominant share is least, by weight, starts a job next.

    a queue's dominant share is the largest part of any resource of the cluster that its jobs hold
    while any queue has a job that waits and is not passed over:
        of the queue with the smallest dominant share / weight, start the first job, in order of submission
        if it fits nowhere now, pass over the queue for this round

(Ghodsi et al., Dominant Resource Fairness: Fair Allocation of Multiple Resource Types, NSDI 2011, section 4, algorithm
1, with the weights of section 4.3. There a task that does not fit ends the filling; passing over the user is what
Mesos does.) Nobody is stopped: shares become fair again as jobs end. Equal shares go by the queue's name. Only weights
of leaves count; queues above them, quotas and priorities are not known.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

from allocator.domain.cluster import NodeHealth
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.decide import Decider
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.ruled import Ruled
from simulations.schedulers.line import Line
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "drf"


class DominantResourceFairness:
    """A Decider. `occupancy` is where things are."""

    def __init__(self, placement: str, seed: int) -> None:
        self.occupancy = Occupancy(NAME, placement, seed)
        self._lines: dict[str, Line] = defaultdict(Line)

    def __call__(
        self,
        snapshot: Snapshot,
        memory: Memory,  # noqa: ARG002 - what our own rounds hand on
        policy: Policy,
        solver: Solver,  # noqa: ARG002 - there is no optimum
        lap: Lap,
    ) -> Ruled:
        """One round. Memory and solver are not asked."""
        occupancy = self.occupancy
        occupancy.look(snapshot, policy)
        crowd = occupancy.crowd
        for number in occupancy.arrived:
            job = occupancy.jobs[number]
            assert job is not None
            self._lines[job.spec.queue].add(0.0, int(crowd.sequence[number]), number)
        lap("formulate")
        self._fill(snapshot)
        lap("place")
        return occupancy.decision()

    def _fill(self, snapshot: Snapshot) -> None:
        occupancy = self.occupancy
        crowd, weight = occupancy.crowd, {queue.name: queue.weight for queue in snapshot.queues}
        total = _capacity(snapshot)
        waiting = {}
        for name, line in self._lines.items():
            numbers = line.current(crowd.waits, crowd.sequence).tolist()
            possible = [number for number in numbers if occupancy.ways.options(int(crowd.shape[number]))]
            if possible and name in weight:
                waiting[name] = possible[::-1]
        heap = [(self._share(name, total) / weight[name], name) for name in waiting]
        heapq.heapify(heap)
        while heap:
            _, name = heapq.heappop(heap)
            if not occupancy.start(waiting[name].pop()):
                continue
            if waiting[name]:
                heapq.heappush(heap, (self._share(name, total) / weight[name], name))

    def _share(self, queue: str, total: dict[str, int]) -> float:
        held = self.occupancy.tally.queues[queue].held
        return max((amount / total[name] for name, amount in held.items() if total.get(name)), default=0.0)


def _capacity(snapshot: Snapshot) -> dict[str, int]:
    """What all ready nodes have together, by resource."""
    total: dict[str, int] = defaultdict(int)
    for node in snapshot.nodes:
        if node.health is NodeHealth.READY:
            for name, amount in node.capacity.items():
                total[name] += amount
    return total


def _make(options: SchedulerOptions) -> Decider:
    return DominantResourceFairness(options.placement or "best-fit", options.seed)


DRF = Scheduler(
    name=NAME,
    about="The queue with the smallest dominant share by weight starts its first job; nobody is stopped.",
    source="Ghodsi et al., Dominant Resource Fairness, NSDI 2011, section 4, algorithm 1",
    make=_make,
    by_rules=True,
    weighs=True,
)
