"""Objectives by name, and what they make of a market that can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from allocator.domain.objectives import OBJECTIVES, objective_name, objective_of
from allocator.domain.policy import Policy
from allocator.formulation import build
from allocator.solvers import solve
from tests.formulation.facts import amounts, job, node, snapshot, way


@pytest.mark.parametrize("name", OBJECTIVES)
def test_names_go_there_and_back(name: str) -> None:
    assert objective_name(*objective_of(name)) == name


def test_any_alpha_is_an_objective() -> None:
    assert objective_of("0.5") == (0.5, "throughput")
    assert objective_of("inf") == OBJECTIVES["max-min"]
    assert objective_name(0.5, "throughput") == "alpha 0.5"


@pytest.mark.parametrize(
    ("text", "why"), [("maxmin", r"did you mean max-min\?"), ("-1", "at least 0"), ("nan", "got nan")]
)
def test_what_is_none_says_what_would_be(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        objective_of(text)


def test_drf_makes_dominant_shares_equal() -> None:
    """The example of the paper: 9 CPUs and 18 GB; jobs of <1 CPU, 4 GB> and <3 CPU, 1 GB> end at 3 and 2 of them."""
    nodes = [node("n", capacity=amounts(cpu=9, memory=18))]
    jobs = [job(number, way(demand=amounts(cpu=1, memory=4))) for number in range(1, 21)]
    jobs += [job(number, way(demand=amounts(cpu=3, memory=1))) for number in range(21, 41)]
    fairness, utility = objective_of("drf")
    formulation = build(snapshot(nodes, jobs), Policy(fairness=fairness, utility=utility))
    shares = solve(formulation.problem).shares[:, 0] * formulation.problem.count
    assert shares.tolist() == pytest.approx([3.0, 2.0], abs=1e-3)
    assert math.isinf(formulation.problem.fairness)
