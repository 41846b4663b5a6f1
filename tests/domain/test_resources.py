"""Amounts add, compare and complain as integers with names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.resources import MAX_AMOUNT, STANDARD_RESOURCES, Resources, display_unit, resource_names, total

AMOUNTS = st.dictionaries(
    st.sampled_from([*STANDARD_RESOURCES, "licences", "fpga"]), st.integers(0, 10**12), max_size=7
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(AMOUNTS, AMOUNTS)
def test_vectors_add_name_by_name(one: dict[str, int], other: dict[str, int]) -> None:
    together = Resources.of(one) + Resources.of(other)
    assert dict(together.items()) == {
        name: amount for name in {*one, *other} if (amount := one.get(name, 0) + other.get(name, 0))
    }
    assert together - Resources.of(other) == Resources.of(one)
    assert Resources.of(one) * 3 == total([Resources.of(one)] * 3)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(AMOUNTS, AMOUNTS)
def test_fits_exactly_when_nothing_is_missing(wanted: dict[str, int], there: dict[str, int]) -> None:
    shortage = Resources.of(wanted).shortage(Resources.of(there))
    assert shortage == {n: a - there.get(n, 0) for n, a in wanted.items() if a > there.get(n, 0)}
    assert Resources.of(wanted).fits_in(Resources.of(there)) == (not shortage)


def test_names_come_in_canonical_order() -> None:
    assert resource_names([Resources.of({"zeta": 1, "disk": 1}), Resources.of({"alpha": 1, "cpu": 1})]) == (
        "cpu",
        "disk",
        "alpha",
        "zeta",
    )


@pytest.mark.parametrize(
    ("amounts", "field"),
    [
        (Resources(cpu_millicores=-1), "cpu_millicores"),
        (Resources(memory_bytes=MAX_AMOUNT + 1), "memory_bytes"),
        (Resources(extra=(("Big", 1),)), "extra['Big']"),
        (Resources(extra=(("cpu", 1),)), "extra['cpu']"),
        (Resources(extra=(("fpga", -2),)), "extra['fpga']"),
    ],
)
def test_wrong_amounts_are_named(amounts: Resources, field: str) -> None:
    assert [violation.field for violation in amounts.violations()] == [field]


@pytest.mark.parametrize(("millis", "fine"), [(0, True), (250, True), (1000, True), (3000, True), (1500, False)])
def test_whole_gpus_or_part_of_one(millis: int, fine: bool) -> None:
    assert (Resources(gpu_millis=millis).gpu_violation() is None) == fine


def test_unknown_resources_are_shown_in_units() -> None:
    assert display_unit("licences") == ("units", 1)
    assert display_unit("gpu") == ("GPUs", 1000)
