"""The checker finds every broken constraint of running jobs, and nothing where all are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from allocator.domain.cluster import Node
from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.resources import Resources
from allocator.placement.verify import usage_by_node, violations
from allocator.placement.verify_constraints import unfit

CPU = Resources(cpu_millicores=1000)


def node(name: str, rack: str | None = None, **fields: Any) -> Node:
    return Node(name, "a", CPU * 8, labels=(("rack", rack),) if rack else (), **fields)


NODES = [node("n1", "r1"), node("n2", "r1"), node("n3", "r2"), node("n4")]
WEB, NOISY = (("app", "web"),), (("noisy", "true"),)


def runs(number: int, *where: str, millis: int = 1000, finished: tuple[int, ...] = (), **fields: Any) -> Job:
    places = tuple(ReplicaPlacement(name) for name in where)
    asked = JobSpec("q", (Configuration("a", len(where), CPU),), **fields)
    allocation = Allocation(Placement(f"j{number}", 0, places, millis), Epoch(1, 1), 0.0, frozenset(finished))
    return Job(f"j{number}", number, asked, 0.0, JobState.RUNNING, allocation=allocation)


def limited(*limits: AtMost, within: str = "") -> Constraints:
    return Constraints(at_most=limits, within=within)


@pytest.mark.parametrize(
    "jobs",
    [
        [runs(1, "n1", "n1", "n3", constraints=limited(AtMost(2, "rack")))],
        [runs(1, "n1", "n2", constraints=limited(AtMost(1)))],
        [runs(1, "n1", "n1", "n2", finished=(0,), constraints=limited(AtMost(1)))],
        [runs(1, "n1", "n2", constraints=limited(within="rack"))],
        [runs(1, "n4", "n4", constraints=limited(within="rack"))],
        [runs(1, "n1", labels=WEB, constraints=limited(AtMost(1, of=WEB))), runs(2, "n2", "n2", labels=WEB)],
        [runs(1, "n1", constraints=limited(AtMost(0, "rack", NOISY))), runs(2, "n3", "n4", labels=NOISY)],
        [runs(1, "n1", millis=300, divisible=True)],
        [runs(1, "n1", constraints=Constraints(nodes=(NodeRule("ssd"),)))],
    ],
)
def test_nothing_is_said_of_what_is_kept(jobs: list[Job]) -> None:
    assert violations(NODES, jobs) == []


@pytest.mark.parametrize(
    ("jobs", "expect"),
    [
        (
            [runs(1, "n1", "n2", "n3", constraints=limited(AtMost(1, "rack")))],
            "job j1: 2 replicas of its own, at most 1 per rack are allowed on rack r1",
        ),
        (
            [runs(1, "n4", "n4", constraints=limited(AtMost(1, "rack")))],
            "job j1: 2 replicas of its own, at most 1 per rack are allowed on node n4",
        ),
        (
            [runs(1, "n1", "n3", constraints=limited(within="rack"))],
            "job j1: its replicas are in 2 domains of 'rack' and must be in one",
        ),
        (
            [runs(1, "n1", labels=WEB, constraints=limited(AtMost(1, of=WEB))), runs(2, "n1", labels=WEB)],
            "job j1: 2 replicas of app=web, at most 1 per node are allowed on node n1",
        ),
        (
            [runs(1, "n1", constraints=limited(AtMost(0, "rack", NOISY))), runs(2, "n2", labels=NOISY)],
            "job j1: 1 replicas of noisy=true, at most 0 per rack are allowed on rack r1",
        ),
        ([runs(1, "n1", millis=300)], "job j1: it holds 300 thousandths of its demand, but is not divisible"),
        (
            [runs(1, "n1", millis=0, divisible=True)],
            "job j1: it holds 0 thousandths of its demand: from 1 to 1000 would be right",
        ),
    ],
)
def test_each_kind_of_breach_is_named(jobs: list[Job], expect: str) -> None:
    assert violations(NODES, jobs) == [expect]


def test_parts_of_demands_add_up() -> None:
    jobs = [runs(number, "n1", millis=333, divisible=True) for number in range(1, 25)]
    assert usage_by_node(jobs)["n1"].amounts == {"cpu": 24 * 333}
    assert violations(NODES, jobs) == []
    assert violations(NODES, [*jobs, runs(25, "n1", divisible=True, millis=9)]) == [
        "node n1: 8001 of cpu is used, capacity is 8000"
    ]


@pytest.mark.parametrize(
    ("constraints", "expect"),
    [
        (UNCONSTRAINED, "node n1 has the taint spot=yes, which the job does not tolerate"),
        (
            Constraints(nodes=(NodeRule("rack", ("r2", "r3")),)),
            "node n1 has the label rack=r1, the job asks for r2 or r3",
        ),
        (Constraints(nodes=(NodeRule("ssd", ("yes",)),)), "node n1 has no label ssd, which the job asks for"),
        (
            Constraints(nodes=(NodeRule("rack", ("r1",), negated=True),)),
            "node n1 has the label rack=r1, which the job rules out",
        ),
        (Constraints(tolerations=(("spot", ""),)), None),
    ],
)
def test_why_a_node_does_not_fit_is_said_in_words(constraints: Constraints, expect: str | None) -> None:
    tainted = replace(NODES[0], taints=(("spot", "yes"),))
    assert unfit(constraints, tainted) == expect
    assert (expect is None) == constraints.admits(tainted)
