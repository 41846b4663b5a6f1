"""Amounts and durations as people write them."""

from __future__ import annotations

import doctest
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.cli import quantities, words
from allocator.cli.quantities import (
    age,
    approximate,
    format_amount,
    format_duration,
    parse_amount,
    parse_duration,
    significant,
)
from allocator.domain import quantities as written
from allocator.domain.errors import InvalidInput
from allocator.domain.resources import MAX_AMOUNT

RESOURCES = st.sampled_from(["cpu", "gpu", "memory", "bandwidth", "disk", "license"])


def test_the_docstrings_tell_the_truth() -> None:
    for module in (quantities, written):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("resource", "text", "amount"),
    [
        ("cpu", "4", 4000),
        ("cpu", "500m", 500),
        ("cpu", ".5", 500),
        ("cpu", 0.1, 100),
        ("gpu", "0.5", 500),
        ("gpu", 2, 2000),
        ("memory", "16GiB", 16 * 2**30),
        ("memory", "16 GiB", 16 * 2**30),
        ("memory", "2GB", 2 * 10**9),
        ("memory", "512Mi", 512 * 2**20),
        ("memory", "1.5Ki", 1536),
        ("memory", "0", 0),
        ("memory", 0, 0),
        ("disk", "1TB", 10**12),
        ("bandwidth", "10Gbit/s", 1_250_000_000),
        ("bandwidth", "10Gbps", 1_250_000_000),
        ("bandwidth", "1GB/s", 10**9),
        ("bandwidth", "8bit/s", 1),
        ("license", "3", 3),
    ],
)
def test_amounts(resource: str, text: object, amount: int) -> None:
    assert parse_amount(resource, text) == amount


@pytest.mark.parametrize(
    ("resource", "text", "complaint"),
    [
        ("memory", "16", "a unit is missing in '16'; write 16GiB, 2GB or 512Mi"),
        ("memory", "16GX", "unknown unit 'GX'"),
        ("memory", "16gb", "did you mean GB?"),
        ("memory", "", "cannot read ''"),
        ("memory", "-1GiB", "cannot read '-1GiB'"),
        ("memory", "1.5B", "finer than one byte"),
        ("memory", "1e3GiB", "cannot read"),
        ("memory", "99999999PiB", "the most accepted"),
        ("memory", "9" * 5000 + "B", "cannot read"),
        ("cpu", "0.0001", "finer than a thousandth of a core"),
        ("cpu", "four", "cannot read 'four'; write 4, 0.5 or 500m"),
        ("cpu", True, "must be an amount"),
        ("cpu", None, "must be an amount"),
        ("cpu", float("nan"), "must be an amount"),
        ("cpu", float("inf"), "cannot read 'inf'"),
        ("cpu", [1], "must be an amount"),
        ("bandwidth", "1bit/s", "finer than one byte per second"),
        ("bandwidth", "10G", "unknown unit 'G'"),
        ("license", "1.5", "is not a whole number"),
        ("license", "3 seats", "unknown unit 'seats'"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_would_be_right(resource: str, text: object, complaint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_amount(resource, text, "jobs[3].amount")
    assert caught.value.violations[0].field == "jobs[3].amount"
    assert complaint in caught.value.violations[0].description


@given(RESOURCES, st.integers(0, MAX_AMOUNT))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_every_amount_survives_writing_and_reading(resource: str, amount: int) -> None:
    assert parse_amount(resource, format_amount(resource, amount)) == amount


@given(st.text(max_size=12) | st.from_regex(r"\d{1,3}\.?\d{0,3} ?[kKMGTPim]{0,2}(B|bit)?(/s)?", fullmatch=True))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_any_text_is_read_or_refused_never_worse(text: str) -> None:
    for resource in ("cpu", "memory", "bandwidth", "license"):
        with suppress(InvalidInput):
            assert 0 <= parse_amount(resource, text) <= MAX_AMOUNT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("2h", 7200), ("1h30m", 5400), ("1h 30m", 5400), ("250ms", 0.25), (90, 90), ("1.5d", 129600)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text, "restart_cost") == seconds


@pytest.mark.parametrize("text", ["", "2 hours", "h", "1h30", "30 1h", "-5s", True, None])
def test_bad_durations_are_refused(text: object) -> None:
    with pytest.raises(InvalidInput, match=r"restart_cost: .*30s, 5m, 2h or 1h30m"):
        parse_duration(text, "restart_cost")


@given(st.integers(0, 10**12).map(lambda millis: millis / 1000) | st.integers(0, 10**9).map(float))
@settings(deadline=None, max_examples=300, derandomize=True)
def test_every_duration_survives_writing_and_reading(seconds: float) -> None:
    assert parse_duration(format_duration(seconds), "d") == seconds


def test_large_numbers_are_short() -> None:
    assert [significant(value) for value in (1e14, 1e15, -1e308, 123.0)] == [
        "100000000000000",
        "1.00e+15",
        "-1.00e+308",
        "123",
    ]
    assert [words.weight(value) for value in (1.0, 0.25, 1e6, 1e308)] == ["1", "0.25", "1e+06", "1e+308"]


def test_tables_show_display_units() -> None:
    assert approximate("cpu", 62_500) == "62.5"
    assert approximate("memory", 3 * 2**40, unit=True) == "3072 GiB"
    assert approximate("bandwidth", 1_250_000_000, unit=True) == "1.25 GB/s"
    assert approximate("license", 7) == "7"
    assert [age(s) for s in (-3, 59.6, 3600, 90061)] == ["0s", "1m", "1h", "1d01h"]
