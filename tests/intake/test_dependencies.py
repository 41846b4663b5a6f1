"""Jobs that come after others: who waits, who is released, who can never start, in whatever order ends are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput, ResourceExhausted
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Plan, Start
from allocator.domain.process import Condition, Dependency, Retries
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from tests.builders import configuration, node, spec

PENDING, SUCCEEDED, FAILED, CANCELLED = JobState.PENDING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
ENDS = st.sampled_from([SUCCEEDED, FAILED, CANCELLED])


def after(*names: str, condition: Condition = Condition.SUCCEEDED) -> dict[str, Any]:
    return {"after": tuple(Dependency(name, condition) for name in names)}


class World:
    """A store with one node that has room for everybody."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 10.0
        self.do(c.CreateQueue(Queue("q")))
        self.do(c.RegisterNode(node(cpu=10_000)))

    def do(self, command: c.Command) -> Any:
        return self.store.execute(command, self.now).result(timeout=60)

    def submit(self, *fields: dict[str, Any]) -> tuple[c.ItemResult, ...]:
        answers: tuple[c.ItemResult, ...] = self.do(c.SubmitJobs(tuple(replace(spec("q"), **each) for each in fields)))
        return answers

    def job(self, job_id: str) -> Job:
        return self.store.get_job(job_id)

    def states(self, *job_ids: str) -> list[JobState]:
        return [self.job(job_id).state for job_id in job_ids]

    def seen(self) -> list[str]:
        """Pending jobs that a round would see."""
        return [job.id for job in self.store.snapshot(self.now).jobs if job.state is PENDING]

    def start(self, *job_ids: str) -> tuple[str, ...]:
        """Those that could not."""
        snapshot = self.store.snapshot(self.now)
        starts = tuple(Start(Placement(job_id, 0, (ReplicaPlacement("n1", ()),))) for job_id in job_ids)
        commit = self.store.commit(Plan(snapshot.revision, snapshot.round, starts, (), ()), self.now)
        return tuple(rejected.change.job_id for rejected in commit.rejected)

    def end(self, job_id: str, state: JobState) -> None:
        """A running job ends by its agent's report, or a live one by a client's word."""
        self.do(self.ending(job_id, state))

    def ending(self, job_id: str, state: JobState) -> c.Command:
        if state is CANCELLED:
            return c.CancelJobs((job_id,))
        allocation = self.job(job_id).allocation
        assert allocation is not None
        told = c.ReplicaState.SUCCEEDED if state is SUCCEEDED else c.ReplicaState.FAILED
        return c.Heartbeat("n1", (c.ReplicaReport(job_id, 0, allocation.epoch, told),))


@pytest.fixture
def world() -> World:
    return World()


def cpu_only(**fields: Any) -> dict[str, Any]:
    return {"configurations": (configuration(gpu=0),), **fields}


class TestAdmission:
    def test_positions_name_earlier_jobs_of_the_request(self, world: World) -> None:
        _, second, third = world.submit({}, after("#0"), after("#0", "#1", condition=Condition.ENDED))
        assert isinstance(second, Job)
        assert isinstance(third, Job)
        assert [each.job_id for each in third.spec.after] == ["j1", "j2"]
        assert (second.waits_for, third.waits_for) == (("j1",), ("j1", "j2"))
        assert second.pending_reason is not None
        assert second.pending_reason.cause is PendingCause.DEPENDENCY
        assert world.seen() == ["j1"]
        assert [job.id for job in world.store.snapshot(world.now).held] == ["j2", "j3"]

    @pytest.mark.parametrize("name", ["#1", "#2", "#-1", "#x", "#", "#00", "#99999999999999"])
    def test_positions_that_are_none(self, world: World, name: str) -> None:
        _, refused = world.submit({}, after(name))
        assert isinstance(refused, InvalidInput)
        assert [violation.field for violation in refused.violations] == ["after[0].job_id"]
        assert f"(#0 to #0); got {name!r}" in str(refused)

    def test_whoever_names_a_refused_or_unknown_job_is_refused_alone(self, world: World) -> None:
        answers = world.submit({"weight": -1.0}, {}, after("#1", "#0"), after("#1", "j99", "j\0\ud800"), after("#1"))
        assert [type(answer) for answer in answers] == [InvalidInput, Job, InvalidInput, InvalidInput, Job]
        assert str(answers[2]) == "after[1].job_id: job #0 of this request was refused"
        assert [violation.field for violation in answers[3].violations] == ["after[1].job_id", "after[2].job_id"]  # type: ignore[union-attr]
        assert "there is no job 'j99'" in str(answers[3])

    def test_those_that_have_ended_are_waited_for_no_more(self, world: World) -> None:
        world.submit(cpu_only(), cpu_only(), {})
        world.start("j1", "j2")
        world.end("j1", SUCCEEDED)
        world.end("j2", FAILED)
        fine, late, broken, waits = world.submit(
            after("j1"), after("j2", condition=Condition.FAILED), after("j3", "j2"), after("j1", "j3")
        )
        assert isinstance(fine, Job)
        assert isinstance(late, Job)
        assert isinstance(broken, Job)
        assert isinstance(waits, Job)
        assert (fine.state, fine.waits_for, late.state, late.waits_for) == (PENDING, (), PENDING, ())
        assert (broken.state, broken.end_time) == (FAILED, 10.0)
        assert broken.message == "never started: j2 had to succeed first, and failed"
        assert waits.waits_for == ("j3",)
        assert world.job(broken.id).state is FAILED

    def test_what_has_failed_at_once_takes_no_place_in_its_queue(self, world: World) -> None:
        world.submit({})
        world.end("j1", CANCELLED)
        world.do(c.UpdateQueue("q", max_live_jobs=2))
        broken, _, _, too_many = world.submit(after("j1"), {}, after("#1"), {})
        assert isinstance(broken, Job)
        assert isinstance(too_many, ResourceExhausted)
        assert world.store.queue_counts() == {"q": (2, 0)}


