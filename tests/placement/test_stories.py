"""Decisions as stories: a small cluster, a few jobs, and what becomes of each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.placement import Allocation
from allocator.domain.policy import Policy
from allocator.formulation.build import build
from allocator.placement import hold
from tests.placement.worlds import (
    CORDONED,
    DRAINING,
    LOST,
    NOW,
    POLICY,
    Shares,
    decide,
    node,
    running,
    snapshot,
    told,
    waiting,
    way,
)


@dataclass
class Story:
    title: str
    nodes: list[Node]
    jobs: list[Job]
    expect: dict[str, str]
    shares: Shares = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)
    policy: Policy = POLICY


FREE_SPACE = [
    Story(
        "whoever came first gets the place when nobody is owed anything",
        [node("n1")],
        [waiting(1), waiting(2)],
        {"j1": "starts on n1", "j2": "waits: insufficient_capacity"},
    ),
    Story(
        "whoever is owed more comes first",
        [node("n1")],
        [waiting(1), waiting(2)],
        {"j1": "waits: insufficient_capacity", "j2": "starts on n1"},
        credits={"j2": 1.0},
    ),
    Story(
        "a higher priority class comes before any credit",
        [node("n1")],
        [waiting(1), waiting(2, priority_class="high")],
        {"j1": "waits: insufficient_capacity", "j2": "starts on n1"},
        credits={"j1": 1000.0},
    ),
    Story(
        "a job with a share comes before one without, and what is left is used by that one",
        [node("n1"), node("n2")],
        [waiting(1), waiting(2), waiting(3)],
        {"j1": "starts on n2", "j2": "starts on n1", "j3": "waits: insufficient_capacity"},
        shares={"j1": [0.0], "j2": [0.3], "j3": [0.0]},
    ),
    Story(
        "the configuration with the largest share is tried first, then the others",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [waiting(1, way(cpu=8), way(flavor="b", cpu=8)), waiting(2, way(cpu=8), way(flavor="b", cpu=8))],
        {"j1": "starts on n2", "j2": "starts on n1"},
        shares={"j1": [0.2, 0.8], "j2": [0.2, 0.8]},
    ),
    Story(
        "equal shares: the faster configuration",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [waiting(1, way(cpu=8), way(flavor="b", cpu=8, throughput=2.0))],
        {"j1": "starts on n2"},
        shares={"j1": [0.0, 0.0]},
    ),
    Story(
        "nobody takes a place without a share in it before those whose share it is",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [waiting(1), waiting(2, way(cpu=8), way(flavor="b", cpu=8)), waiting(3, way(flavor="b", cpu=8))],
        {"j1": "starts on n1", "j2": "waits: insufficient_capacity", "j3": "starts on n2"},
        shares={"j1": [0.5], "j2": [0.5, 0.0], "j3": [1.0]},
    ),
    Story(
        "a gang starts whole, on the node that holds it all",
        [node("n1"), node("n2", cpu=16), node("n3")],
        [waiting(1, way(replicas=2, cpu=8))],
        {"j1": "starts on n2 n2"},
    ),
    Story(
        "or else on few nodes, the fullest fill first and the tightest rest last",
        [node("n1", cpu=9), node("n2", cpu=17), node("n3", cpu=8)],
        [waiting(1, way(replicas=3, cpu=8))],
        {"j1": "starts on n2 n2 n3"},
    ),
    Story(
        "whatever the tightest node is, if it cannot take the rest it does not",
        [node("n1", cpu=24), node("n2", cpu=16), node("n3", cpu=8)],
        [waiting(1, way(replicas=5, cpu=8))],
        {"j1": "starts on n1 n1 n1 n2 n2"},
    ),
    Story(
        "or not at all: never half a gang, never on two flavors",
        [node("n1"), node("n2"), node("n3", flavor="b")],
        [running(waiting(1), "n1"), waiting(2, way(replicas=2, cpu=8)), waiting(3, way(flavor="b", replicas=2, cpu=8))],
        {"j1": "kept", "j2": "waits: insufficient_capacity", "j3": "waits: exceeds_cluster"},
    ),
    Story(
        "the node with the least left over is taken",
        [node("n1", cpu=8), node("n2", cpu=4), node("n3", cpu=8)],
        [waiting(1, way(cpu=4))],
        {"j1": "starts on n2"},
    ),
    Story(
        "work without GPUs stays away from them",
        [node("n1", gpu=4), node("n2", gpu=0)],
        [waiting(1, way(cpu=2))],
        {"j1": "starts on n2"},
    ),
    Story(
        "whole GPUs are the lowest free devices, and nobody shares them",
        [node("n1", gpu=4)],
        [running(waiting(1, way(gpu=0.5)), "n1:0"), waiting(2, way(gpu=2)), waiting(3, way(gpu=0.5))],
        {"j1": "kept", "j2": "starts on n1:1,2", "j3": "starts on n1:0"},
    ),
    Story(
        "a fraction fills up a shared GPU before it breaks a whole one, even on an emptier node",
        [node("n1", gpu=1), node("n2", gpu=4)],
        [running(waiting(1, way(gpu=0.5)), "n2:3"), waiting(2, way(gpu=0.5))],
        {"j1": "kept", "j2": "starts on n2:3"},
    ),
    Story(
        "a fraction never spans devices",
        [node("n1", gpu=2)],
        [
            running(waiting(1, way(gpu=0.6)), "n1:0"),
            running(waiting(2, way(gpu=0.6)), "n1:1"),
            waiting(3, way(gpu=0.5)),
        ],
        {"j1": "kept", "j2": "kept", "j3": "waits: fragmented"},
    ),
    Story(
        "a resource that no node has is never free",
        [node("n1")],
        [waiting(1, way(cpu=1, extra=1))],
        {"j1": "waits: exceeds_node"},
    ),
    Story(
        "closed nodes take nothing new",
        [
            node("n1", availability=CORDONED),
            node("n2", availability=DRAINING),
            node("n3", health=LOST),
            node("n4", cpu=4),
        ],
        [waiting(1)],
        {"j1": "waits: exceeds_node"},
    ),
]

PREEMPTION = [
    Story(
        "nothing changed and all credits are small: nobody is touched",
        [node("n1"), node("n2")],
        [running(waiting(1), "n1"), running(waiting(2), "n2"), waiting(3)],
        {"j1": "kept", "j2": "kept", "j3": "waits: insufficient_capacity"},
        credits={"j1": -100.0, "j2": -150.0, "j3": 149.0},
    ),
    Story(
        "a difference of credit as large as the hysteresis changes places, with the least owed one",
        [node("n1"), node("n2")],
        [running(waiting(1), "n1"), running(waiting(2), "n2"), waiting(3)],
        {"j1": "kept", "j2": "stops for fair_share", "j3": "starts on n2"},
        credits={"j1": -100.0, "j2": -150.0, "j3": 150.0},
    ),
    Story(
        "not before the minimum run",
        [node("n1")],
        [running(waiting(1), "n1", since=NOW - 299), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        credits={"j1": -1000.0},
    ),
    Story(
        "a long restart cost counts instead of the hysteresis",
        [node("n1")],
        [running(waiting(1, restart_cost=500.0), "n1"), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        credits={"j1": -499.0},
    ),
    Story(
        "a job without a share may use what is left, not stop others for fairness",
        [node("n1")],
        [running(waiting(1), "n1"), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        shares={"j2": [0.0]},
        credits={"j1": -5000.0},
    ),
    Story(
        "a non-preemptible job runs to its end",
        [node("n1")],
        [running(waiting(1, preemptible=False), "n1"), waiting(2, priority_class="high")],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        credits={"j1": -5000.0},
    ),
    Story(
        "a higher priority class takes the place at once",
        [node("n1")],
        [running(waiting(1), "n1", since=NOW - 1), waiting(2, priority_class="high")],
        {"j1": "stops for priority", "j2": "starts on n1"},
        credits={"j1": 5000.0},
    ),
    Story(
        "a lower priority class takes nothing from a higher one, whatever it is owed",
        [node("n1")],
        [running(waiting(1, priority_class="high"), "n1"), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        credits={"j1": -7000.0, "j2": 7000.0},
    ),
    Story(
        "victims together make room for a gang, and only as many as it takes",
        [node("n1"), node("n2"), node("n3")],
        [
            running(waiting(1), "n1"),
            running(waiting(2), "n2"),
            running(waiting(3), "n3"),
            waiting(4, way(replicas=2, cpu=8)),
        ],
        {"j1": "stops for fair_share", "j2": "kept", "j3": "stops for fair_share", "j4": "starts on n1 n3"},
        credits={"j1": -500.0, "j2": -400.0, "j3": -600.0},
    ),
    Story(
        "nobody stops for a gang that would not fit even then",
        [node("n1"), node("n2")],
        [
            running(waiting(1), "n1"),
            running(waiting(2, preemptible=False), "n2"),
            waiting(3, way(replicas=2, cpu=8)),
        ],
        {"j1": "kept", "j2": "kept", "j3": "waits: insufficient_capacity"},
        credits={"j1": -500.0},
    ),
    Story(
        "a victim that turns out not to be in the way goes on",
        [node("n1", cpu=2), node("n2", cpu=8)],
        [running(waiting(1, way(cpu=2)), "n1"), running(waiting(2, way(cpu=8)), "n2"), waiting(3, way(cpu=8))],
        {"j1": "kept", "j2": "stops for fair_share", "j3": "starts on n2"},
        credits={"j1": -900.0, "j2": -500.0},
    ),
    Story(
        "on one node, too: the least owed ones that suffice",
        [node("n1", cpu=8)],
        [
            running(waiting(1, way(cpu=2)), "n1"),
            running(waiting(2, way(cpu=6)), "n1"),
            waiting(3, way(cpu=6)),
        ],
        {"j1": "kept", "j2": "stops for fair_share", "j3": "starts on n1"},
        credits={"j1": -900.0, "j2": -500.0},
    ),
    Story(
        "and nobody else gets the room of one who did not have to stop",
        [node("n1", cpu=8)],
        [
            running(waiting(1, way(cpu=2)), "n1"),
            running(waiting(2, way(cpu=6)), "n1"),
            waiting(3, way(cpu=6)),
            waiting(4, way(cpu=2)),
        ],
        {"j1": "kept", "j2": "stops for fair_share", "j3": "starts on n1", "j4": "waits: insufficient_capacity"},
        credits={"j1": -900.0, "j2": -500.0, "j4": -700.0},
    ),
    Story(
        "without any hysteresis it still takes a difference",
        [node("n1")],
        [running(waiting(1), "n1"), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        policy=Policy(hysteresis_seconds=0.0, minimum_run_seconds=0.0),
    ),
    Story(
        "a victim takes what is free elsewhere at once",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"), waiting(2)],
        {"j1": "moves to n2 for fair_share", "j2": "starts on n1"},
        credits={"j1": -500.0},
    ),
    Story(
        "what a large victim leaves over is used in the same round",
        [node("n1", cpu=8)],
        [running(waiting(1), "n1"), waiting(2, way(cpu=5)), waiting(3, way(cpu=3))],
        {"j1": "stops for fair_share", "j2": "starts on n1", "j3": "starts on n1"},
        credits={"j1": -500.0, "j3": -1000.0},
    ),
    Story(
        "a whole GPU is freed from the fractions on it, and one of them still fits beside another",
        [node("n1", gpu=2)],
        [
            running(waiting(1, way(gpu=0.5)), "n1:0"),
            running(waiting(2, way(gpu=0.5)), "n1:1"),
            running(waiting(3, way(gpu=0.5)), "n1:1"),
            waiting(4, way(gpu=1)),
        ],
        {
            "j1": "kept",
            "j2": "moves to n1:0 for fair_share",
            "j3": "stops for fair_share",
            "j4": "starts on n1:1",
        },
        credits={"j1": -299.0, "j2": -400.0, "j3": -500.0},
    ),
    Story(
        "a job on a cordoned node stays, also against priority",
        [node("n1", availability=CORDONED), node("n2")],
        [running(waiting(1, way(replicas=2, cpu=8)), "n1", "n2"), waiting(2, priority_class="high")],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
    ),
]

FAULTS = [
    Story(
        "a lost node: its jobs move if there is room",
        [node("n1", health=LOST), node("n2")],
        [running(waiting(1), "n1")],
        {"j1": "moves to n2 for node_lost"},
    ),
    Story(
        "or wait, the whole gang of them, also the non-preemptible ones",
        [node("n1", health=LOST), node("n2")],
        [running(waiting(1, way(replicas=2, cpu=8), preemptible=False), "n1", "n2"), waiting(2)],
        {"j1": "stops for node_lost", "j2": "starts on n2"},
    ),
    Story(
        "a non-preemptible job that lost its place has a claim to another one",
        [node("n1", cpu=4), node("n2")],
        [running(waiting(1, preemptible=False), "n1"), running(waiting(2), "n2")],
        {"j1": "moves to n2 for capacity_shrunk", "j2": "stops for fair_share"},
        credits={"j2": -500.0},
    ),
    Story(
        "a node that is not there any more counts as lost",
        [node("n2")],
        [running(waiting(1), "n1")],
        {"j1": "moves to n2 for node_lost"},
    ),
    Story(
        "a draining node is left by preemptible jobs only",
        [node("n1", cpu=16, availability=DRAINING), node("n2")],
        [running(waiting(1), "n1"), running(waiting(2, preemptible=False), "n1")],
        {"j1": "moves to n2 for node_draining", "j2": "kept"},
    ),
    Story(
        "the evicted compete by what they are owed",
        [node("n1", availability=DRAINING), node("n2")],
        [running(waiting(1), "n1"), waiting(2)],
        {"j1": "stops for node_draining", "j2": "starts on n2"},
        credits={"j1": -10.0},
    ),
    Story(
        "a cordoned node changes nothing for what runs there",
        [node("n1", availability=CORDONED), node("n2")],
        [running(waiting(1), "n1")],
        {"j1": "kept"},
    ),
    Story(
        "a node that shrank: preemptible before non-preemptible, the least owed first, no more than necessary",
        [node("n1", cpu=5)],
        [
            running(waiting(1, way(cpu=3), preemptible=False), "n1"),
            running(waiting(2, way(cpu=2)), "n1"),
            running(waiting(3, way(cpu=3)), "n1"),
        ],
        {"j1": "kept", "j2": "kept", "j3": "stops for capacity_shrunk"},
        credits={"j1": -50.0, "j2": -20.0, "j3": -10.0},
    ),
    Story(
        "a node that lost a GPU: its job takes another one",
        [node("n1", gpu=2)],
        [running(waiting(1, way(gpu=1)), "n1:3"), running(waiting(2, way(gpu=1)), "n1:0")],
        {"j1": "moves to n1:1 for capacity_shrunk", "j2": "kept"},
    ),
    Story(
        "a node that came back with another flavor",
        [node("n1", flavor="b"), node("n2", cpu=1)],
        [running(waiting(1), "n1")],
        {"j1": "stops for capacity_shrunk"},
    ),
    Story(
        "a resource that the whole cluster lost",
        [node("n1")],
        [running(waiting(1, way(cpu=1, extra=1)), "n1")],
        {"j1": "stops for capacity_shrunk"},
    ),
]

RECONFIGURATION = [
    Story(
        "a job changes over when the optimum moved it wholly and there is room",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1")],
        {"j1": "moves to n2 for reconfigured"},
        shares={"j1": [0.0, 0.9]},
    ),
    Story(
        "not when it still has a share where it is",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1")],
        {"j1": "kept"},
        shares={"j1": [0.1, 0.9]},
    ),
    Story(
        "not before the minimum run",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1", since=NOW - 10)],
        {"j1": "kept"},
        shares={"j1": [0.0, 0.9]},
    ),
    Story(
        "not at the cost of others",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [
            running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"),
            running(waiting(2, way(flavor="b", cpu=8)), "n2"),
        ],
        {"j1": "kept", "j2": "kept"},
        shares={"j1": [0.0, 0.9]},
        credits={"j2": -5000.0},
    ),
    Story(
        "an elastic job may grow over its own place",
        [node("n1", gpu=4)],
        [running(waiting(1, way(gpu=2), way(replicas=2, gpu=2)), "n1:0,1")],
        {"j1": "moves to n1:0,1 n1:2,3 for reconfigured"},
        shares={"j1": [0.0, 1.0]},
    ),
    Story(
        "what an elastic job gives back by shrinking is used in the same round",
        [node("n1", gpu=4)],
        [
            running(waiting(1, way(gpu=2), way(replicas=2, gpu=2)), "n1:0,1", "n1:2,3", configuration=1),
            waiting(2, way(gpu=2)),
        ],
        {"j1": "moves to n1:0,1 for reconfigured", "j2": "starts on n1:2,3"},
        shares={"j1": [1.0, 0.0]},
        credits={"j1": -100.0},
    ),
    Story(
        "whoever moved away cannot be stopped where it was",
        [node("n1"), node("n2", flavor="b"), node("n3")],
        [
            running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"),
            running(waiting(2, preemptible=False), "n3"),
            waiting(3, way(replicas=2, cpu=8)),
        ],
        {"j1": "moves to n2 for reconfigured", "j2": "kept", "j3": "waits: insufficient_capacity"},
        shares={"j1": [0.0, 0.9]},
        credits={"j1": -500.0},
    ),
    Story(
        "whoever had to go from a shrunk node and finds its place free again has not gone",
        [node("n1"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"), running(waiting(2), "n1")],
        {"j1": "moves to n2 for reconfigured", "j2": "kept"},
        shares={"j1": [0.0, 0.9]},
        credits={"j2": -10.0},
    ),
    Story(
        "room that a move makes is used in the same round, by those who are owed more, too",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"), waiting(2)],
        {"j1": "moves to n2 for reconfigured", "j2": "starts on n1"},
        shares={"j1": [0.0, 0.9]},
        credits={"j1": -100.0},
    ),
]


@pytest.mark.parametrize(
    "story", [*FREE_SPACE, *PREEMPTION, *FAULTS, *RECONFIGURATION], ids=lambda story: story.title.replace(" ", "-")
)
def test_story(story: Story) -> None:
    plan = decide(snapshot(story.nodes, story.jobs), story.shares, story.credits, story.policy)
    assert told(plan) == story.expect


def test_preemptions_and_moves_come_before_starts_and_starts_in_order_of_claim() -> None:
    nodes = [node("n1"), node("n2"), node("n3", health=LOST), node("n4"), node("n5")]
    jobs = [
        running(waiting(1), "n1"),
        waiting(2),
        running(waiting(3), "n3"),
        waiting(4),
        running(waiting(5, preemptible=False), "n2"),
    ]
    plan = decide(snapshot(nodes, jobs), credits_owed={"j1": -900.0, "j2": 10.0, "j3": 20.0, "j4": 30.0})
    assert [(type(change).__name__, change.job_id) for change in plan.changes] == [
        ("Preempt", "j1"),
        ("Move", "j3"),
        ("Start", "j4"),
        ("Start", "j2"),
    ]
    assert (plan.revision, plan.round) == (7, 3)


def test_credit_beyond_the_limit_does_not_count() -> None:
    policy = Policy(credit_limit_seconds=200.0)
    jobs = [running(waiting(1), "n1"), waiting(2)]
    plan = decide(snapshot([node("n1")], jobs), credits_owed={"j1": -50.0, "j2": 9999.0}, policy=policy)
    assert told(plan) == {"j1": "kept", "j2": "waits: insufficient_capacity"}


def test_a_finished_replica_does_not_drag_its_gang_off_a_lost_node_and_keeps_its_room_elsewhere() -> None:
    gang = running(waiting(1, way(replicas=3, cpu=8)), "n1", "n2", "n3")
    assert gang.allocation is not None
    done = replace(gang, allocation=replace(gang.allocation, finished=frozenset({0, 1})))
    assert isinstance(done.allocation, Allocation)
    plan = decide(snapshot([node("n1", health=LOST), node("n2"), node("n3")], [done, waiting(2)]))
    assert told(plan) == {"j1": "kept", "j2": "waits: insufficient_capacity"}


def test_shares_of_another_problem_are_refused() -> None:
    world = snapshot([node("n1")], [waiting(1)])
    other = snapshot([node("n1")], [waiting(1), waiting(2)])
    from allocator.domain.snapshot import Memory
    from allocator.placement import place
    from tests.placement.worlds import share_matrix

    with pytest.raises(ValueError, match=r"shares must have the shape of the problem \(2, 1\), got \(1, 1\)"):
        place(other, build(other, POLICY), share_matrix(build(world, POLICY), {}), Memory(), POLICY)


def test_hold_starts_nothing_and_still_clears_what_must_go() -> None:
    nodes = [
        node("n1"),
        node("n2", health=LOST),
        node("n3", availability=DRAINING),
        node("n4", cpu=4),
        node("n5"),
        node("n6", flavor="b", availability=CORDONED),
    ]
    jobs = [
        running(waiting(1), "n1"),
        running(waiting(2), "n2"),
        running(waiting(3), "n3"),
        running(waiting(4), "n4"),
        waiting(5),
        waiting(6, way(flavor="b", cpu=1)),
    ]
    world = snapshot(nodes, jobs)
    plan = hold(world, build(world, POLICY))
    assert told(plan) == {
        "j1": "kept",
        "j2": "stops for node_lost",
        "j3": "stops for node_draining",
        "j4": "stops for capacity_shrunk",
        "j5": "waits: scheduler_stale",
        "j6": "waits: no_eligible_flavor",
    }


def test_hold_evicts_no_more_than_a_shrunk_node_requires() -> None:
    jobs = [running(waiting(sequence, way(cpu=cpu)), "n1") for sequence, cpu in ((1, 3), (2, 4), (3, 1))]
    world = snapshot([node("n1", cpu=5)], jobs)
    assert told(hold(world, build(world, POLICY))) == {"j1": "kept", "j2": "stops for capacity_shrunk", "j3": "kept"}


def test_an_empty_world_has_an_empty_plan() -> None:
    plan = decide(snapshot([], []))
    assert (plan.changes, plan.kept, plan.waiting) == ((), (), ())
