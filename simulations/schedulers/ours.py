"""The allocator itself: the very function that the daemon decides with."""

from __future__ import annotations

from allocator.rounds.decide import Decider, decide
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions


def _make(options: SchedulerOptions) -> Decider:  # noqa: ARG001 - what it needs stands in the policy
    return decide


ALLOCATOR = Scheduler(
    name="allocator",
    about="Ours: one convex problem per round, shares rounded by credit, nodes chosen by prospects.",
    source="this program",
    make=_make,
)
