"""What can run at all, and what a job is told that cannot."""

from __future__ import annotations

import pytest

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Configuration
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from allocator.domain.resources import Resources
from allocator.formulation import build
from allocator.formulation.eligibility import replicas_that_fit
from tests.formulation.facts import GIB, amounts, job, node, snapshot, way


@pytest.mark.parametrize(
    ("demand", "capacity", "count"),
    [
        (amounts(cpu=4, gpu=1), amounts(64, 8, 512), 8),
        (amounts(cpu=16, gpu=1), amounts(64, 8, 512), 4),
        (amounts(gpu=3), amounts(gpu=8), 2),
        (amounts(gpu=0.3), amounts(gpu=2), 6),  # three thirds of a GPU fit on each: 0.3 of a second is left over
        (amounts(gpu=0.6), amounts(gpu=8), 8),
        (amounts(cpu=1, gpu=0.5), amounts(cpu=3, gpu=8), 3),
        (amounts(gpu=1), amounts(cpu=64), 0),
        (Resources(extra=(("licence", 2),)), Resources(extra=(("licence", 5),)), 2),
        (Resources(extra=(("licence", 2),)), amounts(64, 8, 512), 0),
    ],
)
def test_replicas_that_fit_an_empty_node(demand: Resources, capacity: Resources, count: int) -> None:
    assert replicas_that_fit(demand, capacity) == count


def reason_for(nodes: list[Node], *ways: Configuration) -> PendingReason | None:
    return build(snapshot(nodes, [job(1, *ways)]), Policy()).never.get("j1")


def test_a_flavor_nobody_has() -> None:
    assert reason_for([node("n1")], way("tpu")) == PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)


@pytest.mark.parametrize(
    "closed",
    [
        node("n1", availability=NodeAvailability.CORDONED),
        node("n1", availability=NodeAvailability.DRAINING),
        node("n1", health=NodeHealth.LOST),
    ],
)
def test_a_flavor_with_no_open_node(closed: Node) -> None:
    assert reason_for([closed], way()) == PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)


def test_a_replica_larger_than_every_node_is_told_what_is_missing_on_the_closest() -> None:
    nodes = [node("n1"), node("n2", capacity=amounts(128, 4, 512)), node("n3", "v100", amounts(8, 2, 64))]
    big = amounts(cpu=96, gpu=8, memory=512)
    assert reason_for(nodes, way(demand=big)) == PendingReason(
        PendingCause.EXCEEDS_NODE, (Shortage("a100", "cpu", 32_000),)
    )
    assert reason_for(nodes, way("v100", big), way(demand=big)) == PendingReason(
        PendingCause.EXCEEDS_NODE,
        (
            Shortage("a100", "cpu", 32_000),
            Shortage("v100", "cpu", 88_000),
            Shortage("v100", "gpu", 6000),
            Shortage("v100", "memory", 448 * GIB),
        ),
    )


def test_a_gang_larger_than_the_flavor_is_told_what_is_missing_in_total() -> None:
    nodes = [node("n1"), node("n2")]
    assert reason_for(nodes, way(replicas=20)) == PendingReason(
        PendingCause.EXCEEDS_CLUSTER, (Shortage("a100", "gpu", 4000),)
    )


def test_a_gang_that_fits_in_total_but_not_in_pieces_is_told_what_its_homeless_replicas_need() -> None:
    # 3 x 5 GPUs are fewer than 16, but each of the two nodes takes only one replica of 5.
    found = reason_for([node("n1"), node("n2")], way(demand=amounts(cpu=1, gpu=5), replicas=3))
    assert found == PendingReason(
        PendingCause.EXCEEDS_CLUSTER, (Shortage("a100", "cpu", 1000), Shortage("a100", "gpu", 5000))
    )


def test_of_several_counts_on_a_flavor_the_least_missing_is_told() -> None:
    found = reason_for([node("n1")], way(replicas=16), way(replicas=10))
    assert found == PendingReason(PendingCause.EXCEEDS_CLUSTER, (Shortage("a100", "gpu", 2000),))


def test_the_most_hopeful_cause_is_told() -> None:
    found = reason_for([node("n1")], way("tpu"), way(demand=amounts(gpu=16)), way(replicas=9))
    assert found is not None
    assert found.cause is PendingCause.EXCEEDS_CLUSTER


def test_one_configuration_that_fits_is_enough_and_the_others_get_no_column() -> None:
    formulation = build(snapshot([node("n1")], [job(1, way("tpu"), way(replicas=99), way(replicas=2))]), Policy())
    assert formulation.never == {}
    assert formulation.configurations == ((2,),)


def test_a_configuration_of_throughput_zero_cannot_run() -> None:
    found = reason_for([node("n1")], way(speed=0.0), way("tpu"))
    assert found == PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR)


def test_a_job_waits_for_pinned_ones_that_hold_all_of_something_it_needs() -> None:
    holder = job(1, way(demand=amounts(cpu=4, gpu=8)), runs_on=("n1",), preemptible=False)
    formulation = build(snapshot([node("n1")], [holder, job(2, way(demand=amounts(cpu=4, gpu=2)))]), Policy())
    assert formulation.never == {
        "j2": PendingReason(PendingCause.INSUFFICIENT_CAPACITY, (Shortage("a100", "gpu", 2000),))
    }
    assert formulation.problem.row_count == 0
