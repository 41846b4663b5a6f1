"""The rounding loss, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.formulation import Problem, rounding_loss


def two_rows(**changes: object) -> Problem:
    arguments: dict[str, object] = {
        "throughput": [[1.0], [1.0]],
        "flavor": [[0], [0]],
        "demand": np.ones((2, 1, 1)),
        "capacity": [[2.0]],
        "count": [2, 2],
        "weight": [1.0, 3.0],
    }
    return Problem.from_arrays(**(arguments | changes))  # type: ignore[arg-type]  # keywords of from_arrays


FLUID = np.array([[0.25], [0.75]])


def test_nothing_is_lost_when_everybody_runs_as_much_as_the_optimum_says() -> None:
    assert rounding_loss(two_rows(), FLUID, FLUID) == 0.0


def test_everything_is_lost_when_nobody_runs() -> None:
    assert rounding_loss(two_rows(), FLUID, np.zeros((2, 1))) == 1.0


@pytest.mark.parametrize(
    ("alpha", "loss"),
    [
        (0.0, 1 - 3 / (0.25 + 2.25)),  # clipped: better than the fluid optimum at its own prices is no loss
        (1.0, 1 - (3 / 0.75) / 4),
        (2.0, 1 - (3 / 0.75**2) / (4 + 3 / 0.75)),
        (math.inf, 0.0),
    ],
)
def test_who_runs_counts_by_marginal_utility(alpha: float, loss: float) -> None:
    placed = np.array([[0.0], [1.0]])  # both jobs of the second row, none of the first
    assert rounding_loss(two_rows(fairness=alpha), FLUID, placed) == pytest.approx(max(loss, 0.0))


def test_large_alpha_does_not_overflow() -> None:
    assert 0.0 <= rounding_loss(two_rows(fairness=400.0), FLUID * 1e-3, FLUID * 5e-4) <= 1.0


def test_no_rows_no_loss() -> None:
    empty = Problem.from_arrays(
        throughput=np.zeros((0, 1)), flavor=np.zeros((0, 1)), demand=np.zeros((0, 1, 1)), capacity=[[1.0]]
    )
    assert rounding_loss(empty, np.zeros((0, 1)), np.zeros((0, 1))) == 0.0
