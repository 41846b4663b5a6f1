"""What multiplies the weights of jobs: by hand, and what that makes of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.job import Job
from allocator.domain.policy import Policy
from allocator.domain.queue import Discipline, Queue
from allocator.domain.snapshot import Memory, QueueHistory, Snapshot
from allocator.formulation.build import Formulation, build
from allocator.formulation.columns import forget_registry
from allocator.formulation.usage_history import window
from tests.formulation.facts import amounts, job, node, snapshot, way

NOW = 36_000.0
HOUR = 3600.0
LAS = Policy(weighting="least-attained-service", service_seconds=HOUR)
FINISH = Policy(weighting="finish-time", service_seconds=HOUR)
AGING = Policy(aging_seconds=HOUR)


def at(now: float, facts: Snapshot) -> Snapshot:
    return replace(facts, time=now)


def served(sequence: int, seconds: float, *ways: Any, **changes: Any) -> Job:
    """A waiting job that has received so much."""
    submit_time = changes.pop("submit_time", 0.0)
    return replace(job(sequence, *ways, **changes), work_done_seconds=seconds, submit_time=submit_time)


def steps(formulation: Formulation) -> list[int]:
    assert formulation.weightings.jobs is not None
    found: list[int] = formulation.weightings.jobs.steps.tolist()
    return found


def test_the_more_a_job_has_received_the_less_it_weighs() -> None:
    seconds = [0.0, HOUR, HOUR + 1, 2 * HOUR, 2 * HOUR + 1, 5 * HOUR, 100 * HOUR]
    facts = at(NOW, snapshot([node("n1")], [served(number, each) for number, each in enumerate(seconds)]))
    formulation = build(facts, LAS)
    assert steps(formulation) == [0, 0, -1, -1, -2, -3, -3], "the limit of 8 is three halvings"
    assert formulation.problem.count.tolist() == [2, 2, 1, 2]
    assert formulation.claims.weight.tolist() == [1.0, 0.5, 0.25, 0.125]
    assert formulation.problem.weight == pytest.approx(np.array([8, 4, 2, 1]) / (16 + 8 + 2 + 2))


def test_the_longer_a_job_has_to_go_the_less_it_weighs() -> None:
    """Of those that say how long they run, and have not run longer: what is left. Of the others, what they have had."""
    jobs = [
        served(1, 9 * HOUR, expected_duration_seconds=10 * HOUR),
        served(2, 8 * HOUR, expected_duration_seconds=10 * HOUR),
        served(3, 0.0, expected_duration_seconds=4 * HOUR),
        served(4, 4 * HOUR, expected_duration_seconds=3 * HOUR),
        served(5, 2 * HOUR),
    ]
    formulation = build(at(NOW, snapshot([node("n1")], jobs)), replace(LAS, weighting="shortest-remaining"))
    assert steps(formulation) == [0, -1, -2, -2, -1]


@pytest.mark.parametrize(("strength", "part"), [(0.0, 1 / 2), (0.5, 2 / 3), (1.0, 4 / 5)])
def test_a_queue_with_more_jobs_counts_more_if_the_policy_says_so(strength: float, part: float) -> None:
    """Four jobs in one queue and one in the other; at 1 each has a fifth."""
    jobs = [*(served(number, 0.0, queue="many") for number in range(4)), served(4, 0.0, queue="few")]
    facts = at(NOW, snapshot([node("n1")], jobs, (Queue("few"), Queue("many"))))
    problem = build(facts, Policy(crowd_strength=strength)).problem
    assert sorted(problem.weight * problem.count) == pytest.approx([1 - part, part])


def test_crowds_count_up_the_tree_and_by_what_their_jobs_weigh_now() -> None:
    """Of the jobs below a: 1 + 1/2, of which a/x has two thirds; below b: 1/2. With weight 2, b has as much per job."""
    jobs = [served(1, 0.0, queue="a/x"), served(2, 2 * HOUR, queue="a/y"), served(3, 2 * HOUR, queue="b")]
    facts = at(NOW, snapshot([node("n1")], jobs, (Queue("a"), Queue("a/x"), Queue("a/y"), Queue("b", weight=2.0))))
    formulation = build(facts, replace(LAS, crowd_strength=1.0))
    weights = {queue.name: queue.weight for queue in formulation.weightings.queues}
    assert weights == {"a": 1.5, "a/x": 1.0, "a/y": 0.5, "b": 1.0}
    assert formulation.problem.weight.sum() == pytest.approx(1.0)
    assert sorted(formulation.problem.weight) == pytest.approx([0.2, 0.4, 0.4])


def test_what_a_running_job_receives_counts_from_where_it_was_counted() -> None:
    """At half the speed of its best configuration, an hour is worth half of one."""
    ways = (way(speed=2.0), way("v100", speed=1.0))
    running = replace(
        job(1, *ways, runs_on=("n2",), configuration=1), work_done_seconds=3000.0, work_counted_time=NOW - HOUR
    )
    formulation = build(at(NOW, snapshot([node("n1"), node("n2", "v100")], [running])), LAS)
    assert steps(formulation) == [-1], "3000 + 3600 / 2 s are more than an hour"
    earlier = build(at(NOW - 2500.0, snapshot([node("n1"), node("n2", "v100")], [running])), LAS)
    assert steps(earlier) == [0], "3000 + 1100 / 2 s are not"


def test_jobs_that_wait_weigh_more_with_time() -> None:
    """Submitted 10, 2.5, and 1 hour ago; one that ran for most of its time has not waited."""
    jobs = [
        served(1, 0.0),
        served(2, 0.0, submit_time=NOW - 2.5 * HOUR),
        served(3, 0.0, submit_time=NOW - HOUR),
        served(4, 9.5 * HOUR),
    ]
    formulation = build(at(NOW, snapshot([node("n1")], jobs)), AGING)
    assert steps(formulation) == [3, 2, 1, 0]


def test_finish_time_by_hand() -> None:
    """Two jobs on one GPU, each worth half of it: alone on its half, a job of an hour takes two.

    The first has waited for 10 h: (10 h / 2 + 1 h) / 1 h = 6. The second was submitted an hour ago and is half done:
    (0.5 h + 0.5 h) / 1 h = 1. The factor is the square: 36 and 1, and the limit is 8.
    """
    one_gpu = node("n1", capacity=amounts(64, 1, 512))
    jobs = [
        served(1, 0.0, expected_duration_seconds=HOUR),
        served(2, HOUR / 2, expected_duration_seconds=HOUR, submit_time=NOW - HOUR),
    ]
    facts = at(NOW, snapshot([one_gpu], jobs))
    assert steps(build(facts, FINISH)) == [3, 0]
    assert steps(build(facts, replace(FINISH, weight_factor_limit=1024.0))) == [5, 0]


def test_an_equal_share_is_what_the_weight_buys_of_all_flavors() -> None:
    """Budgets 3/4 and 1/4 of 2 fast and 4 slow GPUs, half as fast. The heavy job's part is more than its whole time on
    a fast one; the light one has half of a fast and half of a slow one: 1/2 + 1/4.
    """
    nodes = [node("n1", capacity=amounts(64, 2, 512)), node("n2", "v100", capacity=amounts(64, 4, 512))]
    ways = (way("v100", speed=1.0), way(speed=2.0))
    jobs = [
        served(1, 0.0, *ways, weight=3.0, expected_duration_seconds=100 * HOUR),
        served(2, 0.0, *ways, expected_duration_seconds=4 * HOUR),
    ]
    formulation = build(at(NOW, snapshot(nodes, jobs)), replace(FINISH, weight_factor_limit=1024.0))
    rho = [(10 + 100) / 100, (10 * 0.75 + 4) / 4]
    assert steps(formulation) == np.rint(2 * np.log2(rho)).tolist()


def test_without_a_duration_a_job_is_compared_with_what_an_equal_share_would_have_given_it() -> None:
    one_gpu = node("n1", capacity=amounts(64, 1, 512))
    facts = at(NOW, snapshot([one_gpu], [served(1, 0.0), served(2, 10 * HOUR)]))
    rho = [(5 + 1) / 1, (5 + 1) / 11]
    assert steps(build(facts, replace(FINISH, weight_factor_limit=1024.0))) == np.rint(2 * np.log2(rho)).tolist()


def test_factors_go_together() -> None:
    policy = replace(LAS, aging_seconds=2 * HOUR)
    facts = at(NOW, snapshot([node("n1")], [served(1, 4 * HOUR)]))
    found = build(facts, policy).weightings.jobs
    assert found is not None
    assert (found.service.tolist(), found.aging.tolist()) == ([-2], [3])


def test_a_queue_that_serves_in_order_serves_in_order() -> None:
    queues = (Queue("q"), Queue("f", discipline=Discipline.FIFO))
    jobs = [served(1, 9 * HOUR), served(2, 9 * HOUR, queue="f"), served(3, 0.0, queue="f"), served(4, 0.0)]
    formulation = build(at(NOW, snapshot([node("n1")], jobs, queues)), LAS)
    assert steps(formulation) == [-3, 0, 0, 0]
    assert len(formulation.groups) == 4, "those in order have a row each"
    assert formulation.problem.weight == pytest.approx([0.5 / 9, 0.25, 0.25, 0.5 * 8 / 9])


def test_pinned_jobs_claim_by_their_factor_too() -> None:
    """A job that nobody may stop and has run for long leaves more of its queue's budget to the others."""
    pinned = replace(job(1, runs_on=("n1",), preemptible=False), work_done_seconds=9 * HOUR)
    facts = at(NOW, snapshot([node("n1")], [pinned, job(2)]))
    assert build(facts, LAS).problem.weight == pytest.approx([8 / 9])
    assert build(facts, Policy()).problem.weight == pytest.approx([1 / 2])


