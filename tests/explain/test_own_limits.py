"""Side constraints and what lies in pieces, in explanations: by hand, in small clusters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.constraints import Constraints, NodeRule
from allocator.domain.job import Job, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.explain.job import explain_job
from allocator.explain.own_limits import limit_prices
from allocator.explain.scarcity import Binding, BindingKind
from tests.explain.worlds import World, gpus, node

POWER = (Term("gpu", 0.4, flavors=("a",)), Term("gpu", 0.1, flavors=("b",)))
LIMITED = Policy(side_constraints=(SideConstraint("power", POWER, most=3.2, unit="kW"),))


def bindings(world: World, job_id: str) -> tuple[Binding, ...]:
    found = explain_job(world.finished, world.job(job_id))
    assert sum(each.paid for each in found.bindings) == pytest.approx(found.spends, rel=1e-3, abs=1e-6)
    return found.bindings


def powered() -> World:
    """8 GPUs of a with 0.4 kW each, 8 of b with 0.1 kW: 4 kW, of which there are 3.2. Then power is all that is scarce,
    for 0.8 of all money: b is used up as well, for the rest.
    """
    world = World([Queue("vision", 2.0), "speech", "web"], [node("n1", "a", 8), node("n2", "b", 8)], LIMITED)
    world.submit(*[JobSpec("vision", (gpus("a"),))] * 12)
    world.submit(*[JobSpec("speech", (gpus("b", throughput=0.5),))] * 12)
    world.submit(*[JobSpec("web", (gpus("a"), gpus("b", throughput=0.5)))] * 12)
    world.round()
    return world


def test_a_side_constraint_that_holds_a_job_back() -> None:
    """1/24 of all money buys 1/6 kW at 1/4 per kW: 5/12 of the 0.4 kW that running all the time takes."""
    world = powered()
    (binding,) = bindings(world, "j1")
    assert (binding.kind, binding.queue, binding.flavor, binding.resource) == (BindingKind.LIMIT, "", "", "")
    assert binding.price == pytest.approx(1 / 4, rel=1e-3)
    assert binding.paid == pytest.approx(1 / 24, rel=1e-3)
    limit = binding.limit
    assert limit is not None
    assert (limit.name, limit.unit, limit.size, limit.some_nodes) == ("power", "kW", 0.0, False)
    assert (limit.most, limit.jobs) == (3.2, 36)
    assert limit.wanted == pytest.approx(12 * 0.4 + 12 * 0.1 + 12 * 0.4)
    kinds = {each.kind for each in bindings(world, "j13")}
    assert kinds == {BindingKind.LIMIT, BindingKind.CAPACITY}, "b is used up, too"
    where = [flavor(job) for job in world.store.snapshot(world.time).jobs]
    assert limit.used == pytest.approx(0.4 * where.count("a") + 0.1 * where.count("b")), "of those that run now"


def flavor(job: Job) -> str:
    """Where it runs; empty if it does not."""
    if job.allocation is None:
        return ""
    return job.spec.configurations[job.allocation.placement.configuration].flavor


def test_who_pays_for_a_side_constraint() -> None:
    (limit,) = limit_prices(powered().finished).limits
    assert limit.kind is BindingKind.LIMIT
    assert {each.queue: round(each.paid, 3) for each in limit.payers} == {"vision": 0.5, "web": 0.175, "speech": 0.125}
    assert sum(each.amount for each in limit.payers) == pytest.approx(3.2, rel=1e-3)
    assert sum(each.paid for each in limit.payers) == pytest.approx(3.2 * limit.price, rel=1e-3)


def test_one_that_does_not_count_a_job_is_not_told_to_it() -> None:
    only = SideConstraint("of-x", (Term("gpu", 1.0, queues=("x",)),), most=1.0)
    world = World(["x", "y"], [node("n1")], Policy(side_constraints=(only,)))
    world.submit(*[JobSpec("x", (gpus(),))] * 4, *[JobSpec("y", (gpus(),))] * 8)
    world.round()
    assert bindings(world, "j1")[0].kind is BindingKind.LIMIT
    assert [each.kind for each in bindings(world, "j5")] == [BindingKind.CAPACITY]


def test_pieces_too_small_for_a_job() -> None:
    """A job that stays has a GPU of one of two nodes: one piece of 4 GPUs is left, for which three jobs pay all they
    have. Another one, of one GPU, pays for none.
    """
    world = World(["x"], [node("n1"), node("n2")])
    world.submit(JobSpec("x", (gpus(),), preemptible=False))
    world.round()
    world.submit(*[JobSpec("x", (gpus(count=4),))] * 3, JobSpec("x", (gpus(),)))
    world.round()
    (binding,) = bindings(world, "j4")
    assert (binding.kind, binding.flavor, binding.resource) == (BindingKind.PIECES, "a", "gpu")
    limit = binding.limit
    assert limit is not None
    assert (limit.name, limit.size, limit.some_nodes, limit.most, limit.used) == ("", 4.0, False, 1.0, None)
    assert (limit.jobs, limit.wanted) == (3, 3.0)
    assert bindings(world, "j5") == ()
    (price,) = limit_prices(world.finished).limits
    assert sum(each.amount for each in price.payers) == pytest.approx(1.0, rel=1e-3)


def test_where_there_is_no_piece_nothing_is_said_to_be_there() -> None:
    """Who would take every GPU is promised a tenth of a piece, and told that there is none."""
    world = World(["x"], [node("n1")])
    world.submit(JobSpec("x", (gpus(),), preemptible=False))
    world.round()
    world.submit(*[JobSpec("x", (gpus(count=4),))] * 3)
    world.round()
    found = explain_job(world.finished, world.job("j2"))
    assert [each.limit.most for each in found.bindings if each.limit is not None] == [0.0]


def test_nodes_that_admit_a_job() -> None:
    """Eight jobs may be on one of two nodes only: its 4 GPUs are what is scarce, not the flavor's 8."""
    only = Constraints(nodes=(NodeRule("rack", ("r2",)),))
    world = World(["x"], [node("n1"), replace(node("n2"), labels=(("rack", "r2"),))])
    world.submit(*[JobSpec("x", (gpus(),), constraints=only)] * 8)
    world.round()
    (binding,) = bindings(world, "j1")
    limit = binding.limit
    assert limit is not None
    assert (binding.kind, limit.size, limit.some_nodes, limit.most) == (BindingKind.PIECES, 0.0, True, 4.0)
    assert binding.price == pytest.approx(1 / 4, rel=1e-3)


@pytest.mark.parametrize("racks", [1, 3, 5])
def test_racks_that_only_together_are_a_limit(racks: int) -> None:
    """Each rack of 4 GPUs may use 2 of them."""
    names = [f"rack-{number}" for number in range(racks)]
    limits = [SideConstraint(name, (Term("gpu", 1.0, node_labels=(("rack", name),)),), most=2.0) for name in names]
    nodes = [replace(node(f"n{number}"), labels=(("rack", name),)) for number, name in enumerate(names)]
    world = World(["x"], nodes, Policy(side_constraints=tuple(limits)))
    world.submit(*[JobSpec("x", (gpus(),))] * (4 * racks))
    world.round()
    (binding,) = bindings(world, "j1")
    assert binding.limit is not None
    assert (binding.limit.name.split("+"), binding.limit.most) == (names, 2.0 * racks)
    (name,) = world.finished.report.formulation.side_constraints
    assert world.finished.report.formulation.constraints_of(name) == tuple(names)
    assert {each.price for each in world.finished.side_constraints.values()} == {binding.price}
