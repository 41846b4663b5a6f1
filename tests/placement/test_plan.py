"""The form of a plan, whatever is in it."""

from __future__ import annotations

import pytest

from allocator.domain.snapshot import Memory
from allocator.formulation.build import build
from allocator.placement import place
from tests.placement.worlds import (
    LOST,
    POLICY,
    decide,
    node,
    running,
    share_matrix,
    snapshot,
    waiting,
)


def test_preemptions_and_moves_come_before_starts_and_starts_in_order_of_claim() -> None:
    nodes = [node("n1"), node("n2"), node("n3", health=LOST), node("n4"), node("n5")]
    jobs = [
        running(waiting(1), "n1"),
        waiting(2),
        running(waiting(3), "n3"),
        waiting(4),
        running(waiting(5, preemptible=False), "n2"),
    ]
    plan = decide(snapshot(nodes, jobs), credits_owed={"j1": -900.0, "j2": 10.0, "j3": 20.0, "j4": 30.0})
    assert [(type(change).__name__, change.job_id) for change in plan.changes] == [
        ("Preempt", "j1"),
        ("Move", "j3"),
        ("Start", "j4"),
        ("Start", "j2"),
    ]
    assert (plan.revision, plan.round) == (7, 3)


def test_shares_of_another_problem_are_refused() -> None:
    world = snapshot([node("n1")], [waiting(1)])
    other = snapshot([node("n1")], [waiting(1), waiting(2)])
    with pytest.raises(ValueError, match=r"shares must have the shape of the problem \(2, 1\), got \(1, 1\)"):
        place(other, build(other, POLICY), share_matrix(build(world, POLICY), {}), Memory(), POLICY)


def test_an_empty_world_has_an_empty_plan() -> None:
    plan = decide(snapshot([], []))
    assert (plan.changes, plan.kept, plan.waiting) == ((), (), ())
