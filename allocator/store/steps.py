"""What may be done to the facts, as functions on an overlay: stores differ only in making the result last."""

from __future__ import annotations

from typing import Any

from allocator.domain.errors import FailedPrecondition
from allocator.domain.placement import Epoch
from allocator.domain.plan import Commit, Plan
from allocator.domain.snapshot import Memory
from allocator.intake.apply import apply
from allocator.intake.commands import Command
from allocator.intake.ports import ChangeSet
from allocator.rounds.commit import check
from allocator.rounds.report import RoundSummary
from allocator.store.overlay import Overlay
from allocator.store.state import Position


def execute(overlay: Overlay, command: Command, now: float) -> Any:
    """The command's answer. Raises AllocatorError when it is refused whole, and then changes nothing."""
    outcome = apply(command, overlay, now)
    overlay.absorb(outcome.changes)
    return overlay.stamped(outcome.answer)


def commit(overlay: Overlay, plan: Plan, now: float) -> Commit:
    """Make true what of `plan` still is possible; see `rounds.ports.Store.commit`.

    Raises FailedPrecondition if a later round was committed already: epochs only grow.
    """
    committed = overlay.position.committed
    if plan.round < committed:
        raise FailedPrecondition(f"plan of round {plan.round}", f"round {committed} is committed already")
    checked = check(plan, overlay, revision=overlay.revision + 1, now=now)
    overlay.absorb(ChangeSet(jobs=checked.jobs))
    overlay.refresh(checked.reasons)
    position = overlay.position
    overlay.position = Position(position.revision, position.next_sequence, position.recorded, plan.round)
    desired = overlay.take_unpushed(Epoch(plan.round, overlay.revision))
    return Commit(overlay.revision, plan.round, checked.applied, checked.rejected, desired)


def promise(overlay: Overlay, lease_seconds: float) -> None:
    """From now on no agent holds a longer lease."""
    overlay.lease_seconds = lease_seconds


def record(overlay: Overlay, summary: RoundSummary, memory: Memory) -> None:
    """Keep a round's record, and what it hands to the next one."""
    overlay.round = (summary, memory)
    position = overlay.position
    recorded = max(position.recorded, summary.round)
    overlay.position = Position(position.revision, position.next_sequence, recorded, position.committed)
