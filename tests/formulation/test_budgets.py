"""Budgets flow down the tree to whoever wants something now, and always sum to one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.queue import Queue
from allocator.formulation.budgets import queue_budgets

TREE = (Queue("a", 1.0), Queue("a/x", 3.0), Queue("a/y", 1.0), Queue("b", 2.0), Queue("c", 5.0))


def test_a_queue_splits_its_budget_among_children_that_want_something() -> None:
    budgets = queue_budgets(TREE, {"a/x": 7.0, "a/y": 1.0, "b": 2.0})
    assert budgets == pytest.approx({"a/x": 1 / 3 * 3 / 4, "a/y": 1 / 3 / 4, "b": 2 / 3})


def test_an_idle_queue_leaves_its_part_to_its_siblings_only() -> None:
    assert queue_budgets(TREE, {"a/y": 1.0, "b": 1.0}) == pytest.approx({"a/y": 1 / 3, "b": 2 / 3})


def test_how_much_a_queue_wants_does_not_change_its_part() -> None:
    assert queue_budgets(TREE, {"a/y": 1.0, "b": 1.0}) == queue_budgets(TREE, {"a/y": 900.0, "b": 0.01})


def test_nobody_wants_anything() -> None:
    assert queue_budgets(TREE, {}) == {}


def test_a_queue_nobody_knows_counts_as_a_root_of_weight_one() -> None:
    assert queue_budgets(TREE, {"b": 1.0, "lost": 1.0}) == pytest.approx({"b": 2 / 3, "lost": 1 / 3})


def test_a_child_whose_parent_is_unknown_counts_as_a_root() -> None:
    assert queue_budgets((Queue("p/q", 3.0), Queue("b")), {"p/q": 1.0, "b": 1.0}) == pytest.approx(
        {"p/q": 0.75, "b": 0.25}
    )


def test_jobs_in_an_inner_queue_weigh_one_beside_its_children() -> None:
    assert queue_budgets(TREE, {"a": 4.0, "a/x": 1.0}) == pytest.approx({"a": 0.25, "a/x": 0.75})


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.dictionaries(st.from_regex(r"[ab](/[ab]){0,3}", fullmatch=True), st.floats(0.01, 100), min_size=1, max_size=12),
    st.data(),
)
def test_budgets_sum_to_one_whatever_the_tree(weights: dict[str, float], data: st.DataObject) -> None:
    queues = [Queue(name, weight) for name, weight in weights.items()]
    wanting = data.draw(st.lists(st.sampled_from(sorted(weights)), min_size=1, unique=True))
    budgets = queue_budgets(queues, dict.fromkeys(wanting, 1.0))
    assert sorted(budgets) == sorted(wanting)
    assert sum(budgets.values()) == pytest.approx(1.0)
    assert all(budget > 0 for budget in budgets.values())
