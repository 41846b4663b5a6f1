"""The kernels decide the same as they are written and compiled."""

from __future__ import annotations

import random
from dataclasses import replace
from types import ModuleType

import pytest

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration, Job
from allocator.domain.policy import PLACEMENTS, Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.domain.snapshot import Snapshot, WorkKind
from allocator.formulation.build import build
from allocator.placement import fit, laying_out, rounding
from allocator.placement.compiled import CALLED, MODULES, Kernels, compiled, compiled_of, plain
from allocator.rounds.coming import coming_work
from tests.placement.worlds import (
    CORDONED,
    DRAINING,
    LOST,
    NOW,
    OPEN,
    applied,
    decide,
    node,
    running,
    snapshot,
    told,
    waiting,
    way,
)

NODES = 250
FLAVORS = ("a", "b")


def drawn_ways(dice: random.Random) -> list[tuple[Configuration, ...]]:
    """Shapes of jobs: processors only, parts of a GPU and whole ones, alone and in gangs."""
    found = []
    for _ in range(16):
        gpu = dice.choice((0, 0.2, 0.5, 0.7, 1, 1, 2, 4))
        cpu, replicas = dice.randint(1, 9), dice.choice((1, 1, 1, 2, 6))
        flavors = dice.choice((("a",), ("b",), FLAVORS))
        found.append(tuple(way(flavor=flavor, cpu=cpu, gpu=gpu, replicas=replicas) for flavor in flavors))
    return found


def drawn_jobs(dice: random.Random, ways: list[tuple[Configuration, ...]], first: int, count: int) -> list[Job]:
    return [
        waiting(
            first + index,
            *dice.choice(ways),
            priority_class=dice.choice(("low", "normal", "normal", "normal", "high")),
            preemptible=dice.random() < 0.8,
            restart_cost=dice.choice((0.0, 400.0)),
            weight=1.0,
        )
        for index in range(count)
    ]


