"""Why a job is where it is, in clusters small enough to work out by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from allocator.domain.cluster import EngineCapability, Node
from allocator.domain.job import Configuration, JobSpec, JobState
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.explain.answers import JobExplanation, Tier
from allocator.explain.job import explain_job
from allocator.explain.scarcity import BindingKind
from allocator.intake import commands as c
from tests.explain.worlds import World, gpus, node, quota


def explained(world: World, job_id: str) -> JobExplanation:
    return explain_job(world.finished, world.job(job_id))


def test_shares_budgets_and_costs_by_hand() -> None:
    """4 GPUs, two queues of equal weight. x: two jobs of 2 GPUs; y: one of 4, three of 1. Half of all money each, so a
    GPU costs 1/4; x's jobs have 1/4 each, which buys half of the 1/2 that running all the time costs.
    """
    world = World(["x", "y"], [node("n1")])
    world.submit(JobSpec("x", (gpus(count=2),)), JobSpec("x", (gpus(count=2),)))
    world.submit(JobSpec("y", (gpus(count=4),)), *[JobSpec("y", (gpus(),)) for _ in range(3)])
    world.round()

    first = explained(world, "j1")
    assert first.round == 1
    assert first.budget == pytest.approx(0.25, rel=1e-3)
    assert first.spends == pytest.approx(0.25, rel=1e-3)
    assert first.owed_share == pytest.approx(0.5, rel=1e-3)
    (configuration,) = first.configurations
    assert configuration.cost == pytest.approx(0.5, rel=1e-3)
    assert (configuration.speed, configuration.limits_cost, configuration.possible) == (1.0, 0.0, True)
    (binding,) = first.bindings
    assert (binding.kind, binding.queue, binding.flavor, binding.resource) == (BindingKind.CAPACITY, "", "a", "gpu")
    assert binding.price == pytest.approx(0.25, rel=1e-3)
    assert binding.paid == pytest.approx(0.25, rel=1e-3)

    large = explained(world, "j3")
    assert large.owed_share == pytest.approx(0.125, rel=1e-3)
    assert large.state is JobState.PENDING
    assert (large.tier, large.received_share, large.credit_seconds) == (Tier.NOT_NOW, 0.0, 0.0)
    assert large.waiting is not None
    assert large.position == large.waiting, "who is given the smallest share comes last"


def test_credit_is_told_as_of_the_round() -> None:
    """Two jobs on one GPU: half of the time each. After 10 s the one that waits is owed 5 s, the other had 5 s."""
    world = World(["x"], [node("n1", count=1)])
    world.submit(JobSpec("x", (gpus(),)), JobSpec("x", (gpus(),)))
    world.round()
    world.round()
    assert explained(world, "j1").credit_seconds == pytest.approx(-5.0, abs=0.01)
    waiting = explained(world, "j2")
    assert waiting.credit_seconds == pytest.approx(5.0, abs=0.01)
    assert (waiting.position, waiting.waiting) == (1, 1)


def test_a_borrowing_limit_binds() -> None:
    """One queue alone on 4 GPUs, that may borrow 2 and has no quota: its limit is what all its money goes for."""
    world = World([Queue("x", quotas=(quota(0, borrow=2),))], [node("n1")])
    world.submit(*[JobSpec("x", (gpus(),)) for _ in range(4)])
    world.round()
    found = explained(world, "j4")
    assert found.owed_share == pytest.approx(0.5, rel=1e-3)
    assert [(each.kind, each.queue) for each in found.bindings] == [(BindingKind.BORROWING, "x")]
    (configuration,) = found.configurations
    assert configuration.limits_cost == pytest.approx(configuration.cost)


def test_what_others_keep_to_themselves_binds() -> None:
    world = World([Queue("x", quotas=(quota(3, lend=0),)), "y"], [node("n1")])
    world.submit(JobSpec("x", (gpus(),)), *[JobSpec("y", (gpus(),)) for _ in range(4)])
    world.round()
    found = explained(world, "j5")
    assert found.owed_share == pytest.approx(0.25, rel=1e-3)
    assert (BindingKind.LENDING, "x") in [(each.kind, each.queue) for each in found.bindings]
    assert explained(world, "j1").owed_share == pytest.approx(1.0, rel=1e-3)


def test_a_class_pays_its_own_prices() -> None:
    """The higher class is satisfied with 2 of 4 GPUs and pays nothing; the lower one shares what is left."""
    world = World(["x"], [node("n1")])
    world.submit(*[JobSpec("x", (gpus(),), priority_class="high") for _ in range(2)])
    world.submit(*[JobSpec("x", (gpus(),)) for _ in range(4)])
    world.round()
    high, low = explained(world, "j1"), explained(world, "j6")
    assert high.owed_share == pytest.approx(1.0, rel=1e-3)
    assert high.spends == pytest.approx(0.0, abs=1e-6)
    assert low.owed_share == pytest.approx(0.5, rel=1e-3)
    assert [each.kind for each in low.bindings] == [BindingKind.CAPACITY]


def test_a_job_that_never_can_run_says_so() -> None:
    world = World(["x"], [node("n1", count=2)])
    world.submit(JobSpec("x", (gpus(count=4),)))
    world.round()
    found = explained(world, "j1")
    assert (found.tier, found.owed_share, found.budget, found.position) == (Tier.NEVER, 0.0, None, None)
    assert [each.possible for each in found.configurations] == [False]


def test_a_job_that_nobody_may_stop_is_owed_its_place_and_has_no_budget() -> None:
    world = World(["x"], [node("n1", count=1)])
    world.submit(JobSpec("x", (gpus(),), preemptible=False))
    world.round()
    world.round()
    found = explained(world, "j1")
    assert (found.owed_share, found.received_share, found.budget) == (1.0, 1.0, None)


def test_what_no_round_has_seen() -> None:
    world = World(["x"], [node("n1", count=1)])
    (early,) = world.submit(JobSpec("x", (gpus(),)))
    before = explain_job(None, early)
    assert (before.round, before.owed_share, before.state) == (None, None, JobState.PENDING)
    world.round()
    (late,) = world.submit(JobSpec("x", (gpus(),)))
    assert explained(world, late.id).round is None
    world.do(c.CancelJobs((early.id,), ""))
    ended = explained(world, early.id)
    assert (ended.state, ended.round, ended.tier) == (JobState.CANCELLED, None, None)


def test_positions_are_an_order_of_those_that_wait() -> None:
    for seed in range(10):
        dice = random.Random(seed)
        world = World(["x", Queue("y", 3.0)], [node("n1"), node("n2", count=2)])
        for _ in range(4):
            world.submit(
                *[
                    JobSpec(
                        dice.choice("xy"),
                        (gpus(count=dice.choice((1, 2, 4))),),
                        priority_class=dice.choice(("normal", "normal", "high")),
                        weight=dice.choice((1.0, 2.0)),
                    )
                    for _ in range(3)
                ]
            )
            world.round()
        found = [explained(world, f"j{number}") for number in range(1, 13)]
        positions = sorted(each.position for each in found if each.position is not None)
        assert positions == list(range(1, len(positions) + 1)), seed
        assert {each.waiting for each in found if each.position} in ({len(positions)}, set())
        classes = {world.job(each.job_id).spec.priority_class: each.position for each in found if each.position}
        if len(classes) == 2:
            first_normal = min(
                each.position
                for each in found
                if each.position and world.job(each.job_id).spec.priority_class == "normal"
            )
            assert classes["high"] < first_normal, seed


def test_what_keeps_a_job_as_it_is() -> None:
    """One node whose engine can do nothing to what runs: a divisible job keeps its part of it, and is told why."""
    able = frozenset({EngineCapability.CHANGE_REPLICAS, EngineCapability.SPLIT_CORES})
    world = World(["x"], [Node("n1", "a", Resources(cpu_millicores=12_000), capabilities=able)])
    one, eight = (Configuration("a", 1, Resources(cpu_millicores=1000 * cores)) for cores in (1, 8))
    alone, other = world.submit(
        JobSpec("x", (eight,), divisible=True),
        JobSpec("x", (one, replace(one, replicas=2, throughput=1.5)), resizable=True),
    )
    world.round()
    assert explained(world, alone.id).lacking == (EngineCapability.RESIZE_CPU,)
    assert explained(world, other.id).lacking == (), "gangs may grow here"
    (late,) = world.submit(JobSpec("x", (eight,), divisible=True))
    world.round()
    assert explained(world, late.id).state is JobState.PENDING
    assert explained(world, late.id).lacking == (), "it has nothing to keep"
