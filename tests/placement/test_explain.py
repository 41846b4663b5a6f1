"""Exact shortages in small cases: what is missing in total, or on the closest node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.cluster import Node
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Preempt
from allocator.domain.reason import Examined, PendingCause, PendingReason, Refusal, Shortage
from tests.placement.worlds import CORDONED, LOST, NOW, decide, node, running, snapshot, waiting, way

TOTAL, PIECES = PendingCause.INSUFFICIENT_CAPACITY, PendingCause.FRAGMENTED


def fixed(sequence: int, configuration: Configuration, *places: str) -> Job:
    """A job that nobody can stop."""
    return running(waiting(sequence, configuration, preemptible=False), *places)


def lacks(reason: PendingReason) -> PendingReason:
    """The cause and what is missing, whoever holds it."""
    return PendingReason(reason.cause, tuple(replace(shortage, held=0) for shortage in reason.shortages))


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
    assert lacks(dict(plan.waiting)["j9"]) == expect


def test_the_state_at_the_end_of_the_round_is_what_counts() -> None:
    world = snapshot([node("n1")], [waiting(1, way(cpu=5)), waiting(2, way(cpu=5))])
    (waits,) = decide(world).waiting
    assert (waits[0], lacks(waits[1])) == ("j2", PendingReason(TOTAL, (Shortage("a", "cpu", 2000),)))


def test_an_evicted_job_is_told_as_well() -> None:
    nodes = [node("n1", health=LOST), node("n2")]
    jobs = [running(waiting(1, way(replicas=2, cpu=4)), "n1", "n2"), fixed(2, way(cpu=4), "n2")]
    (change,) = decide(snapshot(nodes, jobs)).changes
    assert isinstance(change, Preempt)
    assert lacks(change.pending) == PendingReason(TOTAL, (Shortage("a", "cpu", 4000),))


def test_a_pinned_job_that_nothing_fits_any_more_is_told_that_it_never_will() -> None:
    nodes = [node("n1", health=LOST), node("n2", cpu=4)]
    (change,) = decide(snapshot(nodes, [fixed(1, way(cpu=8), "n1")])).changes
    assert isinstance(change, Preempt)
    assert lacks(change.pending) == PendingReason(PendingCause.EXCEEDS_NODE, (Shortage("a", "cpu", 4000),))


# --- what nodes say -----------------------------------------------------------------------------------------------

TAINTED = (("dedicated", "web"),)
WEB = (("app", "web"),)


def told_to(job: Job, nodes: list[Node], others: list[Job], **more: dict[str, float]) -> PendingReason:
    """The reason of one who waits."""
    return dict(decide(snapshot(nodes, [*others, job]), **more).waiting)[job.id]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("useless", "refusal"),
    [
        (node("n2", taints=TAINTED), Refusal.TAINT),
        (node("n2", labels=(("zone", "b"),)), Refusal.LABEL),
        (node("n2", availability=CORDONED), Refusal.CLOSED),
        (node("n2", health=LOST), Refusal.CLOSED),
    ],
)
def test_what_is_free_where_it_may_not_go_does_not_count(useless: Node, refusal: Refusal) -> None:
    """The node that it may use is full: it lacks room, its room is not in pieces."""
    job = waiting(9, way(cpu=8), constraints=Constraints(nodes=(NodeRule("zone", ("b",), negated=True),)))
    reason = told_to(job, [node("n1"), useless], [fixed(1, way(cpu=6), "n1")])
    assert reason == PendingReason(
        TOTAL,
        (Shortage("a", "cpu", 6000, held=6000),),
        (Examined("a", 2, ((refusal, 1), (Refusal.FULL, 1)), (("cpu", 1),), replicas=1, room=0, places=0),),
    )


def test_pieces_are_looked_for_only_where_it_may_go() -> None:
    nodes = [node("n1"), node("n2"), node("n3", taints=TAINTED)]
    busy = [fixed(1, way(cpu=3), "n1"), fixed(2, way(cpu=2), "n2"), fixed(3, way(cpu=1), "n3")]
    reason = told_to(waiting(9, way(cpu=8)), nodes, busy)
    assert lacks(reason) == PendingReason(PIECES, (Shortage("a", "cpu", 2000),)), "not 1, as on the tainted node"


def test_of_what_is_missing_it_is_told_how_much_is_held_for_good() -> None:
    nodes = [node("n1"), node("n2"), node("n3")]
    others = [fixed(1, way(cpu=6), "n1"), running(waiting(2, way(cpu=8)), "n2"), running(waiting(3, way(cpu=8)), "n3")]
    gang = waiting(9, way(replicas=3, cpu=7))
    (shortage,) = told_to(gang, nodes, others, credits_owed={"j9": -500.0}).shortages
    assert shortage == Shortage("a", "cpu", 19_000, held=3_000), (
        "21 wanted, 2 free, 18 without those who may be stopped"
    )
    preemptible = told_to(waiting(9, way(cpu=8)), nodes, [*others[1:], running(waiting(1, way(cpu=6)), "n1")])
    assert [s.held for s in preemptible.shortages] == [0]


def test_a_constrained_job_is_told_which_nodes_refuse_it_for_what() -> None:
    nodes = [
        node("n1", rack="r1"),
        node("n2", rack="r1", taints=TAINTED),
        node("n3", rack="r2"),
        node("n4", rack="r2", gpu=1),
        node("n5", rack="r3"),
    ]
    near = Constraints(near=(Near("rack", WEB),), at_most=(AtMost(1),))
    web = fixed(1, way(cpu=1), "n5")
    web = replace(web, spec=replace(web.spec, labels=WEB))
    reason = told_to(waiting(9, way(cpu=4, replicas=2), constraints=near), nodes, [web, fixed(2, way(cpu=5), "n3")])
    assert reason == PendingReason(
        PendingCause.CONSTRAINED,
        examined=(
            Examined(
                "a",
                nodes=5,
                refused=((Refusal.TAINT, 1), (Refusal.FULL, 1), (Refusal.NEAR, 2)),
                lacking=(("cpu", 1),),
                replicas=2,
                room=1,
                places=1,
            ),
        ),
    )


def test_spread_within_and_limits_on_others_leave_places() -> None:
    nodes = [node(f"r{rack}n{n}", rack=f"r{rack}", cpu=4) for rack in range(2) for n in range(2)]
    busy = [fixed(1, way(cpu=4), "r0n0"), fixed(2, way(cpu=4), "r1n0")]
    pair = way(cpu=2, replicas=4)
    together = told_to(waiting(9, pair, constraints=Constraints(within="rack")), nodes, busy).examined
    assert together == (Examined("a", 4, ((Refusal.FULL, 2), (Refusal.WITHIN, 2)), (("cpu", 2),), 4, 4, 2),)
    spread = told_to(waiting(9, pair, constraints=Constraints(at_most=(AtMost(1),))), nodes, busy).examined
    assert spread == (Examined("a", 4, ((Refusal.FULL, 2),), (("cpu", 2),), 4, 4, 2),)
    lonely = Constraints(at_most=(AtMost(1, "rack", WEB),))
    web = waiting(9, way(cpu=2, replicas=2), constraints=lonely, labels=WEB)
    there = replace(fixed(3, way(cpu=1), "r0n1"), spec=replace(fixed(3, way(cpu=1), "r0n1").spec, labels=WEB))
    assert told_to(web, nodes, [*busy, there]).examined == (
        Examined("a", 4, ((Refusal.FULL, 2), (Refusal.AT_MOST, 1)), (("cpu", 2),), 2, 2, 1),
    )


def test_a_reserved_job_is_told_for_whom_on_how_many_nodes_and_until_when() -> None:
    nodes = [node(f"n{i}", cpu=4) for i in range(3)]
    blocker = replace(fixed(1, way(cpu=4), "n0"), last_start_time=NOW - 50.0)
    blocker = replace(blocker, spec=replace(blocker.spec, expected_duration_seconds=200.0))
    gang = waiting(2, way(cpu=4, replicas=3), preemptible=False)
    small = waiting(3, way(cpu=4), preemptible=False, expected_duration_seconds=500.0)
    assert told_to(small, nodes, [blocker, gang], credits_owed={"j2": 1000.0}) == PendingReason(
        PendingCause.RESERVED,
        examined=(Examined("a", 3, ((Refusal.FULL, 1), (Refusal.RESERVED, 2)), (("cpu", 1),), 1, 0, 0),),
        reserved_for=("j2",),
        reserved_until=NOW + 150.0,
    )
    endless = replace(blocker, spec=replace(blocker.spec, expected_duration_seconds=None))
    assert told_to(small, nodes, [endless, gang], credits_owed={"j2": 1000.0}).reserved_until is None


def test_who_can_never_run_is_told_what_empty_nodes_say() -> None:
    nodes = [node("n1", cpu=4), node("n2", taints=TAINTED), node("n3", cpu=8, gpu=1), node("n4", flavor="b", cpu=2)]
    reason = told_to(waiting(9, way(cpu=16, gpu=2), way(flavor="b", cpu=3)), nodes, [])
    assert reason.cause is PendingCause.EXCEEDS_NODE
    assert reason.examined == (
        Examined("a", 3, ((Refusal.TAINT, 1), (Refusal.FULL, 2)), (("cpu", 2), ("gpu", 2)), 1, 0, 0),
        Examined("b", 1, ((Refusal.FULL, 1),), (("cpu", 1),), 1, 0, 0),
    )
    closed = told_to(waiting(9, way(cpu=1)), [node("n1", availability=CORDONED)], [])
    assert closed.examined == (Examined("a", 1, ((Refusal.CLOSED, 1),), (), 1, 0, 0),)


def test_limits_within_one_rack_that_allow_too_few_are_never_met() -> None:
    nodes = [node(f"r{rack}n{n}", rack=f"r{rack}") for rack in range(2) for n in range(2)]
    impossible = Constraints(within="rack", at_most=(AtMost(1, "rack"),))
    reason = told_to(waiting(9, way(cpu=1, replicas=2), constraints=impossible), nodes, [])
    assert reason.cause is PendingCause.EXCEEDS_CLUSTER
    assert [(each.room, each.places) for each in reason.examined] == [(2, 1)]
