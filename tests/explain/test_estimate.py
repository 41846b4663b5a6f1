"""When a job will start: against what then happens."""

from __future__ import annotations

from itertools import pairwise

from allocator.domain.job import JobSpec, JobState
from allocator.domain.policy import Policy
from allocator.explain.answers import Assumption
from allocator.explain.estimate import estimate_start
from allocator.explain.lasting import Lasting, mixed
from allocator.explain.replay import every_round, sparse
from allocator.intake import commands as c
from allocator.solvers import ChainSolver
from tests.explain.worlds import INTERVAL, World, gpus, node


def test_with_known_durations_it_is_what_then_happens() -> None:
    world = World(["x"], [node("n1", count=1)])
    world.submit(*[JobSpec("x", (gpus(),), expected_duration_seconds=100.0, preemptible=False) for _ in range(2)])
    world.round()
    running, waiting = world.job("j1"), world.job("j2")
    assert (running.state, waiting.state) == (JobState.RUNNING, JobState.PENDING)
    found = estimate_start(world.finished, waiting.id, ChainSolver(), INTERVAL)
    assert found.starts == (100.0,)
    assert Assumption.UNKNOWN_LAST_AS_LONG_AGAIN not in found.assumptions
    began = world.time
    while world.job("j2").state is JobState.PENDING:
        if world.time == began + 90.0:
            _finish(world, "j1")
        world.round()
    assert world.time - began == 100.0


def test_unknown_durations_give_a_distribution() -> None:
    world = World(["x"], [node("n1", count=1)], Policy(horizon_seconds=50.0))
    world.submit(*[JobSpec("x", (gpus(),), preemptible=False) for _ in range(2)])
    for _ in range(11):
        world.round()
    found = estimate_start(world.finished, "j2", ChainSolver(), INTERVAL)
    assert len(found.starts) == 5
    assert Assumption.UNKNOWN_LAST_AS_LONG_AGAIN in found.assumptions
    known = [start for start in found.starts if start is not None]
    assert known == sorted(known)
    assert len(set(known)) > 1
    assert 100.0 in found.starts, "in the middle scenario it lasts as long again as the 100 s it has run"
    assert found == estimate_start(world.finished, "j2", ChainSolver(), INTERVAL), "equal questions, equal answers"


def test_not_within_the_horizon_and_never() -> None:
    world = World(["x"], [node("n1", count=1)], Policy())
    world.submit(JobSpec("x", (gpus(),), preemptible=False, expected_duration_seconds=1e6), JobSpec("x", (gpus(),)))
    world.submit(JobSpec("x", (gpus(count=2),)))
    world.round()
    late = estimate_start(world.finished, "j2", ChainSolver(), INTERVAL, rounds=10)
    assert late.starts == (None,) or None in late.starts
    assert late.rounds <= 50
    never = estimate_start(world.finished, "j3", ChainSolver(), INTERVAL)
    assert (never.starts, never.rounds) == ((None,), 0)


def test_a_slower_configuration_takes_longer() -> None:
    world = World(["x"], [node("n1", count=1)])
    world.submit(JobSpec("x", (gpus(throughput=1.0), gpus("b", throughput=4.0)), expected_duration_seconds=100.0))
    world.round()
    jobs = world.store.snapshot(world.time).jobs
    lasting = Lasting(0, world.time, 3600.0)
    assert lasting.ended(jobs, world.time + 390.0) == set()
    assert lasting.ended(jobs, world.time + 400.0) == {1}


def test_looks_are_at_rounds() -> None:
    assert every_round(1003.0, 10.0, 3) == [1010.0, 1020.0, 1030.0]
    times = sparse(1000.0, 10.0, 40)
    assert times[:9] == [1010.0, 1020.0, 1030.0, 1040.0, 1050.0, 1060.0, 1070.0, 1080.0, 1100.0]
    assert all(later - earlier <= 0.25 * (earlier - 1000.0) + 10.0 for earlier, later in pairwise(times))


def test_draws_are_spread_evenly() -> None:
    draws = [mixed(seed, number) for seed in range(1, 6) for number in range(2000)]
    assert all(0 < each < 1 for each in draws)
    for tenth in range(10):
        part = sum(tenth <= 10 * each < tenth + 1 for each in draws) / len(draws)
        assert abs(part - 0.1) < 0.01


def _finish(world: World, job_id: str) -> None:
    allocation = world.job(job_id).allocation
    assert allocation is not None
    report = c.ReplicaReport(job_id, 0, allocation.epoch, c.ReplicaState.SUCCEEDED, "")
    world.do(c.Heartbeat(allocation.placement.replicas[0].node, (report,)))
