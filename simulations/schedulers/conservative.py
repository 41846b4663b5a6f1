"""Conservative backfilling: everybody who waits is promised a start when it is submitted, and nobody puts that off.

    whoever is submitted is promised the earliest start that leaves all earlier promises as they are
    when a job ends before it was expected to, everybody in order of submission is promised an earlier start, if there
    is one while all others keep theirs

(Feitelson and Weil, Utilization and Predictability in Scheduling the IBM SP2 with Backfilling, IPPS 1998; Mu'alem and
Feitelson, IEEE TPDS 12(6), 2001, section 2.) Promises go by amounts of each flavor, not by nodes: see `promising`.
"""

from __future__ import annotations

import math

from allocator.domain.snapshot import Snapshot
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.line import Line
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions

NAME = "conservative"
MOST_PROMISES = 1000
"""At a time: of those who wait, so many in order of submission are promised a start; the others come after them."""


class Conservative(ByRules):
    """Knows what jobs say of their run times (`UNKNOWN_SECONDS` where they do not), and takes it for an upper bound. A
    job that outlives it stays, and is taken to end at any moment; promises that it breaks, or that the loss of a node
    breaks, are made anew, everybody's, in order of submission. Nobody is stopped.
    """

    def __init__(self, placement: str, seed: int, most: int = MOST_PROMISES) -> None:
        super().__init__(Occupancy(NAME, placement, seed))
        self._most = most
        self._waiting, self._ending = Line(), Line()

    def serve(self, snapshot: Snapshot) -> float:  # noqa: ARG002 - the occupancy knows it
        occupancy = self.occupancy
        crowd = occupancy.crowd
        if occupancy.nodes_changed:
            crowd.promised[:] = math.inf
        for number in occupancy.arrived:
            crowd.promised[number] = math.inf
            self._waiting.add(0.0, int(crowd.sequence[number]), number)
        self._will_end(occupancy.began)
        order = self._waiting.current(crowd.waits, crowd.sequence)[: self._most]
        ending = self._ending.current(~crowd.waits, crowd.sequence, crowd.ends)
        if len(order):
            self._will_end(occupancy.keep_promises(order, ending, compress=occupancy.early))
        return math.inf

    def _will_end(self, numbers: list[int]) -> None:
        crowd = self.occupancy.crowd
        for number in numbers:
            self._ending.add(float(crowd.ends[number]), int(crowd.sequence[number]), number)


def _make(options: SchedulerOptions) -> Decider:
    return Conservative(options.placement or "best-fit", options.seed)


CONSERVATIVE = Scheduler(
    name=NAME,
    about="Everybody is promised a start at submission; who puts nobody's off may overtake (conservative backfilling).",
    source="Feitelson and Weil, IPPS 1998; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001, section 2",
    make=_make,
    knows_durations=True,
    by_rules=True,
)
