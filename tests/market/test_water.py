"""Water-filling: everybody between bottom and brim at one level, the budget spent, for many groups at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.market.water import pour, spill

AMOUNTS = st.sampled_from([0.0, 0.1, 0.3, 1.0, 5.0])
VESSELS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1e-3, 0.5, 1.0, 2.0]), AMOUNTS, AMOUNTS), max_size=9)


def test_who_is_full_leaves_the_rest_to_the_others() -> None:
    group, weight = np.zeros(3, dtype=np.int64), np.ones(3)
    poured = pour(group, weight, np.zeros(3), np.array([1.0, 10.0, 10.0]), np.array([9.0]))
    assert poured.tolist() == pytest.approx([1.0, 4.0, 4.0])


def test_floors_come_first_and_are_lowered_in_proportion_where_there_is_too_little() -> None:
    group, weight = np.zeros(2, dtype=np.int64), np.ones(2)
    floor, cap = np.array([6.0, 2.0]), np.array([9.0, 9.0])
    assert pour(group, weight, floor, cap, np.array([10.0])).tolist() == pytest.approx([6.0, 4.0])
    assert pour(group, weight, floor, cap, np.array([4.0])).tolist() == pytest.approx([3.0, 1.0])


def test_what_nobody_has_room_for_is_spilled_by_weight() -> None:
    group, weight, budget = np.zeros(2, dtype=np.int64), np.array([1.0, 3.0]), np.array([8.0])
    poured = pour(group, weight, np.zeros(2), np.array([1.0, 3.0]), budget)
    assert poured.tolist() == pytest.approx([1.0, 3.0])
    assert spill(group, weight, poured, budget).tolist() == pytest.approx([2.0, 6.0])


@settings(max_examples=400, deadline=None, derandomize=True)
@given(VESSELS, st.lists(st.sampled_from([0.0, 0.2, 1.0, 3.0]), min_size=3, max_size=3))
def test_each_group_is_filled_to_one_level(
    vessels: list[tuple[int, float, float, float]], budgets: list[float]
) -> None:
    group = np.array([vessel[0] for vessel in vessels], dtype=np.int64)
    weight, floor = (np.array([vessel[place] for vessel in vessels], dtype=np.float64) for place in (1, 2))
    cap = floor + np.array([vessel[3] for vessel in vessels], dtype=np.float64)
    poured = pour(group, weight, floor, cap, np.array(budgets))
    for number, budget in enumerate(budgets):
        mine = group == number
        if not mine.any():
            continue
        if floor[mine].sum() > budget:
            assert poured[mine] * floor[mine].sum() == pytest.approx(floor[mine] * budget)
            continue
        assert (poured[mine] >= floor[mine] - 1e-9).all()
        assert (poured[mine] <= cap[mine] + 1e-9).all()
        assert poured[mine].sum() == pytest.approx(min(budget, cap[mine].sum()))
        level = poured[mine] / weight[mine]
        between = (poured[mine] > floor[mine] + 1e-9) & (poured[mine] < cap[mine] - 1e-9)
        if between.any():
            assert level[between] == pytest.approx(level[between][0])
            full = poured[mine] >= cap[mine] - 1e-9
            assert (level[full & (cap[mine] > floor[mine])] <= level[between][0] + 1e-6).all()
