"""Whether this machine can begin anything, and what is given back because it cannot. Pure: times are arguments.

What a machine refuses (a full disk, no more processes or open files) passes, most often, and is tried again. When it
lasts, the daemon is told: it places nothing new here then. What it has placed here and has not begun is given back, so
that it can run elsewhere, and is not begun here any more, whatever happens: from then on it may run elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from allocator.agent.plan import Action, Begin
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.intake.commands import ReplicaReport, ReplicaState

_MOST_DOUBLINGS = 6

Named = tuple[str, Epoch, int]
"""A replica as reports name it: job, epoch of its allocation, number."""


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds. `told_after`: what lasts so long is told. `calm`: nothing was refused for so long, and it is over;
    doubled each time that it comes back before `forgotten_after`, or a node would be opened and closed all day long.
    """

    check_every: float = 1.0
    told_after: float = 5.0
    calm: float = 5.0
    forgotten_after: float = 3600.0


class Ability:
    """For one thread. Times are in seconds since boot."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._why = ""
        self._since: float | None = None
        """When it was first refused something that it has not been given since."""
        self._next_check = 0.0
        self._last = 0.0
        """When it was last refused something."""
        self._over = float("-inf")
        """When the last trouble was over."""
        self._returns = 0
        self._is_known = False
        """To the daemon."""
        self._given_back: frozenset[Named] = frozenset()
        self.trouble = ""
        """What the daemon is to be told: why nothing can begin here, or nothing."""

    @property
    def given_back(self) -> frozenset[Named]:
        """What is wanted here, has not begun, and never will."""
        return self._given_back

    def is_doubtful(self, now: float) -> bool:
        """Whether it is time to try out if anything could begin (`checked`)."""
        return self._since is not None and now >= self._next_check

    def failed(self, why: str, now: float) -> None:
        """The machine refused something without which nothing begins."""
        if self._since is None:
            self._since, self._why = now, why
        self._last = now
        self._judge(now)

    def checked(self, why: str, now: float) -> None:
        """It was tried out whether anything could begin; `why` not, or empty."""
        self._next_check = now + self._patience.check_every
        if why:
            self.failed(why, now)
            return
        self._judge(now)
        if now - self._last >= self._calm() and not self._given_back:
            if self.trouble:
                self._over = now
            self._since, self.trouble, self._is_known = None, "", False

    def _judge(self, now: float) -> None:
        assert self._since is not None
        if not self.trouble and self._last - self._since >= self._patience.told_after:
            comes_back = now - self._over < self._patience.forgotten_after
            self._returns = min(self._returns + 1, _MOST_DOUBLINGS) if comes_back else 0
            self.trouble = self._why

    def _calm(self) -> float:
        return self._patience.calm * 2**self._returns if self.trouble else self._patience.calm

    def told(self, trouble: str) -> None:
        """The daemon has answered what it knows: one of an earlier version knows of no trouble."""
        self._is_known = bool(trouble)

    def permitted(self, desired: NodeDesired, actions: Iterable[Action]) -> tuple[Action, ...]:
        """What of this is to be done. Who would begin is given back instead where the daemon knows of the trouble."""
        if not self.trouble:
            return tuple(actions)
        self._given_back &= frozenset(map(_named, desired.replicas))
        if self._is_known:
            self._given_back |= {_named(action.replica) for action in actions if isinstance(action, Begin)}
        return tuple(action for action in actions if not isinstance(action, Begin))

    def reports(self) -> tuple[ReplicaReport, ...]:
        """Of what is given back, for as long as it is wanted here."""
        return tuple(
            ReplicaReport(job_id, replica, epoch, ReplicaState.NOT_BEGUN, self.trouble)
            for job_id, epoch, replica in sorted(self._given_back)
        )


def _named(replica: DesiredReplica) -> Named:
    return replica.job_id, replica.epoch, replica.replica
