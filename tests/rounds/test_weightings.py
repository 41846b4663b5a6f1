"""Usage history in real rounds: charged by what runs, paid back when who was short wants something."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from allocator.domain.job import Configuration, Job
from allocator.domain.policy import WEIGHTINGS, Policy
from allocator.domain.queue import Queue
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.formulation.usage_history import history_at, window
from allocator.intake import commands as c
from tests.builders import configuration, node, resources, spec
from tests.rounds.test_loop import Failing, World, seconds_run

HALF_LIFE = 2000.0
PAYING = Policy(
    minimum_run_seconds=0.0,
    hysteresis_seconds=30.0,
    credit_limit_seconds=600.0,
    usage_strength=1.0,
    usage_half_life_seconds=HALF_LIFE,
)


def two_queues(policy: Policy = PAYING, gpus: int = 1) -> World:
    world = World(policy=policy, interval=100.0)
    world.do(c.RegisterNode(node(gpu=gpus)))
    for name in ("a", "b"):
        world.do(c.CreateQueue(Queue(name)))
    return world


def history(world: World) -> dict[str, tuple[float, float]]:
    """In parts of a window."""
    whole = window(HALF_LIFE)
    past = history_at(world.store.memory(), world.time, HALF_LIFE)
    return {name: (had / whole, entitled / whole) for name, (had, entitled) in past.items()}


def part_of(world: World, job: Job, since: int) -> float:
    world.reports = world.reports[since:]
    return seconds_run(world, job) / (len(world.reports) * world.interval)


def test_a_queue_that_slept_is_paid_back_when_it_wakes() -> None:
    parts = {}
    for strength in (0.0, 1.0):
        world = two_queues(replace(PAYING, usage_strength=strength))
        world.submit(spec("a"), spec("a"))
        world.run(3 * HALF_LIFE)
        (second,) = world.submit(spec("b"))
        begin = len(world.reports)
        world.run(HALF_LIFE / 2)
        soon = part_of(world, second, begin)
        world.run(3.5 * HALF_LIFE)
        parts[strength] = (soon, part_of(world, second, len(world.reports) - 30))
    assert parts[0.0] == pytest.approx((0.5, 0.5), abs=0.05)
    assert parts[1.0] == pytest.approx((0.85, 0.5), abs=0.08)


def test_what_is_remembered_is_what_ran() -> None:
    """`a` alone with more than it can run for one half-life: half a window, of which half was its own."""
    world = two_queues()
    world.submit(spec("a"), spec("a"))
    world.run(HALF_LIFE - world.interval)
    assert history(world)["a"] == pytest.approx((0.5, 0.25), rel=1e-3)
    assert history(world)["b"] == pytest.approx((0.0, 0.25), rel=1e-3)


def test_where_there_is_enough_nobody_is_charged() -> None:
    """Four jobs on four GPUs lack nothing, whatever a solver says of prices."""
    world = two_queues(gpus=4)
    world.submit(*[spec("a")] * 4)
    world.run(HALF_LIFE)
    assert history(world) == {"a": (0.0, 0.0), "b": (0.0, 0.0)}
    world.submit(spec("b"))
    world.run(HALF_LIFE / 4)
    assert history(world)["a"][0] > 0.1, "now somebody lacks what it has"


def test_jobs_that_nobody_may_stop_are_charged_while_others_wait() -> None:
    """They leave nothing that could have a price: the last known one counts, or one for all there is."""
    world = two_queues()
    world.submit(spec("a", preemptible=False))
    world.run(HALF_LIFE / 2)
    assert history(world)["a"] == (0.0, 0.0)
    world.submit(spec("b"))
    world.run(HALF_LIFE - world.interval)
    assert history(world)["a"] == pytest.approx((0.5, 0.25), rel=0.02)
    assert history(world)["b"] == pytest.approx((0.0, 0.25), rel=0.02)


@pytest.mark.parametrize("preemptible", [True, False])
def test_where_only_a_licence_is_scarce_who_has_it_is_charged(preemptible: bool) -> None:
    """Of four GPUs each job needs one, and all of them the only licence."""
    licence = SideConstraint("matlab", (Term("matlab"),), most=1)
    world = two_queues(replace(PAYING, side_constraints=(licence,), floating_resources=("matlab",)), gpus=4)
    way = Configuration("a100", 1, resources(1, 1, 1, matlab=1))
    world.submit(*[replace(spec("a", way), preemptible=preemptible)] * 2)
    world.run(HALF_LIFE - world.interval)
    assert history(world)["a"] == pytest.approx((0.5, 0.25), rel=0.06)
    (late,) = world.submit(spec("b", way))
    begin = len(world.reports)
    world.run(HALF_LIFE / 2)
    if preemptible:
        assert part_of(world, late, begin) > 0.6, "it is paid back"


def test_a_limit_of_nothing_that_nobody_takes_anything_of_charges_nobody() -> None:
    """The only licence was taken away, and a job waits for one: there is nothing to share a price among."""
    none = SideConstraint("matlab", (Term("matlab"),), most=0)
    world = two_queues(replace(PAYING, side_constraints=(none,), floating_resources=("matlab",)), gpus=4)
    world.submit(spec("a", Configuration("a100", 1, resources(1, 1, 1, matlab=1))), spec("b"))
    world.run(HALF_LIFE / 2)
    assert [job.allocation is None for job in world.store.list_jobs()] == [True, False]
    assert history(world) == {"a": (0.0, 0.0), "b": (0.0, 0.0)}


def test_how_a_queue_cuts_its_jobs_changes_nothing() -> None:
    had = []
    for jobs in ([spec("a", configuration(gpu=4))], [spec("a")] * 4):
        world = two_queues(gpus=4)
        world.submit(*jobs, spec("b", configuration(gpu=4)))
        world.run(HALF_LIFE - world.interval)
        assert sum(had for had, _ in history(world).values()) == pytest.approx(0.5, abs=0.01)
        had.append(history(world)["a"][0])
    assert had[0] == pytest.approx(had[1], abs=0.02)


def test_without_an_answer_the_last_prices_charge() -> None:
    world = two_queues()
    world.submit(spec("a"), spec("a"))
    world.run(HALF_LIFE / 2)
    world.solver = Failing(calls=1)
    world.run(HALF_LIFE - world.interval - world.time)
    assert history(world)["a"] == pytest.approx((0.5, 0.25), rel=1e-3)


def test_a_queue_that_is_deleted_is_forgotten() -> None:
    world = two_queues()
    world.submit(spec("a"), spec("a"))
    world.run(HALF_LIFE / 4)
    world.do(c.DeleteQueue("b"))
    world.run(world.interval)
    assert set(world.store.memory().history) == {"a"}


def test_rounds_go_on_where_weights_change_by_themselves() -> None:
    """A runner with a choice may want another flavor later, though no fact changes."""
    for weighting, quiet in (("none", True), ("least-attained-service", False)):
        world = World(policy=replace(PAYING, usage_strength=0.0, weighting=weighting))
        world.do(c.CreateQueue(Queue("q")))
        world.do(c.RegisterNode(node(gpu=1)))
        world.do(c.RegisterNode(node("n2", "v100", gpu=1)))
        ways = (configuration(), configuration("v100", throughput=0.5))
        world.submit(spec("q", *ways), spec("q", *ways))
        world.run(100)
        assert (world.quiet_until[-1] == math.inf) is quiet


def test_max_min_which_has_no_prices_charges_too() -> None:
    world = two_queues(replace(PAYING, fairness=math.inf))
    world.submit(spec("a"), spec("a"))
    world.run(HALF_LIFE - world.interval)
    assert history(world)["a"] == pytest.approx((0.5, 0.25), rel=1e-3)
    (late,) = world.submit(spec("b"))
    world.run(world.interval)
    assert world.reports[-1].formulation.weightings.repaid["b"].factor == pytest.approx(2.0, abs=0.1)
    assert world.reports[-1].solution.shares[world.reports[-1].formulation.rows[late.id]].sum() > 0.6


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_rounds_without_any_node_go_on(weighting: str) -> None:
    world = World(policy=replace(PAYING, weighting=weighting, aging_seconds=100.0), interval=100.0)
    world.do(c.CreateQueue(Queue("a")))
    world.do(c.SubmitJobs((spec("a", configuration(gpu=1)),)))
    world.run(300.0)
    (job,) = world.store.list_jobs()
    assert job.allocation is None
    world.do(c.RegisterNode(node(gpu=1)))
    world.run(200.0)
    (job,) = world.store.list_jobs()
    assert job.allocation is not None
