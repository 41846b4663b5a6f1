"""Who stops for whom, and who does not."""

from __future__ import annotations

from allocator.domain.policy import Policy
from tests.placement.story import Story, each
from tests.placement.worlds import (
    CORDONED,
    NOW,
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
        policy=Policy(hysteresis_seconds=0.0, lag_tolerance=0.0, minimum_run_seconds=0.0),
    ),
    Story(
        "who is to run all the time need not wait for the hysteresis",
        [node("n1")],
        [running(waiting(1), "n1"), waiting(2)],
        {"j1": "stops for fair_share", "j2": "starts on n1"},
        shares={"j1": [0.5], "j2": [1.0]},
    ),
    Story(
        "who takes turns waits for it",
        [node("n1")],
        [running(waiting(1), "n1"), waiting(2)],
        {"j1": "kept", "j2": "waits: insufficient_capacity"},
        shares={"j1": [0.5], "j2": [0.9]},
    ),
    Story(
        "a victim takes what is free elsewhere at once",
        [node("n1", flavor="a"), node("n2", flavor="b")],
        [running(waiting(1, way(cpu=8), way(flavor="b", cpu=8)), "n1"), waiting(2)],
        {"j1": "moves to n2 for fair_share", "j2": "starts on n1"},
        credits={"j1": -700.0},
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


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()


def test_credit_beyond_the_limit_does_not_count() -> None:
    policy = Policy(credit_limit_seconds=200.0)
    jobs = [running(waiting(1), "n1"), waiting(2)]
    plan = decide(snapshot([node("n1")], jobs), credits_owed={"j1": -50.0, "j2": 9999.0}, policy=policy)
    assert told(plan) == {"j1": "kept", "j2": "waits: insufficient_capacity"}
