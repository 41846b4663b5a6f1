"""Rounds follow the policy that was applied, from the next one on, and say which one that was."""

from __future__ import annotations

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.job import JobState
from allocator.domain.policy import Policy
from allocator.domain.priority_class import PriorityClass
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from tests.builders import configuration, node, spec
from tests.rounds.test_loop import QUICK, World

WHOLE_NODE = configuration(gpu=4)


def policy(*classes: PriorityClass, fairness: float = 1.0) -> c.ApplyPolicy:
    quick = Policy(
        fairness=fairness,
        minimum_run_seconds=QUICK.minimum_run_seconds,
        hysteresis_seconds=QUICK.hysteresis_seconds,
        credit_limit_seconds=QUICK.credit_limit_seconds,
        priority_classes=(PriorityClass("normal", 0), *classes),
    )
    return c.ApplyPolicy(PolicyDocument(quick))


def world() -> World:
    made = World()
    made.do(c.CreateQueue(Queue("q")))
    made.do(c.RegisterNode(node()))
    return made


def test_a_round_takes_what_was_applied_and_says_so() -> None:
    made = world()
    made.at(25.0, lambda: made.do(policy(fairness=2.0)))
    made.run(60.0)
    seen = [
        (report.snapshot.time >= 25.0, report.summary.policy_version, report.summary.fairness)
        for report in made.reports
    ]
    assert set(seen) == {(False, 0, 1.0), (True, 1, 2.0)}
    assert made.reports[-1].policy is made.store.snapshot(0.0).policy(QUICK)


def test_the_number_of_a_class_decides_who_goes_first() -> None:
    """The same jobs, and the class of the second one turned from behind to ahead: it takes the place."""
    made = world()
    made.do(policy(PriorityClass("odd", -5)))
    first, second = made.submit(spec("q", WHOLE_NODE), spec("q", WHOLE_NODE, priority_class="odd"))
    made.run(30.0)
    assert (made.job(first).state, made.job(second).state) == (JobState.RUNNING, JobState.PENDING)
    made.do(policy(PriorityClass("odd", 5)))
    made.run(30.0)
    assert (made.job(first).state, made.job(second).state) == (JobState.PENDING, JobState.RUNNING)


def test_nobody_in_a_class_that_is_not_preemptible_is_stopped() -> None:
    made = world()
    made.do(policy(PriorityClass("serving", -5, preemptible=False), PriorityClass("top", 5)))
    (serves,) = made.submit(spec("q", WHOLE_NODE, priority_class="serving"))
    made.run(30.0)
    (top,) = made.submit(spec("q", WHOLE_NODE, priority_class="top"))
    made.run(100.0)
    assert (made.job(serves).state, made.job(top).state) == (JobState.RUNNING, JobState.PENDING)
    made.do(policy(PriorityClass("serving", -5), PriorityClass("top", 5)))
    made.run(30.0)
    assert (made.job(serves).state, made.job(top).state) == (JobState.PENDING, JobState.RUNNING)
