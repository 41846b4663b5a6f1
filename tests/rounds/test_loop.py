"""The loop as the daemon and replays run it: a store, a solver, a clock that a test advances, and what comes out."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from allocator.domain.job import Job, JobState
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.process import Dependency, Retries
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PreemptionReason
from allocator.formulation.problem import Problem
from allocator.intake import commands as c
from allocator.placement.verify import violations
from allocator.rounds.loop import run_rounds
from allocator.rounds.ports import Solver
from allocator.rounds.report import RoundOutcome, RoundReport, RoundSummary
from allocator.solvers.chain import ChainSolver
from allocator.solvers.solution import Solution, Status, WarmStart
from allocator.store.memory import MemoryStore
from tests.builders import configuration, node, spec

QUICK = Policy(minimum_run_seconds=0.0, hysteresis_seconds=30.0, credit_limit_seconds=600.0)


class World:
    """Runs rounds until a time, doing what is planned for a time just before the first round at or after it."""

    def __init__(self, policy: Policy = QUICK, solver: Solver | None = None, interval: float = 10.0) -> None:
        self.store = MemoryStore()
        self.policy = policy
        self.solver = solver or ChainSolver()
        self.interval = interval
        self.time = 0.0
        self.end = 0.0
        self.planned: list[tuple[float, Callable[[], Any]]] = []
        self.reports: list[RoundReport] = []
        self.quiet_until: list[float] = []
        self.pushed: dict[str, NodeDesired] = {}

    # The ports.

    def now(self) -> float:
        return self.time

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        self.quiet_until.append(quiet_until)
        for when, action in [entry for entry in self.planned if entry[0] <= until]:
            self.time = max(self.time, when)
            action()
        self.planned = [entry for entry in self.planned if entry[0] > until]
        self.time = until
        return until <= self.end

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        for state in desired:
            assert state.node not in self.pushed or state.epoch > self.pushed[state.node].epoch
            self.pushed[state.node] = state

    def observe(self, report: RoundReport) -> None:
        self.reports.append(report)
        assert violations(self.store.nodes(), self.store.snapshot(self.time).jobs, self.policy.floating_resources) == []
        accounted = [change.job_id for change in report.plan.changes]
        accounted += [*report.plan.kept, *(job_id for job_id, _ in report.plan.waiting)]
        assert sorted(accounted) == sorted(job.id for job in report.snapshot.jobs)

    # The world.

    def do(self, command: c.Command) -> Any:
        return self.store.execute(command, self.time).result(timeout=60)

    def at(self, when: float, action: Callable[[], Any]) -> None:
        self.planned.append((when, action))

    def submit(self, *specs: Any) -> list[Job]:
        return [self.store.get_job(job.id) for job in self.do(c.SubmitJobs(specs))]

    def job(self, job: Job) -> Job:
        return self.store.get_job(job.id)

    def run(self, seconds: float) -> None:
        self.end = self.time + seconds
        run_rounds(
            store=self.store,
            pusher=self,
            clock=self,
            observers=[self],
            solver=self.solver,
            policy=lambda: self.policy,
            interval=self.interval,
        )

    def finish(self, job: Job, state: c.ReplicaState = c.ReplicaState.SUCCEEDED) -> None:
        allocation = self.job(job).allocation
        assert allocation is not None
        for index, replica in enumerate(allocation.placement.replicas):
            report = c.ReplicaReport(job.id, index, allocation.epoch, state)
            self.do(c.Heartbeat(replica.node, (report,)))


def one_gpu_world(**fields: Any) -> World:
    world = World(**fields)
    world.do(c.RegisterNode(node(gpu=1)))
    for name, weight in (("big", 3.0), ("small", 1.0)):
        world.do(c.CreateQueue(Queue(name, weight)))
    return world


def seconds_run(world: World, job: Job) -> float:
    """Rounds in which the job ran afterwards, times the interval."""
    kept = sum(job.id in report.plan.kept for report in world.reports)
    started = sum(
        applied.change.job_id == job.id and applied.allocation is not None
        for report in world.reports
        for applied in report.commit.applied
    )
    return (kept + started) * world.interval


def test_time_shares_follow_the_weights_of_the_queues() -> None:
    world = one_gpu_world()
    big, small = world.submit(spec("big"), spec("small"))
    world.run(4000)
    total = seconds_run(world, big) + seconds_run(world, small)
    assert seconds_run(world, big) / total == pytest.approx(0.75, abs=0.02)


def test_max_min_is_a_policy_like_any_other() -> None:
    """Levels per weight are equal, so time is shared 3 : 1 here too; every figure of the round is a number."""
    world = one_gpu_world(policy=replace(QUICK, fairness=math.inf))
    big, small = world.submit(spec("big"), spec("small"))
    world.run(4000)
    assert seconds_run(world, big) / (seconds_run(world, big) + seconds_run(world, small)) == pytest.approx(
        0.75, abs=0.02
    )
    summary = world.reports[-1].summary
    assert (summary.fairness, summary.outcome, summary.solver) == (math.inf, RoundOutcome.OPTIMAL, "max_min")
    assert all(math.isfinite(value) for value in (summary.objective, summary.bound, summary.gap, summary.rounding_loss))
    assert summary.objective == pytest.approx(1.0, rel=1e-6), "a job with budget 3/4 gets 3/4 of its time"


def test_hysteresis_bounds_how_often_places_change() -> None:
    world = one_gpu_world()
    world.do(c.UpdateQueue("big", weight=1.0))
    world.submit(spec("big"), spec("small"))
    world.run(3000)
    changes = sum(len(report.plan.changes) for report in world.reports)
    # Equal jobs drift apart by one second per second: no faster than one swap per hysteresis.
    assert 2 * 10 <= changes <= 2 * (3000 / QUICK.hysteresis_seconds) + 1


def test_enough_for_everybody_is_quiet_after_one_round() -> None:
    world = World()
    world.do(c.CreateQueue(Queue("q")))
    world.do(c.RegisterNode(node(gpu=4)))
    world.submit(*[spec("q")] * 4)
    world.run(1000)
    assert sum(len(report.plan.changes) for report in world.reports) == 4
    assert world.quiet_until[0] == 0.0
    assert set(world.quiet_until[1:]) == {math.inf}
    assert world.reports[-1].summary.gap <= 1e-9


def test_job_that_ends_makes_room_at_the_next_round() -> None:
    world = one_gpu_world(policy=Policy())
    first, second = world.submit(spec("big"), spec("big"))
    world.at(45, lambda: world.finish(first))
    world.run(60)
    assert world.job(first).state is JobState.SUCCEEDED
    after = world.job(second)
    assert (after.state, after.first_start_time) == (JobState.RUNNING, 50.0)


def test_lost_node_moves_its_jobs_and_a_returned_one_takes_the_rest() -> None:
    world = World()
    world.do(c.CreateQueue(Queue("q")))
    for name in ("n1", "n2"):
        world.do(c.RegisterNode(node(name, gpu=2)))
    jobs = world.submit(*[spec("q")] * 3)
    world.at(15, lambda: world.do(c.LoseNode("n1")))
    world.at(35, lambda: world.do(c.RegisterNode(node("n1", gpu=2))))
    world.run(30)
    states = sorted(world.job(job).state.value for job in jobs)
    assert states == ["pending", "running", "running"]
    stopped = [world.job(job) for job in jobs if world.job(job).preemption_count]
    assert {job.last_preemption for job in stopped} == {PreemptionReason.NODE_LOST}
    assert world.pushed["n1"].replicas == ()
    world.run(20)
    assert all(world.job(job).state is JobState.RUNNING for job in jobs)


def test_job_that_can_never_run_says_so_and_does_not_keep_rounds_busy() -> None:
    world = one_gpu_world()
    wide, elsewhere, big = world.submit(
        spec("big", configuration(replicas=2)),
        spec("big", configuration(flavor="tpu")),
        spec("big", configuration(gpu=2)),
    )
    world.run(20)
    causes = [reason.cause for job in (wide, elsewhere, big) if (reason := world.job(job).pending_reason)]
    assert causes == [PendingCause.EXCEEDS_CLUSTER, PendingCause.NO_ELIGIBLE_FLAVOR, PendingCause.EXCEEDS_NODE]
    assert world.quiet_until[-1] == math.inf


def test_waiting_job_says_what_is_missing() -> None:
    world = one_gpu_world(policy=Policy())
    _, waiting = world.submit(spec("big"), spec("big"))
    world.run(10)
    reason = world.job(waiting).pending_reason
    assert reason is not None
    assert reason.cause is PendingCause.INSUFFICIENT_CAPACITY
    assert [(s.flavor, s.resource, s.missing) for s in reason.shortages] == [("a100", "gpu", 1000)]


class Failing:
    """A solver with nothing to say from the second round on."""

    def __init__(self, calls: int = 0) -> None:
        self.calls = calls

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        self.calls += 1
        if self.calls == 1:
            return ChainSolver().solve(problem, gap=gap, iterations=iterations, warm_start=warm_start)
        return Solution(
            shares=np.zeros_like(problem.throughput),
            prices=np.zeros_like(problem.capacity),
            limit_prices=np.zeros(0),
            objective=0.0,
            bound=0.0,
            gap=0.0,
            status=Status.FAILED,
            solver="none",
            iterations=0,
        )


def test_without_a_solution_what_runs_keeps_running() -> None:
    world = one_gpu_world(solver=Failing())
    (first,) = world.submit(spec("big"))
    late: list[Job] = []
    world.at(15, lambda: late.extend(world.submit(spec("small"))))
    world.run(100)
    assert world.reports[-1].summary.outcome is RoundOutcome.STALE
    assert world.job(first).state is JobState.RUNNING
    assert world.job(first).preemption_count == 0
    reason = world.job(late[0]).pending_reason
    assert reason is not None
    assert reason.cause is PendingCause.SCHEDULER_STALE


class Listening:
    """The chain, and what it was asked first in each round."""

    def __init__(self) -> None:
        self.starts: dict[int, WarmStart | None] = {}
        self.reports: list[RoundReport] = []

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        self.starts.setdefault(len(self.reports), warm_start)
        return ChainSolver().solve(problem, gap=gap, iterations=iterations, warm_start=warm_start)


def test_each_round_begins_with_the_prices_of_the_last_one() -> None:
    """Through arrivals, ends, a lost node, and a flavor that appears and is gone again."""
    solver = Listening()
    world = World(solver=solver)
    solver.reports = world.reports
    world.do(c.CreateQueue(Queue("q")))
    for name in ("n1", "n2"):
        world.do(c.RegisterNode(node(name)))
    ways = (configuration("a100", gpu=4), configuration("v100", gpu=4, throughput=0.5))
    first = world.submit(*[spec("q", *ways) for _ in range(6)])

    def end_those_that_run() -> None:
        for job in first:
            if world.job(job).state is JobState.RUNNING:
                world.finish(job)

    world.at(20.0, lambda: world.submit(*[spec("q", *ways) for _ in range(3)]))
    world.at(30.0, lambda: world.do(c.RegisterNode(node("n3", flavor="v100"))))
    world.at(50.0, lambda: world.do(c.LoseNode("n2")))
    world.at(70.0, lambda: world.do(c.LoseNode("n3")))
    world.at(90.0, lambda: world.do(c.RegisterNode(node("n3", flavor="v100"))))
    world.at(100.0, end_those_that_run)
    world.run(120.0)
    known: dict[tuple[str, str], float] = {}
    scarce: set[tuple[str, str]] = set()
    for number, report in enumerate(world.reports):
        start = solver.starts[number]
        assert start is not None
        formulation, solution = report.formulation, report.solution
        capacity = formulation.price_map(formulation.problem.capacity)
        for pair, price in formulation.price_map(start.prices).items():
            assert price == known[pair] if pair in known else math.isnan(price)
        priced = {name: price for name, price in formulation.price_map(solution.prices).items() if capacity[name]}
        known |= priced
        scarce |= {name for name, price in priced.items() if price > 1e-3}
    assert scarce == {("a100", "gpu"), ("v100", "gpu")}
    assert any(report.snapshot.flavors == ("a100",) for report in world.reports)


class GivingUp:
    """Notes whether Python would collect cyclic garbage while it works, and gives up."""

    def __init__(self) -> None:
        self.collecting = True

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        self.collecting = gc.isenabled()
        raise RuntimeError("no answer")


def test_cyclic_garbage_is_collected_between_rounds_whatever_happens_in_them() -> None:
    solver = GivingUp()
    world = one_gpu_world(solver=solver)
    with pytest.raises(RuntimeError, match="no answer"):
        world.run(10.0)
    assert not solver.collecting
    assert gc.isenabled()


def story(world: World, *, restarts: bool) -> list[RoundSummary]:
    """An eventful half hour, in one go or with the loop started anew every few rounds."""
    jobs = world.submit(*[spec("big"), spec("small"), spec("small", configuration(gpu=0.5))] * 3)
    world.at(305, lambda: world.do(c.RegisterNode(node("n2", gpu=1))))
    world.at(700, lambda: world.do(c.CancelJobs((jobs[3].id,))))
    world.at(1200, lambda: world.do(c.LoseNode("n1")))
    if restarts:
        for _ in range(18):
            world.run(90)
    else:
        world.run(1800)
    return [replace(report.summary, round=0, revision=0) for report in world.reports if report.summary.time < 1500]


def test_same_input_same_rounds() -> None:
    assert story(one_gpu_world(), restarts=False) == story(one_gpu_world(), restarts=False)


def test_a_restart_changes_no_decision() -> None:
    assert story(one_gpu_world(), restarts=True) == story(one_gpu_world(), restarts=False)


def test_summary_adds_up() -> None:
    world = one_gpu_world()
    world.submit(spec("big"), spec("small", restart_cost_seconds=5.0))
    world.run(400)
    for report in world.reports:
        summary = report.summary
        gpu = next(usage for usage in summary.flavors if usage.resource == "gpu")
        assert (gpu.capacity, gpu.allocated, gpu.requested) == (1000, 1000, 2000)
        shares = {usage.queue: usage for usage in summary.queues}
        assert shares["big"].fair_share == pytest.approx(0.75, abs=1e-3)
        assert shares["small"].fair_share == pytest.approx(0.25, abs=1e-3)
        assert {shares["big"].actual_share, shares["small"].actual_share} == {0.0, 1.0}
        assert gpu.price == pytest.approx(1.0, abs=1e-3)  # a budget of 1 buys the only GPU
    lost = sum(amount for report in world.reports for _, resource, amount in report.summary.lost if resource == "gpu")
    stops = sum(
        count for report in world.reports for reason, count in report.summary.preempted if reason == "fair_share"
    )
    assert stops > 0
    assert lost % 5000 == 0


def test_what_is_asked_for_counts_those_whom_jobs_that_stay_leave_nothing() -> None:
    """All GPUs are held by a job that nobody may stop; one that can never run is not asked about."""
    world = one_gpu_world()
    world.submit(spec("big", preemptible=False))
    world.run(10.0)
    world.submit(spec("small"), spec("small"), spec("small", configuration("h100")))
    world.run(10.0)
    (asked,) = [
        usage.requested
        for usage in world.reports[-1].summary.flavors
        if (usage.flavor, usage.resource) == ("a100", "gpu")
    ]
    assert asked == 3000


def test_not_quiet_while_somebody_may_want_another_configuration() -> None:
    """A job that started where it is slow moves to the fast flavor when its minimum run is over, and not before."""
    world = World(policy=Policy(minimum_run_seconds=100.0))
    world.do(c.CreateQueue(Queue("q")))
    world.do(c.RegisterNode(node("slow", flavor="t4", gpu=1)))
    both = (configuration("t4"), configuration("a100", throughput=10.0))
    (job,) = world.submit(spec("q", *both))
    world.at(25, lambda: world.do(c.RegisterNode(node("fast", gpu=1))))
    world.run(200)
    moved = [report.summary.time for report in world.reports if report.summary.moved]
    assert moved == [100.0]
    assert set(world.quiet_until[: int(100 / world.interval)]) <= {
        100.0,
        *(report.snapshot.time for report in world.reports),
    }
    assert world.quiet_until[int(25 / world.interval)] == 100.0, "nothing can change before the minimum run is over"
    assert world.quiet_until[-1] == math.inf
    assert world.job(job).last_preemption is PreemptionReason.RECONFIGURED


def test_a_dear_restart_makes_nobody_immune() -> None:
    world = one_gpu_world()
    greedy = spec("small", restart_cost_seconds=100 * QUICK.credit_limit_seconds)
    world.submit(greedy)
    world.run(10)
    (meek,) = world.submit(spec("big"))
    world.run(3000)
    assert world.job(meek).first_start_time is not None


class TestHeld:
    def test_a_failed_job_is_not_seen_until_its_next_try_which_ends_the_quiet(self) -> None:
        world = one_gpu_world()
        (job,) = world.submit(spec("big", retries=Retries(1, 35.0)))
        world.run(20.0)
        assert world.job(job).state is JobState.RUNNING
        world.at(world.time + 2.0, lambda: world.finish(job, c.ReplicaState.FAILED))
        world.run(10.0)
        failed = world.job(job)
        assert failed.not_before is not None
        assert world.quiet_until[-1] == failed.not_before
        assert world.reports[-1].snapshot.jobs == ()
        world.run(failed.not_before - world.time)
        world.run(10.0)
        again = world.job(job)
        assert (again.state, again.failures, again.preemption_count) == (JobState.RUNNING, 1, 0)
        assert again.last_start_time is not None
        assert failed.not_before <= again.last_start_time < failed.not_before + world.interval

    def test_a_pipeline_runs_in_its_order_and_those_that_wait_weigh_nothing(self) -> None:
        world = one_gpu_world()
        first, second, other = world.submit(
            spec("big"), spec("big", after=(Dependency("#0"),)), spec("small", preemptible=False)
        )
        world.run(10.0)
        assert world.reports[0].snapshot.held == (world.job(second),)
        assert [each.pending + each.running for each in world.reports[0].summary.queues if each.queue == "big"] == [1]
        (running,) = [job for job in (first, other) if world.job(job).state is JobState.RUNNING]
        (left,) = [job for job in (first, other) if job is not running]
        world.finish(running)
        world.run(10.0)
        world.finish(left)
        assert not world.job(second).waits_for
        world.run(10.0)
        assert world.job(second).state is JobState.RUNNING
