"""Whether a queue gets its share, in clusters small enough to work out by hand."""

from __future__ import annotations

import pytest

from allocator.domain.errors import NotFound
from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.explain.answers import QueueAmounts, QueueExplanation, Shortfall
from allocator.explain.queue import explain_queue
from tests.explain.worlds import World, gpus, node, quota


def explained(world: World, name: str) -> QueueExplanation:
    return explain_queue(world.finished, name)


def amounts(found: QueueExplanation) -> QueueAmounts:
    (each,) = found.amounts
    return each


def many(queue: str, count: int = 40) -> list[JobSpec]:
    return [JobSpec(queue, (gpus(),)) for _ in range(count)]


def test_shares_down_a_tree() -> None:
    """16 GPUs; r and s have half each. r/x wants only 2, so its sibling r/y has the other 6."""
    world = World(["r", "r/x", "r/y", "s"], [node("n1", count=16)])
    world.submit(*many("r/x", 2), *many("r/y"), *many("s"))
    world.round()
    x, y, r = (explained(world, name) for name in ("r/x", "r/y", "r"))
    assert (x.entitlement, y.entitlement, r.entitlement) == (0.25, 0.25, 0.5)
    assert x.fair_share == x.constrained_demand == x.demand == 2 / 16
    assert x.adjusted_fair_share == pytest.approx(2 / 16, rel=1e-3)
    assert y.fair_share == 0.25
    assert y.adjusted_fair_share == pytest.approx(6 / 16, rel=1e-3)
    assert y.budget == pytest.approx(6 / 16, rel=1e-3)
    assert y.spends == pytest.approx(6 / 16, rel=1e-3)
    assert (y.demand, y.constrained_demand) == (2.5, 1.0)
    assert r.adjusted_fair_share == pytest.approx(0.5, rel=1e-3)
    assert r.actual_share == x.actual_share + y.actual_share
    assert r.fairness_error == pytest.approx(r.actual_share - 0.5, abs=1e-3)


def test_what_a_weight_counts_as_with_those_of_its_jobs() -> None:
    """r has four jobs and s one; half as strong as each job alike, that is twice for r."""
    world = World(["r", "r/x", "s"], [node("n1", count=1)], Policy(crowd_strength=0.5))
    world.submit(*many("r/x", 4), *many("s", 1))
    world.round()
    assert [explained(world, name).counts for name in ("r", "r/x", "s")] == [2.0, 2.0, 1.0]
    assert explained(world, "r").entitlement == pytest.approx(2 / 3)


def test_what_a_queue_lends_and_who_has_it() -> None:
    world = World([Queue("x", quotas=(quota(8, lend=5),)), "y"], [node("n1", count=16)])
    world.submit(*many("x", 2), *many("y"))
    world.round()
    x = amounts(explained(world, "x"))
    assert (x.nominal, x.most, x.demand, x.guaranteed, x.shortfall) == (8.0, None, 2.0, 2.0, None)
    assert x.optimum == pytest.approx(2.0, rel=1e-3)
    assert x.lent == pytest.approx(6.0, rel=1e-3)
    assert [(each.queue, round(each.amount, 2)) for each in x.borrowers] == [("y", 13.0)]
    y = amounts(explained(world, "y"))
    assert (y.nominal, y.lent, y.borrowers) == (None, 0.0, ())


def test_guarantees_above_the_capacity_say_why_they_are_broken() -> None:
    world = World([Queue("x", quotas=(quota(20),)), Queue("y", quotas=(quota(12),))], [node("n1", count=16)])
    world.submit(*many("x"), *many("y"))
    world.round()
    for name, promised, given in (("x", 20.0, 10.0), ("y", 12.0, 6.0)):
        each = amounts(explained(world, name))
        assert (each.guaranteed, each.shortfall) == (promised, Shortfall.CAPACITY)
        assert each.optimum == pytest.approx(given, rel=1e-2)


def test_a_limit_has_a_price_and_bounds_what_could_be_used() -> None:
    world = World([Queue("x", quotas=(quota(4, borrow=2),)), "y"], [node("n1", count=16)])
    world.submit(*many("x"), *many("y", 2))
    world.round()
    found = explained(world, "x")
    each = amounts(found)
    assert each.most == 6.0
    assert each.constrained_demand == pytest.approx(6.0)
    assert found.constrained_demand == pytest.approx(6 / 16)
    assert each.limit_price > 0
    assert amounts(explained(world, "y")).limit_price == 0


def test_a_queue_that_wants_nothing() -> None:
    world = World([Queue("x", quotas=(quota(8),)), "y"], [node("n1", count=16)])
    world.submit(*many("y"))
    world.round()
    idle = explained(world, "x")
    assert (idle.entitlement, idle.demand, idle.adjusted_fair_share, idle.actual_share) == (0.0, 0.0, 0.0, 0.0)
    each = amounts(idle)
    assert (each.guaranteed, each.shortfall, each.lent) == (0.0, None, 8.0)
    assert [borrower.queue for borrower in each.borrowers] == ["y"]
    with pytest.raises(NotFound):
        explained(world, "nope")


def test_what_is_held_for_good_counts() -> None:
    world = World(["x", "y"], [node("n1", count=8)])
    world.submit(*[JobSpec("x", (gpus(),), preemptible=False) for _ in range(6)])
    world.round()
    world.submit(*many("x", 8), *many("y", 8))
    world.round()
    x = explained(world, "x")
    assert amounts(x).holds == 6.0
    assert x.actual_share == 0.75
    assert amounts(x).optimum == pytest.approx(6.0, abs=0.05)
    assert x.adjusted_fair_share >= 0.75


def test_a_quota_of_something_no_node_has_is_no_trouble() -> None:
    world = World([Queue("x", quotas=(Quota("zz", "gpu", 4000),))], [node("n1")])
    world.submit(*many("x", 1))
    world.round()
    assert [each.flavor for each in explained(world, "x").amounts] == ["a"]
