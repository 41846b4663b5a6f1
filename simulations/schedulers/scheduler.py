"""What a scheduler of a replay is: a name, where it comes from, and something that decides rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from allocator.domain.policy import Policy
from allocator.rounds.decide import Decider


@dataclass(frozen=True, slots=True)
class SchedulerOptions:
    """What a scheduler may be told beside the policy. `seed` is for those that draw."""

    seed: int = 0
    placement: str = ""
    """The rule by which nodes are chosen among those that fit; empty: the scheduler's own."""


def unchanged(policy: Policy) -> Policy:
    """The policy as it was given."""
    return policy


@dataclass(frozen=True, slots=True)
class Scheduler:
    """One way to decide rounds, to be compared with others."""

    name: str
    about: str
    """What it does, in one sentence."""
    source: str
    """The paper and section, or the program, that it follows."""
    make: Callable[[SchedulerOptions], Decider]
    """A new one, which knows nothing yet."""
    policy: Callable[[Policy], Policy] = unchanged
    """What it sets in the policy."""
    knows_durations: bool = False
    """Whether it does what it is known for only if jobs say how long they are expected to run."""
    by_rules: bool = False
    """Whether it decides without our optimum, and so without what only that knows: see `schedulers.assumptions`."""
    weighs: bool = False
    """Of one that decides by rules: whether it knows weights."""
    stops_jobs: bool = False
    """Of one that decides by rules: whether it stops jobs for others."""
