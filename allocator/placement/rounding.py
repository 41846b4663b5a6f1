"""Who runs this round: one walk over the jobs, the most owed first, each whole or not at all.

Equivalent to:

1. Take the jobs that wait, those that were evicted, and those that want another configuration; in order of priority
   class, then credit, then admission.
2. Each tries the configurations to which the optimum gave a share, the largest first, in free space; if none fits, by
   stopping others (see `victims`). Whoever is stopped joins the walk at its own place in the order.
3. When a priority class is through, each of its jobs that is still without a place tries all other configurations
   it could run in: whatever the optimum would leave idle is used.
4. If room was made on the way, walk again, because somebody who came earlier may now fit.

A running job is not touched unless somebody needs its place, or the optimum moved it wholly to another configuration.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from allocator.domain.policy import Policy
from allocator.domain.reason import PreemptionReason
from allocator.placement.contenders import SHARE_FLOOR, Contender, Option
from allocator.placement.packing import Shape, Spaces
from allocator.placement.victims import Victims

Turn = tuple[int, int, float, int]
"""(- priority, phase, - credit, sequence): smallest first."""

OWED, SPARE = 0, 1
"""The two phases of a priority class: configurations with a share, and the others."""

LEFT_SHARE, ENTERED_SHARE = 0.05, 0.5
"""A job changes its configuration when the optimum gives its present one less than the first and another one more than
the second: far enough apart that the solver's tolerance decides nothing."""

_WALKS = 3
"""Walks with preemption at most; one more without follows when the last of them still made room."""


class Walk:
    """One round of rounding. After `run`, every contender's `gang` is where it shall be."""

    def __init__(self, contenders: Sequence[Contender], spaces: Spaces, policy: Policy, now: float) -> None:
        self._contenders = contenders
        self._by_sequence = {contender.job.sequence: contender for contender in contenders}
        self._spaces = spaces
        self._policy = policy
        self._now = now
        self._victims: dict[str, Victims] = {}
        self._hopeless: set[Shape] = set()
        """Shapes that fit nowhere in this walk, whoever is stopped: later turns may stop fewer."""
        self.placed: list[Contender] = []
        """Jobs that got a new place, in the order in which they got it; some may have lost it again."""

    def run(self) -> None:
        """Decide everything."""
        for _ in range(_WALKS):
            before = self._grown()
            self._walk(preempting=True)
            if self._grown() == before:
                return
        self._walk(preempting=False)

    def _walk(self, *, preempting: bool) -> None:
        self._hopeless.clear()
        turns = [_turn(c, OWED) for c in self._contenders if c.options and c.waits]
        if preempting:
            turns += [_turn(c, OWED) for c in self._contenders if self._wish(c) is not None]
        heapq.heapify(turns)
        while turns:
            turn = heapq.heappop(turns)
            contender = self._by_sequence[turn[-1]]
            if not contender.waits:
                self._reconfigure(contender)
                continue
            phase = turn[1]
            options = [option for option in contender.options if (option.share > SHARE_FLOOR) == (phase == OWED)]
            if self._start(contender, options):
                continue
            losers = self._start_instead_of_others(contender, options) if preempting else []
            for loser in losers:
                heapq.heappush(turns, _turn(loser, OWED))
            if not losers and phase == OWED:
                heapq.heappush(turns, _turn(contender, SPARE))

    def _start(self, contender: Contender, options: Sequence[Option]) -> bool:
        """Place it in free space if any of the options fits."""
        for option in options:
            gang = self._spaces.find(option.shape)
            if gang is not None:
                contender.settle_in(option, gang)
                self.placed.append(contender)
                return True
        return False

    def _start_instead_of_others(self, contender: Contender, options: Sequence[Option]) -> list[Contender]:
        """Place it by stopping others; who they are, or nobody, and then nothing has changed."""
        for option in options:
            shape = option.shape
            if shape in self._hopeless or shape.flavor not in self._spaces.by_flavor:
                continue
            found = self._victims_on(shape.flavor).search(contender, shape, fair=option.share > SHARE_FLOOR)
            if found is None:
                self._hopeless.add(shape)
                continue
            gang, losers = found
            for loser in losers:
                same_class = loser.job.priority == contender.job.priority
                loser.evict(PreemptionReason.FAIR_SHARE if same_class else PreemptionReason.PRIORITY)
            contender.settle_in(option, gang)
            self.placed.append(contender)
            return losers
        return []

    def _reconfigure(self, contender: Contender) -> None:
        """Let a running job change over to the configuration that the optimum moved it to, if there is room."""
        option = self._wish(contender)
        old = contender.gang
        if option is None or old is None:
            return
        left = self._spaces.by_flavor[old.shape.flavor]
        if option.shape.flavor == left.flavor:
            left.lift(old)
            gang = left.attempt(option.shape)
            if gang is None:
                left.take(old)
                return
            left.grown += 1
        else:
            gang = self._spaces.find(option.shape)
            if gang is None:
                return
            left.release(old)
        if left.flavor in self._victims:
            self._victims[left.flavor].forget(contender)
        contender.settle_in(option, gang)
        contender.moved = True
        self.placed.append(contender)

    def _wish(self, contender: Contender) -> Option | None:
        """The configuration that a running job should change to; None if it should stay as it is."""
        job = contender.job
        if not contender.in_old_place or contender.pinned or not job.spec.preemptible or len(contender.options) < 2:
            return None
        if job.last_start_time is None or self._now - job.last_start_time < self._policy.minimum_run_seconds:
            return None
        best = contender.options[0]
        current = sum(option.share for option in contender.options if option.configuration == contender.configuration)
        if best.share > ENTERED_SHARE and current < LEFT_SHARE and best.configuration != contender.configuration:
            return best
        return None

    def _victims_on(self, flavor: str) -> Victims:
        victims = self._victims.get(flavor)
        if victims is None:
            space = self._spaces.by_flavor[flavor]
            victims = self._victims[flavor] = Victims(space, self._contenders, self._policy, self._now)
        return victims

    def _grown(self) -> int:
        return sum(space.grown for space in self._spaces.by_flavor.values())


def _turn(contender: Contender, phase: int) -> Turn:
    return (-contender.job.priority, phase, -contender.credit, contender.job.sequence)
