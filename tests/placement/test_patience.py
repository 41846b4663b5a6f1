"""The older a job, the more it must be owed before it stops another one, and the more must others."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.job import Job
from allocator.domain.policy import Policy
from tests.placement.story import Story, each
from tests.placement.worlds import NOW, node, running, waiting

PATIENT = Policy(lag_tolerance=0.01)
"""A job is more patient than 300 s from 30,000 s on."""
ONE = [node("n1")]
STAYS = {"j1": "kept", "j2": "waits: insufficient_capacity"}
STOPS = {"j1": "stops for fair_share", "j2": "starts on n1"}


def aged(job: Job, age: float) -> Job:
    return replace(job, submit_time=NOW - age)


OLD, YOUNG = 100_000.0, 10_000.0


def pair(runner: float, waiter: float, *, restart_cost: float = 0.0) -> list[Job]:
    """A job that runs and one that waits, by age."""
    return [running(aged(waiting(1, restart_cost=restart_cost), runner), "n1"), aged(waiting(2), waiter)]


STORIES = [
    Story("two old jobs", ONE, pair(OLD, OLD), STAYS, credits={"j2": 999.0}, policy=PATIENT),
    Story(
        "change places after a part of their age", ONE, pair(OLD, OLD), STOPS, credits={"j2": 1000.0}, policy=PATIENT
    ),
    Story("young ones after the hysteresis", ONE, pair(YOUNG, YOUNG), STOPS, credits={"j2": 300.0}, policy=PATIENT),
    Story(
        "a young one waits no longer for an old one",
        ONE,
        pair(OLD, YOUNG),
        STOPS,
        credits={"j2": 300.0},
        policy=PATIENT,
    ),
    Story(
        "that is ahead, but not much for its age",
        ONE,
        pair(OLD, YOUNG),
        STAYS,
        credits={"j1": -330.0, "j2": 200.0},
        policy=PATIENT,
    ),
    Story("that is far ahead", ONE, pair(OLD, YOUNG), STOPS, credits={"j1": -340.0, "j2": 200.0}, policy=PATIENT),
    Story("an old one waits long for a young one", ONE, pair(YOUNG, OLD), STAYS, credits={"j2": 999.0}, policy=PATIENT),
    Story("unless that is ahead", ONE, pair(YOUNG, OLD), STOPS, credits={"j1": -150.0, "j2": 500.0}, policy=PATIENT),
    Story(
        "nobody waits for more than half of the credit limit",
        ONE,
        pair(1e9, 1e9),
        STOPS,
        credits={"j2": 3600.0},
        policy=PATIENT,
    ),
    Story("nobody is patient without tolerance", ONE, pair(OLD, OLD), STOPS, credits={"j2": 300.0}),
    Story(
        "nor without hysteresis",
        ONE,
        pair(OLD, OLD),
        STOPS,
        credits={"j2": 1.0},
        policy=replace(PATIENT, hysteresis_seconds=0.0),
    ),
    Story(
        "a dear restart counts in full",
        ONE,
        pair(OLD, OLD, restart_cost=1500.0),
        STAYS,
        credits={"j2": 1499.0},
        policy=PATIENT,
    ),
    Story("and no more", ONE, pair(OLD, OLD, restart_cost=1500.0), STOPS, credits={"j2": 1501.0}, policy=PATIENT),
    Story(
        "one so dear that nobody is ever owed it, no more than the most that anybody is",
        ONE,
        pair(OLD, OLD, restart_cost=1e6),
        STOPS,
        credits={"j2": 7200.0},
        policy=PATIENT,
    ),
    Story(
        "of two who wait the one with more of its life to catch up on comes first",
        ONE,
        [aged(waiting(1), OLD), aged(waiting(2), YOUNG)],
        {"j1": "waits: insufficient_capacity", "j2": "starts on n1"},
        credits={"j1": 600.0, "j2": 200.0},
        policy=PATIENT,
    ),
]


@each(STORIES)
def test_story(story: Story) -> None:
    story.check()
