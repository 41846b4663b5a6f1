"""Side constraints in whole jobs: who starts under them, who stops for them, and what those who wait are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import Node
from allocator.domain.policy import Policy
from allocator.domain.reason import LimitExcess, PendingCause, Refusal
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from tests.placement.worlds import CORDONED, POLICY, applied, decide, node, running, snapshot, told, waiting, way


def under(*constraints: SideConstraint) -> Policy:
    return replace(POLICY, side_constraints=constraints)


def cores(most: float, **term: Any) -> SideConstraint:
    """At most so many cores of those that the term selects."""
    return SideConstraint("cores", (Term("cpu", **term),), most=most)


def power(rack: str, most: float) -> SideConstraint:
    return SideConstraint(f"power-{rack}", (Term("cpu", 0.1, node_labels=(("rack", rack),)),), most=most, unit="kW")


def test_no_more_starts_than_a_constraint_allows() -> None:
    world = snapshot([node("n1"), node("n2")], [waiting(n, way(cpu=3)) for n in range(1, 5)])
    assert sorted(told(decide(world, policy=under(cores(7)))).values()) == [
        "starts on n1", "starts on n1", "waits: over_limit", "waits: over_limit",
    ]  # fmt: skip


def test_what_runs_counts_also_on_a_cordoned_node_and_if_nobody_may_stop_it() -> None:
    jobs = [running(waiting(1, way(cpu=4)), "n1"), running(waiting(2, way(cpu=2), preemptible=False), "n2")]
    world = snapshot([node("n1", availability=CORDONED), node("n2")], [*jobs, waiting(3, way(cpu=2))])
    plan = decide(world, policy=under(cores(7.5)))
    ((_, reason),) = plan.waiting
    assert reason.cause is PendingCause.OVER_LIMIT
    assert reason.limits == (LimitExcess("cores", 6 * PRECISION, 7_500_000, 2 * PRECISION, ""),)
    assert told(decide(world, policy=under(cores(8))))["j3"] == "starts on n2"


def test_a_tenth_is_a_tenth() -> None:
    """Ten times 0.1 is 1, not a little more."""
    world = snapshot([node("n1", cpu=10)], [waiting(n, way(cpu=1)) for n in range(1, 11)])
    policy = under(SideConstraint("money", (Term("cpu", 0.1),), most=1.0))
    assert set(told(decide(world, policy=policy)).values()) == {"starts on n1"}


def test_terms_select_flavors_queues_and_labels() -> None:
    nodes = [node("a1"), node("b1", flavor="b")]
    jobs = [
        waiting(1, way(cpu=2)),
        waiting(2, way(cpu=2, flavor="b")),
        waiting(3, way(cpu=2), labels=(("kind", "x"),)),
        replace(waiting(4), spec=replace(waiting(4, way(cpu=2)).spec, queue="r/s")),
    ]
    world = snapshot(nodes, jobs)

    def who_waits(**term: Any) -> set[str]:
        return {job_id for job_id, _ in decide(world, policy=under(cores(0, **term))).waiting}

    assert who_waits() == {"j1", "j2", "j3", "j4"}
    assert who_waits(flavors=("b",)) == {"j2"}
    assert who_waits(queues=("r",)) == {"j4"}
    assert who_waits(job_labels=(("kind", "x"),)) == {"j3"}
    assert who_waits(flavors=("c",)) == who_waits(queues=("s",)) == set()


def racks(count: int, per_rack: int = 1, cpu: int = 8) -> list[Node]:
    return [
        node(f"n{rack}{index}", cpu=cpu, rack=f"r{rack}")
        for rack in range(1, count + 1)
        for index in range(1, per_rack + 1)
    ]


def test_a_node_whose_rack_is_full_refuses() -> None:
    world = snapshot(racks(2), [waiting(n, way(cpu=3)) for n in range(1, 4)])
    policy = under(power("r1", 0.5))
    story = told(decide(world, policy=policy))
    assert sorted(story.values()) == ["starts on n11", "starts on n21", "starts on n21"]
    after = snapshot(racks(2), [*applied(world, decide(world, policy=policy)).jobs, waiting(4, way(cpu=3))])
    ((job, reason),) = decide(after, policy=policy).waiting
    assert (job, reason.cause) == ("j4", PendingCause.OVER_LIMIT)
    assert reason.limits == (LimitExcess("power-r1", 300_000, 500_000, 300_000, "kW"),)
    (said,) = reason.examined
    assert said.refused == ((Refusal.FULL, 1), (Refusal.LIMIT, 1))


def test_a_gang_takes_no_more_of_a_rack_than_is_left() -> None:
    world = snapshot(racks(2, 2), [waiting(1, way(cpu=4, replicas=4))])
    story = told(decide(world, policy=under(power("r1", 0.8))))
    assert sorted(story["j1"].split()[2:]) in (
        ["n11", "n11", "n21", "n21"],
        ["n11", "n12", "n21", "n21"],
        ["n21", "n21", "n22", "n22"],
    )
    story = told(decide(world, policy=under(power("r1", 0.8), power("r2", 0.7))))
    assert story["j1"] == "waits: exceeds_limit"
    full = applied(world, decide(world, policy=under(power("r1", 0.8), power("r2", 0.8))))
    assert told(decide(full, policy=under(power("r1", 0.8), power("r2", 0.8)))) == {"j1": "kept"}


@pytest.mark.parametrize(
    ("constraints", "cause"),
    [
        ((cores(3.9),), PendingCause.EXCEEDS_LIMIT),
        ((cores(4.0),), None),
        ((power("r1", 0.3),), None),
        ((power("r1", 0.3), power("r2", 0.3)), PendingCause.EXCEEDS_LIMIT),
    ],
)
def test_what_takes_more_than_there_may_be_never_starts(
    constraints: Sequence[SideConstraint], cause: PendingCause | None
) -> None:
    plan = decide(snapshot(racks(2), [waiting(1, way(cpu=4))]), policy=under(*constraints))
    assert [reason.cause for _, reason in plan.waiting] == ([] if cause is None else [cause])


def test_who_never_can_is_told_so_even_while_there_is_no_room() -> None:
    """All nodes are full, so nothing is free; but were everything free, it would be too much for either rack."""
    jobs = [running(waiting(n, way(cpu=4)), f"n{n}1") for n in (1, 2)]
    world = snapshot(racks(2), [*jobs, waiting(3, way(cpu=3))])
    ((_, never),) = decide(world, policy=under(power("r1", 0.29), power("r2", 0.25))).waiting
    assert never.cause is PendingCause.EXCEEDS_LIMIT
    assert never.limits == (
        LimitExcess("power-r1", 400_000, 290_000, 300_000, "kW"),
        LimitExcess("power-r2", 400_000, 250_000, 300_000, "kW"),
    )
    (seen,) = never.examined
    assert dict(seen.refused) == {Refusal.LIMIT: 2}
    ((_, later),) = decide(world, policy=under(power("r1", 0.3), power("r2", 0.25))).waiting
    assert later.cause is not PendingCause.EXCEEDS_LIMIT, "in r1, if nobody else ran"


def test_a_part_is_of_all_nodes_that_are_not_lost() -> None:
    world = snapshot([node("n1"), node("n2", availability=CORDONED)], [waiting(n, way(cpu=2)) for n in range(1, 5)])
    half = SideConstraint("half", (Term("cpu"),), most_part=0.25)
    assert len(decide(world, policy=under(half)).changes) == 2


def test_turns_within_a_full_constraint_go_by_credit_whatever_the_flavor() -> None:
    nodes = [node("a1"), node("b1", flavor="b")]
    jobs = [
        running(waiting(1, way(cpu=2, flavor="b")), "b1"),
        running(waiting(2, way(cpu=2)), "a1"),
        waiting(3, way(cpu=2)),
    ]
    world = snapshot(nodes, jobs)
    story = told(decide(world, credits_owed={"j3": 1000.0, "j1": -400.0, "j2": -300.0}, policy=under(cores(4))))
    assert story == {"j1": "stops for limit", "j2": "kept", "j3": "starts on a1"}
    assert told(decide(world, credits_owed={"j3": 100.0}, policy=under(cores(4))))["j3"] == "waits: over_limit"


def test_whoever_stops_in_a_full_rack_is_in_it() -> None:
    jobs = [running(waiting(n, way(cpu=4)), f"n{n}1") for n in (1, 2)]
    jobs += [waiting(3, way(cpu=4))]
    world = snapshot(racks(2), jobs)
    owed = {"j3": 1000.0, "j1": -300.0, "j2": -400.0}
    policy = under(power("r1", 0.4), power("r2", 0.9))
    assert told(decide(world, credits_owed=owed, policy=policy))["j3"] == "starts on n21", "there is room"
    policy = under(power("r1", 0.4), power("r2", 0.4))
    story = told(decide(world, credits_owed=owed, policy=policy))
    assert story["j3"] == "starts on n21"
    assert story["j2"] == "stops for limit"


def test_nothing_stops_because_a_limit_was_lowered_and_new_starts_wait() -> None:
    jobs = [running(waiting(n, way(cpu=2)), "n1") for n in range(1, 4)]
    world = snapshot([node("n1"), node("n2")], [*jobs, waiting(4, way(cpu=2))])
    assert told(decide(world, policy=under(cores(4)))) == {
        "j1": "kept", "j2": "kept", "j3": "kept", "j4": "waits: over_limit",
    }  # fmt: skip


def test_a_divisible_job_grows_no_further_than_a_constraint_allows() -> None:
    job = running(waiting(1, way(cpu=8), divisible=True), "n1")
    assert job.allocation is not None
    part = replace(job.allocation, placement=replace(job.allocation.placement, millis=200))
    world = snapshot([node("n1")], [replace(job, allocation=part)])
    shares = {"j1": (1.0,)}
    assert told(decide(world, shares, policy=under(cores(4))))["j1"] == "resizes to n1 at 500"
    assert told(decide(world, shares, policy=under(cores(1)))) == {"j1": "kept"}


def test_a_resizable_job_grows_within_its_rack_only_as_far_as_that_allows() -> None:
    ways = [way(cpu=2, replicas=replicas, throughput=float(replicas)) for replicas in (1, 2, 4)]
    world = snapshot(racks(1, 1), [running(waiting(1, *ways, resizable=True), "n11")])
    shares = {"j1": (0.0, 0.0, 1.0)}
    assert told(decide(world, shares, policy=under(power("r1", 0.8))))["j1"].startswith("resizes")
    assert told(decide(world, shares, policy=under(power("r1", 0.7)))) == {"j1": "kept"}


def test_licences_belong_to_no_node_and_are_counted_all_the_same() -> None:
    jobs = [waiting(n, way(cpu=2, flavor=flavor, extra=2)) for n, flavor in ((1, "a"), (2, "b"), (3, "a"))]
    licences = SideConstraint("licences", (Term("licence"),), most=4.0)
    policy = replace(under(licences), floating_resources=("licence",))
    plan = decide(snapshot([node("a1"), node("b1", flavor="b")], jobs), policy=policy)
    assert sorted(what.split()[0] for what in told(plan).values()) == ["starts", "starts", "waits:"]
    ((_, reason),) = plan.waiting
    assert reason.limits == (LimitExcess("licences", 4 * PRECISION, 4 * PRECISION, 2 * PRECISION),)
    without = decide(snapshot([node("a1")], jobs[:1]), policy=under(licences))
    assert told(without)["j1"] == "waits: exceeds_node", "as long as nobody says that they float"
