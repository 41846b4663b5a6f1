"""Least attained service, discretised: who has had little goes first, and stops who has had more.

    a job's attained service is what it holds times how long it has run, in GPU-seconds
    it begins in the first queue, and goes down to the next one when it has attained that queue's threshold
    in each round, queue by queue and in order of submission within one: whoever waits and does not fit takes the places
    of jobs of lower queues, the lowest and latest first, if it fits without them

(Gu et al., Tiresias: A GPU Cluster Manager for Distributed Deep Learning, NSDI 2019, section 3.2: two-dimensional
least attained service with discretised priority queues. Their thresholds are chosen by hand; here there are two queues,
and it takes one GPU for an hour to leave the first.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from allocator.domain.resources import GPU_MILLIS
from allocator.domain.snapshot import Snapshot
from allocator.formulation.nodes import NodeArrays, node_arrays
from allocator.placement.space import Floats, Integers
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "las"
THRESHOLDS = (3600.0,)
"""GPU-seconds at which a job leaves each queue but the last."""
_SLACK = 1e-9
"""Part of a threshold that a sum of seconds may miss it by."""


class LeastAttained(ByRules):
    """What a job holds counts in GPUs: those of one that asks for more of another resource are as many as that part of
    the cluster has (in cores, where there are no GPUs). How long it has run counts in time of its fastest
    configuration, without restarts. Jobs that are not preemptible are stopped for nobody; nobody goes up again (the
    paper's knob for those who starve is off), and there is no minimum run time.
    """

    def __init__(self, placement: str, seed: int, thresholds: Sequence[float] = THRESHOLDS) -> None:
        super().__init__(Occupancy(NAME, placement, seed))
        self._thresholds = np.array([*thresholds, math.inf])
        self._sizes: dict[int, float] = {}
        self._nodes: NodeArrays | None = None

    def serve(self, snapshot: Snapshot) -> float:
        occupancy = self.occupancy
        self._demote(snapshot)
        if not occupancy.crowd.waits.any():
            return math.inf
        self._serve()
        return self._next_demotion()

    def _demote(self, snapshot: Snapshot) -> None:
        """Everybody's queue, as `rank`: it only grows."""
        crowd = self.occupancy.crowd
        live = np.flatnonzero(crowd.sequence > 0)
        attained = self._attained(live, snapshot)
        queue = np.searchsorted(self._thresholds * (1 - _SLACK), attained, side="right")
        crowd.rank[live] = np.maximum(crowd.rank[live], queue)

    def _attained(self, numbers: Integers, snapshot: Snapshot) -> Floats:
        """(n,) GPU-seconds."""
        crowd = self.occupancy.crowd
        self._rate = np.zeros(len(crowd.sequence))
        self._rate[numbers] = self._sizes_of(numbers, snapshot)
        elapsed = np.maximum(0.0, snapshot.time - crowd.counted[numbers])
        found: Floats = self._rate[numbers] * (crowd.done[numbers] + crowd.speed[numbers] * elapsed)
        return found

    def _sizes_of(self, numbers: Integers, snapshot: Snapshot) -> Floats:
        """(n,) GPUs."""
        nodes = node_arrays(snapshot.nodes)
        if self._nodes is None or nodes.capacity is not self._nodes.capacity:
            self._nodes, self._sizes = nodes, {}
        shapes, inverse = np.unique(self.occupancy.crowd.shape[numbers], return_inverse=True)
        return np.array([self._size(shape, nodes) for shape in shapes.tolist()])[inverse]

    def _size(self, shape: int, nodes: NodeArrays) -> float:
        known = self._sizes.get(shape)
        if known is None:
            known = self._sizes[shape] = gpu_equivalents(self.occupancy, shape, nodes)
        return known

    def _serve(self) -> None:
        occupancy = self.occupancy
        crowd = occupancy.crowd
        waiting = occupancy.waiting()
        running = occupancy.running()
        victims = running[crowd.stoppable[running] & (crowd.rank[running] > 0)]
        # who is stopped has its turn, too, and waits again if nothing is left
        everybody = np.concatenate([waiting, victims])
        order = everybody[np.lexsort((crowd.sequence[everybody], crowd.rank[everybody]))]
        last_first = victims[np.lexsort((-crowd.sequence[victims], -crowd.rank[victims]))]
        occupancy.serve_stopping(order, last_first)

    def _next_demotion(self) -> float:
        """When the first of those that run leaves its queue."""
        crowd, now = self.occupancy.crowd, self.occupancy.now
        runs = np.flatnonzero((crowd.sequence > 0) & ~crowd.waits)
        rate = self._rate[runs]
        target = self._thresholds[crowd.rank[runs]]
        some = (rate > 0) & np.isfinite(target)
        if not some.any():
            return math.inf
        runs, rate, target = runs[some], rate[some], target[some]
        since = np.where(np.isfinite(crowd.counted[runs]), crowd.counted[runs], now)
        speed = np.where(crowd.speed[runs] > 0, crowd.speed[runs], 1.0)
        return float((since + np.maximum(0.0, target / rate - crowd.done[runs]) / speed).min())


def gpu_equivalents(occupancy: Occupancy, shape: int, nodes: NodeArrays) -> float:
    """GPUs that a gang of the shape takes in its fastest configuration: the largest part of any resource of the whole
    cluster, times all its GPUs; or all its cores, where it has no GPUs.
    """
    options = occupancy.ways.options(shape)
    if not options:
        return 0.0
    _, demand, replicas = occupancy.ways.demand(options[0][0])
    gpus = int(nodes.gpu_count.sum())
    whole = dict(zip(nodes.resources, nodes.capacity.sum(axis=0).tolist(), strict=True)) | {"gpu": gpus * GPU_MILLIS}
    part = max((amount * replicas / whole[name] for name, amount in demand.items() if whole.get(name)), default=0.0)
    return part * (gpus or whole.get("cpu", 0) / 1000)


def _make(options: SchedulerOptions) -> Decider:
    return LeastAttained(options.placement or "best-fit", options.seed)


LAS = Scheduler(
    name=NAME,
    about="Least attained service in two queues: after an hour of a GPU a job is stopped for those of the first.",
    source="Gu et al., Tiresias, NSDI 2019, section 3.2",
    make=_make,
    by_rules=True,
    stops_jobs=True,
)