class TestEnds:
    @pytest.mark.parametrize(
        ("condition", "releases", "must"),
        [
            (Condition.SUCCEEDED, {SUCCEEDED}, "succeed"),
            (Condition.FAILED, {FAILED, CANCELLED}, "fail"),
            (Condition.ENDED, {SUCCEEDED, FAILED, CANCELLED}, "end"),
        ],
    )
    @pytest.mark.parametrize("end", [SUCCEEDED, FAILED, CANCELLED])
    def test_each_way_to_end(
        self, world: World, condition: Condition, releases: set[JobState], must: str, end: JobState
    ) -> None:
        world.submit(cpu_only(), after("#0", condition=condition))
        world.start("j1")
        world.end("j1", end)
        waited = world.job("j2")
        if end in releases:
            assert (waited.state, waited.waits_for, waited.pending_reason) == (PENDING, (), None)
            assert world.seen() == ["j2"]
        else:
            assert (waited.state, waited.waits_for, waited.end_time) == (FAILED, (), 10.0)
            assert waited.message.startswith(f"never started: j1 had to {must} first, and ")

    def test_a_chain_falls_at_once_and_who_waits_for_a_failure_is_released(self, world: World) -> None:
        world.submit({}, after("#0"), after("#1"), after("#2", condition=Condition.FAILED), after("#3"))
        before = world.store.current_revision()
        world.end("j1", CANCELLED)
        assert world.states("j1", "j2", "j3", "j4", "j5") == [CANCELLED, FAILED, FAILED, PENDING, PENDING]
        assert world.job("j3").message == "never started: j2 had to succeed first, and failed"
        assert world.seen() == ["j4"]
        assert world.store.current_revision() == before + 1

    def test_cancelling_all_of_a_chain_together_cancels_all(self, world: World) -> None:
        world.submit({}, after("#0"), after("#1"))
        answers = world.do(c.CancelJobs(("j1", "j2", "j3")))
        assert [answer.state for answer in answers] == [CANCELLED] * 3
        assert world.states("j1", "j2", "j3") == [CANCELLED] * 3

    def test_a_job_that_waits_is_not_started_whatever_a_plan_says(self, world: World) -> None:
        world.submit(cpu_only(), cpu_only(**after("#0")))
        assert world.start("j1", "j2") == ("j2",)
        cause = world.job("j2").pending_reason
        assert cause is not None
        assert cause.cause is PendingCause.DEPENDENCY

    def test_weights_of_those_that_wait_can_be_changed(self, world: World) -> None:
        world.submit({}, after("#0"))
        world.do(c.UpdateJobs((c.JobUpdate("j2", weight=3.0),)))
        assert (world.job("j2").spec.weight, world.job("j2").waits_for) == (3.0, ("j1",))


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[Dependency, ...]]:
    """Each job after some of those before it."""
    found: list[tuple[Dependency, ...]] = []
    for number in range(draw(st.integers(1, 12))):
        others = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        found.append(tuple(Dependency(f"#{other}", draw(st.sampled_from(Condition))) for other in sorted(others)))
    return found


def expected(graph: Sequence[tuple[Dependency, ...]], ends: Sequence[JobState]) -> list[JobState]:
    """How each job ends, if those that can start end so: failed where what it comes after ends otherwise."""
    found: list[JobState] = []
    for dependencies, end in zip(graph, ends, strict=True):
        fits = all(
            found[int(each.job_id[1:])]
            in {
                Condition.SUCCEEDED: (SUCCEEDED,),
                Condition.FAILED: (FAILED, CANCELLED),
                Condition.ENDED: (SUCCEEDED, FAILED, CANCELLED),
            }[each.condition]
            for each in dependencies
        )
        found.append(end if fits else FAILED)
    return found


