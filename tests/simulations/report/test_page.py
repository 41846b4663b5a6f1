"""The page as a file: complete, the same bytes for the same results, and nothing that a name can break out of."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simulations.cli import app
from simulations.cli import run as run_command
from simulations.report.page import page
from simulations.report.results import read_results
from simulations.report.sections import Section, sections
from tests.simulations.report.replays import HOSTILE, made_results

PLOTS = ["front", "delay", "slowdown", "rho", "utilization", "fairness", "fragmentation", "prices", "gantt"]
EMPTY = {"meta", "link", "br", "path", "rect"}


class Outline(HTMLParser):
    """Tags, scripts and text of a document; fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def outline(file: Path) -> Outline:
    found = Outline()
    found.feed(file.read_text(encoding="utf-8"))
    return found


def test_every_plot_is_there_with_its_numbers(found: Section, report: Path) -> None:
    assert [plot.key for plot in found.plots] == PLOTS
    page_of = outline(report)
    ids = [value for name, value in page_of.attributes if name == "id"]
    assert [each for each in ids if each in PLOTS] == PLOTS
    assert page_of.tags.count("svg") == sum(len(plot.panels) for plot in found.plots)
    for plot in found.plots:
        assert plot.numbers.rows, plot.key
        assert all(len(row) == len(plot.numbers.columns) for row in plot.numbers.rows), plot.key


def test_what_a_reader_must_know_stands_in_it(report: Path) -> None:
    text = re.sub(r"\s+", " ", outline(report).text)
    for words in (
        "Verdict",
        "seeds 1 to 3",
        "allocator 0.",
        "20 jobs on 2 nodes",
        "Written by allocator 1.2.3",
        "95 %",
    ):
        assert words in text, words


def test_nothing_is_fetched_from_anywhere(report: Path) -> None:
    page_of = outline(report)
    for name, value in page_of.attributes:
        if name in ("src", "href", "srcset", "action", "data"):
            assert value == "data:,", (name, value)
    document = report.read_text()
    assert "default-src 'none'" in document
    assert "url(" not in document
    assert "@import" not in document


def test_the_same_results_give_the_same_page(results: Path, report: Path) -> None:
    again = page(sections(read_results([results])), "1.2.3")
    assert again == report.read_text()
    assert str(results) not in again, "it says nothing of where it was written"


def test_names_cannot_break_out(hostile: Path) -> None:
    page_of = outline(hostile)
    assert page_of.tags.count("script") == 1
    assert page_of.open == []
    assert HOSTILE in page_of.text
    assert not any(name.startswith("on") for name, _ in page_of.attributes)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run_command(lambda: app([str(argument) for argument in arguments]))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "r.html", tmp_path / "tables"
    code, printed, _ = run(capsys, "report", results, "--out", file, "--parquet", folder)
    assert code == 0
    assert "ends jobs soonest" in printed
    assert "\x02" not in printed
    assert file.read_text().startswith("<!doctype html>")
    tables = {path.stem: pq.read_table(path) for path in folder.iterdir()}
    assert sorted(tables) == ["bars", "figures", "lines", "points"]
    figures = tables["figures"].to_pylist()
    assert {row["seed"] for row in figures} == {1, 2, 3}
    assert sorted({row["plot"] for row in tables["lines"].to_pylist()}) == sorted(set(PLOTS) - {"front", "gantt"})
    assert {row["plot"] for row in tables["points"].to_pylist()} == {"front"}
    assert tables["bars"].num_rows > 20


def test_as_json(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = run(capsys, "report", results, "--out", tmp_path / "r.html", "--json")
    assert code == 0
    (workload,) = json.loads(printed)["workloads"]
    assert len(workload["variants"]) == 2
    figures = workload["variants"][0]["figures"]
    assert figures["mean completion time"]["seeds"] == 3
    assert figures["mean completion time"]["low"] < figures["mean completion time"]["mean"]
    assert set(workload["front"]) <= {variant["name"] for variant in workload["variants"]}


def test_two_workloads_have_two_parts(results: Path, hostile: Path, tmp_path: Path) -> None:
    document = page(sections(read_results([results, hostile.parent])), "1")
    assert document.count("<section>") == 2
    assert "figures of different workloads cannot be compared" in document


def test_what_report_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complained = run(capsys, "report", tmp_path)
    assert code == 4
    assert "holds no results of a replay" in complained


def test_a_page_that_cannot_be_written(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complained = run(capsys, "report", results, "--out", tmp_path / "no" / "where" / "r.html")
    assert code == 4
    assert "cannot be written" in complained


def test_one_replay_alone(tmp_path: Path) -> None:
    folder = made_results(tmp_path, (1,)) / "hasty"
    (section,) = sections(read_results([folder]))
    document = page([section], "1")
    assert "mean completion time" in document
    assert section.verdict.wins == ()
    assert "front" not in [plot.key for plot in section.plots]


def test_a_replay_that_was_cut_off_is_told_as_one(tmp_path: Path) -> None:
    """The last jobs are left: no makespan, means over all jobs, and distributions that end where they do."""
    whole = made_results(tmp_path / "whole", (1,))
    cut = made_results(tmp_path / "cut", (1,), horizon=900.0)
    (section,) = sections(read_results([cut]))
    names = {win.figure.name for win in section.verdict.wins}
    assert "mean time in the system" in names
    assert not names & {"mean completion time", "makespan"}
    delay = next(plot for plot in section.plots if plot.key == "slowdown")
    assert "A line ends below 100 % where jobs were left." in delay.about
    jobs = pq.read_table(cut / "hasty" / "1" / "jobs.parquet").to_pylist()
    came, ended = (sum(job["submit_s"] <= 900 for job in jobs), sum(job["end_s"] is not None for job in jobs))
    assert 0 < ended < came == 20
    line = next(line for line in delay.panels[0].lines if line.name == section.comparison.variants[0].name)
    assert line.curve.y[-1] == pytest.approx(ended / came)
    assert any(cell == "–" for cell in delay.numbers.rows[0])
    (section,) = sections(read_results([whole]))
    assert {"mean completion time", "makespan"} <= {win.figure.name for win in section.verdict.wins}


def test_compare_any_number(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [results / name / "1" for name in ("patient", "hasty")]
    code, printed, _ = run(capsys, "compare", *folders, "--csv")
    assert code == 0
    assert printed.splitlines()[0] == "figure,unit,better,patient/1,hasty/1"
    code, printed, _ = run(capsys, "compare", *folders, folders[0], "--json")
    assert json.loads(printed)["replays"] == ["patient/1", "hasty/1"], "a replay that is named twice is one"
    code, _, complained = run(capsys, "compare", folders[0])
    assert (code, "at least two" in complained) == (2, True)
    code, _, complained = run(capsys, "compare", *folders, "--csv", "--json")
    assert code == 2
