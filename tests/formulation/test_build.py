"""From facts to arrays, with the numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory
from allocator.formulation import build
from allocator.solvers import solve
from tests.formulation.facts import amounts, job, node, snapshot, way

HOUR = Policy(horizon_seconds=3600.0)


def test_amounts_are_in_display_units_and_gangs_are_whole() -> None:
    everything = Resources(2500, 500, 3 * 2**29, 2_500_000_000, 2**30, (("licence", 3),))
    big = Resources(64_000, 8000, 512 * 2**30, 50 * 10**9, 100 * 2**30, (("licence", 9),))
    facts = snapshot([node("n1", capacity=big)], [job(1, way(demand=everything, replicas=2, speed=5.0))])
    formulation = build(facts, Policy(fairness=2.0))
    problem = formulation.problem
    assert formulation.flavors == ("a100",)
    assert formulation.resources == ("cpu", "gpu", "memory", "bandwidth", "disk", "licence")
    assert problem.demand.tolist() == [[[5.0, 1.0, 3.0, 5.0, 2.0, 6.0]]]
    assert problem.capacity.tolist() == [[64.0, 8.0, 512.0, 50.0, 100.0, 9.0]]
    assert problem.throughput.tolist() == [[5.0]]
    assert problem.fairness == 2.0
    assert (formulation.groups, formulation.configurations, formulation.rows) == ((("j1",),), ((0,),), {"j1": 0})


def test_only_open_and_ready_nodes_bring_capacity() -> None:
    nodes = [
        node("n1"),
        node("n2", availability=NodeAvailability.CORDONED),
        node("n3", availability=NodeAvailability.DRAINING),
        node("n4", health=NodeHealth.LOST),
        node("n5", "v100", health=NodeHealth.LOST),
    ]
    formulation = build(snapshot(nodes, [job(1)]), Policy())
    assert formulation.flavors == ("a100", "v100")
    assert formulation.problem.capacity.tolist() == [[64.0, 8.0, 512.0], [0.0, 0.0, 0.0]]


def test_weights_are_budgets() -> None:
    queues = (Queue("a", 1.0), Queue("b", 3.0), Queue("idle", 9.0))
    jobs = [job(1, queue="a"), job(2, queue="a", weight=3.0), job(3, queue="b"), job(4, queue="b")]
    formulation = build(snapshot([node("n1")], jobs, queues), Policy())
    assert formulation.problem.weight.tolist() == pytest.approx([1 / 16, 3 / 16, 3 / 8])
    assert formulation.problem.count.tolist() == [1, 1, 2]
    assert formulation.problem.total_weight == pytest.approx(1.0)
    assert formulation.groups == (("j1",), ("j2",), ("j3", "j4"))


def test_a_job_that_can_never_run_claims_no_budget() -> None:
    formulation = build(snapshot([node("n1")], [job(1), job(2, way("tpu"))]), Policy())
    assert formulation.problem.weight.tolist() == [1.0]
    assert set(formulation.never) == {"j2"}


def test_a_pinned_job_takes_its_capacity_and_its_part_of_the_budget_with_it() -> None:
    pinned = job(1, way(demand=amounts(4, 2, 32), replicas=2), runs_on=("n1", "n2"), preemptible=False)
    nodes = [node("n1"), node("n2", availability=NodeAvailability.CORDONED)]
    formulation = build(snapshot(nodes, [pinned, job(2)]), Policy())
    assert formulation.pinned == {"j1"}
    assert formulation.rows == {"j2": 0}
    assert formulation.problem.capacity.tolist() == [[60.0, 6.0, 480.0]]  # the replica on n2 holds nothing open
    assert formulation.problem.weight.tolist() == [0.5]


def test_finished_replicas_hold_nothing() -> None:
    pinned = job(1, way(replicas=2), runs_on=("n1", "n1"), preemptible=False, finished=frozenset({0}))
    assert build(snapshot([node("n1")], [pinned]), Policy()).problem.capacity.tolist() == [[60.0, 7.0, 480.0]]


OPEN, CORDONED, DRAINING = NodeAvailability.OPEN, NodeAvailability.CORDONED, NodeAvailability.DRAINING
LOST, READY = NodeHealth.LOST, NodeHealth.READY


@pytest.mark.parametrize(
    ("availability", "health", "preemptible", "pinned"),
    [
        (OPEN, READY, True, False),
        (OPEN, READY, False, True),
        (CORDONED, READY, True, True),
        (CORDONED, READY, False, True),
        (DRAINING, READY, True, False),
        (DRAINING, READY, False, True),
        (OPEN, LOST, True, False),
        (OPEN, LOST, False, False),
        (CORDONED, LOST, True, False),
    ],
)
def test_who_is_pinned(availability: NodeAvailability, health: NodeHealth, preemptible: bool, pinned: bool) -> None:
    under = node("n1", availability=availability, health=health)
    running = job(1, runs_on=("n1",), preemptible=preemptible)
    formulation = build(snapshot([under, node("n2")], [running]), Policy())
    assert (formulation.pinned == {"j1"}) is pinned
    assert ("j1" in formulation.rows) is not pinned


def two_flavors() -> list[Node]:
    return [node("n1"), node("n2", "v100")]


def restarting(sequence: int, cost: float, runs_on: str, configuration: int) -> Job:
    ways = (way(speed=4.0), way("v100", speed=2.0))
    return job(sequence, *ways, runs_on=(runs_on,), configuration=configuration, restart_cost_seconds=cost)


def test_leaving_the_current_configuration_costs_a_part_of_the_throughput() -> None:
    formulation = build(snapshot(two_flavors(), [restarting(1, 900.0, "n2", 1)]), HOUR)
    assert formulation.problem.throughput.tolist() == [[3.0, 2.0]]
    assert formulation.problem.reference.tolist() == [4.0]  # what counts as utility 1 does not depend on where it runs


def test_however_dear_a_restart_is_a_twentieth_remains() -> None:
    formulation = build(snapshot(two_flavors(), [restarting(1, 1e9, "n2", 1)]), HOUR)
    assert formulation.problem.throughput.tolist() == pytest.approx(np.array([[0.2, 2.0]]))


def test_a_job_without_a_place_pays_no_restart() -> None:
    pending = job(1, way(speed=4.0), way("v100", speed=2.0), restart_cost_seconds=900.0)
    lost = restarting(2, 900.0, "n3", 1)
    nodes = [*two_flavors(), node("n3", "v100", health=NodeHealth.LOST)]
    formulation = build(snapshot(nodes, [pending, lost]), HOUR)
    assert formulation.groups == (("j1", "j2"),)
    assert formulation.problem.throughput.tolist() == [[4.0, 2.0]]


def test_measured_throughput_replaces_the_declared_one() -> None:
    measured = job(1, way(speed=4.0), way("v100", speed=2.0), measured=(("v100", 6.0),))
    assert build(snapshot(two_flavors(), [measured]), HOUR).problem.throughput.tolist() == [[4.0, 6.0]]


def test_no_jobs_and_no_nodes() -> None:
    empty = build(snapshot([], []), Policy())
    assert empty.problem.capacity.shape == (0, 0)
    assert empty.price_map(np.zeros((0, 0))) == {}
    nobody = build(snapshot([node("n1")], []), Policy())
    assert (nobody.problem.row_count, nobody.problem.capacity.shape) == (0, (1, 3))
    nowhere = build(snapshot([], [job(1)]), Policy())
    assert set(nowhere.never) == {"j1"}


def test_every_job_is_in_exactly_one_place() -> None:
    jobs = [job(1), job(2, way("tpu")), job(3, runs_on=("n1",), preemptible=False), job(4, weight=2.0)]
    formulation = build(snapshot([node("n1")], jobs), Policy())
    places = [*formulation.rows, *formulation.pinned, *formulation.never]
    assert sorted(places) == ["j1", "j2", "j3", "j4"]
    assert [formulation.groups[row][0] for row in (formulation.rows["j1"], formulation.rows["j4"])] == ["j1", "j4"]


def test_rows_of_fewer_configurations_are_padded() -> None:
    formulation = build(snapshot(two_flavors(), [job(1, way("v100")), job(2, way(), way("v100"))]), Policy())
    assert formulation.configurations == ((0, -1), (0, 1))
    assert formulation.problem.eligible.tolist() == [[True, False], [True, True]]


def test_prices_are_per_display_unit() -> None:
    # 16 jobs of budget 1/16 share 8 GPUs, u = 1/2: one more GPU adds 1/16 to each, worth 16 x 1/16 x 2 x 1/16 = 1/8.
    formulation = build(snapshot([node("n1")], [job(i) for i in range(16)]), Policy())
    solution = solve(formulation.problem)
    prices = formulation.price_map(solution.prices)
    assert prices["a100", "gpu"] == pytest.approx(1 / 8, rel=1e-5)
    assert prices["a100", "cpu"] == pytest.approx(0.0, abs=1e-6)
    assert solution.objective == pytest.approx(math.log(0.5), abs=1e-6)


def test_warm_prices_are_matched_by_name() -> None:
    formulation = build(snapshot(two_flavors(), [job(1)]), Policy())
    memory = Memory(prices={("v100", "gpu"): 0.5, ("gone", "gpu"): 1.0, ("a100", "cpu"): 0.0})
    warm = formulation.warm_prices(memory)
    assert warm.shape == (2, 3)
    assert warm[1, 1] == 0.5
    assert warm[0, 0] == 0.0
    assert np.isnan(warm).sum() == 4


def test_a_price_outlives_the_capacity_it_was_for_but_not_the_last_node() -> None:
    """All v100 nodes are lost: the flavor has no price now, and its old one is what to begin with when they return."""
    memory = Memory(prices={("v100", "gpu"): 0.5, ("a100", "gpu"): 9.0, ("gone", "gpu"): 1.0})
    nodes = [node("n1"), node("n2", "v100", health=NodeHealth.LOST)]
    lost = build(snapshot(nodes, [job(1)]), Policy())
    kept = lost.prices_to_remember(np.array([[0.0, 0.25, 0.0], [0.0, 0.0, 0.0]]), memory)
    assert kept == {
        ("a100", "cpu"): 0.0, ("a100", "gpu"): 0.25, ("a100", "memory"): 0.0, ("v100", "gpu"): 0.5,
    }  # fmt: skip
    back = build(snapshot(two_flavors(), [job(1)]), Policy())
    warm = back.warm_prices(Memory(prices=kept))
    assert warm[1, 1] == 0.5
    assert np.isnan(warm[1, [0, 2]]).all(), "never priced: unknown, not free"


def test_weights_beyond_what_floats_can_tell_apart_do_not_break_the_round() -> None:
    jobs = [job(1, weight=1e-308), job(2, weight=1e308), job(3, weight=1e308)]
    formulation = build(snapshot([node("n1")], jobs), Policy())
    assert (formulation.problem.weight > 0).all()
    assert solve(formulation.problem).shares.shape[0] == formulation.problem.row_count