def drawn(seed: int, policy: Policy) -> tuple[Snapshot, dict[str, float], tuple[WorkKind, ...]]:
    """A full cluster on which some nodes have failed or closed, more jobs than fit, credits, and what work comes."""
    dice = random.Random(seed)
    conditions = [(OPEN, False)] * 40 + [(CORDONED, False), (DRAINING, False), (OPEN, True)]
    sizes = [
        (dice.choice(FLAVORS), dice.choice((8, 16, 32)), dice.choice((0, 1, 2, 4)), index // 8)
        for index in range(NODES)
    ]
    ways = drawn_ways(dice)
    before = snapshot(members([(OPEN, False)] * NODES, sizes), drawn_jobs(dice, ways, 0, 500), NOW - 1000.0)
    work = coming_work(build(before, policy).live, {}, ())
    after = applied(before, decide(before, policy=policy))
    jobs = [*after.jobs, *drawn_jobs(dice, ways, 500, 150)]
    owed = {job.id: dice.choice((-4000.0, -100.0, 0.0, 0.0, 200.0, 4000.0)) for job in jobs}
    return snapshot(members([dice.choice(conditions) for _ in range(NODES)], sizes), jobs), owed, work


def members(conditions: list[tuple[NodeAvailability, bool]], sizes: list[tuple[str, int, int, int]]) -> list[Node]:
    return [
        node(
            f"n{index:03}",
            flavor=flavor,
            cpu=cpu,
            gpu=gpu,
            rack=f"r{rack}",
            availability=availability,
            health=LOST if lost else NodeHealth.READY,
        )
        for index, ((availability, lost), (flavor, cpu, gpu, rack)) in enumerate(zip(conditions, sizes, strict=True))
    ]


def assert_compiled_once() -> None:
    """Of arrays of another type or order in memory all would be compiled again, while a large cluster waits."""
    of = {name: len(getattr(compiled(), name).signatures) for name in CALLED}
    assert of["walk"] == 1
    assert max(of.values()) == 1, of


@pytest.mark.parametrize("missing", [laying_out, fit])
def test_kernels_that_call_what_is_no_kernel_are_refused_before_anything_is_compiled(missing: ModuleType) -> None:
    compiled_of(MODULES, CALLED)
    with pytest.raises(AssertionError, match=r"^\w+ calls \w+, which is no kernel of a module before its own$"):
        compiled_of([module for module in MODULES if module is not missing], CALLED)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one compiles
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_plain_and_compiled_kernels_decide_the_same(placement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(placement=placement)
    world, owed, work = drawn(PLACEMENTS.index(placement), policy)
    assert work
    plans = []
    for kernels in (plain(), compiled()):

        def chosen(nodes: int, jobs: int, kernels: Kernels = kernels) -> Kernels:
            return kernels

        monkeypatch.setattr(rounding, "kernels_for", chosen)
        plans.append(decide(world, credits_owed=owed, policy=policy, work=work))
    assert_compiled_once()
    story = told(plans[0])
    assert told(plans[1]) == story
    assert plans[0] == plans[1]
    words = " ".join(story.values())
    for expected in ("starts on", "kept", "waits", "stops for fair_share", "stops for node_lost", "moves to"):
        assert expected in words


def with_holes(seed: int) -> Snapshot:
    """Small jobs at random places of all nodes, and larger ones that wait, for some of which there is no node."""
    dice = random.Random(seed)
    nodes = [node(f"n{index:03}", cpu=16, gpu=4) for index in range(NODES)]
    jobs: list[Job] = []
    for member in nodes:
        for device in dice.sample(range(4), dice.choice((2, 3, 3, 4))):
            job = waiting(len(jobs), way(gpu=dice.choice((0.5, 1, 1)), cpu=dice.choice((1, 2))), weight=1.0)
            jobs.append(running(job, f"{member.name}:{device}"))
    sizes = [way(gpu=gpu, cpu=2, replicas=replicas) for gpu in (1, 2, 3, 4) for replicas in (1, 2)]
    jobs += [waiting(len(jobs) + index, dice.choice(sizes), weight=1.0) for index in range(150)]
    return snapshot(nodes, jobs)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one compiles
def test_plain_and_compiled_kernels_move_the_same_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    world = with_holes(1)
    stories = []
    for kernels in (plain(), compiled()):

        def chosen(nodes: int, jobs: int, kernels: Kernels = kernels) -> Kernels:
            return kernels

        monkeypatch.setattr(rounding, "kernels_for", chosen)
        stories.append(told(decide(world)))
    assert_compiled_once()
    assert stories[1] == stories[0]
    assert sum("for consolidated" in what for what in stories[0].values()) >= 10


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one compiles
def test_plain_and_compiled_kernels_keep_the_same_quotas_and_side_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    money = tuple(Term("gpu", price, flavors=(flavor,)) for flavor, price in (("a", 2.5), ("b", 0.6)))
    racks = [(("rack", f"r{rack}"),) for rack in range(20)]
    power = [(Term("gpu", 0.7, node_labels=where), Term("cpu", 0.01, node_labels=where)) for where in racks]
    constraints = [SideConstraint(f"power-{number}", terms, most=7.0) for number, terms in enumerate(power)]
    policy = Policy(side_constraints=(SideConstraint("money", (*money, Term("cpu", 0.1)), most=380.0), *constraints))
    world, owed, work = drawn(1, policy)
    world = replace(world, queues=(Queue("q", quotas=(Quota("a", "cpu", 900_000, 100_000),)),))
    plans = []
    for kernels in (plain(), compiled()):

        def chosen(nodes: int, jobs: int, kernels: Kernels = kernels) -> Kernels:
            return kernels

        monkeypatch.setattr(rounding, "kernels_for", chosen)
        plans.append(decide(world, credits_owed=owed, policy=policy, work=work))
    assert_compiled_once()
    assert plans[0] == plans[1]
    words = " ".join(told(plans[0]).values())
    for expected in ("starts on", "over_limit", "stops for limit", "kept"):
        assert expected in words
