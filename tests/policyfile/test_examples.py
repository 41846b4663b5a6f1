"""The policy files that the documentation shows can be applied to the demonstration that it shows."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from allocator.daemon.demo import cluster
from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.job import Job
from allocator.intake import commands as c
from allocator.policyfile import read, remarks_against
from tests.explain.worlds import World

ROOT = Path(__file__).parents[2]
_README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = {
    "example": (ROOT / "deploy" / "policy.example.toml").read_text(encoding="utf-8"),
    "readme": next(block.partition("```")[0] for block in _README.split("```toml\n")[1:] if "version = 1" in block),
}


@pytest.fixture
def demonstration() -> World:
    """With its nodes, its queues, and jobs in all of them."""
    world = World(cluster.QUEUES, cluster.nodes())
    source = random.Random(1)
    jobs = world.submit(*[cluster.draw(source)[0] for _ in range(60)])
    assert {job.spec.queue for job in jobs} == {queue.name for queue in cluster.QUEUES}
    world.round()
    return world


@pytest.mark.parametrize("name", FILES)
def test_it_goes_with_the_demonstration(demonstration: World, name: str) -> None:
    reading = read(FILES[name])
    assert reading.document is not None, reading.mistakes
    snapshot = demonstration.store.snapshot(demonstration.time)
    told = remarks_against(reading, snapshot.nodes, snapshot.queues)
    assert [each for each in told if each.field] == [], "nothing in the file surprises"
    applied = demonstration.do(c.ApplyPolicy(reading.document, FILES[name]))
    assert isinstance(applied, AppliedPolicy)
    assert demonstration.round().summary.policy_version == 1
    more = demonstration.do(c.SubmitJobs((cluster.draw(random.Random(2))[0],)))
    assert isinstance(more[0], Job)


def test_the_example_has_queues_below_others(demonstration: World) -> None:
    """Jobs of the demonstration are in none of those above."""
    document = read(FILES["example"]).document
    assert document is not None
    above = {queue.parent for queue in document.queues} - {None}
    assert above
    assert not above & {queue.name for queue in cluster.QUEUES}
