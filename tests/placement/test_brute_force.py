"""Small worlds against exhaustive search: who waits fits nowhere, and who was stopped had to be.

Up to four jobs run on up to three nodes, one or two wait; credits, shares and minimum runs are anything. What may be
stopped for whom is written down here anew, from the rules and not from the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Move, Plan, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PreemptionReason
from allocator.domain.snapshot import Snapshot
from tests.placement.exhaustive import FreeByNode, fits, fitting, free_on
from tests.placement.small_worlds import drawn_nodes, drawn_spec, worlds_to_try
from tests.placement.standing import ahead, margin, scale
from tests.placement.worlds import NOW, applied, decide, snapshot

AGES = (100.0, 10_000.0, 40_000.0, 400_000.0)
"""Seconds since submission."""
FOR_OTHERS = (PreemptionReason.FAIR_SHARE, PreemptionReason.PRIORITY)


@dataclass
class Tiny:
    """A moment of a small world, what is owed and shared in it, and the plan that was made of it."""

    seed: int
    world: Snapshot
    credits: dict[str, float]
    shares: dict[str, list[float]]
    policy: Policy
    plan: Plan

    @property
    def after(self) -> Snapshot:
        return applied(self.world, self.plan)

    @property
    def victims(self) -> dict[str, PreemptionReason]:
        """Who lost its place for others, also those who found another place at once."""
        changes = [change for change in self.plan.changes if isinstance(change, Preempt | Move)]
        return {change.job_id: change.reason for change in changes if change.reason in FOR_OTHERS}

    @property
    def starts(self) -> dict[str, int]:
        """Configuration by id of whoever starts."""
        return {c.job_id: c.placement.configuration for c in self.plan.changes if isinstance(c, Start)}


def tiny(seed: int, *, alone: bool = False) -> Tiny:
    """The world of a seed. `alone`: only one job waits, so that whatever happens happens for it."""
    dice = random.Random(seed)
    nodes = drawn_nodes(dice, "ab"[: dice.randint(1, 2)], dice.randint(1, 3))
    flavors = "".join(sorted({node.flavor for node in nodes}))
    jobs = [
        Job(f"j{index}", index, drawn_spec(dice, flavors, index, alone=alone), submit_time=NOW - dice.choice(AGES))
        for index in range(1, 7)
    ]
    since = NOW - dice.choice((10.0, 200.0, 10_000.0))
    before = snapshot(nodes, jobs[:4], since)
    running = [job for job in applied(before, decide(before)).jobs if job.allocation is not None or not alone]
    world = snapshot(nodes, [*running, *jobs[4 : 5 if alone else 4 + dice.randint(1, 2)]])
    owed = {job.id: dice.choice((-900.0, -350.0, -20.0, 0.0, 20.0, 350.0, 900.0)) for job in world.jobs}
    shares = {job.id: [dice.choice((0.0, 0.3, 1.0)) for _ in job.spec.configurations] for job in world.jobs}
    policy = Policy(
        minimum_run_seconds=dice.choice((0.0, 100.0)),
        hysteresis_seconds=dice.choice((0.0, 30.0, 300.0)),
        lag_tolerance=dice.choice((0.0, 0.01)),
    )
    return Tiny(seed, world, owed, shares, policy, decide(world, shares, owed, policy))


def worlds(usual: int, *, alone: bool = False) -> Iterator[Tiny]:
    return (tiny(seed, alone=alone) for seed in range(worlds_to_try(usual)))


def options(case: Tiny, job: Job, *, owed: bool | None = None) -> list[Configuration]:
    """The configurations it could run in on the empty cluster; `owed`: only those with (without) a share."""
    empty = free_on(case.world.nodes, ())
    pinned = not job.spec.preemptible and job.allocation is not None
    able = fitting(empty, job.spec.configurations)
    ways = zip(job.spec.configurations, case.shares[job.id], strict=True)
    return [way for way, share in ways if way in able and (owed is None or (share > 0 or pinned) == owed)]


def counted(case: Tiny, job: Job) -> float:
    """What it is owed, as it counts. Shares are of jobs that are not pinned; pinned ones have all of their time."""
    pinned = not job.spec.preemptible and job.allocation is not None
    share = 1.0 if pinned else sum(case.shares[job.id])
    return case.credits[job.id] * scale(job, case.policy, case.world.time) + ahead(share, case.policy)


def may_stop(case: Tiny, job: Job, victim: Job, *, owed: bool) -> bool:
    """Whether the rules let `job` have the place of `victim`, which runs where it ran before."""
    if not victim.spec.preemptible or victim.allocation is None:
        return False
    if victim.priority != job.priority:
        return victim.priority < job.priority
    assert victim.last_start_time is not None
    now, policy = case.world.time, case.policy
    credit, other = (counted(case, one) for one in (job, victim))
    least = margin(victim, case.world.jobs, policy, now)
    mature = case.world.time - victim.last_start_time >= case.policy.minimum_run_seconds
    return owed and mature and credit > other and credit >= other + least


def without(world: Snapshot, gone: Sequence[Job]) -> list[Job]:
    names = {job.id for job in gone}
    return [job for job in world.jobs if job.id not in names]


def test_nobody_waits_who_fits_where_the_others_are() -> None:
    waited = 0
    for case in worlds(250):
        after = case.after
        free = free_on(after.nodes, after.jobs)
        causes = dict(case.plan.waiting) | {c.job_id: c.pending for c in case.plan.changes if isinstance(c, Preempt)}
        for job in after.jobs:
            if job.allocation is None and causes[job.id].cause is not PendingCause.RESERVED:
                waited += 1
                assert fitting(free, job.spec.configurations) == [], f"seed {case.seed}: {job.id} waits and fits"
    assert waited > 100


def test_nobody_waits_who_may_stop_enough_others() -> None:
    """Whoever is still without a place would not fit even if all that it may stop were gone."""
    waited = 0
    for case in worlds(250):
        after = case.after
        kept = [job for job in after.jobs if job.id in case.plan.kept]
        for job in after.jobs:
            if job.allocation is not None:
                continue
            for owed in (True, False):
                gone = [other for other in kept if may_stop(case, job, other, owed=owed)]
                waited += bool(gone)
                free = free_on(after.nodes, without(after, gone))
                able = fitting(free, options(case, job, owed=owed))
                assert able == [], f"seed {case.seed}: {job.id} could start instead of {[g.id for g in gone]}"
    assert waited > 10


def test_whoever_is_stopped_could_not_have_stayed_where_it_was() -> None:
    """With everybody else where they are now."""
    stopped = 0
    for case in worlds(250):
        after = case.after
        before = {job.id: job for job in case.world.jobs}
        for victim in case.victims:
            stopped += 1
            place = before[victim].allocation
            assert place is not None
            free = free_on(after.nodes, without(after, [before[victim]]), closed=True)
            demand = before[victim].spec.configurations[place.placement.configuration]
            there = {name: free[name] for name in place.placement.nodes}
            assert not fits_exactly(there, before[victim], demand), f"seed {case.seed}: {victim} could have stayed"
    assert stopped > 15


def fits_exactly(free: FreeByNode, job: Job, way: Configuration) -> bool:
    """Whether the job's old place is free, device by device."""
    assert job.allocation is not None
    for name, there in free.items():
        held = [replica for replica in job.allocation.standing if replica.node == name]
        amounts = {r: a * len(held) for r, a in way.demand.items() if r != "gpu"}
        if any(there.amounts.get(resource, 0) < amount for resource, amount in amounts.items()):
            return False
        devices = list(there.devices)
        for replica in held:
            for device in replica.gpus:
                devices[device] -= min(way.demand.gpu_millis, 1000)
        if any(left < 0 for left in devices):
            return False
    return True


