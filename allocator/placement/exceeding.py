"""Which quotas a waiting job would be beyond, in numbers: what `allowing` refuses, said in words of the domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.domain.placement import WHOLE, held
from allocator.domain.reason import PendingCause, PendingReason, QuotaExcess
from allocator.placement.rounding import Outcome
from allocator.placement.space import Integers


class QuotaExaminer:
    """Asks the allowances as they are at the end of the round."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._allowances = None if outcome.world is None else outcome.world.allowances
        self._bounded = self._allowances is not None and bool(len(self._allowances.parent))

    def leaves(self, jobs: Integers) -> Integers:
        """(jobs,) the queue that holds each, where quotas say something; -1 otherwise."""
        if not self._bounded or self._allowances is None:
            return np.full(len(jobs), -1)
        found: Integers = self._allowances.leaf[jobs]
        return found

    def leaf(self, job: int) -> int:
        """The queue that holds a job, where quotas say something; -1 otherwise."""
        return int(self._allowances.leaf[job]) if self._bounded and self._allowances is not None else -1

    def excesses(self, leaf: int, kind: int, millis: int = WHOLE) -> tuple[QuotaExcess, ...]:
        """What a gang of this kind would be beyond that holds so many thousandths of its demand; empty if nothing."""
        allowed, kinds = self._allowances, self._outcome.kinds
        if allowed is None or leaf < 0:
            return ()
        flavor, found = int(kinds.flavor[kind]), []
        names = (*self._outcome.formulation.live.nodes.resources, "gpu")
        demand = held(self._outcome.formulation.live.kinds[kind].demand, millis)
        for column, resource in enumerate(names):
            amount = demand.get(resource) * int(kinds.replicas[kind])
            if not amount:
                continue
            queue, change = leaf, amount
            while queue >= 0:
                used, most = int(allowed.used[queue, flavor, column]), int(allowed.most[queue, flavor, column])
                if used + amount > most:
                    found.append(self._excess(queue, kind, resource, (used, most, used + amount - most)))
                kept, wanted = int(allowed.kept[queue, flavor, column]), int(allowed.wanted[queue, flavor, column])
                change = max(wanted + change, kept) - max(wanted, kept)
                queue = int(allowed.parent[queue])
            reserved, there = int(allowed.reserved[flavor, column]), int(allowed.capacity[flavor, column])
            if allowed.lends[flavor, column] and change > 0 and reserved + change > there:
                found.append(self._excess(-1, kind, resource, (reserved, there, reserved + change - there)))
        return tuple(found)

    def _excess(self, queue: int, kind: int, resource: str, numbers: tuple[int, int, int]) -> QuotaExcess:
        name = "" if queue < 0 or self._allowances is None else self._outcome.queue_names[queue]
        return QuotaExcess(name, self._outcome.formulation.live.kinds[kind].flavor, resource, *numbers)


def is_never(found: tuple[QuotaExcess, ...]) -> bool:
    """Whether a gang would be beyond a quota of which nobody else used anything."""
    return any(each.queue and each.missing > each.used for each in found)


def over_quota(excesses: Sequence[tuple[QuotaExcess, ...]], *, whole: bool) -> PendingReason:
    """Of a job that all its kinds would bring beyond these. Never, if each would be beyond a quota nobody else uses and
    the job must have all it asks for at once: `whole`.
    """
    never = whole and all(map(is_never, excesses))
    nearest = min(excesses, key=lambda found: sum(each.missing / max(1, each.most) for each in found))
    return PendingReason(PendingCause.EXCEEDS_QUOTA if never else PendingCause.OVER_QUOTA, excesses=nearest)
