"""Taking turns: who runs where in the next round, so that over time everybody gets its target share of each flavor.

The round mechanism of Gavel (Narayanan et al., OSDI 2020, section 5, and the simulator published with it):

- Target shares are computed anew when a job has come or gone and `recompute_seconds` have passed since the last time,
  1,920 s in their evaluation. Then time received begins to count anew, for each job and flavor at half a round, so that
  nobody is divided by zero. A job that came since then has no target until the next time.
- In each round, of `round_seconds` (360 s), a job's priority on a flavor is its target share there divided by the time
  it received there. Flavors are filled one after another, each with the jobs of the highest priority that have no place
  yet and fit; also with those that are owed nothing, if there is room, unless `owed_only`. Equal priorities are ordered
  by how much time on the flavor the job is still owed from the times before, then by the target share.
- Flavors come in order of speed: the one on which live jobs are fastest, relative to their best, first. Where the
  policy is not to know that, in an order that is drawn for each round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.schedulers.finding import lot_of, next_lot
from simulations.schedulers.kinds import NOWHERE, Kinds
from simulations.schedulers.targets import Asking, Targets

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Mechanism:
    """How turns are taken; times in seconds."""

    round_seconds: float = 360.0
    recompute_seconds: float = 1920.0
    owed_only: bool = False
    """A job without a target on a flavor does not run there, even if it has room."""
    in_drawn_order: bool = False
    """Flavors are filled in an order drawn for each round, not the fastest first."""


class Turns:
    """What is remembered of J jobs, by sequence, on F flavors. Times in seconds."""

    def __init__(self, targets: Targets, mechanism: Mechanism, seed: int) -> None:
        self._targets = targets
        self._mechanism = mechanism
        self._seed = seed
        self._sequence = _NOBODY
        self._share = np.zeros((0, 0))
        """(J, F) targets."""
        self._received = np.zeros((0, 0))
        """(J, F) time since targets were last computed, and half a round."""
        self._deficit = np.zeros((0, 0))
        """(J, F) time that was owed until then and not received."""
        self._order: list[int] = []
        """Flavors, the fastest first, as of then."""
        self._computed = -math.inf
        self._stale = False
        """Whether a job has come or gone since then."""

    def forget(self) -> None:
        """The flavors are others now: begin anew."""
        self._sequence, self._computed, self._stale = _NOBODY, -math.inf, True
        self._share = self._received = self._deficit = np.zeros((0, 0))

    @property
    def next_targets(self) -> float:
        """When targets are to be computed next; inf: not before a job comes or goes."""
        return self._computed + self._mechanism.recompute_seconds if self._stale else math.inf

    def expire(self) -> None:
        """Nodes are others now: targets are to be computed again when it is time."""
        self._stale = True

    def would_choose_the_same(self, sequence: Integers, now: float) -> bool:
        """Whether those who are owed something have it: nothing but new targets changes who runs where. Takes note of
        jobs, by sequence, that have come or gone.
        """
        self._stale |= not np.array_equal(sequence, self._sequence)
        return self._mechanism.owed_only and now < self.next_targets

    def count(self, sequence: Integers, flavors: int, ran: Integers, seconds: float) -> None:
        """These jobs take turns now, J by sequence; each ran for so long since the last round on flavor `ran`, or on
        none (NOWHERE).
        """
        if self._share.shape[1] != flavors or not np.array_equal(sequence, self._sequence):
            self._carry_over(sequence, flavors)
            self._stale = True
        there = np.flatnonzero(ran >= 0)
        self._received[there, ran[there]] += seconds

    def _carry_over(self, sequence: Integers, flavors: int) -> None:
        place = np.searchsorted(self._sequence, sequence)
        known = place < len(self._sequence)
        known[known] = self._sequence[place[known]] == sequence[known]
        found = []
        for old, first in ((self._share, 0.0), (self._received, self._half_round), (self._deficit, 0.0)):
            new = np.full((len(sequence), flavors), first)
            if known.any():
                new[known] = old[place[known]]
            found.append(new)
        self._share, self._received, self._deficit = found
        self._sequence = sequence

    @property
    def _half_round(self) -> float:
        return self._mechanism.round_seconds / 2

    def retarget(self, asking: Asking) -> None:
        """Compute target shares, if it is time to."""
        if not self._stale or asking.time < self.next_targets:
            return
        if math.isfinite(self._computed):
            owed = self._share * (asking.time - self._computed)
            self._deficit += owed - (self._received - self._half_round)
        self._received[:] = self._half_round
        self._share = self._targets(asking)
        self._order = fastest_first(asking.kinds, asking.kind)
        self._computed, self._stale = asking.time, False

    def choose(self, asking: Asking, number: int) -> Integers:
        """(J,) the flavor that each job is to run on in round `number`, NOWHERE: it waits. Within capacities."""
        kinds, left = asking.kinds, asking.capacity.copy()
        chosen = np.full(len(asking.kind), NOWHERE, dtype=np.int64)
        possible = kinds.speed[asking.kind] > 0
        priority = np.where(possible, self._share / self._received, -1.0)
        for flavor in self._flavor_order(asking, number):
            mine = priority[:, flavor]
            waits = (chosen < 0) & (mine > 0 if self._mechanism.owed_only else mine >= 0)
            order = np.lexsort((-self._share[:, flavor], -self._deficit[:, flavor], -mine))
            order = order[waits[order]]
            taken = _first_that_fit(kinds.demand[asking.kind[order], flavor], left[flavor])
            chosen[order[taken]] = flavor
            left[flavor] -= kinds.demand[asking.kind[order[taken]], flavor].sum(axis=0)
        return chosen

    def _flavor_order(self, asking: Asking, number: int) -> list[int]:
        flavors = len(asking.kinds.flavors)
        if not self._mechanism.in_drawn_order:
            return self._order
        order, lot = list(range(flavors)), lot_of(number, self._seed)
        for last in range(flavors - 1, 0, -1):
            other = lot % (last + 1)
            order[last], order[other] = order[other], order[last]
            lot = next_lot(lot)
        return order


def fastest_first(kinds: Kinds, kind: Integers) -> list[int]:
    """Flavors by how fast jobs of these kinds are there, each relative to where it is fastest, on the mean."""
    count = np.bincount(kind, minlength=len(kinds.speed))
    best = kinds.speed.max(axis=1, initial=0.0)
    relative = np.divide(kinds.speed, best[:, None], out=np.zeros(kinds.speed.shape), where=best[:, None] > 0)
    return [int(flavor) for flavor in np.argsort(-(count @ relative), kind="stable")]


def _first_that_fit(demand: Floats, left: Floats) -> Integers:
    """Positions of the gangs, in order, that fit into `left` (R,) when each takes its demand (n, R) if it can."""
    if not len(demand):
        return _NOBODY
    if (demand == demand[0]).all():
        need = demand[0] > 0
        most = int((left[need] // demand[0][need]).min()) if need.any() else len(demand)
        return np.arange(min(most, len(demand)))
    if (demand.sum(axis=0) <= left).all():
        return np.arange(len(demand))
    rest, taken = left.tolist(), []
    smallest = demand.min(axis=0).tolist()
    for position, needs in enumerate(demand.tolist()):
        if all(need <= there for need, there in zip(needs, rest, strict=True)):
            rest = [there - need for need, there in zip(needs, rest, strict=True)]
            taken.append(position)
            if any(there < least for there, least in zip(rest, smallest, strict=True)):
                break
    return np.array(taken, dtype=np.int64)