@settings(deadline=None, max_examples=60, derandomize=True)
@given(graphs(), st.data())
def test_nothing_starts_too_early_nobody_waits_for_ever_and_order_does_not_matter(
    graph: list[tuple[Dependency, ...]], data: st.DataObject
) -> None:
    """Rounds start whom they see, reports come in any order, alone or several at once."""
    world = World()
    ends = [data.draw(ENDS) for _ in graph]
    wanted = expected(graph, ends)
    answers = world.submit(*(cpu_only(after=dependencies) for dependencies in graph))
    ids = [answer.id for answer in answers if isinstance(answer, Job)]
    assert len(ids) == len(graph)
    for _ in range(4 * len(ids)):
        snapshot = world.store.snapshot(world.now)
        assert [job.id for job in snapshot.held] == [job.id for job in map(world.job, ids) if job.waits_for]
        for job in snapshot.jobs:
            over = [world.job(each.job_id).state for each in job.spec.after]
            assert all(state.is_final for state in over)
        seen = world.seen()
        if seen:
            assert world.start(*data.draw(st.lists(st.sampled_from(seen), unique=True, min_size=1))) == ()
        running = [job.id for job in map(world.job, ids) if job.state is JobState.RUNNING]
        if not running and not seen:
            break
        ending = data.draw(st.permutations(running))[: data.draw(st.integers(0, len(running)))]
        futures = world.store.execute_all([world.ending(name, ends[ids.index(name)]) for name in ending], world.now)
        assert all(future.exception() is None for future in futures)
    else:
        for name in [job.id for job in map(world.job, ids) if not job.state.is_final]:
            if world.job(name).state is PENDING and not world.job(name).waits_for:
                world.start(name)
            if not world.job(name).state.is_final:
                world.end(name, ends[ids.index(name)])
    assert world.states(*ids) == wanted
    assert world.store.snapshot(world.now).held == ()


class TestRetries:
    def test_a_failed_job_waits_ever_longer_and_then_fails(self, world: World) -> None:
        world.submit(cpu_only(retries=Retries(2, 10.0, 15.0), restart_cost_seconds=3.0))
        world.start("j1")
        world.now = 30.0
        world.end("j1", FAILED)
        failed = world.job("j1")
        assert (failed.state, failed.failures, failed.not_before) == (PENDING, 1, 40.0)
        assert (failed.allocation, failed.work_counted_time, failed.work_done_seconds) == (None, None, 20.0)
        assert (failed.preemption_count, failed.end_time) == (0, None)
        assert failed.message == "replica 0 failed on node n1"
        assert failed.pending_reason is not None
        assert failed.pending_reason.cause is PendingCause.BACKOFF
        snapshot = world.store.snapshot(39.9)
        assert (snapshot.jobs, [job.id for job in snapshot.held], snapshot.held_until) == ((), ["j1"], 40.0)
        assert world.start("j1") == ("j1",)
        world.now = 40.0
        assert world.seen() == ["j1"]
        assert world.store.snapshot(40.0).held_until == float("inf")
        world.start("j1")
        again = world.job("j1")
        assert (again.state, again.not_before, again.work_done_seconds) == (JobState.RUNNING, None, 17.0)
        world.end("j1", FAILED)
        assert (world.job("j1").failures, world.job("j1").not_before) == (2, 55.0)
        world.now = 60.0
        world.start("j1")
        world.end("j1", FAILED)
        assert (world.job("j1").state, world.job("j1").failures, world.job("j1").end_time) == (FAILED, 2, 60.0)

    def test_one_that_succeeds_at_last_says_why_it_failed_before(self, world: World) -> None:
        world.submit(cpu_only(retries=Retries(1, 0.0)), after("#0"))
        for end in (FAILED, SUCCEEDED):
            world.start("j1")
            world.end("j1", end)
        assert world.job("j1").message == "succeeded at try 2; before, replica 0 failed on node n1"
        assert world.seen() == ["j2"]

    def test_who_comes_after_it_waits_for_its_last_try(self, world: World) -> None:
        world.submit(cpu_only(retries=Retries(1, 0.0)), after("#0"), after("#0", condition=Condition.FAILED))
        world.start("j1")
        world.end("j1", FAILED)
        assert world.states("j1", "j2", "j3") == [PENDING, PENDING, PENDING]
        assert world.seen() == ["j1"]
        world.start("j1")
        world.end("j1", FAILED)
        assert world.states("j1", "j2", "j3") == [FAILED, FAILED, PENDING]
        assert world.seen() == ["j3"]

    def test_the_second_of_two_reports_about_one_failure_counts_for_nothing(self, world: World) -> None:
        world.submit(cpu_only(retries=Retries(5)))
        world.start("j1")
        told = world.ending("j1", FAILED)
        world.do(told)
        world.do(told)
        assert world.job("j1").failures == 1

    def test_a_job_that_waits_for_its_next_try_counts_as_live_and_can_be_cancelled(self, world: World) -> None:
        world.submit(cpu_only(retries=Retries(1)))
        world.start("j1")
        world.end("j1", FAILED)
        assert world.store.queue_counts() == {"q": (1, 0)}
        world.end("j1", CANCELLED)
        assert world.job("j1").not_before is None
        assert world.store.snapshot(world.now) == replace(world.store.snapshot(world.now), jobs=(), held=())


def test_a_job_is_named_once_by_its_id_or_by_its_position() -> None:
    world = World()
    world.submit({})
    first, second = world.submit({}, {"after": (Dependency("#0"), Dependency("j2", Condition.FAILED))})
    assert isinstance(first, Job)
    assert isinstance(second, InvalidInput)
    assert [violation.field for violation in second.violations] == ["after"]
