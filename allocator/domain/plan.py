"""What a round decided, and what of it became true."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.placement import Allocation, NodeDesired, Placement
from allocator.domain.reason import PendingReason, PreemptionReason


@dataclass(frozen=True, slots=True)
class Start:
    """A pending job gets a place."""

    placement: Placement

    @property
    def job_id(self) -> str:
        return self.placement.job_id


@dataclass(frozen=True, slots=True)
class Move:
    """A running job gets another place; it restarts there."""

    placement: Placement
    reason: PreemptionReason

    @property
    def job_id(self) -> str:
        return self.placement.job_id


@dataclass(frozen=True, slots=True)
class Preempt:
    """A running job loses its place and waits again."""

    job_id: str
    reason: PreemptionReason
    pending: PendingReason


@dataclass(frozen=True, slots=True)
class Resize:
    """A running job goes on with another number of replicas, or another part of its demand; it does not restart.

    Replicas that stay keep node and GPUs and come first, in the order they had (`JobSpec.goes_on`).
    """

    placement: Placement

    @property
    def job_id(self) -> str:
        return self.placement.job_id


Change = Start | Move | Resize | Preempt


@dataclass(frozen=True, slots=True)
class Shared:
    """Something that is on no single node and of which several changes take: a quota, a side constraint. Those that
    happen take `left` more than before together, at most; each `takes` (job id, amount) more, or less. Everybody who
    is not named takes what it did.
    """

    left: int
    takes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every live job of the snapshot exactly once: it changes, it is kept where it runs, or it waits for a reason.

    `revision` and `round` name the snapshot it was made from. `floating`: resources that belong to no node, so that no
    node has to have them.
    """

    revision: int
    round: int
    changes: tuple[Change, ...]
    kept: tuple[str, ...]
    waiting: tuple[tuple[str, PendingReason], ...]
    missed: tuple[str, ...] = ()
    """Jobs whose deadline has passed; their message will say so."""
    floating: tuple[str, ...] = ()
    shared: tuple[Shared, ...] = ()
    """What changes may take together, where it matters which of them happen."""
    others_stay: bool = False
    """Jobs may be left out: they go on where they run, or waiting for the reason that is known."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A change that became true; `allocation` is None for a preemption."""

    change: Change
    allocation: Allocation | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A change the store found to be no longer possible, and why."""

    change: Change
    why: str


@dataclass(frozen=True, slots=True)
class Commit:
    """What the store still found true. `desired` is the whole desired state of every node that changed."""

    revision: int
    round: int
    applied: tuple[Applied, ...]
    rejected: tuple[Rejected, ...]
    desired: tuple[NodeDesired, ...]
