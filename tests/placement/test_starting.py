"""Who starts where when nobody has to stop for it."""

from __future__ import annotations

from tests.placement.story import Story, each
from tests.placement.worlds import (
    CORDONED,
    DRAINING,
    LOST,
    node,
    running,
    waiting,
    way,
)

STORIES = [
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


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()
