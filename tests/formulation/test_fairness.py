"""phi, its slope and its inverse slope belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.formulation.fairness import phi, slope, utility_at_slope

UTILITIES = np.array([0.01, 0.3, 1.0, 7.0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_slope_is_the_derivative_of_phi(alpha: float) -> None:
    step = 1e-6 * UTILITIES
    numeric = (phi(UTILITIES + step, alpha) - phi(UTILITIES - step, alpha)) / (2 * step)
    np.testing.assert_allclose(slope(UTILITIES, alpha), numeric, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
def test_a_job_stops_buying_where_the_slope_meets_the_unit_cost(alpha: float) -> None:
    np.testing.assert_allclose(utility_at_slope(1 / slope(UTILITIES, alpha), alpha), UTILITIES)


def test_at_alpha_zero_everything_or_nothing_is_bought() -> None:
    assert utility_at_slope(np.array([0.5, 1.0, 2.0]), 0.0).tolist() == [0.0, 0.0, math.inf]


@pytest.mark.parametrize(("alpha", "value"), [(0.0, 0.0), (0.5, 0.0), (1.0, -math.inf), (2.0, -math.inf)])
def test_value_of_nothing(alpha: float, value: float) -> None:
    assert phi(np.zeros(1), alpha)[0] == value
