"""Exact shortages in small cases: what is missing in total, or on the closest node."""

from __future__ import annotations

import pytest

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Preempt
from allocator.domain.reason import PendingCause, PendingReason, Shortage
from tests.placement.worlds import LOST, decide, node, running, snapshot, waiting, way

TOTAL, PIECES = PendingCause.INSUFFICIENT_CAPACITY, PendingCause.FRAGMENTED


def fixed(sequence: int, configuration: Configuration, *places: str) -> Job:
    """A job that nobody can stop."""
    return running(waiting(sequence, configuration, preemptible=False), *places)


@pytest.mark.parametrize(
    ("nodes", "jobs", "ways", "expect"),
    [
        pytest.param(
            [node("n1"), node("n2")],
            [fixed(1, way(cpu=6), "n1")],
            [way(replicas=2, cpu=8)],
            PendingReason(TOTAL, (Shortage("a", "cpu", 6000),)),
            id="the-gang-misses-in-total",
        ),
        pytest.param(
            [node("n1", gpu=2), node("n2", flavor="b")],
            [fixed(1, way(cpu=1, gpu=2), "n1:0,1"), fixed(2, way(flavor="b", cpu=7), "n2")],
            [way(cpu=8, gpu=1), way(flavor="b", cpu=2)],
            PendingReason(TOTAL, (Shortage("a", "cpu", 1000), Shortage("a", "gpu", 1000), Shortage("b", "cpu", 1000))),
            id="on-each-flavor-and-resource",
        ),
        pytest.param(
            [node("n1"), node("n2")],
            [fixed(1, way(cpu=3), "n1"), fixed(2, way(cpu=4), "n2")],
            [way(cpu=8)],
            PendingReason(PIECES, (Shortage("a", "cpu", 3000),)),
            id="in-pieces-the-closest-node-counts",
        ),
        pytest.param(
            [node("n1", cpu=8), node("n2", cpu=8), node("n3", cpu=8)],
            [fixed(1, way(cpu=3), "n1"), fixed(2, way(cpu=2), "n2")],
            [way(replicas=3, cpu=6)],
            PendingReason(PIECES, (Shortage("a", "cpu", 1000),)),
            id="what-is-missing-for-the-first-replica-that-does-not-fit",
        ),
        pytest.param(
            [node("n1", gpu=2)],
            [fixed(1, way(gpu=0.6), "n1:0"), fixed(2, way(gpu=0.7), "n1:1")],
            [way(gpu=0.5)],
            PendingReason(PIECES, (Shortage("a", "gpu", 100),)),
            id="a-part-of-a-gpu-misses-on-the-emptiest-device",
        ),
        pytest.param(
            [node("n1", gpu=2), node("n2", gpu=2)],
            [
                fixed(1, way(gpu=0.5), "n1:0"),
                fixed(2, way(gpu=0.5), "n1:1"),
                fixed(3, way(gpu=0.1), "n2:0"),
            ],
            [way(gpu=2)],
            PendingReason(PIECES, (Shortage("a", "gpu", 1000),)),
            id="whole-gpus-miss-whole-devices",
        ),
        pytest.param(
            [node("n1"), node("n2", flavor="b"), node("n3", flavor="b")],
            [
                fixed(1, way(cpu=7), "n1"),
                fixed(2, way(flavor="b", cpu=4), "n2"),
                fixed(3, way(flavor="b", cpu=4), "n3"),
            ],
            [way(cpu=8), way(flavor="b", cpu=8)],
            PendingReason(PIECES, (Shortage("a", "cpu", 7000), Shortage("b", "cpu", 4000))),
            id="fragmented-somewhere-is-told-of-the-closest-node-everywhere",
        ),
        pytest.param(
            [node("n1"), node("n2")],
            [fixed(1, way(cpu=8), "n1"), fixed(2, way(cpu=6), "n2")],
            [way(replicas=2, cpu=8), way(replicas=1, cpu=8)],
            PendingReason(TOTAL, (Shortage("a", "cpu", 6000),)),
            id="the-closest-of-several-configurations-on-a-flavor",
        ),
        pytest.param(
            [node("n1"), node("n2", cpu=4)],
            [fixed(1, way(cpu=8), "n1")],
            [way(cpu=5)],
            PendingReason(TOTAL, (Shortage("a", "cpu", 1000),)),
            id="what-pinned-jobs-hold-is-missing-in-total",
        ),
        pytest.param(
            [node("n1")],
            [],
            [way(flavor="b", cpu=1)],
            PendingReason(PendingCause.NO_ELIGIBLE_FLAVOR),
            id="never-because-nobody-has-the-flavor",
        ),
    ],
)
def test_reason(nodes: list[Node], jobs: list[Job], ways: list[Configuration], expect: PendingReason) -> None:
    plan = decide(snapshot(nodes, [*jobs, waiting(9, *ways)]))
    assert dict(plan.waiting)["j9"] == expect


def test_the_state_at_the_end_of_the_round_is_what_counts() -> None:
    world = snapshot([node("n1")], [waiting(1, way(cpu=5)), waiting(2, way(cpu=5))])
    assert dict(decide(world).waiting) == {"j2": PendingReason(TOTAL, (Shortage("a", "cpu", 2000),))}


def test_an_evicted_job_is_told_as_well() -> None:
    nodes = [node("n1", health=LOST), node("n2")]
    jobs = [running(waiting(1, way(replicas=2, cpu=4)), "n1", "n2"), fixed(2, way(cpu=4), "n2")]
    (change,) = decide(snapshot(nodes, jobs)).changes
    assert isinstance(change, Preempt)
    assert change.pending == PendingReason(TOTAL, (Shortage("a", "cpu", 4000),))


def test_a_pinned_job_that_nothing_fits_any_more_is_told_that_it_never_will() -> None:
    nodes = [node("n1", health=LOST), node("n2", cpu=4)]
    (change,) = decide(snapshot(nodes, [fixed(1, way(cpu=8), "n1")])).changes
    assert isinstance(change, Preempt)
    assert change.pending == PendingReason(PendingCause.EXCEEDS_NODE, (Shortage("a", "cpu", 4000),))
