"""Why somebody weighs more or less than was declared: what explanations say is what the round did."""

from __future__ import annotations

import math

import pytest

from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.explain.answers import JobWeight
from allocator.explain.job import explain_job
from allocator.explain.queue import explain_queue
from tests.explain.worlds import INTERVAL, World, gpus, node

HALF_LIFE = 4 * INTERVAL


def test_nothing_is_said_where_nothing_changes_weights() -> None:
    world = World(["q"], [node("n1", count=1)])
    (job,) = world.submit(JobSpec("q", (gpus(),)))
    world.round()
    assert explain_queue(world.finished, "q").past is None
    assert explain_job(world.finished, world.job(job.id)).weight is None


def test_a_queue_is_told_what_it_had_and_what_was_its_part() -> None:
    """`a` has the only GPU for a half-life, while its second job asks for it too; then `b` wants it. See also the same
    by hand in the tests of the formulation: 2/3 and 2.
    """
    world = World(
        ["a", Queue("b")], [node("n1", count=1)], Policy(usage_strength=1.0, usage_half_life_seconds=HALF_LIFE)
    )
    world.submit(*[JobSpec("a", (gpus(),))] * 2)
    for _ in range(4):
        world.round()
    world.submit(JobSpec("b", (gpus(),)))
    world.round()
    found = {name: explain_queue(world.finished, name) for name in "ab"}
    for name, told in {"a": (2 / 3, 0.5, 0.25), "b": (2.0, 0.0, 0.25)}.items():
        past = found[name].past
        assert past is not None
        assert (past.factor, past.had, past.entitled) == pytest.approx(told, rel=1e-3)
        assert past.half_life_seconds == HALF_LIFE
    assert found["b"].weight == 1.0, "what was declared"
    assert found["b"].entitlement == pytest.approx(3 / 4, rel=1e-3), "what that makes of it"
    assert found["b"].adjusted_fair_share == pytest.approx(3 / 4, rel=1e-3)


def test_a_job_is_told_what_it_has_received_and_how_long_it_waited() -> None:
    world = World(
        ["q"],
        [node("n1", count=1)],
        Policy(
            weighting="least-attained-service",
            service_seconds=INTERVAL,
            aging_seconds=2 * INTERVAL,
            minimum_run_seconds=1e6,
        ),
    )
    first, second = world.submit(*[JobSpec("q", (gpus(),), weight=3.0)] * 2)
    for _ in range(4):
        world.round()
    elapsed = 3 * INTERVAL
    assert explain_job(world.finished, world.job(first.id)).weight == JobWeight(3.0, 0.75, 0.25, 1.0, elapsed, 0.0)
    waiting = explain_job(world.finished, world.job(second.id))
    assert waiting.weight == JobWeight(3.0, 6.0, 1.0, 2.0, 0.0, elapsed)
    assert waiting.owed_share == pytest.approx(6 / 6.75, rel=1e-3)
    assert math.isclose(waiting.budget or 0.0, 6 / 6.75, rel_tol=1e-3)
