"""What a warm start says of capacities and limits, in the order of a problem."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.solvers.solution import WarmStart

PRICES = np.array([[0.5, np.nan], [0.0, 2.0]])


def test_capacities_come_before_limits() -> None:
    start = WarmStart(PRICES, np.array([0.25, np.nan, 1.0]))
    np.testing.assert_array_equal(start.together(3), [0.5, np.nan, 0.0, 2.0, 0.25, np.nan, 1.0])


@pytest.mark.parametrize("limits", [None, np.array([1.0]), np.zeros((1, 2))])
def test_limits_that_nobody_priced_are_not_known(limits: np.ndarray | None) -> None:
    np.testing.assert_array_equal(WarmStart(PRICES, limits).together(2), [0.5, np.nan, 0.0, 2.0, np.nan, np.nan])
