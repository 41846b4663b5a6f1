"""Sharing incentive: what a queue has against its part of the machines for itself, by hand; hours, picture, command."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from allocator.domain.errors import FailedPrecondition
from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.rounds.report import RoundReport
from simulations import cli
from simulations.columns import Table
from simulations.fairness_plot import WIDTH, Line, _pieces, _ticks, fairness_plot
from simulations.measures import QUEUE_COLUMNS, ROUND_COLUMNS
from simulations.output import read_table, write_table
from simulations.sharing import COLUMNS, SharingMeter
from simulations.sharing_summary import hourly, joined, sharing_summary
from tests.explain.worlds import World, gpus, node
from tests.simulations.test_cli import FIXTURES

FIGURES = tuple(column.name for column in COLUMNS[3:])


def measured(*reports: RoundReport | None, policy: Policy = Policy()) -> dict[str, dict[str, float]]:  # noqa: B008
    """Figures by queue, of the last of these rounds."""
    meter = SharingMeter(policy)
    for report in reports:
        assert report is not None
        meter.observe(report)
    columns = [meter.table.numbers(name).tolist() for name in FIGURES]
    rows = zip(map(str, meter.table.values("queue")), *columns, strict=True)
    return {queue: dict(zip(FIGURES, figures, strict=True)) for queue, *figures in rows}


def test_a_queue_that_leaves_something_and_one_that_takes_it() -> None:
    """8 GPUs, two queues: x wants 2 and has 4 for itself, y wants 16 and has 4. In the optimum x has 2 and y 6."""
    world = World(["x", "y", "idle"], [node("n1", count=8)])
    world.submit(*(JobSpec("x", (gpus(),)) for _ in range(2)), *(JobSpec("y", (gpus(),)) for _ in range(16)))
    world.round()
    found = measured(world.report)
    assert set(found) == {"x", "y"}
    x, y = found["x"], found["y"]
    assert (x["entitlement"], x["violation"]) == pytest.approx((0.5, 0.0), abs=1e-5)
    assert (x["utility"], x["split_utility"]) == pytest.approx((1, 1), rel=1e-4)
    assert (y["utility"], y["split_utility"]) == pytest.approx((6 / 16, 4 / 16), rel=1e-3)
    shares = ("wanted_share", "split_share", "optimum_share", "ran_share")
    assert [x[name] for name in shares] == pytest.approx([2 / 8, 2 / 8, 2 / 8, 2 / 8], rel=1e-3)
    assert [y[name] for name in shares] == pytest.approx([2.0, 4 / 8, 6 / 8, 6 / 8], rel=1e-3)


def test_an_optimum_that_starves_a_queue_is_found_out() -> None:
    world = World(["x", "y"], [node("n1", count=8)])
    world.submit(*(JobSpec(queue, (gpus(),)) for queue in ("x", "y") for _ in range(8)))
    report = world.round()
    leaf = world.finished.leaf_of_row == world.finished.node_of_tree["x"]
    shares = np.where(leaf[:, None], report.solution.shares / 4, report.solution.shares)
    found = measured(replace(report, solution=replace(report.solution, shares=shares)))
    assert found["x"]["violation"] == pytest.approx(0.75, rel=1e-3)
    assert found["y"]["violation"] == pytest.approx(0.0, abs=1e-3)


def test_weights_and_two_flavors() -> None:
    """4 a and 4 b; x, of weight 3, has 3 a for itself (and 3 b, which it cannot use), y 1 a and 1 b, which serves it
    half as well: 1 + 1/2 for its 4 jobs.
    """
    world = World([Queue("x", 3.0), "y"], [node("n1", "a", 4), node("n2", "b", 4)])
    world.submit(*(JobSpec("x", (gpus("a"),)) for _ in range(8)))
    world.submit(*(JobSpec("y", (gpus("a"), gpus("b", throughput=0.5))) for _ in range(4)))
    world.round()
    found = measured(world.report)
    assert found["x"]["split_utility"] == pytest.approx(3 / 8, rel=1e-4)
    assert found["y"]["split_utility"] == pytest.approx((1 + 1 / 2) / 4, rel=1e-4)
    assert max(found["x"]["violation"], found["y"]["violation"]) < 1e-4


def test_what_is_held_for_good_counts_as_had() -> None:
    """8 GPUs. x holds 3 for good, of the 4 that are its part: 1 is left for its other two jobs."""
    world = World(["x", "y"], [node("n1", count=8)])
    world.submit(*(JobSpec("x", (gpus(),), preemptible=False) for _ in range(3)))
    world.round()
    world.submit(*(JobSpec("x", (gpus(),)) for _ in range(2)), *(JobSpec("y", (gpus(),)) for _ in range(8)))
    world.round()
    found = measured(world.report)
    assert found["x"]["split_utility"] == pytest.approx(1 / 2, rel=1e-4)
    assert found["y"]["split_utility"] == pytest.approx(4 / 8, rel=1e-4)
    assert max(found["x"]["violation"], found["y"]["violation"]) < 2e-3


def test_where_money_does_not_decide_nothing_is_compared() -> None:
    policy = Policy(fairness=math.inf)
    world = World(["x"], [node("n1")], policy)
    world.submit(JobSpec("x", (gpus(),)))
    assert measured(world.round(), policy=policy) == {}


def tables(
    rows: Sequence[tuple[int, str, float, float, float]], lengths: float, rounds: int
) -> tuple[Table, Table, Table]:
    """sharing, rounds and queues of rows (round, queue, violation, split, ran)."""
    sharing = Table("sharing", COLUMNS)
    queues = Table("queues", QUEUE_COLUMNS)
    for number, queue, violation, split, ran in rows:
        sharing.add(number, number * lengths, queue, 0.5, 1.0, 1.0, violation, 1.0, split, split, ran)
        queues.add(number, number * lengths, queue, 1.0, split, ran, 1, 1)
    every = Table("rounds", ROUND_COLUMNS[:2])
    for number in range(rounds):
        every.add(number, number * lengths)
    return sharing, every, queues


def test_hours_count_only_where_the_queue_wanted_something_all_the_time() -> None:
    """Rounds of 20 minutes. x wants something for two hours and runs half as much as it should in one third of the
    second; y is there for two rounds only.
    """
    rows = [(n, "x", 0.0, 0.4, 0.2 if n == 4 else 0.4) for n in range(6)] + [(n, "y", 0.1, 0.4, 0.0) for n in range(2)]
    sharing, rounds, queues = tables(sorted(rows), 1200.0, 6)
    found = joined(sharing, rounds, queues, 7200.0)
    windows = hourly(found)
    assert windows.queue.tolist() == ["x", "x"]
    assert windows.hour.tolist() == [0, 1]
    assert windows.violation.tolist() == pytest.approx([0.0, 1 / 6])
    told = sharing_summary(sharing, rounds, queues, 7200.0)
    assert (told["ran_hourly"]["worst_queue"], told["ran_hourly"]["worst_at"]) == ("x", 1.0)
    assert told["ran_hourly"]["within_bound"] == 0.5
    assert (told["in_the_optimum"]["max"], told["in_the_optimum"]["worst_queue"]) == (0.1, "y")
    assert told["ran_altogether"] == pytest.approx({"x": 1 / 12, "y": 1.0})
    even = told["jain_held_over_optimum"]
    assert (even["count"], even["max"]) == (6, 1.0)
    assert even["min"] == 0.5, "at first x has all and y nothing"


def test_nothing_to_compare_makes_an_empty_summary_and_an_empty_picture() -> None:
    sharing, rounds, queues = tables([], 60.0, 2)
    told = sharing_summary(sharing, rounds, queues, 120.0)
    assert told["in_the_optimum"] | {"count": 0} == told["in_the_optimum"]
    assert json.dumps(told, allow_nan=False)
    ET.fromstring(fairness_plot(joined(sharing, rounds, queues, 120.0), "nothing"))


def test_the_picture_has_every_line_and_no_line_across_a_gap() -> None:
    rows = [(n, "x", 0.02, 0.4, 0.3) for n in range(40) if n not in {7, 8}]
    found = joined(*tables(rows, 600.0, 40), 24_000.0)
    picture = ET.fromstring(fairness_plot(found, "a & b"))
    texts = ["".join(text.itertext()) for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "2 %", "hours since the first round"} <= set(texts)
    lines = [line.get("points", "").split() for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    assert sorted(map(len, lines)) == [5, *[7] * 4, *[31] * 4], "hours; violation, two of Jain, error: in two pieces"
    for line in lines:
        for point in line:
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert y > 0


def test_long_lines_keep_their_peaks() -> None:
    values = np.zeros(50_000)
    values[12_345] = 1.0
    line = Line("", np.arange(50_000.0), values)
    (points,) = _pieces(line, lambda time: time / 100, lambda value: value)
    assert len(points.split()) <= 2 * WIDTH
    assert "123.5,1.0" in points or "123.4,1.0" in points


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.02), (0.9, 1.0), (0.0, 71.3), (0.0, 1e-5)])
def test_ticks_are_round_and_cover_the_range(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 4 <= len(ticks) <= 12
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12


def test_tables_are_read_as_they_were_written(tmp_path: Path) -> None:
    sharing, *_ = tables([(1, "x", math.nan, 0.4, 0.4)], 60.0, 2)
    write_table(tmp_path / "sharing.parquet", sharing)
    found = read_table(tmp_path / "sharing.parquet")
    assert found.columns == sharing.columns
    for column in sharing.columns:
        np.testing.assert_array_equal(np.array(found.values(column.name)), np.array(sharing.values(column.name)))
    with pytest.raises(FailedPrecondition, match="is not there"):
        read_table(tmp_path / "missing.parquet")
    (tmp_path / "other.parquet").write_text("something else", encoding="utf-8")
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        read_table(tmp_path / "other.parquet")


def test_a_replay_with_sharing_and_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["simulations", *map(str, arguments)])
        return cli.run(cli.app)

    philly = ("replay", "--trace", "philly", "--path", FIXTURES / "philly", "--to", "1d", "--horizon", "30")
    out = tmp_path / "with"
    assert run(*philly, "--out", out, "--sharing") == 0
    assert "Below its part of the machines" in capsys.readouterr().out
    assert run("fairness", out) == 0
    assert "in the optimum, by round and queue" in capsys.readouterr().out
    ET.parse(out / "fairness.svg")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["sharing"]["in_the_optimum"]["max"] <= 0.01
    assert summary["sharing"]["in_the_optimum"]["count"] == len(read_table(out / "sharing.parquet")) > 0
    assert run(*philly, "--out", tmp_path / "without") == 0
    assert not (tmp_path / "without" / "sharing.parquet").exists()
    assert run("fairness", tmp_path / "without") == 4
    assert "replay with --sharing" in capsys.readouterr().err
