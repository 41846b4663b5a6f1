"""A trace is recognised by what is in it; `validate` and `convert` take it from there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simulations.cli import app, run
from simulations.traces.errors import TraceError
from simulations.traces.formats import FORMATS
from simulations.traces.recognise import format_of
from tests.simulations.traces.places import FIXTURES, copied

JOBS = {
    "batsim": "small.json",
    "dlrm": "disaggregated_DLRM_trace.csv",
    "gavel": "gavel_jobs.csv",
    "google": "task_events-part-00000-of-00002.csv",
    "openb": "openb_pod_list_default.csv",
    "own": "jobs.csv",
    "philly": "philly_jobs.csv",
    "slurm": "sacct.txt",
    "swf": "small.swf",
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def simulations(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `simulations` with these arguments: (exit code, what it printed, what it complained)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run(lambda: app([str(argument) for argument in arguments], standalone_mode=True))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_every_format_is_known() -> None:
    assert set(JOBS) == set(FORMATS)


@pytest.mark.parametrize("name", JOBS)
def test_folders_and_files_are_recognised_by_their_content(name: str, tmp_path: Path) -> None:
    assert format_of(FIXTURES / name) == name
    assert format_of(FIXTURES / name / JOBS[name]) == name
    renamed = Path(shutil.copy(FIXTURES / name / JOBS[name], tmp_path / "something"))
    assert format_of(renamed) == name


@pytest.mark.parametrize("name", ["dlrm", "gavel", "openb", "philly"])
def test_a_header_with_a_mistake_is_still_recognised(name: str, tmp_path: Path) -> None:
    """So that the mistake is what is told."""
    file = copied(name, tmp_path) / JOBS[name]
    header, *rows = file.read_text().splitlines()
    columns = header.split(",")
    file.write_text("\n".join([",".join([*columns[:-1], "mistaken"]), *rows]))
    assert format_of(file) == name


def test_what_is_no_trace_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Nothing here.\n")
    (tmp_path / "random").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "empty").write_bytes(b"")
    for place in (tmp_path / "notes.txt", tmp_path / "random"):
        with pytest.raises(TraceError, match="no list of jobs that can be recognised; say --trace"):
            format_of(place)
    with pytest.raises(TraceError, match=r"can be recognised \(empty is empty\); say --trace"):
        format_of(tmp_path)
    with pytest.raises(TraceError, match="is empty; it must hold a list of jobs"):
        format_of(tmp_path / "empty")
    with pytest.raises(TraceError, match="does not exist"):
        format_of(tmp_path / "nowhere")


def test_a_capture_is_recognised(simulations: Run, tmp_path: Path) -> None:
    """Also under another name, and in a folder; and it can be converted."""
    capture = tmp_path / "kept" / "yesterday.capture.gz"
    options = ["--trace", "synthetic", "--nodes", "10", "--limit", "20"]
    code, _, complained = simulations("replay", *options, "--out", tmp_path / "out", "--capture", capture)
    assert code == 0, complained
    assert format_of(capture) == format_of(capture.parent) == "capture"
    code, printed, complained = simulations("validate", capture, "--json")
    assert (code, complained) == (0, "")
    found = json.loads(printed)
    assert (found["format"], found["nodes"]) == ("capture", 10)
    assert found["jobs"] + sum(found["dropped"].values()) == 20


def test_several_formats_in_one_folder_need_one_named(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "swf" / "small.swf", tmp_path)
    shutil.copy(FIXTURES / "batsim" / "small.json", tmp_path)
    with pytest.raises(TraceError, match=r"several formats, small\.json \(batsim\), small\.swf \(swf\); name one file"):
        format_of(tmp_path)


@pytest.mark.parametrize("name", JOBS)
def test_validate_needs_nothing_but_the_place(name: str, simulations: Run) -> None:
    code, printed, complained = simulations("validate", FIXTURES / name, "--json")
    found = json.loads(printed)
    assert (code, complained, found["format"]) == (0, "", name)
    assert found["jobs"] > 0
    assert found["nodes"] > 0
    assert found["dropped"]
    assert found["assumptions"]
    assert simulations("validate", FIXTURES / name)[0] == 0


def test_validate_says_what_would_be_replayed(simulations: Run) -> None:
    found = json.loads(simulations("validate", FIXTURES / "swf", "--json")[1])
    assert (found["gangs"], found["preemptible"], found["duration_known"]) == (3, 0, 5)
    assert (found["first_arrival_s"], found["last_arrival_s"]) == (0.0, 80.0)
    assert found["run_s"] == {"p50": 100.0, "p95": 425.0, "max": 500.0}
    work = 8 * 100 + 16 * 200 + 7 * 50.5 + 31 * 60 + 12 * 100 + 4 * 500
    assert found["offered_load"]["cpu"] == pytest.approx(work / (32 * 80))
    twice = json.loads(simulations("validate", FIXTURES / "swf", "--load", "2", "--json")[1])
    assert twice["offered_load"]["cpu"] == pytest.approx(2 * work / (32 * 80))
    shown = simulations("validate", FIXTURES / "swf", "--limit", "2", "--every-nth-node", "2")[1]
    assert "nodes: 2" in shown
    assert "jobs: 2" in shown
    assert "over_limit" in shown


def test_validate_with_choices(simulations: Run) -> None:
    printed = simulations("validate", FIXTURES / "swf", "--queue-by", "group", "--from", "2020-09-13", "--json")[1]
    assert set(json.loads(printed)["jobs_by_queue"]) == {"group-1", "group-2"}
    printed = simulations("validate", FIXTURES / "gavel", "--jobs-per-hour", "36", "--machines", "v100=8", "--json")[1]
    assert json.loads(printed)["nodes_by_flavor"] == {"v100": 8}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "trace: must be one of batsim, dlrm"),
        ([FIXTURES / "swf", "--path", FIXTURES / "swf"], 2, "path: is given twice"),
        ([FIXTURES / "swf", "--trace", "batsim"], 3, "holds no workload (.json)"),
        ([FIXTURES / "swf", "--jobs-per-hour", "4"], 2, "jobs_per_hour: does not go with --trace swf"),
        (["--trace", "synthetic", "--queue-by", "user"], 2, "queue_by"),
        ([FIXTURES / "README.md"], 3, "is no list of jobs that can be recognised"),
    ],
)
def test_what_validate_refuses(arguments: list[object], code: int, words: str, simulations: Run) -> None:
    found, printed, complained = simulations("validate", *arguments)
    assert (found, printed) == (code, "")
    assert words in complained


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_convert_writes_what_own_reads(kind: str, simulations: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    code, printed, complained = simulations(
        "convert", "--trace", "swf", "--path", FIXTURES / "swf", "--out", out, "--as", kind, "--restart-cost", "5"
    )
    assert (code, complained) == (0, "")
    assert "6 jobs on 4 nodes written to" in printed
    found = json.loads(simulations("validate", out, "--json")[1])
    before = json.loads(simulations("validate", FIXTURES / "swf", "--json")[1])
    assert found["format"] == "own"
    for same in ("name", "nodes_by_flavor", "jobs_by_queue", "run_s", "offered_load", "dropped"):
        assert found[same] == before[same]
    code, _, complained = simulations("convert", "--trace", "swf", "--path", FIXTURES / "swf", "--out", out)
    assert code == 4
    assert "is not empty" in complained
    other = "csv" if kind == "parquet" else "parquet"
    again = ("convert", "--trace", "batsim", "--path", FIXTURES / "batsim", "--out", out, "--as", other, "--force")
    assert simulations(*again)[0] == 0
    assert sorted(file.name for file in out.iterdir()) == [
        f"jobs.{other}", f"nodes.{other}", f"queues.{other}", f"shapes.{other}", "workload.json",
    ]  # fmt: skip


def test_a_scenario_can_be_converted_and_other_kinds_are_refused(simulations: Run, tmp_path: Path) -> None:
    assert simulations("convert", "--trace", "synthetic", "--out", tmp_path / "a", "--limit", "5")[0] == 0
    code, _, complained = simulations("convert", "--trace", "synthetic", "--out", tmp_path / "b", "--as", "xls")
    assert code == 2
    assert "as: must be parquet or csv; got 'xls'" in complained


def test_own_jobs_keep_their_restart_costs_unless_the_option_is_given(simulations: Run, tmp_path: Path) -> None:
    def costs(*options: str) -> set[str]:
        out = tmp_path / "-".join(("out", *options))
        place = ("--path", FIXTURES / "own", "--out", out, "--as", "csv")
        assert simulations("convert", "--trace", "own", *place, *options)[0] == 0
        header, *rows = (out / "jobs.csv").read_text().splitlines()
        assert rows
        place_of = header.split(",").index("restart_cost_s")
        return {row.split(",")[place_of] for row in rows}

    assert costs() == {"12.5", "30"}
    assert costs("--restart-cost", "7") == {"7"}
