"""What becomes of jobs whose nodes are lost, drained, closed or smaller than before."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.placement import Allocation
from allocator.formulation.build import build
from allocator.placement import hold
from tests.placement.story import Story, each
from tests.placement.worlds import (
    CORDONED,
    DRAINING,
    LOST,
    POLICY,
    decide,
    node,
    running,
    snapshot,
    told,
    waiting,
    way,
)

STORIES = [
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


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()


def test_a_finished_replica_neither_drags_its_gang_off_a_lost_node_nor_keeps_room() -> None:
    gang = running(waiting(1, way(replicas=3, cpu=8)), "n1", "n2", "n3")
    assert gang.allocation is not None
    done = replace(gang, allocation=replace(gang.allocation, finished=frozenset({0, 1})))
    assert isinstance(done.allocation, Allocation)
    plan = decide(snapshot([node("n1", health=LOST), node("n2"), node("n3")], [done, waiting(2)]))
    assert told(plan) == {"j1": "kept", "j2": "starts on n2"}


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
        "j3": "kept",
        "j4": "stops for capacity_shrunk",
        "j5": "waits: scheduler_stale",
        "j6": "waits: no_eligible_flavor",
    }


def test_hold_evicts_no_more_than_a_shrunk_node_requires() -> None:
    jobs = [running(waiting(sequence, way(cpu=cpu)), "n1") for sequence, cpu in ((1, 3), (2, 4), (3, 1))]
    world = snapshot([node("n1", cpu=5)], jobs)
    assert told(hold(world, build(world, POLICY))) == {"j1": "kept", "j2": "stops for capacity_shrunk", "j3": "kept"}
