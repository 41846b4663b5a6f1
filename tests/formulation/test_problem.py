"""What `Problem.from_arrays` accepts, and what it says to everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator.formulation import Limit, LimitPart, Problem

VALID: dict[str, Any] = {
    "throughput": [[1.0, 2.0], [3.0, 0.0]],
    "flavor": [[0, 1], [1, 0]],
    "demand": [[[1.0], [2.0]], [[1.0], [0.0]]],
    "capacity": [[4.0], [8.0]],
    "weight": [1.0, 2.0],
    "count": [1, 3],
    "fairness": 1.0,
    "reference": [2.0, 3.0],
    "limits": [Limit.of(1, 0, 2.0, [0, 1])],
}


def test_valid_arrays_are_kept_as_contiguous_float64_and_int64() -> None:
    problem = Problem.from_arrays(**VALID)
    assert problem.throughput.dtype == problem.demand.dtype == problem.capacity.dtype == np.float64
    assert problem.flavor.dtype == problem.count.dtype == np.int64
    assert all(array.flags.c_contiguous for array in (problem.throughput, problem.flavor, problem.demand))
    assert problem.eligible.tolist() == [[True, True], [True, False]]
    assert problem.utility.tolist() == [[0.5, 1.0], [1.0, 0.0]]
    assert problem.total_weight == 7.0


def test_usage_counts_every_job_of_a_row_and_limits_only_their_members() -> None:
    problem = Problem.from_arrays(**(VALID | {"limits": [Limit.of(1, 0, 2.0, [1]), Limit.of(0, 0, 2.0, [1])]}))
    shares = np.array([[0.5, 0.25], [0.5, 0.0]])
    assert problem.usage(shares).tolist() == [[0.5], [0.25 * 2 + 3 * 0.5]]
    assert problem.limit_usage(shares).tolist() == [1.5, 0.0]
    assert problem.utilities(shares).tolist() == [0.5, 0.5]


def test_weight_and_count_default_to_one_and_reference_to_the_best_eligible_throughput() -> None:
    problem = Problem.from_arrays(
        throughput=[[1.0, 5.0]], flavor=[[0, 1]], demand=[[[1.0], [1.0]]], capacity=[[1.0], [0.0]]
    )
    assert (problem.weight.tolist(), problem.count.tolist(), problem.reference.tolist()) == ([1.0], [1], [1.0])
    assert problem.eligible.tolist() == [[True, False]]


def test_a_limit_of_zero_closes_the_columns_it_counts() -> None:
    problem = Problem.from_arrays(**(VALID | {"limits": [Limit.of(1, 0, 0.0, [0])]}))
    assert problem.eligible.tolist() == [[True, False], [True, False]]


def test_a_limit_counts_several_flavors_and_resources_by_their_coefficients() -> None:
    """Flavor 0 counts 0.5 a unit, flavor 1 twice: by hand, of row 0 half a column of 1 and a quarter of 2, of row 1
    (3 jobs) half a column of 1 on flavor 1.
    """
    limit = Limit(((0, 0, 0.5), (1, 0, 2.0)), 4.0, [0, 1])
    problem = Problem.from_arrays(**(VALID | {"limits": [limit]}))
    shares = np.array([[0.5, 0.25], [0.5, 0.0]])
    assert problem.limit_usage(shares).tolist() == [0.5 * 0.5 + 2 * 0.25 * 2 + 2 * 3 * 0.5]
    closed = Problem.from_arrays(**(VALID | {"limits": [Limit(((0, 0, 0.5),), 0.0, [0])]}))
    assert closed.eligible.tolist() == [[False, True], [True, False]]


def test_terms_that_only_some_members_have_add_up() -> None:
    """Row 0 counts 1 a unit on flavor 1, row 1 as well and 10 more."""
    limit = Limit(((1, 0, 1.0),), 4.0, [0, 1], (LimitPart(((1, 0, 10.0),), [1]),))
    problem = Problem.from_arrays(**(VALID | {"limits": [limit]}))
    shares = np.array([[0.5, 0.25], [0.5, 0.0]])
    assert problem.limit_usage(shares).tolist() == [0.25 * 2 + 11 * 3 * 0.5]
    again = Problem.from_arrays(**(VALID | {"limits": problem.limits}))
    assert again.limit_usage(shares).tolist() == problem.limit_usage(shares).tolist()
    assert [part.terms for part in problem.limits[0].parts] == [((1, 0, 1.0),), ((1, 0, 11.0),)]


def test_a_limit_of_fewer_rows_keeps_those_that_are_left() -> None:
    limit = Limit(((1, 0, 1.0),), 4.0, [0, 2, 3], (LimitPart(((1, 0, 10.0),), [1, 3]),))
    fewer = limit.among(np.array([-1, 0, 1, 2]))
    assert [list(part.members) for part in fewer.parts] == [[1, 2], [0, 2]]
    assert (fewer.amount, fewer.terms, fewer.more[0].terms) == (4.0, limit.terms, limit.more[0].terms)


def test_no_rows_no_columns_no_flavors_are_a_problem_too() -> None:
    problem = Problem.from_arrays(
        throughput=np.zeros((0, 0)), flavor=np.zeros((0, 0)), demand=np.zeros((0, 0, 0)), capacity=np.zeros((0, 0))
    )
    assert problem.row_count == 0
    assert problem.total_weight == 0.0


def test_later_writes_to_the_input_change_nothing() -> None:
    capacity = np.array([[4.0], [8.0]])
    problem = Problem.from_arrays(**(VALID | {"capacity": capacity}))
    capacity[0, 0] = -1
    assert problem.capacity[0, 0] == 4.0


def test_without_copying_only_what_has_another_type_or_layout_is_copied() -> None:
    arrays = {name: np.array(VALID[name], dtype=float) for name in ("throughput", "demand", "weight")}
    problem = Problem.from_arrays(**(VALID | arrays), copy=False)
    assert all(getattr(problem, name) is array for name, array in arrays.items())
    columns = np.asfortranarray(arrays["throughput"])
    assert Problem.from_arrays(**(VALID | {"throughput": columns}), copy=False).throughput.flags.c_contiguous
    with pytest.raises(ValueError, match=r"throughput\[0, 0\]: must be a finite number"):
        Problem.from_arrays(**(VALID | {"throughput": np.full((2, 2), np.nan)}), copy=False)


def test_alpha_so_near_to_one_that_powers_lose_their_digits_is_one() -> None:
    assert Problem.from_arrays(**(VALID | {"fairness": 1 + 1e-9})).fairness == 1.0
    assert Problem.from_arrays(**(VALID | {"fairness": 1.001})).fairness == 1.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"throughput": [[1.0, float("nan")], [3.0, 0.0]]}, r"throughput\[0, 1\]: must be a finite number, got nan"),
        ({"throughput": [[1.0, -2.0], [3.0, 0.0]]}, r"throughput\[0, 1\]: must be at least 0, got -2"),
        ({"throughput": [1.0, 2.0]}, r"throughput: must have shape \(any, any\), got \(2,\)"),
        ({"throughput": [[1.0, 2.0], [3.0]]}, "throughput: must be a rectangular array"),
        ({"throughput": [["a", "b"], ["c", "d"]]}, "throughput: must be an array of numbers"),
        ({"throughput": [[1.0, 2.0], [0.0, 0.0]]}, r"throughput\[1\]: .*every throughput is 0: leave the row out"),
        ({"flavor": [[0, 2], [1, 0]]}, r"flavor\[0, 1\]: must be an index into the rows of capacity: 0 to 1, got 2"),
        ({"flavor": [[0, -1], [1, 0]]}, r"flavor\[0, 1\]: .* got -1"),
        ({"flavor": [[0, 0.5], [1, 0]]}, r"flavor\[0, 1\]: must be a whole number, got 0.5"),
        ({"flavor": [[0, 1]]}, r"flavor: must have shape \(2, 2\), got \(1, 2\)"),
        ({"demand": [[[1.0], [-2.0]], [[1.0], [0.0]]]}, r"demand\[0, 1, 0\]: must be at least 0, got -2"),
        ({"demand": [[[1.0], [np.inf]], [[1.0], [0.0]]]}, r"demand\[0, 1, 0\]: must be a finite number, got inf"),
        ({"demand": np.zeros((2, 2, 3))}, r"demand: must have shape \(2, 2, 1\), got \(2, 2, 3\)"),
        ({"capacity": [[4.0], [-8.0]]}, r"capacity\[1, 0\]: must be at least 0, got -8"),
        ({"capacity": [[4.0], [0.0]]}, r"throughput\[1\]: .*needs a capacity or a limit that is 0"),
        ({"weight": [1.0, 0.0]}, r"weight\[1\]: must be above 0, got 0"),
        ({"weight": [1.0]}, r"weight: must have shape \(2\), got \(1,\)"),
        ({"count": [1, 0]}, r"count\[1\]: must be at least 1, got 0"),
        ({"count": [1, 1.5]}, r"count\[1\]: must be a whole number, got 1.5"),
        ({"count": [1, 1e300]}, r"count\[1\]: must be a whole number of at most 2\*\*53"),
        ({"fairness": -1}, "fairness: must be a number from 0 to inf, got -1"),
        ({"fairness": float("nan")}, "fairness: must be a number from 0 to inf, got nan"),
        ({"fairness": "fair"}, "fairness: must be a number from 0 to inf, got 'fair'"),
        ({"reference": [2.0, 0.0]}, r"reference\[1\]: must be above 0, got 0"),
        ({"limits": [Limit.of(2, 0, 1.0, [0])]}, r"limits\[0\].terms\[0\]: flavor .*got 2"),
        ({"limits": [Limit.of(0, 1, 1.0, [0])]}, r"limits\[0\].terms\[0\]: resource .*got 1"),
        ({"limits": [Limit.of(0, 0, -1.0, [0])]}, r"limits.amount\[0\]: must be at least 0"),
        (
            {"limits": [Limit.of(0, 0, 1.0, [0, 2])]},
            r"limits\[0\].members\[1\]: must be an index of a row: 0 to 1, got 2",
        ),
        ({"limits": [Limit.of(0, 0, 1.0, [1, 1])]}, r"limits\[0\].members: must hold each row once"),
        ({"limits": [Limit.of(1, 0, 0.0, [1])]}, r"throughput\[1\]: .*a capacity or a limit that is 0"),
    ],
)
def test_bad_input_is_refused_with_the_array_the_index_and_what_would_be_right(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Problem.from_arrays(**(VALID | changes))
