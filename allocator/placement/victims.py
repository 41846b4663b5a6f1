"""Who would have to stop for a gang to start: the least owed jobs that together make enough room, and no others.

Candidates are running preemptible jobs of a lower priority class; for a job that the optimum gives a share, also those
of its own class that have run their minimum and are owed less by at least the hysteresis, or by their restart cost if
that is more (but no more than the credit limit, so that it can happen). Equivalent to: stop candidates one by one, the
lowest in order first, until the gang fits; place it; then let every stopped one whose old place is still free go on,
the highest in order first.

What makes it fast: the smallest sufficient number of candidates is found by galloping and bisection on copies of the
free amounts, and only candidates on the nodes that the gang then takes are really touched. A shape that fails need not
be tried again in the same walk: room is only used up by it, never made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from allocator.domain.policy import Policy
from allocator.domain.resources import GPU_MILLIS
from allocator.placement.contenders import Contender
from allocator.placement.packing import Gang, Integers, NodeSpace, Shape

Indices = NDArray[np.intp]


class Victims:
    """The jobs of one flavor that may be stopped, lowest in order first, with what each would give back."""

    def __init__(self, space: NodeSpace, running: Sequence[Contender], policy: Policy, now: float) -> None:
        self._space = space
        self._jobs = sorted(
            (c for c in running if _may_stop(c, space.flavor)),
            key=lambda c: c.rank,
            reverse=True,
        )
        self._standing = np.ones(len(self._jobs), dtype=np.bool_)
        self._position = {c.job.id: position for position, c in enumerate(self._jobs)}
        self._priority = np.array([c.job.priority for c in self._jobs], dtype=np.int64)
        self._credit = np.array([c.credit for c in self._jobs])
        self._owed_enough = np.array([_owed_enough(c, policy, now) for c in self._jobs])
        self._tabulate()

    def search(self, contender: Contender, shape: Shape, *, fair: bool) -> tuple[Gang, list[Contender]] | None:
        """Place `shape` by stopping others: its place and who has lost theirs; or None, and nothing has changed.

        `fair`: jobs of the same priority class may be stopped, too.
        """
        candidates = self._candidates(contender, fair=fair)
        if not candidates.size:
            return None
        rows = self._rows_of(candidates)
        enough = self._smallest_sufficient(shape, candidates, rows)
        if enough is None:
            return None
        stopped, counts = enough
        fill = self._space.choose(shape, counts)
        assert fill is not None
        return self._exchange(shape, fill, candidates[:stopped])

    def forget(self, contender: Contender) -> None:
        """The job has left the place it had when the round began: it is no candidate any more."""
        position = self._position.get(contender.job.id)
        if position is not None:
            self._standing[position] = False

    def _tabulate(self) -> None:
        """Flatten the gangs: one row per (job, node), and one per (job, node, device)."""
        pieces: list[tuple[int, int, int]] = []
        amounts: list[Integers] = []
        devices: list[tuple[int, int, int, int]] = []
        for position, contender in enumerate(self._jobs):
            assert contender.gang is not None
            shape = contender.gang.shape
            for node, gpus in contender.gang.pieces:
                pieces.append((position, node, len(gpus)))
                amounts.append(shape.vector)
                devices += [(position, node, device, shape.millis) for replica in gpus for device in replica]
        table = np.array(pieces, dtype=np.int64).reshape(-1, 3)
        self._owner, self._node = table[:, 0], table[:, 1]
        resources = len(self._space.resources)
        self._amount = (np.array(amounts, dtype=np.int64).reshape(-1, resources) * table[:, 2:]).T
        device_table = np.array(devices, dtype=np.int64).reshape(-1, 4)
        self._device_owner, self._device_node, self._device, self._millis = device_table.T

    def _candidates(self, contender: Contender, *, fair: bool) -> Indices:
        able = self._priority < contender.job.priority
        if fair:
            able |= (
                (self._priority == contender.job.priority)
                & (self._owed_enough <= contender.credit)
                & (self._credit < contender.credit)
            )
        return np.flatnonzero(able & self._standing)

    def _rows_of(self, candidates: Indices) -> tuple[Indices, Indices]:
        """Rows of the two tables that belong to candidates."""
        chosen = np.zeros(len(self._jobs), dtype=np.bool_)
        chosen[candidates] = True
        return np.flatnonzero(chosen[self._owner]), np.flatnonzero(chosen[self._device_owner])

    def _smallest_sufficient(
        self, shape: Shape, candidates: Indices, rows: tuple[Indices, Indices]
    ) -> tuple[int, Integers] | None:
        """(how many of the candidates to stop, what each node could then take); None when all are not enough."""

        def try_stopping(number: int) -> Integers | None:
            counts = self._counts_without(shape, int(candidates[number - 1]), rows)
            return counts if int(counts.sum()) >= shape.replicas else None

        best = try_stopping(len(candidates))
        if best is None:
            return None
        too_few, enough, probe = 0, len(candidates), 1
        while too_few + 1 < enough:
            number = min(probe, too_few + (enough - too_few) // 2)
            counts = try_stopping(number)
            if counts is None:
                too_few, probe = number, probe * 4
            else:
                enough, best, probe = number, counts, enough
        return enough, best

    def _counts_without(self, shape: Shape, last: int, rows: tuple[Indices, Indices]) -> Integers:
        """What each node could take if the candidates up to position `last` were stopped."""
        space = self._space
        pieces = rows[0][: np.searchsorted(self._owner[rows[0]], last, side="right")]
        free = space.free.copy()
        for row, _ in shape.amounts:
            np.add.at(free[row], self._node[pieces], self._amount[row, pieces])
        devices, whole = space.devices, space.whole
        if shape.devices or shape.part:
            held = rows[1][: np.searchsorted(self._device_owner[rows[1]], last, side="right")]
            devices = devices.copy()
            np.add.at(devices, (self._device[held], self._device_node[held]), self._millis[held])
            if shape.devices:
                whole = (devices == GPU_MILLIS).sum(axis=0)
        return space.counts_in(shape, free, devices, whole)

    def _exchange(self, shape: Shape, fill: list[tuple[int, int]], stopped: Indices) -> tuple[Gang, list[Contender]]:
        """Stop whoever stands on the chosen nodes, place the gang there, let go on who still can."""
        space = self._space
        chosen = np.zeros(len(space.names), dtype=np.bool_)
        chosen[[node for node, _ in fill]] = True
        touched = np.intersect1d(self._owner[chosen[self._node]], stopped)
        leaving = [self._jobs[position] for position in touched.tolist()]
        places = [contender.gang for contender in leaving if contender.gang is not None]
        for place in places:
            space.lift(place)
        gang = space.occupy(shape, fill)
        losers = []
        for contender, place in zip(reversed(leaving), reversed(places), strict=True):
            if space.holds(place):
                space.take(place)
            else:
                losers.append(contender)
                self.forget(contender)
        assert losers, "the gang did not fit without stopping anybody"
        space.grown += 1
        return gang, losers


def _may_stop(contender: Contender, flavor: str) -> bool:
    return (
        contender.in_old_place
        and not contender.pinned
        and contender.job.spec.preemptible
        and contender.gang is not None
        and contender.gang.shape.flavor == flavor
    )


def _owed_enough(contender: Contender, policy: Policy, now: float) -> float:
    """The credit from which a job of the same class may stop this one; infinity before it has run its minimum."""
    started = contender.job.last_start_time
    if started is None or now - started < policy.minimum_run_seconds:
        return float("inf")
    # Credits end at the limit: a dearer restart than that must not make a job immune for ever.
    restart_cost = min(contender.job.spec.restart_cost_seconds, policy.credit_limit_seconds)
    return contender.credit + max(policy.hysteresis_seconds, restart_cost)
