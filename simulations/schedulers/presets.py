"""Ours with other settings: policies that end jobs sooner on the mean, under names that can be compared.

Each is the allocator, and a policy that anybody may apply: a preset sets these fields of the policy it is given and
leaves the others. What they are worth on which traces: `simulations/README.md`, *Which one for what*.

Both let short jobs go first: what has long to go weighs less, by halves from ten minutes on, down to a thousandth; of
jobs that do not say how long they run, what has run for long. A queue counts by the square root of what its jobs weigh,
so that short jobs need not wait because there are many in their queue. Patience is as short as a restart is.
"""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.policy import SHORTEST_REMAINING, Policy
from allocator.rounds.decide import Decider, decide
from simulations.schedulers.scheduler import Scheduler, SchedulerOptions


def _make(options: SchedulerOptions) -> Decider:  # noqa: ARG001 - what it needs stands in the policy
    return decide


def short_first(policy: Policy) -> Policy:
    """Proportional shares (alpha = 1): nobody gets nothing."""
    return replace(
        policy,
        fairness=1.0,
        weighting=SHORTEST_REMAINING,
        service_seconds=600.0,
        weight_factor_limit=1024.0,
        crowd_strength=0.5,
        hysteresis_seconds=30.0,
        minimum_run_seconds=60.0,
    )


def soonest(policy: Policy) -> Policy:
    """The same for the largest sum of weighted throughputs (alpha = 0): long jobs may wait while others come."""
    return replace(short_first(policy), fairness=0.0)


SHORT_FIRST = Scheduler(
    name="allocator-short-first",
    about="Ours, alpha 1, with more weight for jobs that have little to go or have run little, and for crowded queues.",
    source="this program: weighting shortest-remaining, crowd strength 1/2",
    make=_make,
    policy=short_first,
)
SOONEST = Scheduler(
    name="allocator-soonest",
    about="Ours, alpha 0, with these weights: the least mean completion time, and no promise to long jobs.",
    source="this program: throughput, weighting shortest-remaining, crowd strength 1/2",
    make=_make,
    policy=soonest,
)
