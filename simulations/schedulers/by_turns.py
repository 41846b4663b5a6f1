"""A decider that lets jobs take turns (`turns`) by target shares (`targets`), on named nodes (`occupancy`).

Who is to run on the flavor where it runs stays where it is. The others leave, and those who are to run there come: the
largest gangs first, then by admission. What flavors have together may be in pieces: whoever finds no place waits, and
then everybody who waits may have what is left, unless turns are for those alone who are owed some. Jobs that are not
preemptible, and those on nodes that take no new work, stay where they run, and the others share what is left.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.ports import Lap, Solver
from allocator.rounds.ruled import Ruled
from simulations.schedulers.kinds import NOWHERE, Kinds
from simulations.schedulers.occupancy import Occupancy
from simulations.schedulers.targets import Asking, Targets
from simulations.schedulers.turns import Mechanism, Turns

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class ByTurns:
    """A Decider. `targets` and `mechanism` say what it is; `occupancy` where things are."""

    def __init__(self, occupancy: Occupancy, targets: Targets, mechanism: Mechanism, seed: int) -> None:
        self._occupancy = occupancy
        self._owed_only = mechanism.owed_only
        self._turns = Turns(targets, mechanism, seed)
        self._kinds: Kinds | None = None
        self._nodes: object = None
        self._closed: frozenset[str] = frozenset()
        """Nodes that take no new work."""
        self._last = 0.0
        """When the last round was."""

    def __call__(
        self,
        snapshot: Snapshot,
        memory: Memory,  # noqa: ARG002 - what our own rounds hand on
        policy: Policy,
        solver: Solver,  # noqa: ARG002 - there is no optimum
        lap: Lap,
    ) -> Ruled:
        """One round. Memory and solver are not asked."""
        occupancy, turns, jobs = self._occupancy, self._turns, snapshot.jobs
        occupancy.look(snapshot, policy)
        kinds, crowd = self._kinds_on(snapshot), occupancy.crowd
        number = np.array([occupancy.numbers[job.id] for job in jobs], dtype=np.int64)
        stays = (crowd.configuration[number] >= 0) & ~crowd.stoppable[number]
        if self._closed:
            stays |= _is_on(self._closed, jobs)
        free = np.flatnonzero(~stays)
        sequence = crowd.sequence[number[free]]
        if turns.would_choose_the_same(sequence, snapshot.time):
            lap("formulate")
            return occupancy.decision(turns.next_targets)
        kind = kinds.of(jobs)
        place = self._places(number, kinds, kind)
        stays &= place != NOWHERE
        asking = Asking(
            jobs=tuple(jobs[position] for position in free.tolist()) if len(free) < len(jobs) else jobs,
            kinds=kinds,
            kind=kind[free],
            capacity=_left(kinds, kind[stays], place[stays]),
            time=snapshot.time,
        )
        turns.count(sequence, len(kinds.flavors), place[free], snapshot.time - self._last)
        self._last = snapshot.time
        lap("formulate")
        turns.retarget(asking)
        lap("solve")
        self._occupy(number[free], kinds, asking.kind, place[free], turns.choose(asking, snapshot.round))
        decision = occupancy.decision(self._again(snapshot.time) if len(free) else math.inf)
        lap("place")
        return decision

    def _kinds_on(self, snapshot: Snapshot) -> Kinds:
        if self._kinds is None or self._nodes is not snapshot.nodes:
            flavors = () if self._kinds is None else self._kinds.flavors
            self._kinds, self._nodes = Kinds.on(snapshot.nodes), snapshot.nodes
            self._closed = frozenset(node.name for node in snapshot.nodes if not node.takes_new_work)
            if self._kinds.flavors != flavors:
                self._turns.forget()
            self._turns.expire()
        return self._kinds

    def _places(self, number: Integers, kinds: Kinds, kind: Integers) -> Integers:
        """(J,) the flavor on which each job runs, NOWHERE of those that wait."""
        configuration = self._occupancy.crowd.configuration[number]
        found = np.full(len(number), NOWHERE, dtype=np.int64)
        running = np.flatnonzero(configuration >= 0)
        found[running] = kinds.place[kind[running], configuration[running]]
        return found

    def _occupy(self, number: Integers, kinds: Kinds, kind: Integers, place: Integers, chosen: Integers) -> None:
        """Make jobs leave and come, so that each is on the flavor that was chosen for it, as far as there is room."""
        occupancy = self._occupancy
        leaving = number[(place != NOWHERE) & (place != chosen)]
        coming = np.flatnonzero((chosen != NOWHERE) & (place != chosen))
        if len(coming):
            coming = coming[np.argsort(-kinds.size[kind[coming]], kind="stable")]
        occupancy.lift_each(leaving)
        occupancy.start_each(number[coming], kinds.configuration[kind[coming], chosen[coming]])
        waits = occupancy.crowd.waits
        if waits[number[coming]].any() and not self._owed_only:  # pieces: others may fit where these do not
            occupancy.serve(number[waits[number]], overtaking=True)

    def _again(self, now: float) -> float:
        """When to be asked again if nothing happens: for turns, at the next round; else when targets are due."""
        return max(now, self._turns.next_targets) if self._owed_only else now


def _left(kinds: Kinds, kind: Integers, place: Integers) -> NDArray[np.float64]:
    """(F, R) what open nodes have beside what these jobs hold."""
    capacity = kinds.capacity.copy()
    np.subtract.at(capacity, place, kinds.demand[kind, place])
    found: NDArray[np.float64] = np.maximum(capacity, 0.0)
    return found


def _is_on(nodes: frozenset[str], jobs: tuple[Job, ...]) -> Booleans:
    """(J,) whether a job runs on any of these nodes."""
    placements = (None if job.allocation is None else job.allocation.placement for job in jobs)
    found = [placement is not None and not nodes.isdisjoint(placement.nodes) for placement in placements]
    return np.array(found, dtype=np.bool_)
