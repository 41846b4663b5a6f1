"""Bad arrays are refused with the array, the index and what would be right, for few rows and for many alike."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.formulation import Limit, LimitPart, Problem
from allocator.formulation.kernels import COMPILED_ROWS

WIDTH = 2
LEAST = {"throughput": "at least 0", "demand": "at least 0", "capacity": "at least 0", "weight": "above 0",
         "count": "at least 1", "reference": "above 0"}  # fmt: skip


def arrays(rows: int) -> dict[str, Any]:
    """A valid problem of two flavors and three resources."""
    return {
        "throughput": np.ones((rows, WIDTH)),
        "flavor": np.tile([0, 1], (rows, 1)),
        "demand": np.ones((rows, WIDTH, 3)),
        "capacity": np.ones((2, 3)),
        "weight": np.ones(rows),
        "count": np.ones(rows, dtype=np.int64),
        "reference": np.ones(rows),
        "limits": [Limit.of(0, 0, 1.0, [0])],
    }


def refused(changes: dict[str, Any], message: str, rows: int = 3) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Problem.from_arrays(**(arrays(rows) | changes))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_one_wrong_number_anywhere_is_named(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([1, 3, COMPILED_ROWS]))
    good = arrays(rows)
    name = data.draw(st.sampled_from(sorted(LEAST)))
    index = tuple(data.draw(st.integers(0, length - 1)) for length in good[name].shape)
    wrong = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -1e-300]))
    bad = good[name].astype(np.float64)
    bad[index] = wrong
    if name == "count" and not (np.isfinite(wrong) and wrong == int(wrong)):
        right = "a whole number"
    else:
        right = LEAST[name] if np.isfinite(wrong) else "a finite number"
    refused({name: bad}, f"{name}{list(index)}: must be {right}, got ", rows)


@pytest.mark.parametrize("name", ["throughput", "flavor", "demand", "capacity", "weight", "count", "reference"])
@pytest.mark.parametrize("rows", [3, COMPILED_ROWS])
def test_a_dimension_too_many_or_too_few_is_named(name: str, rows: int) -> None:
    good = arrays(rows)[name]
    refused({name: good[None]}, f"{name}: must have shape (", rows)
    refused({name: good[0]}, f"{name}: must have shape (", rows)
    refused({name: 1.0}, f"{name}: must have shape (", rows)


@pytest.mark.parametrize("name", ["flavor", "demand", "weight", "count", "reference"])
@pytest.mark.parametrize("rows", [3, COMPILED_ROWS])
def test_one_row_too_many_or_too_few_is_named(name: str, rows: int) -> None:
    good = arrays(rows)[name]
    for bad in (good[:-1], np.concatenate([good, good[:1]]), good[:0]):
        expected = ", ".join(map(str, good.shape))
        refused({name: bad}, f"{name}: must have shape ({expected}), got {bad.shape}", rows)


@pytest.mark.parametrize("name", ["throughput", "flavor", "demand", "capacity", "weight", "count", "reference"])
def test_what_are_no_numbers_are_named(name: str) -> None:
    good = arrays(3)[name]
    refused({name: good.astype(str)}, f"{name}: must be an array of numbers, got elements of type <U")
    refused({name: good.astype(object)}, f"{name}: must be an array of numbers, got elements of type object")
    refused({name: good.astype(complex)}, f"{name}: must be an array of numbers, got elements of type complex128")
    refused({name: [[1.0], [1.0, 2.0]]}, f"{name}: must be a rectangular array of numbers")


@pytest.mark.parametrize("rows", [3, COMPILED_ROWS])
def test_no_row_of_capacity_is_no_flavor_to_run_on(rows: int) -> None:
    refused({"capacity": np.zeros((0, 3))}, "capacity: must have a row for every flavor, has none", rows)


@pytest.mark.parametrize("rows", [3, COMPILED_ROWS])
def test_nothing_to_run_in_is_named_by_the_row(rows: int) -> None:
    empty = {"throughput": np.ones((rows, 0)), "flavor": np.ones((rows, 0)), "demand": np.ones((rows, 0, 3))}
    why = "must have a column in which the job can run; every throughput is 0: leave the row out"
    refused(empty, f"throughput[0]: {why}", rows)
    throughput = np.ones((rows, WIDTH))
    throughput[rows - 1] = 0.0
    refused({"throughput": throughput}, f"throughput[{rows - 1}]: {why}", rows)
    why = (
        "must have a column in which the job can run; wherever its throughput is above 0 it needs a capacity or a limit"
    )
    refused({"capacity": np.zeros((2, 3))}, f"throughput[0]: {why}", rows)
    nothing = [Limit.of(f, 2, 0.0, [rows - 1]) for f in range(2)]
    refused({"limits": nothing}, f"throughput[{rows - 1}]: {why}", rows)


def test_wrong_limits_are_named() -> None:
    refused(
        {"limits": [Limit.of(0, 0, 1.0, [0]), Limit.of(0, 0, float("nan"), [0])]},
        "limits.amount[1]: must be a finite number",
    )
    refused({"limits": [Limit.of(0, 0, float("inf"), [0])]}, "limits.amount[0]: must be a finite number, got inf")
    wrong_index = "must be an index into the {} of capacity: 0 to {}, got {}"
    refused({"limits": [Limit.of(-1, 0, 1.0, [0])]}, f"limits[0].terms[0]: flavor {wrong_index.format('rows', 1, -1)}")
    refused(
        {"limits": [Limit.of(0, 3, 1.0, [0])]}, f"limits[0].terms[0]: resource {wrong_index.format('columns', 2, 3)}"
    )
    refused({"limits": [Limit.of(0, 0, 1.0, [-1])]}, "limits[0].members[0]: must be an index of a row: 0 to 2, got -1")
    members: Any = [0.5]
    refused({"limits": [Limit.of(0, 0, 1.0, members)]}, "limits[0].members[0]: must be a whole number, got 0.5")


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ((0, 0, 0.0), "coefficient must be a finite number above 0, got 0.0"),
        ((0, 0, -2.0), "coefficient must be a finite number above 0, got -2.0"),
        ((0, 0, float("nan")), "coefficient[0]: must be a finite number, got nan"),
        ((0, 0, "2"), "coefficient: must be an array of numbers"),
        ((0, 0.5, 1.0), "resource must be an index into the columns of capacity: 0 to 2, got 0.5"),
        ((0, 0), "must be (flavor, resource, coefficient), got (0, 0)"),
        (7, "must be (flavor, resource, coefficient), got 7"),
    ],
)
def test_wrong_terms_are_named(term: Any, message: str) -> None:
    good = (0, 0, 1.0)
    limits = [Limit.of(0, 0, 1.0, [0]), Limit((good, term), 1.0, [0])]
    refused({"limits": limits}, f"limits[1].terms[1]: {message}")
    limits[1] = Limit((good,), 1.0, [0], (LimitPart((good,), [1]), LimitPart((good, good, term), [1])))
    refused({"limits": limits}, f"limits[1].more[1].terms[2]: {message}")


def test_valid_arrays_pass_at_both_sizes() -> None:
    for rows in (1, 3, COMPILED_ROWS):
        assert Problem.from_arrays(**arrays(rows)).row_count == rows


def test_a_limit_must_be_a_limit() -> None:
    with pytest.raises(ValueError, match=r"limits\[0\]: must be a Limit, got tuple"):
        Problem.from_arrays(
            throughput=[[1.0]],
            flavor=[[0]],
            demand=[[[1.0]]],
            capacity=[[1.0]],
            limits=[(0, 0, 1.0, [0])],  # type: ignore[list-item] # bad input
        )


@pytest.mark.parametrize("rows", [3, COMPILED_ROWS])
def test_amounts_beyond_floats_are_named(rows: int) -> None:
    demand = np.ones((rows, 1, 1))
    demand[1] = 1e306
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"demand\[1\]: times count\[1\] must be a finite"):
        Problem.from_arrays(
            throughput=np.ones((rows, 1)),
            flavor=np.zeros((rows, 1), dtype=int),
            demand=demand,
            capacity=[[1.0]],
            count=np.full(rows, 10**6),
        )
