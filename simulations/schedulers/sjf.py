"""Shortest job first: whoever has the least left to run comes first; who does not fit lets longer ones pass."""

from __future__ import annotations

import math

from allocator.domain.snapshot import Snapshot
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.line import Line
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "sjf"


class ShortestFirst(ByRules):
    """Goes by what jobs say of their run times (`UNKNOWN_SECONDS` where they do not) less what they have done; told
    the true ones it is the oracle that schedulers are compared with. Nobody is stopped for another. A large job may
    wait for as long as smaller ones come that fit.
    """

    def __init__(self, placement: str, seed: int) -> None:
        super().__init__(Occupancy(NAME, placement, seed))
        self._line = Line()

    def serve(self, snapshot: Snapshot) -> float:  # noqa: ARG002 - the occupancy knows it
        occupancy = self.occupancy
        crowd = occupancy.crowd
        for number in occupancy.arrived:
            self._line.add(float(crowd.duration[number]), int(crowd.sequence[number]), number)
        order = occupancy.may_fit(self._line.current(crowd.waits, crowd.sequence, crowd.duration))
        if len(order):
            occupancy.serve(order, overtaking=True)
        return math.inf


def _make(options: SchedulerOptions) -> Decider:
    return ShortestFirst(options.placement or "best-fit", options.seed)


SJF = Scheduler(
    name=NAME,
    about="The shortest first, by what jobs say of their run times; who does not fit is passed by longer ones.",
    source="Conway, Maxwell and Miller, Theory of Scheduling, 1967, chapter 8 (shortest processing time); an oracle "
    "with --durations true",
    make=_make,
    knows_durations=True,
    by_rules=True,
)
