"""Whatever is admitted, rounds go on: every number at the end of its bounds at once, and those beyond refused."""

from __future__ import annotations

import math

import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.job import Job, JobState
from allocator.domain.policy import WEIGHTINGS, Policy
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.report import RoundOutcome
from tests.builders import configuration, node, spec
from tests.rounds.test_loop import World

ENDS = (1e-6, 1e6)


@pytest.mark.parametrize("fairness", [0.0, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("one", ENDS)
@pytest.mark.parametrize("other", ENDS)
def test_numbers_at_the_end_of_their_bounds_stop_no_round(fairness: float, one: float, other: float) -> None:
    world = World(policy=Policy(fairness=fairness))
    world.do(c.CreateQueue(Queue("q", one)))
    world.do(c.CreateQueue(Queue("r", other)))
    world.do(c.RegisterNode(node(gpu=2)))
    fast_and_slow = configuration(throughput=1e12), configuration(replicas=2, throughput=1e-9)
    jobs = world.submit(
        spec("q", weight=one),
        spec("q", weight=other),
        spec("r", *fast_and_slow, restart_cost_seconds=1e9),
        spec("r", configuration(throughput=1e-9), expected_duration_seconds=1e9),
    )
    world.run(30)
    assert all(report.summary.outcome is not RoundOutcome.STALE for report in world.reports)
    assert sum(world.job(job).state is JobState.RUNNING for job in jobs) == 2


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("fairness", [0.0, 1.0, math.inf])
def test_weightings_at_the_end_of_their_bounds_stop_no_round(fairness: float, weighting: str) -> None:
    policy = Policy(
        fairness=fairness,
        usage_strength=8.0,
        usage_half_life_seconds=1e-3,
        weighting=weighting,
        service_seconds=1e-3,
        aging_seconds=1e-9,
        weight_factor_limit=1024.0,
    )
    world = World(policy=policy)
    world.do(c.CreateQueue(Queue("q", 1e-6)))
    world.do(c.CreateQueue(Queue("r", 1e6)))
    world.do(c.RegisterNode(node(gpu=2)))
    world.submit(
        spec("q", weight=1e-6, expected_duration_seconds=1e-3),
        spec("q", weight=1e6),
        spec("r", configuration(throughput=1e-9), expected_duration_seconds=1e9),
        spec("r", preemptible=False),
    )
    world.run(100)
    assert all(report.summary.outcome is not RoundOutcome.STALE for report in world.reports)


def test_numbers_beyond_are_refused_and_the_others_run() -> None:
    world = World()
    world.do(c.CreateQueue(Queue("q")))
    world.do(c.RegisterNode(node(gpu=2)))
    with pytest.raises(InvalidInput, match="gpu_millis"):
        world.do(c.RegisterNode(node("n2", gpu=2**43)))
    poison = [spec("q", weight=1e-310), spec("q", weight=1e308), spec("q", configuration(throughput=5e-324))]
    answers = world.do(c.SubmitJobs((*poison, spec("q"))))
    assert [type(answer) for answer in answers] == [InvalidInput, InvalidInput, InvalidInput, Job]
    world.run(10)
    with pytest.raises(InvalidInput, match="throughput"):
        world.do(c.ReportProgress(answers[3].id, 1e300))
    world.run(10)
    assert world.job(answers[3]).state is JobState.RUNNING
