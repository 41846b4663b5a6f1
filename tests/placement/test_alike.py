"""Groups by several columns: those that comparing tuples finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.placement.alike import alike_in

NUMBERS = st.sampled_from([-(2**40), -1, 0, 1, 2, 3, 2**40])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(*[NUMBERS] * 5), max_size=30))
def test_who_agrees_in_all_columns_is_in_one_group(rows: list[tuple[int, ...]]) -> None:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 5).T
    first, group = alike_in(columns)
    assert [rows[first[each]] for each in group.tolist()] == rows
    assert len(first) == len(set(rows))
    assert all(rows.index(rows[at]) == at for at in first.tolist())
