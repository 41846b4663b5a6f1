"""The solver's table: every column of one small row, its goals, and the yardsticks that it is measured with."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from allocator.solvers import solve
from tests.bench import solver
from tests.bench.cases import Case, cases
from tests.bench.goals import Goal
from tests.bench.instances import FAMILIES, churned, instance
from tests.bench.overuse import overuse, unrounded_overuse
from tests.bench.unit import UnitPass


def test_a_small_row_has_its_figures_and_its_goals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    written = tmp_path / "solver.json"
    monkeypatch.setattr(solver, "cases", lambda: [Case("small", 30, 4, fairness=0.0, clarabel=1, highs=1, memory=True)])
    monkeypatch.setattr(solver, "_load", lambda: None)
    monkeypatch.setattr(solver, "read_bandwidth", lambda: 1e10)
    monkeypatch.setenv("BENCH_SEEDS", "2")
    monkeypatch.setenv("BENCH_JSON", str(written))
    monkeypatch.delenv("BENCH_ONLY", raising=False)
    monkeypatch.delenv("BENCH_MOST_JOBS", raising=False)
    console = Console(width=200, file=StringIO(), record=True)
    console.print(solver.measure())
    shown = console.export_text()
    assert "30 x 4 market" in shown
    assert "solves that missed the gap asked for, or overused: 0 (at most 0): reached" in shown
    [row] = json.loads(written.read_text())["rows"]
    assert [one["seed"] for one in row["seeds"]] == [0, 1]
    first = row["seeds"][0]
    assert first["within"]
    assert first["warm"]["good"]
    assert first["seconds"] > 0
    assert first["clarabel"]["gap"] <= 1e-6
    assert first["highs"]["gap"] <= 1e-6
    assert first["memory"]["arrays"] == 30 * (3 * 4 + 2) * 8 + 4 * 8


@pytest.mark.parametrize("family", FAMILIES)
def test_instances_are_the_same_for_the_same_seed_and_churn_changes_few_jobs(family: str) -> None:
    one, same, other = (instance(500, 4, seed, 1.0, family) for seed in (0, 0, 1))
    assert np.array_equal(one.throughput, same.throughput)
    assert np.array_equal(one.capacity, same.capacity)
    assert not np.array_equal(one.capacity, other.capacity)
    after = churned(one, 7)
    assert (after.throughput != one.throughput).any(axis=1).sum() <= 5
    assert np.array_equal(after.capacity, one.capacity)


def test_the_cases_hold_every_fairness_and_size_that_the_goals_speak_of() -> None:
    found = cases()
    assert {case.fairness for case in found} == {0, 0.5, 1, 2, math.inf}
    assert {1, 1_000_000} <= {case.jobs for case in found}
    assert {1, 64} <= {case.columns for case in found}
    assert {case.family for case in found} == FAMILIES.keys()


def test_the_unit_pass_is_everybodys_best_response() -> None:
    """Against a fine grid of mixtures of two columns, which is all that a best response needs."""
    random = np.random.default_rng(5)
    part = np.linspace(0, 1, 201)
    for _ in range(40):
        throughput, prices = random.uniform(0.1, 1.0, (1, 4)), random.uniform(0.05, 2.0, 4)
        bought = UnitPass(throughput).use(prices)
        assert bought.min() >= 0
        assert bought.sum() <= 1 + 1e-6
        value = np.log(throughput[0] @ bought) - prices @ bought
        for j in range(4):
            for k in range(4):
                utility = part[:, None] * throughput[0, j] + np.outer(1 - part, [throughput[0, k], 0.0])
                cost = part[:, None] * prices[j] + np.outer(1 - part, [prices[k], 0.0])
                with np.errstate(divide="ignore"):
                    assert value >= (np.log(utility) - cost).max() - 1e-5


def test_overuse_is_seen_without_any_tolerance() -> None:
    problem = instance(50, 4, 0, 1.0)
    shares = solve(problem).shares
    assert overuse(problem, shares) == 0
    assert unrounded_overuse(problem, shares) < 1e-15
    tight = np.argmax(problem.coupled_usage(shares) / problem.available)  # a column has a capacity of its own
    more = shares.copy()
    more[:, tight] *= problem.available[tight] / problem.coupled_usage(more)[tight] * (1 + 1e-13)
    assert 0 < overuse(problem, more) < 1e-12
    negative = shares.copy()
    negative[0, 0] = -1e-300
    assert overuse(problem, negative) == math.inf


def test_goals_say_how_far_off_they_are() -> None:
    assert str(Goal("a", 20.0, 40.0)) == "a: 20 (at most 40): reached"
    assert str(Goal("a", 80.0, 40.0)) == "a: 80 (at most 40): 0.5 of the goal"
    assert str(Goal("a", 70.0, 100.0, at_least=True)) == "a: 70 (at least 100): 0.7 of the goal"
    assert str(Goal("a", None, 40.0)) == "a: at most 40; not measured in this run"
    assert Goal("a", 0.0, 0.0).part == math.inf
    assert Goal("a", 1.0, 0.0).part == 0
