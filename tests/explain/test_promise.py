"""Deadlines and learned throughputs from end to end: real rounds, as explanations tell them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allocator.domain.cluster import Node
from allocator.domain.errors import FailedPrecondition
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.explain.answers import JobExplanation
from allocator.explain.job import explain_job
from allocator.explain.promise_weight import weight_that_holds
from allocator.formulation.promises import in_turns
from allocator.intake import commands as c
from allocator.rounds.promise import PromiseState
from allocator.solvers import ChainSolver
from tests.explain.worlds import INTERVAL, World

GPU = Resources.of({"gpu": 1000})
HOUR = 3600.0


def node(name: str, flavor: str = "a100", gpus: int = 1) -> Node:
    return Node(name, flavor, Resources.of({"gpu": 1000 * gpus}))


def way(flavor: str = "a100", throughput: float | None = 1.0) -> Configuration:
    return Configuration(flavor, 1, GPU, throughput or 1.0, declared=throughput is not None)


def explained(world: World, job: Job) -> JobExplanation:
    return explain_job(world.finished, world.store.get_job(job.id))


class TestDeadlines:
    def test_a_deadline_is_met_that_equal_shares_would_miss(self) -> None:
        """Two jobs share a GPU. One needs 60 of the next 100 seconds, and asks for a fifth of its run time to spare."""
        world = World(["q"], [node("n1")])
        timed = JobSpec("q", (way(),), expected_duration_seconds=600, deadline=world.time + 1000)
        first, _ = world.submit(timed, replace(timed, deadline=None))
        world.round()
        found = explained(world, first).promise
        assert found is not None
        assert found.state is PromiseState.KEPT
        assert found.needed_share == pytest.approx(0.6)
        assert found.given_share == pytest.approx(0.72, abs=0.02)
        assert found.expected_end == pytest.approx(world.time + 600 / 0.72, abs=20)

    def test_what_was_done_is_not_needed_again(self) -> None:
        world = World(["q"], [node("n1", gpus=2)])
        (job,) = world.submit(JobSpec("q", (way(),), expected_duration_seconds=600, deadline=world.time + 1000))
        for _ in range(11):
            world.round()
        found = explained(world, job).promise
        assert found is not None
        assert found.needed_share == pytest.approx((600 - 10 * INTERVAL) / (1000 - 10 * INTERVAL))
        assert world.store.get_job(job.id).work_done(world.time) == pytest.approx(10 * INTERVAL)

    @pytest.mark.parametrize("hours", [0.65, 0.8])
    def test_a_deadline_is_met_that_running_in_the_slow_configuration_would_miss(self, hours: float) -> None:
        """The optimum mixes both flavors, of which the slow one alone is not enough. Nodes are full of jobs alike, so a
        job that was let run there would stay, and be owed nothing.
        """
        policy = Policy(minimum_run_seconds=60, hysteresis_seconds=120)
        world = World(["q"], [node("n1", gpus=2), node("n2", "t4", gpus=2)], policy, interval=60.0)
        ways = (way(), way("t4", 0.3))
        world.submit(*[JobSpec("q", ways)] * 5)
        world.round()
        timed = JobSpec("q", ways, expected_duration_seconds=1800, deadline=world.time + hours * HOUR)
        (job,) = world.submit(timed)
        while world.job(job.id).work_done(world.time) < 1800:
            world.round()
            assert world.time < timed.deadline, "it is late"  # type: ignore[operator]

    def test_whole_jobs_take_turns_where_they_are_fast_enough(self) -> None:
        """What the optimum gives in slow configurations is made up by as much work in a fast one."""
        world = World(["q"], [node("n1", gpus=2), node("n2", "t4", gpus=2)])
        ways = (way(), way("t4", 0.5))
        world.submit(*[JobSpec("q", ways)] * 5)
        world.round()
        formulation, shares = world.finished.report.formulation, world.finished.report.solution.shares
        assert in_turns(formulation, shares) is shares, "nobody is promised anything"
        (job,) = world.submit(JobSpec("q", ways, expected_duration_seconds=1800, deadline=world.time + 2400))
        world.round()
        finished = world.finished
        formulation, shares = finished.report.formulation, finished.report.solution.shares
        at = finished.position_of(job.sequence)
        assert at is not None
        row = formulation.row[at]
        fast = formulation.problem.flavor[row] == formulation.flavors.index("a100")
        given = shares[row] @ formulation.problem.utility[row]
        found = in_turns(formulation, shares)[row]
        assert found[~fast].sum() == 0
        assert shares[row][~fast].sum() > 0.01, "of which the optimum gives some"
        assert found.sum() == pytest.approx(min(1.0, given), abs=1e-6)
        others = np.arange(len(shares)) != row
        assert (in_turns(formulation, shares)[others] == shares[others]).all()
        told = explain_job(finished, world.job(job.id)).owed_share
        assert told == pytest.approx(found.sum()), "it is told what it is owed: its turns"
        only_slow = np.where(fast, 0.0, shares)
        assert in_turns(formulation, only_slow) is only_slow, "better slow than not at all"

    def test_one_that_its_queue_cannot_pay_for_is_at_risk_and_then_missed(self) -> None:
        world = World(["q", "r"], [node("n1")])
        timed = JobSpec("q", (way(),), expected_duration_seconds=90, deadline=world.time + 100)
        first, _ = world.submit(timed, JobSpec("r", (way(),)))
        world.round()
        found = explained(world, first).promise
        assert found is not None
        assert found.state is PromiseState.AT_RISK
        assert found.given_share == pytest.approx(0.5, abs=0.01)
        assert found.expected_end == pytest.approx(world.time + 180, abs=3)
        for _ in range(11):
            world.round()
        late = explained(world, first).promise
        assert late is not None
        assert (late.state, late.needed_share) == (PromiseState.MISSED, 0.0)
        told = world.store.get_job(first.id)
        assert not told.state.is_final
        assert "deadline passed" in told.message
        revision = told.revision
        world.round()
        assert world.store.get_job(first.id).revision == revision or told.allocation is None  # told once
        assert world.finished.standings.counts() == {
            PromiseState.KEPT: 0,
            PromiseState.AT_RISK: 0,
            PromiseState.MISSED: 1,
        }

    def test_a_minimum_throughput_is_a_share_of_the_best_configuration(self) -> None:
        world = World(["q"], [node("n1")])
        steady = JobSpec("q", (way(throughput=4.0),), minimum_throughput=3.0)
        first, *_ = world.submit(steady, *[JobSpec("q", (way(),))] * 3)
        world.round()
        found = explained(world, first).promise
        assert found is not None
        assert (found.state, found.needed_share) == (PromiseState.KEPT, 0.75)
        assert found.given_share == pytest.approx(0.75, abs=0.01)

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            (
                {"expected_duration_seconds": 7200.0, "deadline": 1000 + HOUR},
                "alone on a100 it needs 2 h; one in 2 h could hold",
            ),
            ({"expected_duration_seconds": 10.0, "deadline": 10.0}, "its deadline is past, by 16.5 min"),
            ({"minimum_throughput": 5.0}, "a minimum of 2 or less could hold"),
        ],
    )
    def test_what_can_never_hold_is_refused_unless_asked_for(self, asked: dict[str, float], said: str) -> None:
        world = World(["q"], [node("n1")])
        spec = JobSpec("q", (way(throughput=2.0), way("h100", 9.0)), **asked)  # type: ignore[arg-type]
        if "deadline" in asked:
            spec = replace(spec, configurations=(way(throughput=2.0),))
        (refused,) = world.do(c.SubmitJobs((spec,), feasible_only=True))
        assert isinstance(refused, FailedPrecondition)
        assert said in str(refused)
        (taken,) = world.do(c.SubmitJobs((spec,)))
        assert isinstance(taken, Job)


class TestLearning:
    def test_an_unknown_flavor_is_tried_once_and_then_known_to_the_class(self) -> None:
        """Nobody said how fast it is on the h100; it is half as fast there, which one report tells all of the class."""
        world = World([Queue("q")], [node("n1"), node("n2", "h100")])
        spec = JobSpec("q", (way("a100", 4.0), way("h100", None)), job_class="resnet")
        (first,) = world.submit(spec)
        world.round()
        runs = world.store.get_job(first.id)
        assert runs.allocation is not None
        assert runs.spec.configurations[runs.allocation.placement.configuration].flavor == "h100"
        world.do(c.ReportProgress(first.id, 2.0))
        world.do(c.CancelJobs((first.id,)))
        (second,) = world.submit(spec)
        world.round()
        runs = world.store.get_job(second.id)
        assert runs.allocation is not None
        assert runs.spec.configurations[runs.allocation.placement.configuration].flavor == "a100"
        (h100,) = explained(world, second).throughputs
        assert (h100.index, h100.declared, h100.observations, h100.wrong) == (1, None, 1.0, False)
        assert h100.measured == pytest.approx(2.0)
        assert h100.used == pytest.approx(2.0, rel=0.1)

    def test_a_wrong_declaration_is_noticed(self) -> None:
        world = World([Queue("q")], [node("n1")])
        (job,) = world.submit(JobSpec("q", (way("a100", 4.0),)))
        world.round()
        assert not world.finished.live.jobs.misdeclared.any()
        world.do(c.ReportProgress(job.id, 1.0))
        report = world.round()
        assert report.formulation.live.jobs.misdeclared.tolist() == [True]
        (found,) = explained(world, job).throughputs
        assert (found.declared, found.measured, found.used, found.wrong) == (4.0, 1.0, 1.0, True)

    def test_jobs_of_a_class_stay_one_row(self) -> None:
        """Also when each of them reports a little something else."""
        world = World([Queue("q")], [node("n1", gpus=8)])
        jobs = world.submit(*[JobSpec("q", (way("a100", 4.0),), job_class="resnet")] * 8)
        world.round()
        for number, job in enumerate(jobs):
            world.do(c.ReportProgress(job.id, 4.0 + number / 100))
        assert world.round().formulation.problem.row_count == 1


def test_the_weight_that_is_told_makes_it_hold() -> None:
    """Queues q and r share a GPU; q's job needs 0.8 of it: with weight 4 against 1 it has that."""
    world = World(["q", "r"], [node("n1")])
    timed = JobSpec("q", (way(),), expected_duration_seconds=800, deadline=world.time + 1000)
    job, _ = world.submit(timed, JobSpec("r", (way(),)))
    world.round()
    weight = weight_that_holds(world.finished, world.store.get_job(job.id), ChainSolver(), INTERVAL)
    assert weight is not None
    assert weight == pytest.approx(4.2, rel=0.1)
    world.do(c.UpdateQueue("q", weight=weight))
    world.round()
    found = explained(world, job).promise
    assert found is not None
    assert found.state is PromiseState.KEPT
