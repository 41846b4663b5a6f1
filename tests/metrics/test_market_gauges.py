"""What a scrape shows of a round's market: shares of money, quotas, their prices, and whether guarantees are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.explain.queue import explain_queue
from allocator.intake import commands as c
from allocator.metrics import Metrics, names
from tests.explain.worlds import World, gpus, node, quota
from tests.metrics.cases import Samples, scrape, value


def shown(world: World, **limits: int) -> Samples:
    metrics = Metrics(version="1", round_interval=2.0, **limits)
    assert world.report is not None
    metrics.observe(world.report)
    return scrape(metrics)


def many(queue: str, count: int = 40) -> list[JobSpec]:
    return [JobSpec(queue, (gpus(),)) for _ in range(count)]


def of(samples: Samples, names_: Sequence[str], **labels: str) -> list[float | None]:
    return [value(samples, f"allocator_queue_{name}", **labels) for name in names_]


def test_every_queue_has_the_numbers_of_its_explanation_inner_ones_and_idle_ones_too() -> None:
    world = World(["r", "r/x", "r/y", "s", "idle"], [node("n1", count=16)])
    world.submit(*many("r/x", 2), *many("r/y"), *many("s"))
    world.round()
    samples = shown(world)
    for queue in ("r", "r/x", "r/y", "s", "idle"):
        told = explain_queue(world.finished, queue)
        assert of(
            samples,
            (
                "entitlement_ratio", "budget_ratio", "spent_ratio", "demand_ratio", "share_by_weight_ratio",
                "fairness_error_ratio",
            ),
            queue=queue,
        ) == pytest.approx(
            [told.entitlement, told.budget, told.spends, told.demand, told.fair_share, told.fairness_error], abs=1e-12
        )  # fmt: skip
    assert of(samples, ("entitlement_ratio",), queue="r/x") == [0.25]
    assert of(samples, ("share_by_weight_ratio",), queue="r/x") == [2 / 16]
    assert of(samples, ("budget_ratio",), queue="r/y") == pytest.approx([6 / 16], rel=1e-3)
    assert of(samples, ("entitlement_ratio",), queue="idle") == [0.0]
    assert of(samples, ("guaranteed_ratio", "guarantee_kept_ratio", "gpu_used_gpus"), queue="r") == [None] * 3


def test_what_quotas_hold_lend_and_borrow_and_what_their_limits_cost() -> None:
    """16 GPUs. x has 8 of its own, wants 2 and lends at most 5: 13 are left for y, which may use 6, and z."""
    world = World(
        [Queue("x", quotas=(quota(8, lend=5),)), Queue("y", quotas=(quota(4, borrow=2),)), "z"], [node("n1", count=16)]
    )
    world.submit(*many("x", 2), *many("y"))
    world.round()
    samples = shown(world)
    roles = ("used", "optimum", "quota", "most", "lent", "borrowed")
    columns = tuple(f"gpu_{role}_gpus" for role in roles)
    assert of(samples, ("gpu_most_gpus",), queue="x", flavor="a") == [None]
    columns_of_x = [column for column in columns if "most" not in column]
    assert of(samples, columns_of_x, queue="x", flavor="a") == pytest.approx([2, 2, 8, 6, 0], rel=1e-3)
    assert of(samples, columns, queue="y", flavor="a") == pytest.approx([6, 6, 4, 6, 0, 2], rel=1e-3)
    price = names.QUOTA_PRICE.name
    told = explain_queue(world.finished, "y").amounts[0].limit_price
    assert told > 0
    assert value(samples, price, queue="y", flavor="a", resource="gpu", limit="borrowing") == told
    assert value(samples, price, queue="x", flavor="a", resource="gpu", limit="lending") == pytest.approx(0, abs=1e-9)
    assert value(samples, price, queue="x", flavor="a", resource="gpu", limit="borrowing") is None
    assert not [labels for name, labels in samples if ("queue", "z") in labels and "gpu" in name]


def test_what_a_queue_does_not_lend_has_a_price() -> None:
    """Of 16 GPUs x keeps 3 that it does not use: y, which wants all, would pay for one of them."""
    world = World([Queue("x", quotas=(quota(8, lend=5),)), "y"], [node("n1", count=16)])
    world.submit(*many("x", 2), *many("y"))
    world.round()
    found = value(shown(world), names.QUOTA_PRICE.name, queue="x", flavor="a", resource="gpu", limit="lending")
    assert found == pytest.approx(1 / 13, rel=1e-2)


def test_a_guarantee_that_is_kept_one_that_is_not_yet_and_one_that_cannot_be() -> None:
    world = World([Queue("x", quotas=(quota(8),)), "y"], [node("n1", count=16)])
    world.submit(*many("y"))
    world.round()
    ratios = ("guaranteed_ratio", "guarantee_kept_ratio", "guarantee_optimum_ratio")
    assert of(shown(world), ratios, queue="x") == [0, 1, 1], "nobody asks for it"
    blocked = world.submit(*(JobSpec("x", (gpus(),), preemptible=False) for _ in range(8)))
    world.round()
    running = sum(world.job(job.id).allocation is not None for job in blocked)
    assert of(shown(world), ratios, queue="x") == pytest.approx([0.5, running / 8, 1.0], rel=1e-3)
    assert running < 8
    for _ in range(60):
        world.round()
    assert of(shown(world), ("guarantee_kept_ratio",), queue="x") == pytest.approx([1.0], rel=1e-3)
    over = World([Queue("x", quotas=(quota(20),)), Queue("y", quotas=(quota(12),))], [node("n1", count=16)])
    over.submit(*many("x"), *many("y"))
    over.round()
    for queue, promised_there in (("x", 20 / 16), ("y", 12 / 16)):
        promised, _, optimum = of(shown(over), ratios, queue=queue)
        assert promised == pytest.approx(promised_there, rel=1e-2), "as the operator promised it"
        assert optimum == pytest.approx(0.5, rel=1e-2), "32 are promised, and 16 are there"


def test_a_guarantee_is_kept_by_something_else_of_the_same_worth() -> None:
    """x is guaranteed 4 a, and has as much of b, which serve it as well: nothing is broken."""
    world = World([Queue("x", quotas=(quota(4),)), "y"], [node("n1", "a", 4), node("n2", "b", 8)])
    world.submit(*(JobSpec("y", (gpus("a"),)) for _ in range(4)))
    world.submit(*(JobSpec("x", (gpus("a"), gpus("b"))) for _ in range(6)))
    world.round()
    samples = shown(world)
    kept = value(samples, "allocator_queue_guarantee_optimum_ratio", queue="x")
    assert kept == pytest.approx(1.0, rel=1e-2)


def test_amounts_of_every_resource_are_in_base_units() -> None:
    quotas = (
        Quota("a", "cpu", 4_000), Quota("a", "memory", 2**33, borrowing_limit=2**32), Quota("a", "licence", 3),
    )  # fmt: skip
    world = World([Queue("x", quotas=quotas)], [])
    capacity = Resources(cpu_millicores=8000, memory_bytes=2**34, extra=(("licence", 5),))
    world.do(c.RegisterNode(type(node("n"))("n1", "a", capacity)))
    demand = Resources(cpu_millicores=1500, memory_bytes=2**32, extra=(("licence", 1),))
    (made,) = world.submit(JobSpec("x", (Configuration("a", 1, demand),)))
    assert isinstance(made, Job)
    world.round()
    samples = shown(world)
    assert of(samples, ("cpu_used_cores", "cpu_quota_cores"), queue="x", flavor="a") == [1.5, 4]
    assert of(samples, ("memory_used_bytes", "memory_most_bytes"), queue="x", flavor="a") == [2**32, 2**33 + 2**32]
    assert of(samples, ("extra_used_units", "extra_lent_units"), queue="x", flavor="a", resource="licence") == [1, 2]


def test_what_side_constraints_take_and_cost() -> None:
    """8 a of 0.4 kW and 8 b of 0.1 kW with 3.2 kW: see the market's worked example. A rack's power does not bind."""
    power = (Term("gpu", 0.4, flavors=("a",)), Term("gpu", 0.1, flavors=("b",)))
    rack = (Term("gpu", 1.0, node_labels=(("rack", "r2"),)),)
    constraints = (SideConstraint("power", power, most=3.2, unit="kW"), SideConstraint("rack-2", rack, most_part=0.75))
    one, two = node("n1", "a", 8), replace(node("n2", "b", 8), labels=(("rack", "r2"),))
    world = World([Queue("vision", 2.0), "speech", "web"], [one, two], Policy(side_constraints=constraints[:1]))
    world.submit(*(JobSpec("vision", (gpus("a"),)) for _ in range(12)))
    world.submit(*(JobSpec("speech", (gpus("b", throughput=0.5),)) for _ in range(12)))
    world.submit(*(JobSpec("web", (gpus("a"), gpus("b", throughput=0.5))) for _ in range(12)))
    world.round()
    world.round()
    ran = {flavor: sum(job.allocation is not None and flavor in where(job) for job in jobs(world)) for flavor in "ab"}
    world.round()
    columns = ("used_units", "most_units", "price", "price_budget_ratio")

    def told(name: str) -> list[float | None]:
        samples = shown(world)
        return [value(samples, f"allocator_side_constraint_{column}", constraint=name) for column in columns]

    assert told("power") == pytest.approx([0.4 * ran["a"] + 0.1 * ran["b"], 3.2, 1 / 4, 0.8], rel=1e-3)
    world.policy = Policy(side_constraints=constraints)
    world.round()
    world.round()
    assert told("rack-2")[1] == 6, "three quarters of the 8 GPUs of the rack"


def test_what_lies_in_pieces_has_series_of_its_own() -> None:
    """A job that stays has a GPU of n1: one piece of 4 is left to three jobs. Elsewhere, only n2 admits."""
    world = World(["x"], [node("n1"), replace(node("n2"), labels=(("rack", "r2"),))])
    world.submit(JobSpec("x", (gpus(),), preemptible=False))
    world.round()
    world.submit(*[JobSpec("x", (gpus(count=4),))] * 3)
    world.round()
    samples = shown(world)
    assert value(samples, "allocator_pieces_price", flavor="a", size="4") == pytest.approx(1.0, rel=1e-3)
    assert value(samples, "allocator_pieces_price_budget_ratio", flavor="a") == pytest.approx(1.0, rel=1e-3)
    assert not [labels for name, labels in samples if any("slots" in found for _, found in labels)]
    only = Constraints(nodes=(NodeRule("rack", ("r2",)),))
    alone = World(["x"], [node("n1"), replace(node("n2"), labels=(("rack", "r2"),))])
    alone.submit(*[JobSpec("x", (gpus(),), constraints=only)] * 8)
    alone.round()
    samples = shown(alone)
    price = value(samples, "allocator_admitting_nodes_price", flavor="a", resource="gpu")
    assert price == pytest.approx(1 / 4, rel=1e-3)


def jobs(world: World) -> tuple[Job, ...]:
    return world.store.snapshot(world.time).jobs


def where(job: Job) -> str:
    assert job.allocation is not None
    return job.spec.configurations[job.allocation.placement.configuration].flavor


def test_queues_beyond_the_bounds_are_summed() -> None:
    world = World([Queue(f"q{i}", quotas=(quota(2, borrow=i),)) for i in range(4)], [node("n1", count=8)])
    world.submit(*(spec for i in range(4) for spec in many(f"q{i}", 4)))
    world.round()
    samples = shown(world, queue_limit=3, owner_limit=1)
    kept = {dict(labels)["queue"] for name, labels in samples if name == "allocator_queue_gpu_quota_gpus"}
    assert kept == {"q0", names.OTHER}
    assert of(samples, ("gpu_quota_gpus", "gpu_most_gpus"), queue=names.OTHER, flavor="a") == [6, 12]
    entitlements = [found for (name, _), found in samples.items() if name == "allocator_queue_entitlement_ratio"]
    assert entitlements == pytest.approx([0.25] * 4)
    assert of(samples, ("guarantee_optimum_ratio",), queue=names.OTHER) == pytest.approx([1.0], rel=1e-3)


def test_it_is_worked_out_at_the_first_scrape_only() -> None:
    world = World(["x"], [node("n1")])
    world.submit(*many("x", 2))
    world.round()
    metrics = Metrics(version="1", round_interval=2.0)
    assert world.report is not None
    metrics.observe(world.report)
    first = [one for one in metrics.collect() if one.name == names.ENTITLEMENT.name]
    second = [one for one in metrics.collect() if one.name == names.ENTITLEMENT.name]
    assert first[0] is second[0]
