"""Where jobs may go beyond what fits: labels, taints, racks, limits on one another, affinity."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Job
from allocator.domain.plan import Preempt
from allocator.domain.reason import PendingCause
from allocator.placement import violations
from tests.placement.worlds import applied, decide, node, running, snapshot, told, waiting, way

WEB, NOISY = (("app", "web"),), (("noisy", "yes"),)


def racks(count: int, each: int, **more: int) -> list[Node]:
    return [node(f"r{rack}n{n}", rack=f"r{rack}", **more) for rack in range(count) for n in range(each)]  # type: ignore[arg-type]


def limited(*limits: AtMost, within: str = "") -> Constraints:
    return Constraints(at_most=limits, within=within)


def test_labels_and_taints_keep_a_job_away() -> None:
    nodes = [
        node("n1", taints=(("dedicated", "training"),)),
        node("n2", labels=(("zone", "a"),)),
        node("n3", labels=(("zone", "b"),)),
    ]
    ssd = waiting(1, constraints=Constraints(nodes=(NodeRule("zone", ("b",)),)))
    tolerant = waiting(
        2, constraints=Constraints(nodes=(NodeRule("zone", negated=True),), tolerations=(("dedicated", ""),))
    )
    anywhere = waiting(3)
    nowhere = waiting(4, constraints=Constraints(nodes=(NodeRule("zone", ("c",)),)))
    story = told(decide(snapshot(nodes, [ssd, tolerant, anywhere, nowhere])))
    assert story == {
        "j1": "starts on n3",
        "j2": "starts on n1",
        "j3": "starts on n2",
        "j4": "waits: no_matching_node",
    }


def test_taints_count_where_no_node_has_labels() -> None:
    nodes = [node("n1", cpu=2, taints=(("gpu", "only"),)), node("n2", cpu=8)]
    assert told(decide(snapshot(nodes, [waiting(1, way(cpu=2))])))["j1"] == "starts on n2"


def test_jobs_that_are_gone_bind_nobody() -> None:
    """Not even when they are remembered for the next round."""
    job = running(waiting(1, way(cpu=2), way(cpu=2, replicas=2), resizable=True, labels=WEB), "n1")
    limited_one = waiting(7, way(cpu=1), labels=WEB, constraints=limited(AtMost(1, "rack", WEB)))
    decide(snapshot([node("other")], [limited_one]))
    assert told(decide(snapshot([node("n1")], [job]), {"j1": (0.0, 1.0)}))["j1"] == "resizes to n1 n1"


def test_a_rack_is_freed_among_many() -> None:
    """Amounts would do long before one rack is free."""
    nodes = [node(f"n{rack:02}{n}", rack=f"r{rack:02}") for rack in range(12) for n in range(6)]
    jobs = [running(waiting(i), each.name) for i, each in enumerate(nodes)]
    gang = waiting(999, way(cpu=8, replicas=6), constraints=limited(within="rack"))
    owed = {job.id: -1000.0 - (job.sequence * 7919 % 3001) for job in jobs} | {gang.id: 7000.0}
    story = told(decide(snapshot(nodes, [*jobs, gang]), credits_owed=owed))
    assert story[gang.id].startswith("starts")
    assert sum(what.startswith("stops") for what in story.values()) == 6


def test_a_gang_prefers_one_node_then_one_rack_then_few_nodes() -> None:
    nodes = racks(2, 3, cpu=4)
    assert told(decide(snapshot(nodes, [waiting(1, way(cpu=2, replicas=2))])))["j1"] == "starts on r0n0 r0n0"
    there = running(waiting(1, way(cpu=4)), "r0n1")
    plan = decide(snapshot(nodes, [there, waiting(2, way(cpu=2, replicas=6))]))
    assert told(plan)["j2"] == "starts on r1n0 r1n0 r1n1 r1n1 r1n2 r1n2", "the rack that holds it all"
    plan = decide(snapshot(nodes, [there, waiting(2, way(cpu=2, replicas=8))]))
    assert told(plan)["j2"] == "starts on r1n0 r1n0 r1n1 r1n1 r1n2 r1n2 r0n0 r0n0"


def test_within_one_rack_or_not_at_all() -> None:
    nodes = racks(2, 2, cpu=4)
    small, large = (waiting(1, way(cpu=4, replicas=count), constraints=limited(within="rack")) for count in (2, 3))
    assert told(decide(snapshot(nodes, [small])))["j1"] == "starts on r0n0 r0n1"
    assert told(decide(snapshot(nodes, [large])))["j1"] == "waits: exceeds_cluster"
    busy = [running(waiting(2, way(cpu=4)), "r0n0"), running(waiting(3, way(cpu=4)), "r1n1")]
    assert told(decide(snapshot(nodes, [small, *busy])))["j1"] == "waits: constrained"


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ((AtMost(1),), "r0n0 r0n1 r1n0 r1n1"),
        ((AtMost(2, "rack"),), "r0n0 r0n0 r1n0 r1n0"),
        ((AtMost(1), AtMost(2, "rack")), "r0n0 r0n1 r1n0 r1n1"),
    ],
)
def test_a_gang_is_spread_over_nodes_and_racks(limits: tuple[AtMost, ...], where: str) -> None:
    plan = decide(snapshot(racks(2, 2), [waiting(1, way(cpu=1, replicas=4), constraints=limited(*limits))]))
    assert told(plan)["j1"] == f"starts on {where}"


def test_one_of_an_app_per_node_also_for_those_who_come_later() -> None:
    one = running(waiting(1, way(cpu=1), labels=WEB, constraints=limited(AtMost(1, of=WEB))), "n1")
    other = waiting(2, way(cpu=1), labels=WEB)
    stranger = waiting(3, way(cpu=1))
    assert told(decide(snapshot([node("n1")], [one, other, stranger]))) == {
        "j1": "kept",
        "j2": "waits: constrained",
        "j3": "starts on n1",
    }
    assert told(decide(snapshot([node("n1"), node("n2")], [one, other])))["j2"] == "starts on n2"


def test_a_job_that_wants_no_noisy_neighbours_gets_none() -> None:
    quiet = Constraints(at_most=(AtMost(0, "rack", NOISY),))
    nodes = racks(2, 2)
    noisy = running(waiting(1, way(cpu=1), labels=NOISY), "r0n0")
    plan = decide(snapshot(nodes, [noisy, waiting(2, way(cpu=1), constraints=quiet)]))
    assert told(plan)["j2"] == "starts on r1n0"
    settled = running(waiting(2, way(cpu=1), constraints=quiet), "r1n0")
    plan = decide(snapshot(nodes, [settled, waiting(3, way(cpu=1), labels=NOISY)]))
    assert told(plan)["j3"] == "starts on r0n0"


def test_near_means_where_one_of_them_runs() -> None:
    near = Constraints(near=(Near("rack", WEB),))
    nodes = racks(2, 2)
    web = running(waiting(1, way(cpu=1), labels=WEB), "r1n1")
    assert told(decide(snapshot(nodes, [web, waiting(2, way(cpu=8), constraints=near)])))["j2"] == "starts on r1n0"
    assert told(decide(snapshot(nodes, [waiting(2, constraints=near)])))["j2"] == "waits: constrained"


def test_a_limit_on_an_app_holds_among_jobs_that_start_together() -> None:
    alone = limited(AtMost(1, "rack", WEB))
    jobs = [waiting(i, way(cpu=1), labels=WEB, constraints=alone) for i in range(1, 4)]
    story = told(decide(snapshot(racks(2, 2), jobs)))
    assert sorted(story.values()) == ["starts on r0n0", "starts on r1n0", "waits: constrained"]


def test_stopping_a_neighbour_makes_room_under_a_limit() -> None:
    """The node has room, and the limit is what is in the way."""
    alone = limited(AtMost(1, of=WEB))
    old = running(waiting(1, way(cpu=1), labels=WEB, constraints=alone), "n1")
    new = waiting(2, way(cpu=1), labels=WEB, constraints=alone)
    story = told(decide(snapshot([node("n1")], [old, new]), credits_owed={"j1": -1000.0, "j2": 1000.0}))
    assert story == {"j1": "stops for fair_share", "j2": "starts on n1"}


_credits = st.integers(-2000, 2000)
_labels = st.sampled_from([(), WEB, NOISY, (*WEB, *NOISY)])
_limits = st.builds(AtMost, st.integers(1, 2), st.sampled_from(["node", "rack"]), st.sampled_from([WEB, NOISY]))


@st.composite
def _constraints(draw: st.DrawFn) -> Constraints:
    own = draw(st.sampled_from([(), (AtMost(1),), (AtMost(1, "rack"),), (AtMost(2), AtMost(2, "rack"))]))
    within = draw(st.sampled_from(["", "", "rack", "node"]))
    near = draw(st.sampled_from([(), (), (), (Near("rack", WEB),)]))
    return Constraints(at_most=(*own, *draw(st.lists(_limits, max_size=2))), near=near, within=within)


@st.composite
def _jobs(draw: st.DrawFn) -> list[Job]:
    return [
        waiting(
            sequence,
            way(cpu=draw(st.integers(1, 3)), replicas=draw(st.integers(1, 3))),
            labels=draw(_labels),
            constraints=draw(_constraints()),
            priority_class=draw(st.sampled_from(["low", "normal", "normal", "high"])),
        )
        for sequence in range(1, draw(st.integers(2, 8)))
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    _jobs(), st.lists(st.integers(-2000, 2000), min_size=8, max_size=8), st.lists(st.integers(-2000, 2000), min_size=8)
)
def test_no_plan_breaks_a_constraint(jobs: list[Job], first: list[int], second: list[int]) -> None:
    """Two rounds with other credits, so that some stop for others; judged by the independent check."""
    nodes = racks(2, 2, cpu=4)
    world = snapshot(nodes, jobs)
    for credits_owed in (first, second):
        owed = {job.id: float(credit) for job, credit in zip(jobs, credits_owed, strict=False)}
        plan = decide(world, credits_owed=owed)
        world = applied(world, plan)
        assert violations(world.nodes, world.jobs) == []
        world = replace(
            world, jobs=tuple(replace(j, last_start_time=0.0) if j.last_start_time else j for j in world.jobs)
        )
        for change in plan.changes:
            if isinstance(change, Preempt):
                assert change.pending.cause is not PendingCause.NO_ELIGIBLE_FLAVOR
