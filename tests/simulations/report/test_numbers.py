"""Confidence, thinning, axes and words, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulations.report.axes import linear, logarithmic
from simulations.report.figures import Unit
from simulations.report.significance import mean_interval, ratio_interval
from simulations.report.thinning import distribution_curve, steps
from simulations.report.wording import between, by_how_much, give_or_take, marked, plain, span, written


def test_a_confidence_interval_by_hand() -> None:
    """1, 2, 3: s = 1, and t with 2 degrees of freedom is 4.30265 at 97.5 %: 2 +- 4.30265 / sqrt(3)."""
    found = mean_interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))
    assert found.low == pytest.approx(2 - 4.302652729911275 / math.sqrt(3))


def test_one_value_says_nothing_of_chance() -> None:
    found = mean_interval([5.0])
    assert found is not None
    assert (found.mean, found.low, found.high, found.half_width) == (5.0, None, None, None)
    assert mean_interval([]) is None


def test_pairs_cancel_what_a_seed_makes_hard() -> None:
    """Every seed 10 % apart, whatever its size: the ratio is known exactly."""
    found = ratio_interval([11.0, 110.0, 1100.0], [10.0, 100.0, 1000.0])
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((1.1, 1.1, 1.1))
    assert found.inverse.mean == pytest.approx(1 / 1.1)
    assert ratio_interval([0.0, 1.0], [1.0, 1.0]) is None


def test_few_steps_are_exact() -> None:
    curve = steps(np.array([0.0, 10.0, 30.0]), np.array([1.0, 5.0, 2.0]), 40.0, 10)
    assert curve.x.tolist() == [0.0, 10.0, 10.0, 30.0, 30.0, 40.0]
    assert curve.y.tolist() == [1.0, 1.0, 5.0, 5.0, 2.0, 2.0]
    assert curve.low is None


def test_many_steps_keep_means_and_extremes() -> None:
    """Two bins over 0 to 8 s. In the first, 1, 9, 1, 1: mean 3; in the second, 2, then nothing, 4, 6."""
    values = np.array([1.0, 9.0, 1.0, 1.0, 2.0, math.nan, 4.0, 6.0])
    curve = steps(np.arange(8.0), values, 8.0, 2)
    assert curve.y.tolist() == [3.0, 4.0]
    assert curve.low is not None
    assert curve.high is not None
    assert (curve.low.tolist(), curve.high.tolist()) == ([1.0, 2.0], [9.0, 6.0])
    assert (curve.x.tolist(), curve.bin_seconds) == ([2.0, 6.0], 4.0)


def test_what_goes_on_through_a_bin_counts_in_it() -> None:
    curve = steps(np.array([0.0, 1.0, 2.0, 90.0]), np.array([5.0, 7.0, 3.0, 4.0]), 100.0, 2)
    assert curve.low is not None
    assert curve.low.tolist() == [3.0, 3.0]
    assert curve.y.tolist() == pytest.approx([(5 + 7 + 48 * 3) / 50, (40 * 3 + 10 * 4) / 50])


def test_a_gap_stays_a_gap() -> None:
    curve = steps(np.arange(4.0), np.array([1.0, 1.0, math.nan, math.nan]), 4.0, 2)
    assert curve.y[0] == 1.0
    assert math.isnan(curve.y[1])


def test_a_distribution_keeps_its_ends() -> None:
    values = np.arange(1.0, 10_001.0)
    curve = distribution_curve(values, 100)
    assert len(curve.x) <= 100
    assert (curve.x[0], curve.x[-1], curve.y[-1]) == (1.0, 10_000.0, 1.0)
    assert (np.abs(curve.y - curve.x / 10_000) < 1e-9).all()
    few = distribution_curve(np.array([3.0, 1.0, math.nan]), 100)
    assert (few.x.tolist(), few.y.tolist()) == ([1.0, 3.0], [0.5, 1.0])


@pytest.mark.parametrize("points", [100, 5000])
def test_a_distribution_ends_where_jobs_were_left(points: int) -> None:
    """A quarter of them never got so far: the line ends at three quarters."""
    values = np.concatenate([np.arange(1.0, 751.0), np.full(250, math.inf)])
    curve = distribution_curve(values, points)
    assert (curve.x[-1], curve.y[-1]) == (750.0, 0.75)
    assert np.allclose(curve.y, curve.x / 1000)
    assert not len(distribution_curve(np.full(3, math.inf), points).x)


def test_axes_have_round_numbers() -> None:
    assert [label for _, label in linear("", "part", 0.0, 0.17).ticks] == ["0 %", "5 %", "10 %", "15 %", "20 %"]
    assert [label for _, label in linear("", "time", 0.0, 5 * 3600.0, tight=True).ticks][-1] == "5 h"
    axis = logarithmic("", "time", 1.0, 20_000.0)
    assert [label for _, label in axis.ticks] == ["1 s", "10 s", "1 min", "10 min", "1 h"]
    assert axis.at(1.0) == 0.0
    assert axis.at(0.0) == 0.0, "what is below a logarithmic axis is shown at its edge"
    assert axis.at(20_000.0) == pytest.approx(1.0)
    assert linear("", "number", 3.0, 3.0).high > 3.0


def test_words() -> None:
    assert (span(45.0), span(400.0), span(86400.0 * 3)) == ("45.0 s", "6.67 min", "3.00 d")
    assert (written(0.1234, Unit.PART), written(None, Unit.SECONDS), written(12.0, Unit.COUNT)) == ("12.3 %", "–", "12")
    assert give_or_take(600.0, 30.0, Unit.SECONDS) == "10.0 ± 0.5 min"
    assert give_or_take(600.0, None, Unit.SECONDS) == "10.0 min"
    assert (by_how_much(1.1), by_how_much(0.8), by_how_much(3.0), by_how_much(1.0)) == (
        "10 % higher", "20 % lower", "3.0 times as high", "equal",
    )  # fmt: skip
    assert between(1.02, 1.2) == "2.0 to 20 % higher"
    assert between(0.8, 0.98) == "2.0 to 20 % lower", "the smaller change first"
    assert between(0.99, 1.05) == "1.0 % lower to 5.0 % higher"
    assert plain(f"{marked('a')} wins") == "a wins"
