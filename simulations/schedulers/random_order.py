"""Service in random order: each time something is free, everybody who waits has the same chance to come first."""

from __future__ import annotations

import math

import numpy as np

from allocator.domain.snapshot import Snapshot
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "random"


class RandomOrder(ByRules):
    """Draws an order of all who wait in every round, from the seed and the number of the round, and starts all that
    fit. Nobody is stopped for another.
    """

    def __init__(self, placement: str, seed: int) -> None:
        super().__init__(Occupancy(NAME, placement, seed))
        self._seed = seed

    def serve(self, snapshot: Snapshot) -> float:
        occupancy = self.occupancy
        waiting = occupancy.may_fit(occupancy.waiting())
        if len(waiting):
            order = np.random.default_rng((self._seed, snapshot.round)).permutation(waiting)
            occupancy.serve(order, overtaking=True)
        return math.inf


def _make(options: SchedulerOptions) -> Decider:
    return RandomOrder(options.placement or "best-fit", options.seed)


RANDOM = Scheduler(
    name=NAME,
    about="In an order drawn anew in each round; all start that fit.",
    source="service in random order: Kingman, On queues in which customers are served in random order, Mathematical "
    "Proceedings of the Cambridge Philosophical Society 58, 1962",
    make=_make,
    by_rules=True,
)
