"""When a running job changes to another configuration."""

from __future__ import annotations

from tests.placement.story import Story, each
from tests.placement.worlds import (
    NOW,
    node,
    running,
    waiting,
    way,
)

STORIES = [
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


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()
