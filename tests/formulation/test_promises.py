"""What deadlines need, by hand, and rows by it: `allocator.formulation.promises`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import Formulation, build
from allocator.formulation.promises import OVERDUE, STEPS
from tests.formulation.facts import job, node, snapshot, way

SHARP = Policy(hysteresis_seconds=0.0, minimum_run_seconds=0.0)
"""Nobody lags behind: what is asked for is what is needed."""


def at(time: float, facts: Snapshot) -> Formulation:
    return build(replace(facts, time=time), SHARP)


def timed(sequence: int, *ways: object, duration: float = 100.0, deadline: float = 200.0, **changes: object) -> Job:
    return job(sequence, *ways, expected_duration_seconds=duration, deadline=deadline, **changes)  # type: ignore[arg-type]


def test_what_is_left_over_the_time_that_is_left() -> None:
    found = at(50.0, snapshot([node("n1")], [timed(1), job(2)])).promises
    assert found.position.tolist() == [0]
    assert found.needed.tolist() == [100 / 150]
    assert found.steps.tolist() == [int(np.ceil(100 / 150 * STEPS))]


def test_what_was_done_counts_by_speed() -> None:
    """It has run for 40 s at half of its best speed, after 10 s of work in earlier runs."""
    slow = timed(1, way(speed=2.0), way("t4", speed=1.0), runs_on=("n2",), configuration=1)
    slow = replace(slow, work_done_seconds=10.0, work_counted_time=60.0, last_start_time=60.0)
    found = at(100.0, snapshot([node("n1"), node("n2", "t4")], [slow])).promises
    assert found.left.tolist() == [100 - 10 - 0.5 * 40]
    assert found.needed.tolist() == [70 / 100]


def test_who_takes_longer_than_expected_asks_for_a_little() -> None:
    late = replace(timed(1), work_done_seconds=150.0)
    assert at(100.0, snapshot([node("n1")], [late])).promises.left.tolist() == [OVERDUE * 100]


def test_a_deadline_that_is_past_asks_for_nothing() -> None:
    found = at(200.0, snapshot([node("n1")], [timed(1), timed(2, minimum_throughput=0.5)])).promises
    assert found.missed.tolist() == [0, 1]
    assert (found.position.tolist(), found.needed.tolist()) == ([1], [0.5])


def test_time_to_spare_is_asked_for_but_not_needed() -> None:
    facts = replace(snapshot([node("n1")], [timed(1)]), time=0.0)
    found = build(facts, Policy(hysteresis_seconds=10.0, minimum_run_seconds=5.0)).promises
    assert (found.needed.tolist(), found.asked.tolist()) == ([0.5], [pytest.approx(115 / 200)])


def test_jobs_with_the_same_need_are_one_row_and_others_are_not() -> None:
    jobs = [timed(1), timed(2), timed(3, deadline=400.0), job(4), job(5)]
    found = at(0.0, snapshot([node("n1")], jobs))
    assert found.groups == (("j1", "j2"), ("j3",), ("j4", "j5"))
    assert found.claims.least is not None
    assert found.claims.least.tolist() == [0.5, 0.25, 0.0]


def test_without_promises_nothing_is_promised() -> None:
    assert at(0.0, snapshot([node("n1")], [job(1)])).claims.least is None


def test_what_is_promised_of_the_best_is_asked_of_what_is_there() -> None:
    """Twice as fast on a flavor that has no node: half of its best is all of the time on the other."""
    facts = snapshot([node("n2", "t4")], [timed(1, way(speed=2.0), way("t4", speed=1.0), deadline=300.0)])
    found = at(0.0, facts)
    assert found.claims.least is not None
    assert found.claims.least.tolist() == [pytest.approx(np.ceil(STEPS / 3) / STEPS * 2)]
