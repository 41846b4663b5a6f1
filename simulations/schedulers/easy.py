"""EASY backfilling: in order of submission, but who does not delay the first of the line may overtake.

    start the first of the line for as long as it fits
    the one that does not fit gets a reservation: the earliest time at which it will, by what jobs said of run times
    of the others, in order, all start that fit now, and end before that time or leave it what it needs then

(Lifka, The ANL/IBM SP Scheduling System, JSSPP 1995; Mu'alem and Feitelson, Utilization, Predictability, Workloads, and
User Runtime Estimates in Scheduling the IBM SP2 with Backfilling, IEEE TPDS 12(6), 2001, section 2.) Only one job has a
reservation; the others have none, and no promise when they start.

The two differ in what is kept free for it. `easy` counts, as the papers do: any places will do, as long as there are
enough at that time. Where jobs share nodes, counting is by how many of its replicas there will be room for. Of several
jobs that are expected to end at the same time only as many are taken to be gone as the first of the line needs.

`easy-pinned` names the nodes, those that are lowest (or whatever the placement prefers) when all who end by then are
gone; whoever ends later must not use these, even if others would do for the first of the line as well. With the lowest
nodes this is what the simulator Batsim did in a published schedule.
"""

from __future__ import annotations

import math

from allocator.domain.snapshot import Snapshot
from allocator.rounds.decide import Decider
from simulations.schedulers.by_rules import ByRules
from simulations.schedulers.line import Line
from simulations.schedulers.occupancy import LOWEST, Occupancy
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions


class Easy(ByRules):
    """Knows what jobs say of their run times (`UNKNOWN_SECONDS` where they do not), and takes it for an upper bound. A
    job that outlives it stays, and is taken to end at any moment. Nobody is stopped.
    """

    def __init__(self, name: str, placement: str, seed: int, *, pinned: bool) -> None:
        super().__init__(Occupancy(name, placement, seed))
        self._pinned = pinned
        self._waiting, self._ending = Line(), Line()

    def serve(self, snapshot: Snapshot) -> float:  # noqa: ARG002 - the occupancy knows it
        occupancy = self.occupancy
        crowd = occupancy.crowd
        for number in occupancy.arrived:
            self._waiting.add(0.0, int(crowd.sequence[number]), number)
        self._will_end(occupancy.began)
        order = self._waiting.current(crowd.waits, crowd.sequence)
        if len(order):
            self._will_end(occupancy.serve(order, overtaking=False))
            order = self._waiting.current(crowd.waits, crowd.sequence)
        ending = self._ending.current(~crowd.waits, crowd.sequence, crowd.ends)
        if len(order) > 1:
            self._will_end(occupancy.backfill(order, ending, pinned=self._pinned))
        return math.inf

    def _will_end(self, numbers: list[int]) -> None:
        crowd = self.occupancy.crowd
        for number in numbers:
            self._ending.add(float(crowd.ends[number]), int(crowd.sequence[number]), number)


def _counting(options: SchedulerOptions) -> Decider:
    return Easy("easy", options.placement or "best-fit", options.seed, pinned=False)


def _pinned(options: SchedulerOptions) -> Decider:
    return Easy("easy-pinned", options.placement or LOWEST, options.seed, pinned=True)


_SOURCE = "Lifka, JSSPP 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001, section 2"
EASY = Scheduler(
    name="easy",
    about="In order of submission; who does not delay the first that waits may overtake (EASY backfilling, counting).",
    source=_SOURCE,
    make=_counting,
    knows_durations=True,
    by_rules=True,
)
EASY_PINNED = Scheduler(
    name="easy-pinned",
    about="EASY backfilling with the first one's reservation on named nodes, the lowest-numbered ones.",
    source=f"{_SOURCE}; the variant of Batsim (Dutot et al., JSSPP 2016)",
    make=_pinned,
    knows_durations=True,
    by_rules=True,
)
