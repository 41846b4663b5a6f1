"""What a policy may say of weights that change with time; the rest is tested where it is read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from allocator.domain.policy import Policy
from allocator.domain.side_constraint import SideConstraint, Term


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"usage_half_life_seconds": 0.0}, "usage_half_life_seconds: must be a finite number above 0; got 0.0"),
        ({"usage_half_life_seconds": math.inf}, "usage_half_life_seconds: must be a finite number above 0; got inf"),
        ({"service_seconds": math.nan}, "service_seconds: must be a finite number above 0; got nan"),
        ({"usage_strength": -1.0}, "usage_strength: must be from 0 (off) to 8; got -1.0"),
        ({"usage_strength": math.nan}, "usage_strength: must be from 0 (off) to 8; got nan"),
        ({"crowd_strength": 1.5}, "crowd_strength: must be from 0 (off) to 1 (each job alike); got 1.5"),
        (
            {"weighting": "las"},
            "weighting: must be one of none, least-attained-service, shortest-remaining, finish-time; got 'las'",
        ),
        ({"aging_seconds": 0.0}, "aging_seconds: must be a number above 0, or inf for never; got 0.0"),
        ({"weight_factor_limit": 0.5}, "weight_factor_limit: must be from 1 to 1024; got 0.5"),
    ],
)
def test_what_cannot_be_is_named(fields: dict[str, Any], named: str) -> None:
    assert [str(violation) for violation in Policy(**fields).violations()] == [named]


def test_nothing_changes_weights_by_default() -> None:
    assert not Policy().weights_change
    assert Policy(usage_strength=0.1).weights_change
    assert Policy(aging_seconds=60.0).weights_change
    assert Policy(weighting="finish-time").weights_change
    assert not Policy(weighting="finish-time").violations()


def test_there_is_no_part_of_what_floats() -> None:
    """No node has any: a part of all of it would be nothing."""
    half = SideConstraint("half", (Term("gpu"), Term("matlab")), most_part=0.5)
    assert [str(each) for each in Policy(side_constraints=(half,), floating_resources=("matlab",)).violations()] == [
        "side_constraints[0].most_part: matlab floats and no node has any, so there is no part of it: give most"
    ]
    assert Policy(side_constraints=(half,)).violations() == ()
