"""What to buy: on small worlds as good as the best of all plans, or nearly; the money is never overspent."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, JobSpec
from allocator.intake import commands as c
from allocator.solvers import ChainSolver
from allocator.whatif.answers import CapacityPlan, Offer
from allocator.whatif.capacity import _checked, _Search, plan_capacity
from allocator.whatif.fork import Live
from tests.whatif.worlds import World, gpus, node, small, spec

SOLVER = ChainSolver()


def live(world: World) -> Live:
    return Live(world.store.snapshot(world.time), world.store.memory(), world.policy)


def bought(plan: CapacityPlan) -> dict[str, int]:
    return {purchase.flavor: purchase.count for purchase in plan.purchases}


def test_it_buys_what_is_scarce() -> None:
    """Six jobs want a's GPUs, nobody wants b's, which cost half."""
    world = small(nodes=(node("a1", "a"), node("b1", "b")))
    world.submit(*(spec(gpu=2),) * 6)
    plan = plan_capacity(live(world), 100.0, [Offer("a", 40.0), Offer("b", 20.0)], SOLVER)
    assert bought(plan) == {"a": 2, "b": 0}
    assert (plan.spent, plan.left, plan.complete) == (80.0, 20.0, True)
    assert plan.purchases[0].flavor == "a"
    assert plan.purchases[0].worth == pytest.approx(1.0, rel=1e-3), (
        "all the money is paid for the four GPUs of one node"
    )
    assert plan.welfare_before == pytest.approx(-1.0986, abs=1e-3), "log of a third, each"
    assert plan.welfare_after == pytest.approx(0.0, abs=1e-3)
    assert dict(plan.gains) == {"q": pytest.approx(1.0986, abs=1e-3)}
    assert (plan.before.summary.started, plan.after.summary.started) == (2, 6)


def test_it_leaves_money_where_nothing_helps() -> None:
    world = small()
    world.submit(spec())
    plan = plan_capacity(live(world), 1000.0, [Offer("a", 1.0)], SOLVER)
    assert (bought(plan), plan.left) == ({"a": 0}, 1000.0)


def test_a_gang_that_needs_several_nodes_gets_them_together() -> None:
    world = small()
    world.submit(spec(gpu=4, replicas=4))
    plan = plan_capacity(live(world), 30.0, [Offer("a", 10.0)], SOLVER)
    assert bought(plan) == {"a": 3}
    assert (plan.before.summary.started, plan.after.summary.started) == (0, 1)


def test_a_flavor_that_is_not_there_yet_needs_a_capacity() -> None:
    world = small()
    world.submit(spec(flavor="new", gpu=8))
    with pytest.raises(InvalidInput) as refused:
        plan_capacity(live(world), 10.0, [Offer("a", 1.0), Offer("new", 1.0)], SOLVER)
    assert [violation.field for violation in refused.value.violations] == ["offers[1].capacity"]
    plan = plan_capacity(live(world), 10.0, [Offer("new", 10.0, gpus(8))], SOLVER)
    assert bought(plan) == {"new": 1}


@pytest.mark.parametrize(
    ("budget", "offers", "field"),
    [
        (0.0, [Offer("a", 1.0)], "budget"),
        (float("inf"), [Offer("a", 1.0)], "budget"),
        (1.0, [], "offers"),
        (1.0, [Offer("a", 0.0)], "offers[0].cost"),
        (1.0, [Offer("a", 1.0), Offer("a", 2.0)], "offers[1].flavor"),
    ],
)
def test_bad_input_names_the_field(budget: float, offers: list[Offer], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan_capacity(live(small()), budget, offers, SOLVER)
    assert refused.value.violations[0].field == field


def test_it_ends_when_told_to() -> None:
    world = small()
    world.submit(*(spec(gpu=4),) * 30)
    plan = plan_capacity(live(world), 20.0, [Offer("a", 1.0)], SOLVER, lambda: False)
    assert not plan.complete
    assert plan.spent <= 20.0


@st.composite
def shopping(draw: st.DrawFn) -> tuple[World, float, list[Offer]]:
    world = small(("p", "q"), tuple(node(f"{flavor}1", flavor, draw(st.sampled_from([2, 4]))) for flavor in "ab"))
    for _ in range(draw(st.integers(2, 6))):
        speeds = draw(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (1.0, 2.0), (3.0, 1.0)]))
        demand, replicas = gpus(draw(st.sampled_from([0.5, 1, 2, 4]))), draw(st.sampled_from([1, 1, 2, 3]))
        ways = tuple(
            Configuration(flavor, replicas, demand, speed) for flavor, speed in zip("ab", speeds, strict=True) if speed
        )
        copies = draw(st.integers(1, 4))
        world.do(c.SubmitJobs((JobSpec(draw(st.sampled_from("pq")), ways),) * copies))
    costs = [draw(st.sampled_from([1.0, 1.5, 2.0, 3.0])) for _ in "ab"]
    return world, draw(st.sampled_from([3.0, 4.0, 6.0])), [Offer("a", costs[0]), Offer("b", costs[1])]


def best_of_all(world: World, budget: float, offers: list[Offer]) -> tuple[float, float]:
    """Welfare without anything, and of the best of all plans that the budget allows."""
    search = _Search(live(world), budget, _checked(live(world).snapshot, budget, offers), SOLVER, lambda: True)
    most = [int(budget / offer.cost) for offer in offers]
    plans = [counts for counts in product(*(range(n + 1) for n in most)) if search.cost(counts) <= budget]
    return search.welfare(search.nothing), max(search.welfare(counts) for counts in plans)


@settings(max_examples=40, deadline=None, derandomize=True, phases=(Phase.generate,))
@given(shopping())
def test_it_is_nearly_as_good_as_the_best_of_all_plans(world: tuple[World, float, list[Offer]]) -> None:
    facts, budget, offers = world
    plan = plan_capacity(live(facts), budget, offers, SOLVER)
    assert 0 <= plan.left <= budget
    assert plan.spent == pytest.approx(sum(purchase.count * purchase.cost for purchase in plan.purchases))
    nothing, best = best_of_all(facts, budget, offers)
    assert plan.welfare_after - plan.welfare_before >= 0.95 * (best - nothing) - 1e-3
