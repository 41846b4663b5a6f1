"""First in, first out: jobs start in order of submission, and nobody overtakes."""

from __future__ import annotations

import math

from allocator.domain.snapshot import Snapshot
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.line import Line
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "fifo"


class Fifo(ByRules):
    """Starts the first of the line for as long as it fits; where it does not, all wait behind it, but for those that
    the nodes could not run even if they were empty. Nobody is stopped for another.
    """

    def __init__(self, placement: str, seed: int) -> None:
        super().__init__(Occupancy(NAME, placement, seed))
        self._line = Line()

    def serve(self, snapshot: Snapshot) -> float:  # noqa: ARG002 - the occupancy knows it
        occupancy = self.occupancy
        crowd = occupancy.crowd
        for number in occupancy.arrived:
            self._line.add(0.0, int(crowd.sequence[number]), number)
        order = self._line.current(crowd.waits, crowd.sequence)
        if len(order):
            occupancy.serve(order, overtaking=False)
        return math.inf


def _make(options: SchedulerOptions) -> Decider:
    return Fifo(options.placement or "best-fit", options.seed)


FIFO = Scheduler(
    name=NAME,
    about="In order of submission; nobody overtakes, nobody is stopped.",
    source="the oldest rule; as the baseline of Feitelson and Weil, Utilization and Predictability in Scheduling the "
    "IBM SP2 with Backfilling, IPPS 1998, section 1",
    make=_make,
    by_rules=True,
)