def test_rows_stay_few() -> None:
    """A thousand jobs that are alike but for what they have received: a row for each step."""
    jobs = [served(number, 60.0 * number) for number in range(1000)]
    facts = at(NOW, snapshot([node("n1")], jobs))
    assert build(facts, LAS).problem.row_count == 4
    both = build(facts, replace(FINISH, aging_seconds=HOUR))
    assert both.problem.row_count <= 10
    assert both.problem.count.sum() == 1000


def test_off_by_default() -> None:
    facts = at(NOW, snapshot([node("n1")], [served(1, 9 * HOUR), served(2, 0.0)]))
    memory = Memory(history={"q": QueueHistory(5.0, 1.0)})
    formulation = build(facts, Policy(), memory)
    assert formulation.weightings.jobs is None
    assert formulation.weightings.repaid == {}
    assert formulation.weightings.queues is facts.queues
    assert formulation.problem.row_count == 1


def test_queues_weigh_what_the_past_makes_of_them() -> None:
    policy = Policy(usage_strength=1.0)
    whole = window(policy.usage_half_life_seconds)
    queues = (Queue("a"), Queue("b"))
    memory = Memory(time=NOW, history={"a": QueueHistory(whole, whole / 2), "b": QueueHistory(0.0, whole / 2)})
    facts = at(NOW, snapshot([node("n1")], [job(1, queue="a"), job(2, queue="b"), job(3, queue="b")], queues))
    formulation = build(facts, policy, memory)
    assert formulation.problem.weight == pytest.approx([0.5 / 8.5, 4 / 8.5])
    assert [queue.weight for queue in formulation.weightings.queues] == pytest.approx([0.5, 8.0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    received=st.lists(st.floats(0, 1e6), min_size=1, max_size=12),
    durations=st.data(),
    weighting=st.sampled_from(["none", "least-attained-service", "shortest-remaining", "finish-time"]),
    aging=st.sampled_from([float("inf"), 600.0, 1e-3]),
    limit=st.sampled_from([1.0, 3.0, 1024.0]),
)
def test_any_facts_make_a_problem(
    received: list[float], durations: st.DataObject, weighting: str, aging: float, limit: float
) -> None:
    """Budgets are of 1 together, jobs are in rows of their own weight, and a formulation is the same read anew."""
    jobs = [
        served(
            number,
            each,
            weight=durations.draw(st.sampled_from([1.0, 2.0, 1e6])),
            expected_duration_seconds=durations.draw(st.sampled_from([None, 1e-3, 100.0, 1e6])),
        )
        for number, each in enumerate(received)
    ]
    facts = at(NOW, snapshot([node("n1")], jobs))
    policy = Policy(weighting=weighting, aging_seconds=aging, weight_factor_limit=limit)
    warm = build(facts, policy)
    forget_registry()
    cold = build(facts, policy)
    assert warm.row.tolist() == cold.row.tolist()
    assert warm.problem.total_weight == pytest.approx(1.0)
    exponents = np.zeros(len(jobs)) if warm.weightings.jobs is None else warm.weightings.jobs.steps
    declared = np.array([each.spec.weight for each in jobs])
    assert warm.claims.weight[warm.row].tolist() == (declared * 2.0**exponents).tolist()
    assert (2.0 ** np.abs(exponents) <= limit**2).all()
