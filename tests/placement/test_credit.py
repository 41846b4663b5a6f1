"""Over many rounds: time shares follow the optimum, nobody thrashes, large gangs get their turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from allocator.domain.job import Job
from allocator.domain.plan import Plan, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Snapshot
from tests.placement.worlds import NOW, POLICY, applied, decide, node, snapshot, waiting, way

SECONDS = 30.0
"""From one round to the next."""


@dataclass
class History:
    """What happened: seconds run by job id, starts and stops by job id, and when each stop was."""

    ran: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    stops: dict[str, list[float]] = field(default_factory=dict)
    changes: int = 0
    first_start: dict[str, float] = field(default_factory=dict)


def live(world: Snapshot, shares: Mapping[str, float], rounds: int, policy: Policy = POLICY) -> History:
    """Decide, apply, settle, again and again; nothing ever ends. Each job has one configuration."""
    credit = dict.fromkeys(shares, 0.0)
    history = History()
    for _ in range(rounds):
        plan = decide(world, {job_id: [share] for job_id, share in shares.items()}, credit, policy)
        remember(history, plan, world.time)
        world = applied(world, plan, world.time)
        for job in world.jobs:
            runs = job.allocation is not None
            history.ran[job.id] += SECONDS if runs else 0.0
            settled = credit[job.id] + (shares[job.id] - runs) * SECONDS
            credit[job.id] = min(policy.credit_limit_seconds, max(-policy.credit_limit_seconds, settled))
        world = snapshot(world.nodes, world.jobs, world.time + SECONDS)
    return history


def remember(history: History, plan: Plan, now: float) -> None:
    history.changes += len(plan.changes)
    for change in plan.changes:
        if isinstance(change, Preempt):
            history.stops.setdefault(change.job_id, []).append(now)
        elif isinstance(change, Start):
            history.first_start.setdefault(change.job_id, now)


@pytest.mark.parametrize("part", [0.5, 0.7, 0.9])
def test_two_jobs_on_one_slot_share_its_time_as_the_optimum_says(part: float) -> None:
    rounds = 200
    shares = {"j1": part, "j2": 1 - part}
    history = live(snapshot([node("n1")], [waiting(1), waiting(2)]), shares, rounds)
    assert sum(history.ran.values()) == rounds * SECONDS, "the slot is never idle"
    for job_id, share in shares.items():
        assert abs(history.ran[job_id] - share * rounds * SECONDS) <= 2 * POLICY.hysteresis_seconds


def test_they_alternate_no_faster_than_the_hysteresis_allows() -> None:
    history = live(snapshot([node("n1")], [waiting(1), waiting(2)]), {"j1": 0.5, "j2": 0.5}, 200)
    stops = sorted(time for times in history.stops.values() for time in times)
    assert len(stops) >= 5
    assert min(later - earlier for earlier, later in pairwise(stops)) >= POLICY.hysteresis_seconds


def test_many_equal_jobs_on_few_slots_all_get_their_part() -> None:
    jobs = [waiting(sequence) for sequence in range(6)]
    rounds = 400
    history = live(snapshot([node("n1"), node("n2")], jobs), {job.id: 1 / 3 for job in jobs}, rounds)
    expected = rounds * SECONDS / 3
    assert all(abs(history.ran[job.id] - expected) <= 2 * POLICY.hysteresis_seconds for job in jobs)


def test_nothing_happens_after_the_first_round_when_everybody_has_a_place() -> None:
    jobs = [waiting(sequence, way(cpu=4)) for sequence in range(4)]
    history = live(snapshot([node("n1"), node("n2")], jobs), {job.id: 1.0 for job in jobs}, 50)
    assert history.changes == 4


def large_gang_and_small_jobs() -> tuple[Snapshot, dict[str, float], Job]:
    """Four nodes of one slot each; a gang that needs all of them, and eight small jobs that came first."""
    gang = waiting(9, way(replicas=4, cpu=8))
    small = [waiting(sequence) for sequence in range(1, 9)]
    nodes = [node(f"n{i}") for i in range(4)]
    return snapshot(nodes, [*small, gang]), {gang.id: 0.5} | {job.id: 0.25 for job in small}, gang


def test_a_large_gang_among_small_jobs_gets_its_time() -> None:
    world, shares, gang = large_gang_and_small_jobs()
    rounds = 400
    history = live(world, shares, rounds)
    assert abs(history.ran[gang.id] - 0.5 * rounds * SECONDS) <= 4 * POLICY.hysteresis_seconds
    assert history.first_start[gang.id] - NOW <= 4 * POLICY.hysteresis_seconds
