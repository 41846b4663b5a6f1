"""What a price means: who pays it, and what one more unit brings."""

from __future__ import annotations

import pytest

from allocator.domain.errors import NotFound
from allocator.domain.job import JobSpec
from allocator.domain.queue import Queue
from allocator.explain.prices import explain_price, one_more
from allocator.solvers import ChainSolver
from tests.explain.worlds import World, gpus, node


def contested() -> World:
    """40 GPUs of a, and of b, that x may also use at half the speed; everybody wants more than there is."""
    world = World(["x", Queue("y", 3.0)], [node("n1", count=40), node("n2", "b", count=40)])
    both = (gpus(), gpus("b", throughput=0.5))
    world.submit(*[JobSpec("x", both) for _ in range(60)], *[JobSpec("y", (gpus(),)) for _ in range(60)])
    world.round()
    return world


def test_who_pays_adds_up_to_what_all_of_it_costs() -> None:
    world = contested()
    found = explain_price(world.finished, "a", "gpu")
    assert found.usage.price > 0
    assert sum(payer.amount for payer in found.payers) == pytest.approx(40, rel=1e-3)
    assert sum(payer.paid for payer in found.payers) == pytest.approx(40 * found.usage.price, rel=1e-3)
    assert [payer.paid for payer in found.payers] == sorted((payer.paid for payer in found.payers), reverse=True)
    assert [each.price for each in found.classes] == [found.usage.price]


def test_one_more_unit_brings_its_price_to_first_order() -> None:
    """log(41/40) is 1/40 less a hundredth of it."""
    world = World(["x", Queue("y", 3.0)], [node("n1", count=40)])
    world.submit(*[JobSpec(name, (gpus(),)) for name in "xy" for _ in range(60)])
    world.round()
    found = explain_price(world.finished, "a", "gpu")
    more = one_more(world.finished, "a", "gpu", ChainSolver())
    assert more is not None
    assert more.objective == pytest.approx(found.usage.price, rel=0.02)
    assert more.objective > 100 * more.accuracy
    assert sum(gain.objective for gain in more.gains) == pytest.approx(more.objective)
    assert sum(gain.utility for gain in more.gains) == pytest.approx(1.0, rel=1e-3), "one GPU is one job more"
    assert {gain.queue: round(gain.utility, 2) for gain in more.gains} == {"y": 0.75, "x": 0.25}


def test_two_flavors_and_one_that_nobody_wants() -> None:
    world = contested()
    finished = world.finished
    for flavor in "ab":
        more = one_more(finished, flavor, "gpu", ChainSolver())
        price = explain_price(finished, flavor, "gpu").usage.price
        assert more is not None
        assert more.objective == pytest.approx(price, rel=0.05), flavor
    idle = World(["x"], [node("n1", count=4), node("n2", "b", count=4)])
    idle.submit(JobSpec("x", (gpus(),)))
    idle.round()
    nothing = explain_price(idle.finished, "b", "gpu")
    assert (nothing.usage.price, nothing.payers) == (0.0, ())
    more = one_more(idle.finished, "b", "gpu", ChainSolver())
    assert more is not None
    assert more.objective == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(NotFound):
        explain_price(idle.finished, "zz", "gpu")
