"""What is added in pieces is rounded once, at the end."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulations.sums import Sum

NUMBERS = st.lists(st.lists(st.floats(-1e12, 1e12)), max_size=6)


@given(NUMBERS)
def test_it_is_the_sum_of_all_rounded_once(pieces: list[list[float]]) -> None:
    total = Sum()
    for piece in pieces:
        total.add(np.array(piece, dtype=np.float64))
    assert total.value == math.fsum(value for piece in pieces for value in piece)
    assert math.fsum(total.parts) == total.value


def test_what_a_piece_rounds_away_is_not_lost() -> None:
    total = Sum()
    for piece in ([1.0, 1e-30], [1e-30, -1.0]):
        total.add(np.array(piece))
    assert total.value == 2e-30


def test_what_is_not_a_number_stays_so() -> None:
    total = Sum()
    for piece in ([1.0, math.nan], [2.0], []):
        total.add(np.array(piece, dtype=np.float64))
    assert math.isnan(total.value)
