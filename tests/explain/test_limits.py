"""Every limit there is and what is taken of it: quotas, side constraints, floating resources, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.cluster import Node
from allocator.domain.errors import InvalidInput, NotFound
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.explain.one_limit import explain_limit, one_more_of_limit
from allocator.explain.own_limits import limit_prices
from allocator.explain.prices import explain_price
from allocator.explain.queue import explain_queue
from allocator.rounds.report import LimitKind, LimitUsage
from allocator.solvers import ChainSolver
from tests.explain.worlds import World, gpus, node, quota

POWER = SideConstraint("power-r1", (Term("gpu", 0.5, node_labels=(("rack", "r1"),)),), most=1.0, unit="kW")
MATLAB = SideConstraint("matlab", (Term("matlab"),), most=3.0)
POLICY = Policy(side_constraints=(POWER, MATLAB), floating_resources=("matlab", "tokens"))


def licensed(licences: int = 1, **more: int) -> Configuration:
    """One GPU of a, and licences."""
    return Configuration("a", 1, Resources(gpu_millis=1000, extra=(("matlab", licences), *more.items())), 1.0)


def limited() -> World:
    """Rack r1 has 4 GPUs of which power allows 2; rack r2 has 4; there are 3 licences."""
    queues = [Queue("x", quotas=(quota(2, borrow=1, lend=1),)), Queue("y")]
    world = World(queues, [replace(node(f"n{number}"), labels=(("rack", f"r{number}"),)) for number in (1, 2)], POLICY)
    world.submit(*[JobSpec("x", (gpus(),))] * 6, *[JobSpec("y", (licensed(tokens=2),))] * 6)
    world.round()
    return world


def by_name(world: World) -> dict[str, LimitUsage]:
    return {each.name: each for each in world.finished.limits}


def test_every_limit_is_told_with_what_runs_now_takes_of_it() -> None:
    world = limited()
    found = by_name(world)
    assert list(found) == ["power-r1", "matlab", "tokens", "x:a/gpu", "x:a/gpu,lend"]
    running = [job for job in world.store.snapshot(world.time).jobs if job.allocation is not None]
    of_x = sum(job.spec.queue == "x" for job in running)
    in_rack = sum(job.allocation.placement.replicas[0].node == "n1" for job in running if job.allocation)
    assert (of_x, in_rack, len(running)) == (3, 2, 6), "as limits and quotas allow"
    power, matlab, tokens, own, lent = found.values()
    assert (power.kind, power.unit, power.used, power.most) == (LimitKind.SIDE_CONSTRAINT, "kW", 1.0, 1.0)
    assert (matlab.kind, matlab.resource, matlab.used, matlab.most) == (LimitKind.FLOATING, "matlab", 3.0, 3.0)
    assert (tokens.kind, tokens.used, tokens.most, tokens.price) == (LimitKind.FLOATING, 6.0, None, 0.0)
    assert (own.kind, own.used, own.least, own.most, own.unit) == (LimitKind.QUOTA, 3.0, 2.0, 3.0, "GPUs")
    assert (lent.kind, lent.used, lent.most) == (LimitKind.LENDING, None, 1.0)
    assert limit_prices(world.finished).usages == world.finished.limits


def test_what_goes_on_and_what_starts_are_counted_once() -> None:
    world = limited()
    first = by_name(world)
    world.round()
    again = by_name(world)
    assert {name: each.used for name, each in first.items()} == {name: each.used for name, each in again.items()}


def test_prices_are_those_that_are_paid() -> None:
    world = limited()
    priced = {each.limit.name: each.price for each in limit_prices(world.finished).limits if each.limit.name}
    assert priced
    for name, each in by_name(world).items():
        if each.kind in (LimitKind.SIDE_CONSTRAINT, LimitKind.FLOATING):
            assert each.price == pytest.approx(priced.get(name, 0.0))


def test_what_floats_is_of_no_flavor() -> None:
    world = limited()
    assert {usage.resource for usage in world.finished.report.summary.flavors} == {"gpu"}
    amounts = {(each.flavor, each.resource): each for each in explain_queue(world.finished, "y").amounts}
    assert set(amounts) == {("a", "gpu"), ("", "matlab"), ("", "tokens")}
    assert (amounts["", "matlab"].demand, amounts["", "matlab"].holds, amounts["", "tokens"].holds) == (6, 3, 6)
    with pytest.raises(InvalidInput, match="floats, and is of no flavor: ask about limit/matlab"):
        explain_price(world.finished, "a", "matlab")


def test_who_pays_for_one_limit() -> None:
    """Six jobs of y want three licences: whatever y has it pays for them, and x gets none."""
    world = limited()
    found = explain_limit(world.finished, "matlab")
    assert [each.queue for each in found.payers] == ["y"]
    assert found.payers[0].amount == pytest.approx(3.0, rel=1e-3)
    assert found.payers[0].paid == pytest.approx(3.0 * found.usage.price, rel=1e-3)
    own = explain_limit(world.finished, "x:a/gpu")
    assert [each.queue for each in own.payers] == ["x"]
    assert own.payers[0].amount == pytest.approx(3.0, rel=1e-3)
    assert explain_limit(world.finished, "tokens").payers == ()
    with pytest.raises(NotFound, match=r"limit 'matlap \(did you mean matlab\?\)'"):
        explain_limit(world.finished, "matlap")


def test_one_more_of_a_limit_brings_about_its_price() -> None:
    """Twelve GPUs for everybody: only limits are scarce. x cannot spend its money, so y pays all there is for three
    licences, 1/3 each; the fourth adds log(4/3), a little less.
    """
    world = World([Queue("x", quotas=(quota(0, borrow=3),)), Queue("y")], [node("n1", count=12)], POLICY)
    world.submit(*[JobSpec("x", (gpus(),))] * 6, *[JobSpec("y", (licensed(),))] * 6)
    world.round()
    assert by_name(world)["matlab"].price == pytest.approx(1 / 3, rel=1e-2)
    more = one_more_of_limit(world.finished, "matlab", ChainSolver())
    assert more is not None
    assert more.objective == pytest.approx(0.28768, rel=1e-2)
    assert [(each.queue, round(each.utility, 2)) for each in more.gains] == [("y", 1.0)]
    more = one_more_of_limit(world.finished, "x:a/gpu", ChainSolver())
    assert more is not None
    assert [(each.queue, round(each.utility, 2)) for each in more.gains if each.queue == "x"] == [("x", 1.0)]


def test_nothing_more_of_what_has_no_bound_or_nobody_wants() -> None:
    world = limited()
    assert one_more_of_limit(world.finished, "tokens", ChainSolver()) is None


def test_limits_that_are_not_in_force_yet() -> None:
    """What they would find in use, before anybody applies them."""
    world = limited()
    lower = Policy(side_constraints=(replace(MATLAB, most=1.0), SideConstraint("half", (Term("gpu"),), most_part=0.5)))
    assert world.finished.taken.of_constraints(lower) == [(3.0, 1.0), (6.0, 4.0)]


def test_one_more_of_a_limit_is_not_more_than_its_nodes_can_take() -> None:
    """Rack 1 has 1.8 of the 2 kW that its GPUs could take: one kW more is worth 0.2."""
    limits = (replace(power("nearly", 1), most=1.8), power("scant", 2))
    world = World([Queue("y")], in_racks(2), Policy(side_constraints=limits))
    world.submit(*[JobSpec("y", (gpus(),))] * 20)
    world.round()
    gained = {}
    for name in ("nearly", "scant"):
        more = one_more_of_limit(world.finished, name, ChainSolver())
        assert more is not None
        gained[name] = round(sum(each.utility for each in more.gains), 2)
    assert gained == {"nearly": 0.4, "scant": 2.0}


def test_one_more_of_what_is_in_use_beyond_its_limit_only_lessens_that() -> None:
    """Jobs that nobody may stop hold five licences of three."""
    world = World([Queue("y")], [node("n1", count=12)], POLICY)
    world.submit(*[replace(JobSpec("y", (licensed(),)), preemptible=False)] * 3, *[JobSpec("y", (licensed(),))] * 2)
    world.round()
    world.policy = replace(POLICY, side_constraints=(POWER, replace(MATLAB, most=1.0)))
    world.round()
    assert by_name(world)["matlab"].used == 3.0
    assert one_more_of_limit(world.finished, "matlab", ChainSolver()) is None


def test_limits_that_are_one_row_are_known_by_who_they_are_and_not_by_their_names() -> None:
    """Racks whose limits are called by numbers, and another limit about one of them between: the row of six is called
    "1+5", and is not that of 1 and 5, nor of the first six there are.
    """
    racks = [power(str(number), number) for number in range(1, 7)]
    between = replace(power("hall", 1), most=1.8)
    world = World([Queue("y")], in_racks(6), Policy(side_constraints=(racks[0], between, *racks[1:])))
    world.submit(*[JobSpec("y", (gpus(),))] * 40)
    world.round()
    assert explain_limit(world.finished, "1").together == ("2", "3", "4", "5", "6")
    assert explain_limit(world.finished, "6").together == ("1", "2", "3", "4", "5")
    assert explain_limit(world.finished, "hall").together == ()
    prices = {each.name: each.price for each in world.finished.limits}
    assert len({prices[each.name] for each in racks}) == 1, prices
    assert prices["1"] > 0


def test_a_limit_that_its_nodes_cannot_reach_has_no_price() -> None:
    """Rack 1 may have ten times the power that it can take; rack 2 has half."""
    limits = (replace(power("ample", 1), most=20.0), power("scant", 2))
    world = World([Queue("y")], in_racks(2), Policy(side_constraints=limits))
    world.submit(*[JobSpec("y", (gpus(),))] * 20)
    world.round()
    found = by_name(world)
    assert (found["ample"].used, found["ample"].price, found["scant"].used) == (2.0, 0.0, 1.0)
    assert found["scant"].price > 0
    assert one_more_of_limit(world.finished, "ample", ChainSolver()) is None
    more = one_more_of_limit(world.finished, "scant", ChainSolver())
    assert more is not None
    assert [round(each.utility, 2) for each in more.gains] == [2.0], "two GPUs for one kW"


def power(name: str, rack: int) -> SideConstraint:
    """Of a rack: half a kW for each GPU, of which four have two."""
    return SideConstraint(name, (Term("gpu", 0.5, node_labels=(("rack", f"r{rack}"),)),), most=1.0, unit="kW")


def in_racks(count: int) -> list[Node]:
    """Nodes of four GPUs, each in a rack of its own."""
    return [replace(node(f"n{number}"), labels=(("rack", f"r{number}"),)) for number in range(1, count + 1)]
