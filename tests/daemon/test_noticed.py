"""What the log says of wrong declarations and missed deadlines: each once."""

from __future__ import annotations

import structlog

from allocator.daemon.noticed import MOST_LINES, Noticed
from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from tests.explain.worlds import World

GPU = Resources.of({"gpu": 1000})


def test_a_wrong_declaration_and_a_missed_deadline_have_a_line_each() -> None:
    world = World(["q"], [Node("n1", "a100", Resources.of({"gpu": 1000}))])
    (job,) = world.submit(
        JobSpec("q", (Configuration("a100", 1, GPU, 4.0),), expected_duration_seconds=60, deadline=world.time + 15)
    )
    noticed = Noticed()
    with structlog.testing.capture_logs() as lines:
        noticed.observe(world.round())
        world.do(c.ReportProgress(job.id, 1.0))
        for _ in range(3):
            noticed.observe(world.round())
    assert [(line["event"], line["job"]) for line in lines] == [
        ("throughput misdeclared", job.id),
        ("deadline missed", job.id),
    ]
    assert (lines[0]["declared"], lines[0]["measured"], lines[0]["flavor"]) == (4.0, 1.0, "a100")


def test_many_at_once_are_counted() -> None:
    many = MOST_LINES + 5
    world = World(["q"], [Node("n1", "a100", Resources.of({"gpu": 1000}))])
    ways = (Configuration("a100", 1, GPU, 4.0),)
    world.submit(*[JobSpec("q", ways, expected_duration_seconds=60, deadline=world.time - 1)] * many)
    with structlog.testing.capture_logs() as lines:
        Noticed().observe(world.round())
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == {"event": "deadlines missed", "more": 5, "log_level": "warning"}
