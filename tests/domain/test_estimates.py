"""What is learned of throughputs, by hand: `allocator.domain.estimates`."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.estimates import (
    FIRST_SPREAD,
    Estimate,
    Learned,
    Misdeclared,
    observed,
)
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.resources import Resources

GPU = Resources.of({"gpu": 1000})
NAME = ("q", "resnet", "a100", 1)


def way(flavor: str, throughput: float | None = None, replicas: int = 1) -> Configuration:
    return Configuration(flavor, replicas, GPU, throughput or 1.0, declared=throughput is not None)


def job(*ways: Configuration, job_class: str = "resnet", measured: dict[str, float] | None = None) -> Job:
    spec = JobSpec("q", ways, job_class=job_class)
    return Job("j1", 1, spec, 0.0, measured_throughput=tuple(sorted((measured or {}).items())))


def known(flavor: str, *reports: float, job_class: str = "resnet", replicas: int = 1) -> Estimate:
    found = None
    for report in reports:
        found = observed(found, ("q", job_class, flavor, replicas), report, 0.0, 1.0)
    assert found is not None
    return found


class TestObserving:
    def test_the_first_report_is_believed_with_a_tenth_of_doubt(self) -> None:
        first = observed(None, NAME, 100.0, 5.0, 1.0)
        assert (first.count, first.time) == (1.0, 5.0)
        assert first.mean == pytest.approx(100.0)
        assert first.spread == pytest.approx(FIRST_SPREAD / math.sqrt(2))
        assert first.value == pytest.approx(100 * math.exp(first.spread), rel=0.006)

    def test_mean_and_spread_of_two(self) -> None:
        both = known("a100", 80.0, 125.0)  # the second counts a little more
        assert both.count == pytest.approx(1.98)
        assert both.mean == pytest.approx(80 * (125 / 80) ** (1 / 1.98))
        assert both.log_squares == pytest.approx(math.log(125 / 80) ** 2 * 0.98 / 1.98)

    def test_doubt_goes_with_observations(self) -> None:
        bounds = [known("a100", *[100.0] * count).value for count in (1, 4, 16, 64)]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[-1] == pytest.approx(100, rel=0.02)

    def test_what_was_long_ago_is_forgotten(self) -> None:
        assert known("a100", *[100.0] * 50, *[50.0] * 200).mean == pytest.approx(50, rel=0.02)

    @settings(deadline=None, derandomize=True, max_examples=50)
    @given(st.lists(st.floats(0.97, 1.03), min_size=60, max_size=80))
    def test_the_value_in_use_hardly_ever_changes(self, noise: list[float]) -> None:
        """Else, jobs that are alike would be read anew every round."""
        values = []
        found = known("a100", *[100.0] * 60)
        for factor in noise:
            found = observed(found, NAME, 100 * factor, 0.0, 1.0)
            values.append(found.value)
            assert found.value == pytest.approx(found.mean * math.exp(found.uncertainty), rel=0.02)
        assert len(set(values)) <= 4


class TestThroughputs:
    def test_without_a_class_what_is_declared_holds(self) -> None:
        learned = Learned([known("a100", 7.0)])
        assert learned.throughputs(job(way("a100", 2.0), way("t4", 1.0), job_class="")) == (2.0, 1.0)
        assert learned.throughputs(job(way("a100", 2.0), job_class="", measured={"a100": 3.0})) == (3.0,)

    def test_others_of_the_class_tell(self) -> None:
        estimate = known("a100", 4.0, 4.0)
        assert Learned([estimate]).throughputs(job(way("a100", 5.0))) == (estimate.value,)

    def test_a_job_alike_its_class_counts_as_one_of_it(self) -> None:
        estimate = known("a100", *[4.0] * 9)
        learned = Learned([estimate])
        assert learned.throughputs(job(way("a100", 5.0), measured={"a100": 4.1})) == (estimate.value,)
        assert learned.throughputs(job(way("a100", 5.0), measured={"a100": 3.0})) == (3.0,)

    def test_a_class_that_was_underestimated_is_believed_to_be_so_elsewhere(self) -> None:
        """Declared 2 and 1, in a unit of its own; measured are 700: the other flavor is tried, not forgotten."""
        estimate = known("a100", *[700.0] * 30)
        a100, t4 = Learned([estimate]).throughputs(job(way("a100", 2.0), way("t4", 1.0)))
        assert a100 / t4 == pytest.approx(2.0, rel=0.03)

    def test_one_that_was_overestimated_is_not_lowered_where_it_was_not_tried(self) -> None:
        a100, t4 = Learned([known("a100", *[0.5] * 30)]).throughputs(job(way("a100", 2.0), way("t4", 1.0)))
        assert t4 == 1.0 > a100

    def test_an_unknown_flavor_looks_better_than_the_best_until_it_was_tried(self) -> None:
        before = Learned([known("a100", *[4.0] * 9)]).throughputs(job(way("a100"), way("h100")))
        assert before[1] > 1.3 * before[0]
        after = Learned([known("a100", *[4.0] * 9), known("h100", 2.0)]).throughputs(job(way("a100"), way("h100")))
        assert after[1] < 0.6 * after[0]

    def test_other_classes_tell_how_much_faster_a_flavor_is(self) -> None:
        others = [known(f, *[v] * 5, job_class=f"c{i}") for i in range(9) for f, v in (("a100", 10.0), ("h100", 20.0))]
        mine = Learned([*others, known("a100", *[3.0] * 30)])
        a100, h100 = mine.throughputs(job(way("a100"), way("h100")))
        assert 2.0 <= h100 / a100 <= 2.0 * math.exp(0.4 / math.sqrt(10)) * 1.06

    def test_more_replicas_are_taken_to_be_faster_in_proportion(self) -> None:
        learned = Learned([known("a100", *[4.0] * 30)])
        one, two = learned.throughputs(job(way("a100"), way("a100", replicas=2)))
        assert two == pytest.approx(2 * one)

    def test_of_what_nobody_knows_anything_all_are_alike(self) -> None:
        assert Learned([]).throughputs(job(way("a100"), way("t4"))) == (1.0, 1.0)

    def test_never_on_a_flavor_where_it_cannot_run(self) -> None:
        spec = JobSpec("q", (Configuration("a100", 1, GPU, 0.0), way("t4", 1.0)), job_class="resnet")
        assert Learned([known("a100", 9.0)]).throughputs(Job("j1", 1, spec, 0.0))[0] == 0.0


class TestMisdeclared:
    def test_by_more_than_a_fifth(self) -> None:
        learned = Learned([])
        assert learned.misdeclared(job(way("a100", 2.0), measured={"a100": 2.3})) == ()
        wrong = learned.misdeclared(job(way("a100", 2.0), measured={"a100": 1.0}))
        assert wrong == (Misdeclared("a100", 1, 2.0, 1.0),)

    def test_a_class_may_be_uncertain(self) -> None:
        spread = Learned([known("a100", 1.0, 4.0)])
        assert spread.misdeclared(job(way("a100", 3.0))) == ()
        sure = Learned([known("a100", *[1.0] * 20)])
        assert [wrong.measured for wrong in sure.misdeclared(job(way("a100", 3.0)))] == pytest.approx([1.0])

    def test_who_declared_nothing_is_never_wrong(self) -> None:
        assert Learned([known("a100", 9.0)]).misdeclared(job(way("a100"), measured={"a100": 9.0})) == ()
