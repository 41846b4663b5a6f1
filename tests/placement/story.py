"""Decisions as stories: a small cluster, a few jobs, and what becomes of each of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.policy import Policy
from tests.placement.worlds import POLICY, Shares, decide, snapshot, told


@dataclass
class Story:
    """`expect` says what becomes of every job, in the words of `worlds.told`; what is not given is nothing special."""

    title: str
    nodes: list[Node]
    jobs: list[Job]
    expect: dict[str, str]
    shares: Shares = field(default_factory=dict)
    credits: dict[str, float] = field(default_factory=dict)
    policy: Policy = POLICY

    def check(self) -> None:
        plan = decide(snapshot(self.nodes, self.jobs), self.shares, self.credits, self.policy)
        assert told(plan) == self.expect


def each(stories: list[Story]) -> pytest.MarkDecorator:
    """Run the test once per story, under its title."""
    return pytest.mark.parametrize("story", stories, ids=lambda story: story.title.replace(" ", "-"))
