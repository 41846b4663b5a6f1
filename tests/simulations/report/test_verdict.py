"""Who is put together with whom, who wins, and what is said of how sure that is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from allocator.domain.errors import FailedPrecondition, InvalidInput
from simulations.report.figures import COMPLETION, FIGURES, MAKESPAN, STAY, UNFAIRNESS, Better
from simulations.report.results import Result, read_results
from simulations.report.sections import Section
from simulations.report.variants import Comparison, comparisons
from simulations.report.verdict import pareto_front, verdict
from simulations.report.wording import plain


def result(scheduler: str, seed: int, completion: float, error: float, **run: Any) -> Result:
    """A replay that says only this."""
    summary = {
        "workload": {"name": "made up", "nodes": 4, "jobs": 10 + seed, "start_s": 0.0, "notes": []},
        "run": {"scheduler": scheduler, "seed": seed, "end_s": completion, "ending": "finished", **run},
        "jobs": {"completion_s": {"mean": completion}, "by_state": {"succeeded": 10}},
        "entitlement": {"error_hourly": error},
    }
    return Result(Path(f"/{scheduler}/{seed}"), f"{scheduler}/{seed}", summary)


def only(results: list[Result]) -> Comparison:
    (found,) = comparisons(results)
    return found


def test_replays_that_differ_in_the_seed_are_one_variant() -> None:
    found = only([result("fifo", seed, 100.0 + seed, 0.1) for seed in (1, 2)] + [result("las", 1, 90.0, 0.1)])
    assert [(one.name, list(one.by_seed)) for one in found.variants] == [("fifo", [1]), ("las", [1])]
    assert found.left_out == ("fifo/2",), "las was not replayed with it"


def test_variants_are_named_by_what_differs() -> None:
    found = only(
        [
            result("allocator", 1, 1.0, 0.1, policy={"fairness": 1.0, "gap": 1e-4}),
            result("allocator", 1, 1.0, 0.1, policy={"fairness": 2.0, "gap": 1e-4}),
            result("allocator", 2, 1.0, 0.1, policy={"fairness": 1.0, "gap": 1e-4}),
            result("fifo", 1, 1.0, 0.1, policy={"fairness": 1.0, "gap": 1e-4}),
        ]
    )
    assert [one.name for one in found.variants] == ["allocator", "allocator fairness 2", "fifo"]
    assert found.variants[1].settings == {"policy.fairness": "2.0", "scheduler": "allocator"}


def test_other_workloads_are_a_comparison_of_their_own() -> None:
    other = copy.deepcopy(result("fifo", 1, 1.0, 0.1))
    other.summary["workload"]["notes"] = ["Jobs arrive 2 times as fast."]
    assert len(comparisons([result("fifo", 1, 1.0, 0.1), other])) == 2


def test_the_same_seed_must_give_the_same_jobs() -> None:
    other = result("las", 1, 1.0, 0.1)
    other.summary["workload"]["jobs"] = 99
    with pytest.raises(
        InvalidInput, match=r"workload.jobs: must be the same .* seed 1; got 11 in fifo/1 and 99 in las/1"
    ):
        comparisons([result("fifo", 1, 1.0, 0.1), other])


def test_a_clear_winner_with_confidence() -> None:
    """las takes 20 % more time than ours whatever the seed; fifo twice as much."""
    results = [
        result(name, seed, factor * 100 * seed, error)
        for seed in (1, 2, 3)
        for name, factor, error in (("ours", 1.0, 0.02), ("las", 1.2, 0.03), ("fifo", 2.0, 0.01))
    ]
    found = verdict(only(results))
    win = next(each for each in found.wins if each.figure is COMPLETION)
    assert (win.best.name, win.alike, win.following and win.following.name) == ("ours", (), "las")
    assert win.ratio is not None
    assert (win.ratio.mean, win.ratio.low) == pytest.approx((1.2, 1.2))
    assert plain(found.sentences[0]).startswith(
        "ours ends jobs soonest: mean completion time 3.33 min. las comes next with 4.00 min, 20 % higher (95 % sure, "
        "seed by seed: 20 to 20 % higher, 3 seeds); fifo is last, with 6.67 min."
    )
    assert found.front is not None
    assert [one.name for one in found.front] == ["ours", "fifo"]
    assert "Behind it: las." in plain(found.sentences[2])
    assert found.caveats == ()


def test_what_seeds_cannot_tell_apart_is_not_called_a_win() -> None:
    """Means differ by 5 %, but from seed to seed now one is faster, now the other."""
    results = [
        result(name, seed, time, 0.1)
        for name, times in (("a", (100.0, 140.0, 90.0)), ("b", (120.0, 100.0, 127.0)))
        for seed, time in enumerate(times)
    ]
    win = next(each for each in verdict(only(results)).wins if each.figure is COMPLETION)
    assert [one.name for one in win.alike] == ["b"]
    assert win.following is None


def test_one_seed_is_said_to_be_one() -> None:
    found = verdict(only([result("a", 1, 100.0, 0.1), result("b", 1, 110.0, 0.1)]))
    assert "how much of a difference is chance cannot be told" in found.caveats[0]
    assert "95 %" not in " ".join(found.sentences)


def test_jobs_that_did_not_end_are_told() -> None:
    unfinished = result("a", 1, 100.0, 0.1)
    unfinished.summary["jobs"]["by_state"] = {"succeeded": 6, "pending": 3, "running": 1}
    found = verdict(only([unfinished, result("b", 1, 110.0, 0.1)]))
    assert any("a (40.0 %)" in plain(caveat) for caveat in found.caveats)


def test_who_leaves_the_long_jobs_does_not_win_by_it() -> None:
    """`quick` has the lower mean over jobs that ended, because it ended four of ten only."""
    quick, whole = result("quick", 1, 100.0, 0.1), result("whole", 1, 150.0, 0.1)
    quick.summary["jobs"]["by_state"] = {"succeeded": 4, "running": 6}
    for one, seconds in ((quick, 500.0), (whole, 150.0)):
        one.summary["jobs"]["makespan_s"] = seconds
        one.summary["throughput"] = {"mean_time_in_system_s": seconds}
    found = verdict(only([quick, whole]))
    first = plain(found.sentences[0])
    assert first.startswith("whole ends jobs soonest: mean time in the system 2.50 min. quick comes next")
    assert {win.figure for win in found.wins} == {STAY, UNFAIRNESS}
    assert found.front is not None
    assert [one.name for one in found.front] == ["whole"]
    assert "they count with the time they had" in found.caveats[-1]
    quick.summary["jobs"]["by_state"] = {"succeeded": 10}
    found = verdict(only([quick, whole]))
    assert {win.figure for win in found.wins} == {COMPLETION, UNFAIRNESS, MAKESPAN}


def test_no_seed_in_common() -> None:
    found = verdict(only([result("a", 1, 100.0, 0.1), result("b", 2, 110.0, 0.1)]))
    assert any("no seed in common" in caveat for caveat in found.caveats)


def test_the_front_has_nobody_who_is_beaten_in_both() -> None:
    points = {"fast": (1.0, 0.3), "fair": (3.0, 0.1), "both": (2.0, 0.2), "beaten": (2.5, 0.25), "twin": (2.0, 0.2)}
    found = only([result(name, 1, time, error) for name, (time, error) in points.items()])
    front = pareto_front(found.variants, COMPLETION)
    assert front is not None
    assert [one.name for one in front] == ["fast", "both", "twin", "fair"]


def test_a_summary_without_an_optimum_has_no_figure_of_it(found: Section) -> None:
    summary = copy.deepcopy(found.comparison.results[0].summary)
    summary["rounds"]["gap_mean"] = None
    gap = next(figure for figure in FIGURES if figure.name == "gap, mean")
    assert gap.of(summary) is None
    assert gap.better is Better.LOW


def test_every_figure_is_where_a_summary_has_it(found: Section) -> None:
    """A path that nothing leads to would be missed by nobody."""
    summary = found.comparison.results[0].summary
    missing = {figure.name for figure in FIGURES if figure.of(summary) is None}
    assert missing <= {
        "bandwidth in use while jobs arrive", "jobs moved to make room", "GPU seconds lost", "core seconds lost",
        "core hours of work done while jobs arrive", "core hours of work done to the end",
        "of them within 2 %", "of them not 2 % behind", "largest difference", "largest shortfall",
    }  # fmt: skip


def test_folders_are_found_and_told_apart(results: Path, tmp_path: Path) -> None:
    found = read_results([results, results / "hasty"])
    assert [one.name for one in found] == [f"{name}/{seed}" for name in ("hasty", "patient") for seed in (1, 2, 3)]
    with pytest.raises(FailedPrecondition, match="holds no results of a replay"):
        read_results([tmp_path])
    with pytest.raises(FailedPrecondition, match="is no folder"):
        read_results([tmp_path / "nowhere"])
    with pytest.raises(InvalidInput, match="at least one"):
        read_results([])


def test_numbers_are_those_of_the_summaries(found: Section, results: Path) -> None:
    values = [
        json.loads((results / "patient" / seed / "summary.json").read_text())["jobs"]["completion_s"]["mean"]
        for seed in "123"
    ]
    patient = next(one for one in found.comparison.variants if one.first.folder.parent.name == "patient")
    interval = patient.interval(COMPLETION)
    assert interval is not None
    assert interval.mean == pytest.approx(sum(values) / 3)
    assert interval.count == 3
