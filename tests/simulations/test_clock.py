"""Virtual time: events in order, rounds on the grid, and an end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from allocator.domain.job import JobState
from allocator.domain.policy import Policy
from allocator.domain.process import Retries
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.rounds.loop import run_rounds
from allocator.rounds.report import RoundReport
from allocator.solvers.chain import ChainSolver
from allocator.store.memory import MemoryStore
from simulations.agenda import Agenda
from simulations.clock import PATIENCE, Ending, VirtualClock
from tests.builders import node, spec


@dataclass
class Stage:
    """A world whose standing the test sets."""

    finished: bool = False
    exhausted: bool = False


def test_events_happen_in_order_of_time_and_of_planning() -> None:
    agenda, seen = Agenda(0.0), list[tuple[str, float]]()
    for name, time in (("late", 5.0), ("first", 1.0), ("second", 1.0), ("last", 9.0)):
        agenda.plan(time, lambda name=name: seen.append((name, agenda.now)))  # type: ignore[misc]  # bound default
    assert agenda.run_until(5.0) == 3
    assert seen == [("first", 1.0), ("second", 1.0), ("late", 5.0)]
    assert (agenda.now, agenda.next_time) == (5.0, 9.0)


def test_an_event_may_plan_another_that_is_still_due() -> None:
    agenda, seen = Agenda(0.0), list[float]()
    agenda.plan(1.0, lambda: agenda.plan(2.0, lambda: seen.append(agenda.now)))
    agenda.run_until(3.0)
    assert seen == [2.0]


@pytest.mark.parametrize("time", [-1.0, 9.9, float("nan")])
def test_nothing_can_be_planned_for_the_past(time: float) -> None:
    agenda = Agenda(10.0)
    with pytest.raises(ValueError, match="it is 10"):
        agenda.plan(time, lambda: None)


def test_wait_runs_what_is_due_and_keeps_the_pace() -> None:
    agenda, seen = Agenda(0.0), list[float]()
    for time in (3.0, 10.0, 10.5):
        agenda.plan(time, lambda: seen.append(agenda.now))
    clock = VirtualClock(agenda, Stage(), interval=10.0)
    assert clock.wait(10.0, quiet_until=-math.inf)
    assert seen == [3.0, 10.0]
    assert clock.now() == 10.0


@pytest.mark.parametrize(("event", "lands_on"), [(95.0, 100.0), (100.0, 100.0), (100.5, 110.0), (4.0, 10.0)])
def test_a_quiet_wait_goes_on_to_the_round_after_the_next_event(event: float, lands_on: float) -> None:
    agenda = Agenda(0.0)
    agenda.plan(event, lambda: None)
    clock = VirtualClock(agenda, Stage(), interval=10.0)
    assert clock.wait(10.0, quiet_until=math.inf)
    assert clock.now() == lands_on


def test_a_busy_wait_never_skips_a_round() -> None:
    agenda = Agenda(0.0)
    agenda.plan(95.0, lambda: None)
    clock = VirtualClock(agenda, Stage(), interval=10.0)
    assert clock.wait(10.0, quiet_until=-math.inf)
    assert clock.now() == 10.0


def test_the_end_comes_when_the_world_is_finished() -> None:
    stage = Stage()
    agenda = Agenda(0.0)
    agenda.plan(7.0, lambda: setattr(stage, "finished", True))
    clock = VirtualClock(agenda, stage, interval=5.0)
    assert clock.wait(5.0, quiet_until=-math.inf)
    assert not clock.wait(10.0, quiet_until=-math.inf)
    assert clock.ending is Ending.FINISHED


def test_the_horizon_is_never_passed_even_by_a_jump() -> None:
    agenda, seen = Agenda(0.0), list[float]()
    for time in (20.0, 95.0):
        agenda.plan(time, lambda: seen.append(agenda.now))
    clock = VirtualClock(agenda, Stage(), interval=10.0, horizon=42.0)
    assert clock.wait(10.0, quiet_until=math.inf)
    assert not clock.wait(30.0, quiet_until=math.inf)
    assert (clock.ending, clock.now(), seen) == (Ending.HORIZON, 42.0, [20.0])


def test_jobs_that_can_never_run_do_not_keep_a_quiet_replay_going() -> None:
    clock = VirtualClock(Agenda(0.0), Stage(exhausted=True), interval=10.0)
    assert not clock.wait(10.0, quiet_until=math.inf)
    assert clock.ending is Ending.STALLED


def test_a_scheduler_that_starts_nothing_on_an_idle_cluster_is_given_up_on() -> None:
    clock = VirtualClock(Agenda(0.0), Stage(exhausted=True), interval=10.0)
    waits = 0
    while clock.wait(clock.now() + 10.0, quiet_until=-math.inf):
        waits += 1
    assert (waits, clock.ending) == (PATIENCE, Ending.STALLED)


def test_a_quiet_time_that_ends_before_the_next_event_ends_the_wait() -> None:
    agenda = Agenda(0.0)
    agenda.plan(95.0, lambda: None)
    clock = VirtualClock(agenda, Stage(), interval=10.0)
    assert clock.wait(10.0, quiet_until=31.0)
    assert clock.now() == 40.0
    assert clock.wait(50.0, quiet_until=200.0)
    assert clock.now() == 100.0
    by_events = VirtualClock(agenda, Stage(), interval=0.0)
    assert by_events.wait(100.0, quiet_until=131.0), "nothing is planned, but the scheduler wants another round"
    assert by_events.now() == 131.0


def test_waiting_for_the_past_is_an_error_of_the_caller() -> None:
    clock = VirtualClock(Agenda(10.0), Stage(), interval=5.0)
    with pytest.raises(ValueError, match="cannot wait"):
        clock.wait(10.0, quiet_until=-math.inf)


def test_without_an_interval_there_is_a_round_after_each_instant_at_which_something_happens() -> None:
    agenda, seen = Agenda(0.0), list[float]()
    for time in (3.0, 3.0, 10.0):
        agenda.plan(time, lambda: seen.append(agenda.now))
    clock = VirtualClock(agenda, Stage(), interval=0.0)
    assert clock.wait(0.0, quiet_until=math.inf)
    assert (seen, clock.now()) == ([3.0, 3.0], 3.0)
    assert clock.wait(3.0, quiet_until=-math.inf), (
        "a round that changed something is not followed by another before an event"
    )
    assert (seen, clock.now()) == ([3.0, 3.0, 10.0], 10.0)
    assert not clock.wait(10.0, quiet_until=-math.inf), "nothing is to come, and a job is live that never will run"
    assert clock.ending is Ending.STALLED


def test_without_an_interval_the_horizon_ends_a_replay_too() -> None:
    agenda = Agenda(0.0)
    agenda.plan(50.0, lambda: None)
    clock = VirtualClock(agenda, Stage(), interval=0.0, horizon=20.0)
    assert not clock.wait(0.0, quiet_until=-math.inf)
    assert (clock.ending, clock.now()) == (Ending.HORIZON, 20.0)


def test_it_wakes_up_for_the_next_try_of_a_job_that_has_failed() -> None:
    """Nothing happens for two hours in between: no round is run for that, and nobody says that it is all over."""
    agenda, stage, store, times = Agenda(0.0), Stage(), MemoryStore(), list[float]()
    clock = VirtualClock(agenda, stage, interval=10.0)
    job_id = "j1"

    def do(command: c.Command) -> None:
        store.execute(command, agenda.now).result()

    def end(state: c.ReplicaState) -> None:
        allocation = store.get_job(job_id).allocation
        assert allocation is not None
        do(c.Heartbeat("n1", (c.ReplicaReport(job_id, 0, allocation.epoch, state),)))

    def observe(report: RoundReport) -> None:
        times.append(report.snapshot.time)
        stage.exhausted = not report.snapshot.jobs
        if report.snapshot.time >= 7200.0 and store.get_job(job_id).state is JobState.RUNNING:
            end(c.ReplicaState.SUCCEEDED)
            stage.finished = True

    do(c.CreateQueue(Queue("q")))
    do(c.RegisterNode(node()))
    do(c.SubmitJobs((spec("q", retries=Retries(1, 7200.0, 7200.0)),)))
    agenda.plan(15.0, lambda: end(c.ReplicaState.FAILED))
    run_rounds(
        store=store,
        pusher=SimpleNamespace(push=lambda _: None),
        clock=clock,
        observers=[SimpleNamespace(observe=observe)],
        solver=ChainSolver(),
        policy=Policy,
        interval=10.0,
    )
    assert clock.ending is Ending.FINISHED
    assert store.get_job(job_id).last_start_time == 7220.0
    assert [time for time in times if 20.0 < time < 7220.0] == []
