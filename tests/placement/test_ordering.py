"""Nodes in order, against sorting them all."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.policy import Policy
from allocator.formulation.build import build
from allocator.placement.ordering import foremost, largest_first
from allocator.placement.space import empty_space, tabulated
from tests.placement.worlds import node, snapshot, waiting


@given(st.lists(st.integers(-1, 6)))
def test_largest_first_is_a_stable_sort(values: list[int]) -> None:
    order = largest_first(np.array(values, dtype=np.int64)).tolist()
    assert order == sorted(range(len(values)), key=lambda position: -values[position])


@given(st.data())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_the_foremost_are_those_with_most_room_then_least_cost_then_least_left_over(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    live = build(snapshot([node(f"n{index:02}") for index in range(count)], [waiting(1)]), Policy()).live
    space, kinds = empty_space(live.nodes), tabulated(live)
    counts, costs, slack = (data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)) for _ in range(3))
    space.slack[:] = slack
    priced = data.draw(st.booleans())
    kinds = kinds._replace(costs=kinds.costs._replace(kept=np.array([costs], dtype=np.int64)))
    least = data.draw(st.integers(1, 3))
    order = sorted(
        (index for index in range(count) if counts[index] >= least),
        key=lambda index: (-counts[index], costs[index] if priced else 0, slack[index], index),
    )
    many = data.draw(st.integers(min(1, len(order)), len(order)))
    nodes, slot = np.arange(count), 0 if priced else -1
    assert foremost(space, kinds, slot, np.array(counts), nodes, least, many).tolist() == order[:many]
