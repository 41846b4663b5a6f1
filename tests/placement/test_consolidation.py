"""Jobs that move so that a gang fits: exact small cases, what always holds, and what is promised not to be missed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Move, Plan, Preempt, Start
from allocator.domain.policy import Policy
from allocator.domain.reason import PreemptionReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.build import build
from allocator.placement import place, rounding
from allocator.placement.verify import violations
from tests.placement.exhaustive import FreeByNode, empty, fits, free_on, most_replicas
from tests.placement.small_worlds import worlds_to_try
from tests.placement.story import Story, each
from tests.placement.worlds import (
    CORDONED,
    LONG_AGO,
    NOW,
    POLICY,
    applied,
    decide,
    node,
    running,
    share_matrix,
    snapshot,
    told,
    waiting,
    way,
)

TWO = [node("n1", gpu=2), node("n2", gpu=2)]
MOVED = {"j1": "moves to n2:1 for consolidated", "j2": "kept", "j3": "starts on n1:0,1"}
FRAGMENTED = {"j1": "kept", "j2": "kept", "j3": "waits: fragmented"}


def one_each(gang: Job, *, since: float = LONG_AGO, **more: float | bool | str) -> list[Job]:
    """A job of one GPU on each of two nodes, and one that waits for both GPUs of a node."""
    small = [waiting(number, way(gpu=1), **more) for number in (1, 2)]  # type: ignore[arg-type] # by keyword
    return [running(small[0], "n1:0", since=since), running(small[1], "n2:0", since=since), gang]


GANG = waiting(3, way(gpu=2))
STORIES = [
    Story("a job moves so that a larger one fits", TWO, one_each(GANG), MOVED),
    Story(
        "a restart that costs less than the horizon is worth",
        TWO,
        one_each(GANG, restart_cost=7100.0),
        MOVED,
    ),
    Story("one that costs more is not", TWO, one_each(GANG, restart_cost=7300.0), FRAGMENTED),
    Story(
        "nor does it pay for a job that will soon be through",
        TWO,
        one_each(waiting(3, way(gpu=2), expected_duration_seconds=100.0)),
        FRAGMENTED,
    ),
    Story("nobody moves who may not be stopped", TWO, one_each(GANG, preemptible=False), FRAGMENTED),
    Story("nor before the minimum run", TWO, one_each(GANG, since=NOW - 299.0), FRAGMENTED),
    Story("nor without one", TWO, one_each(GANG), FRAGMENTED, policy=replace(POLICY, minimum_run_seconds=0.0)),
    Story("nor for a job to which the optimum gives nothing", TWO, one_each(GANG), FRAGMENTED, shares={"j3": [0.0]}),
    Story(
        "nor for a lower class while a higher one waits, which might use the room at once",
        [*TWO, node("n3", gpu=2)],
        [
            *one_each(GANG),
            running(waiting(4, way(gpu=2), preemptible=False), "n3:0,1"),
            waiting(5, way(gpu=2, replicas=3), priority_class="high"),
        ],
        FRAGMENTED | {"j4": "kept", "j5": "waits: insufficient_capacity"},
    ),
    Story(
        "nobody moves to a closed node",
        [node("n1", gpu=2), node("n2", gpu=2, availability=CORDONED)],
        one_each(GANG),
        {"j1": "kept", "j2": "kept", "j3": "waits: insufficient_capacity"},
    ),
    Story(
        "several move for a gang of several replicas",
        [node(f"n{number}", gpu=2) for number in range(1, 5)],
        [
            *(running(waiting(number, way(gpu=1)), f"n{number}:0") for number in range(1, 5)),
            waiting(5, way(gpu=2, replicas=2)),
        ],
        {
            "j1": "moves to n3:1 for consolidated",
            "j2": "moves to n4:1 for consolidated",
            "j3": "kept",
            "j4": "kept",
            "j5": "starts on n1:0,1 n2:0,1",
        },
    ),
    Story(
        "a part of a GPU moves to another GPU of its node",
        [node("n1", gpu=2)],
        [
            running(waiting(1, way(gpu=0.5)), "n1:0"),
            running(waiting(2, way(gpu=0.5)), "n1:1"),
            waiting(3, way(gpu=1)),
        ],
        {"j1": "kept", "j2": "moves to n1:0 for consolidated", "j3": "starts on n1:1"},
    ),
    Story(
        "two parts that share a GPU move together",
        [node("n1", gpu=1), node("n2", gpu=1)],
        [
            running(waiting(1, way(gpu=0.4)), "n1:0"),
            running(waiting(2, way(gpu=0.4)), "n1:0"),
            running(waiting(3, way(gpu=0.2), preemptible=False), "n2:0"),
            waiting(4, way(gpu=1)),
        ],
        {
            "j1": "moves to n2:0 for consolidated",
            "j2": "moves to n2:0 for consolidated",
            "j3": "kept",
            "j4": "starts on n1:0",
        },
    ),
    Story(
        "a gang that is spread over nodes stays where it is",
        [node("n1", gpu=2), node("n2", gpu=2), node("n3", gpu=2, cpu=1)],
        [running(waiting(1, way(gpu=1, replicas=2)), "n1:0", "n2:0"), waiting(2, way(gpu=2, cpu=2))],
        {"j1": "kept", "j2": "waits: fragmented"},
    ),
    Story(
        "the cheapest moves",
        TWO,
        [
            running(waiting(1, way(gpu=1), restart_cost=3000.0), "n1:0"),
            running(waiting(2, way(gpu=1)), "n2:0"),
            GANG,
        ],
        {"j1": "kept", "j2": "moves to n1:1 for consolidated", "j3": "starts on n2:0,1"},
    ),
]


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()


@pytest.mark.parametrize(("price", "story"), [(1.0, MOVED), (50.0, FRAGMENTED)])
def test_worth_is_told_by_prices(price: float, story: dict[str, str]) -> None:
    """The small jobs need 4 cores each, the gang needs none: what cores cost decides."""
    small = [running(waiting(number, way(gpu=1, cpu=4)), f"n{number}:0") for number in (1, 2)]
    world = snapshot(TWO, [*small, GANG])
    formulation = build(world, POLICY)
    memory = Memory.of(NOW, prices={("a", "gpu"): 3.0, ("a", "cpu"): price})
    assert told(place(world, formulation, share_matrix(formulation, {}), memory, POLICY)) == story


def test_deciding_again_changes_nothing() -> None:
    world = applied(snapshot(TWO, one_each(GANG)), decide(snapshot(TWO, one_each(GANG))))
    assert decide(world).changes == ()


# --- any world ----------------------------------------------------------------------------------------------------


@dataclass
class Scattered:
    """Jobs at random places on a few nodes; some wait. Nobody may stop anybody: all are owed the same."""

    seed: int
    world: Snapshot
    plan: Plan
    policy: Policy

    @property
    def after(self) -> Snapshot:
        return applied(self.world, self.plan)


def scattered(seed: int, *, unit: bool) -> Scattered:
    """`unit`: only jobs of one replica."""
    dice = random.Random(seed)
    nodes = [
        node(f"n{index}", cpu=dice.randint(6, 12), gpu=dice.choice((2, 3, 4))) for index in range(dice.choice((2, 3)))
    ]
    free, jobs = empty(nodes), []
    for number in range(1, 13):
        large = number > 9
        gpu = dice.choice((2, 2, 3) if large else (0, 0.5, 1, 1, 1, 2))
        cpu = dice.randint(0, 2) if gpu else dice.randint(1, 4)
        replicas = 1 if unit else dice.choice((1, 1, 2))
        job = waiting(
            number,
            way(gpu=gpu, cpu=cpu, replicas=replicas),
            restart_cost=dice.choice((0.0, 0.0, 900.0, 5000.0)),
            preemptible=dice.random() < 0.85,
        )
        jobs.append(job if large or dice.random() < 0.3 else _somewhere(dice, job, free))
    # Those who were there when nodes were fuller.
    jobs = [job for job in jobs if job.sequence > 9 or dice.random() < 0.7]
    policy = replace(POLICY, hysteresis_seconds=dice.choice((30.0, 300.0)))
    world = snapshot(nodes, jobs)
    return Scattered(seed, world, decide(world, policy=policy), policy)


def _somewhere(dice: random.Random, job: Job, free: FreeByNode) -> Job:
    """The same job at places drawn at random, if there are any."""
    way, left, places = job.spec.configurations[0], dict(free), []
    for _ in range(way.replicas):
        names = [name for name in left if most_replicas(left[name], way)]
        if not names:
            return job
        name = dice.choice(names)
        after = dice.choice(list(left[name].after_one(way)))
        pairs = enumerate(zip(left[name].devices, after.devices, strict=True))
        held = [str(index) for index, (before, now) in pairs if before != now]
        places.append(name + (":" + ",".join(held) if held else ""))
        left[name] = after
    free.update(left)
    return running(job, *places, since=NOW - dice.choice((100.0, 10_000.0, 10_000.0)))


def worlds(usual: int, *, unit: bool) -> Iterator[Scattered]:
    return (scattered(seed, unit=unit) for seed in range(worlds_to_try(usual)))


def moved(plan: Plan) -> set[str]:
    changes = [change for change in plan.changes if isinstance(change, Move)]
    return {change.job_id for change in changes if change.reason is PreemptionReason.CONSOLIDATED}


def test_everybody_who_moves_has_a_place_and_all_who_ran_run(monkeypatch: pytest.MonkeyPatch) -> None:
    consolidated = list(worlds(200, unit=False))
    monkeypatch.setattr(rounding, "CONSOLIDATIONS", 0)
    helped = 0
    for case in consolidated:
        after = case.after
        assert violations(after.nodes, after.jobs) == [], f"seed {case.seed}"
        assert not any(isinstance(change, Preempt) for change in case.plan.changes), f"seed {case.seed}"
        running_now = {job.id for job in after.jobs if job.allocation is not None}
        without = decide(case.world, policy=case.policy)
        there = {job.id for job in applied(case.world, without).jobs if job.allocation is not None}
        assert there <= running_now, f"seed {case.seed}"
        assert bool(moved(case.plan)) == (there < running_now), f"seed {case.seed}"
        jobs = {job.id: job for job in case.world.jobs}
        for job_id in moved(case.plan):
            since = jobs[job_id].last_start_time
            assert since is not None
            assert jobs[job_id].spec.preemptible, f"seed {case.seed}: {job_id}"
            assert NOW - since >= case.policy.minimum_run_seconds, f"seed {case.seed}: {job_id}"
        helped += bool(moved(case.plan))
    assert helped > len(consolidated) / 20


def test_deciding_again_in_any_world_changes_nothing() -> None:
    for case in worlds(100, unit=False):
        assert decide(case.after, policy=case.policy).changes == (), f"seed {case.seed}"


def test_nobody_waits_for_whom_one_other_could_move() -> None:
    """What is promised: a job of one replica, and one mover of one replica with a free place on another node."""
    waiters, found = missed(250)
    assert found == []
    assert waiters > 200


def test_the_search_for_what_was_missed_finds_it_where_nobody_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "CONSOLIDATIONS", 0)
    assert len(missed(100)[1]) > 10


def missed(usual: int) -> tuple[int, list[str]]:
    """How many waited, and for whom of them somebody could have moved."""
    waiters, found = 0, []
    for case in worlds(usual, unit=True):
        after = case.after
        for job in after.jobs:
            if job.allocation is not None:
                continue
            waiters += 1
            found += [
                f"seed {case.seed}: {job.id} waits, {mover.id} could move"
                for mover in after.jobs
                if mover.id in case.plan.kept and may_move(case, mover, job) and would_help(after, mover, job)
            ]
    return waiters, found


def may_move(case: Scattered, mover: Job, job: Job) -> bool:
    """Whether the rules allow it, and it pays; without prices, amounts count relative to the largest node."""
    if mover.allocation is None or not mover.spec.preemptible or mover.last_start_time is None:
        return False
    largest = {
        resource: max(member.capacity.get(resource) for member in case.world.nodes) for resource in ("cpu", "gpu")
    }

    def worth(way: Configuration) -> float:
        return sum(way.demand.get(resource) / most for resource, most in largest.items())

    cost = worth(mover.spec.configurations[0]) * max(mover.spec.restart_cost_seconds, case.policy.hysteresis_seconds)
    gain = worth(job.spec.configurations[0]) * case.policy.horizon_seconds
    return case.world.time - mover.last_start_time >= case.policy.minimum_run_seconds and cost < gain * (1 - 1e-9)


def would_help(world: Snapshot, mover: Job, job: Job) -> bool:
    """Whether the job would fit on the node of the mover, and that on another node."""
    assert mover.allocation is not None
    home = mover.allocation.placement.nodes[0]
    now = free_on(world.nodes, world.jobs)
    others = {name: free for name, free in now.items() if name != home}
    if not fits(others, mover.spec.configurations[0]):
        return False
    left = free_on(world.nodes, [other for other in world.jobs if other.id != mover.id])
    return fits({home: left[home]}, job.spec.configurations[0])


def test_starts_are_what_moves_are_for() -> None:
    """Without anybody who starts, nobody moves."""
    for case in worlds(150, unit=True):
        if moved(case.plan):
            assert any(isinstance(change, Start) for change in case.plan.changes), f"seed {case.seed}"
