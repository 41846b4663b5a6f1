"""What would happen to jobs that wait for others, if those ended."""

from __future__ import annotations

from dataclasses import replace

from allocator.domain.job import Job, JobState
from allocator.domain.process import Condition, Dependency
from allocator.intake import commands as c
from allocator.whatif.answers import Question
from tests.whatif.worlds import INTERVAL, node, small, spec


def after(*names: str, condition: Condition = Condition.SUCCEEDED) -> tuple[Dependency, ...]:
    return tuple(Dependency(name, condition) for name in names)


def test_cancelling_a_job_releases_who_waits_for_its_end_and_changes_nothing() -> None:
    world = small(nodes=(node("n1", gpu=1),))
    first, waits = world.submit(spec(), replace(spec(), after=after("#0", condition=Condition.ENDED)))
    world.round()
    asked = Question((c.CancelJobs((first.id,)),), (waits.id,))
    (fate,) = world.simulator.ask(asked, world.just_before).jobs
    assert fate.before is None
    assert fate.after is not None
    assert fate.after.configuration == 0
    assert world.store.get_job(waits.id).waits_for == (first.id,)


def test_a_pipeline_goes_on_as_its_jobs_end_by_their_expected_durations() -> None:
    world = small(nodes=(node("n1", gpu=1),))
    short = replace(spec(), expected_duration_seconds=INTERVAL)
    pipeline = (short, replace(short, after=after("#0")), replace(short, after=after("#1")))
    outcome = world.simulator.ask(Question((c.SubmitJobs(pipeline),), (), 8), world.just_before)
    starts = [view.starts_after for view in outcome.jobs]
    assert starts[0] == 0.0
    assert all(later is not None for later in starts)
    assert sorted(starts, key=lambda start: start or 0.0) == starts
    assert len(set(starts)) == 3


def test_a_submitted_job_may_come_after_one_that_ended_before() -> None:
    world = small(nodes=(node("n1", gpu=1),))
    (ended,) = world.submit(spec())
    world.do(c.CancelJobs((ended.id,)))
    wanted = (replace(spec(), after=after(ended.id)), replace(spec(), after=after("j99")))
    broken, unknown = world.simulator.ask(Question((c.SubmitJobs(wanted),)), world.just_before).submitted
    assert isinstance(broken, Job)
    assert (broken.state, broken.id) == (JobState.FAILED, "j2")
    assert "there is no job 'j99'" in str(unknown)