def test_only_jobs_that_the_rules_give_it_stop_for_a_lone_newcomer() -> None:
    """One job waits, nobody else moves: then every victim is its, and it may stop each of them."""
    for case, newcomer, victims in lone_preemptions(400):
        for victim in victims:
            assert may_stop(case, newcomer, victim, owed=True), f"seed {case.seed}: {victim.id}"


def test_no_smaller_set_of_the_victims_of_a_lone_newcomer_is_enough() -> None:
    """Put any single victim back: the newcomer does not fit anywhere on its flavor."""
    found = []
    for case, newcomer, victims in lone_preemptions(400):
        way = newcomer.spec.configurations[case.starts[newcomer.id]]
        for kept in victims:
            gone = [victim for victim in victims if victim is not kept]
            if fits(free_on(case.world.nodes, without(case.world, gone)), way):
                found.append(f"seed {case.seed}: {newcomer.id} needs no place of {kept.id}")
    assert found == []


def test_nobody_is_stopped_for_a_lone_newcomer_where_only_less_owed_ones_would_do() -> None:
    """If everybody lower in order than the highest victim were gone, the newcomer would not fit."""
    for case, newcomer, victims in lone_preemptions(400):
        way = newcomer.spec.configurations[case.starts[newcomer.id]]
        highest = max(order(case, victim) for victim in victims)
        lower = [
            job
            for job in case.world.jobs
            if may_stop(case, newcomer, job, owed=True)
            and order(case, job) < highest
            and job.allocation is not None
            and job.spec.configurations[job.allocation.placement.configuration].flavor == way.flavor
        ]
        free = free_on(case.world.nodes, without(case.world, lower))
        assert not fits(free, way), f"seed {case.seed}: {[job.id for job in lower]} are enough for {newcomer.id}"


def order(case: Tiny, job: Job) -> tuple[int, float, bool, int]:
    """Greater is stopped later: class, credit, whether it has a share, and the earlier admission."""
    owed = counted(case, job)
    return (job.priority, owed, any(case.shares[job.id]), -job.sequence)


@cache
def lone_preemptions(usual: int) -> list[tuple[Tiny, Job, list[Job]]]:
    """(world, who starts, who stops for it) where exactly that happens."""
    found = []
    for case in worlds(usual, alone=True):
        if len(case.starts) == 1 and case.victims and not any(isinstance(c, Move) for c in case.plan.changes):
            jobs = {job.id: job for job in case.world.jobs}
            found.append((case, jobs[next(iter(case.starts))], [jobs[job_id] for job_id in case.victims]))
    assert len(found) > worlds_to_try(usual) / 40
    return found


def test_equal_worlds_give_equal_plans() -> None:
    for case in worlds(40):
        again = tiny(case.seed)
        assert again.plan == case.plan
        assert replace(again, seed=0) == replace(case, seed=0)
