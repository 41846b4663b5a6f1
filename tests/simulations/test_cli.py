"""The commands as a user types them: what they write, what they refuse, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simulations import cli
from simulations.commands import replay as replay_commands
from simulations.invariants import InvariantBroken

FIXTURES = Path(__file__).parent / "fixtures"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """(exit code, standard output, standard error) of `simulations ARGUMENTS`."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["simulations", *map(str, arguments)])
        code = cli.run(cli.app)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_replay_writes_and_prints(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    code, printed, complained = run("replay", "--trace", "openb", "--path", FIXTURES / "openb", "--out", out)
    assert (code, complained) == (0, "")
    assert sorted(file.name for file in out.iterdir()) == [
        "fragmentation.parquet", "jobs.parquet", "prices.parquet", "queues.parquet", "rounds.parquet", "runs.parquet",
        "summary.json",
    ]  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["run"]["interval_s"] == 60.0
    assert summary["jobs"]["by_state"] == {"succeeded": 11}
    for words in ("11 jobs on 6 nodes", "never_scheduled 1", "succeeded 11", "invariants checked, broken"):
        assert words in printed
    assert pq.read_table(out / "jobs.parquet").num_rows == 11
    assert pq.read_table(out / "rounds.parquet").num_rows == summary["rounds"]["count"]


def test_options_reach_the_replay(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run(
        *("replay", "--trace", "philly", "--path", FIXTURES / "philly", "--out", tmp_path / "out", "--json"),
        *("--from", "2017-08-14T23:30", "--to", "1d", "--fairness", "2", "--interval", "120", "--gap", "0.001"),
        *("--hysteresis", "60", "--limit", "3", "--seed", "7", "--restart-cost", "11", "--horizon", "500"),
    )
    assert code == 0
    summary = json.loads(printed)
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["run"]["policy"]["fairness"] == 2.0
    assert summary["run"]["policy"]["gap"] == 0.001
    assert summary["run"]["policy"]["hysteresis_seconds"] == 60.0
    assert (summary["run"]["interval_s"], summary["run"]["seed"], summary["workload"]["jobs"]) == (120.0, 7, 3)
    assert "Stopping a job costs it 11 s of work." in summary["workload"]["assumptions"]
    assert summary["run"]["horizon_s"] == 500 * 3600.0


def test_nodes_that_fail_on_request(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run(
        *("replay", "--trace", "philly", "--path", FIXTURES / "philly", "--out", tmp_path / "out", "--json"),
        *("--mean-up-hours", "2", "--mean-down-hours", "0.2", "--seed", "3"),
    )
    assert code == 0
    assert json.loads(printed)["preemptions"]["stopped"] + json.loads(printed)["preemptions"]["moved"] > 0


def test_the_time_of_each_solve_is_in_the_table_of_rounds(run: Run, tmp_path: Path) -> None:
    arguments = ("replay", "--trace", "openb", "--path", FIXTURES / "openb")
    code, printed, _ = run(*arguments, "--out", tmp_path / "timed")
    assert code == 0
    assert "Real time of a round" in printed
    rounds = pq.read_table(tmp_path / "timed" / "rounds.parquet").to_pydict()
    assert all(seconds > 0 for seconds in rounds["solve_s"])
    code, printed, _ = run(*arguments, "--out", tmp_path / "untimed", "--no-timings")
    assert code == 0
    assert "Real time of a round" not in printed
    untimed = pq.read_table(tmp_path / "untimed" / "rounds.parquet").to_pydict()
    assert set(untimed["solve_s"]) == {None}
    measured = {"snapshot_s", "formulate_s", "solve_s", "place_s", "commit_s", "push_s"}
    assert {name: values for name, values in untimed.items() if name not in measured} == {
        name: values for name, values in rounds.items() if name not in measured
    }


def test_the_size_of_a_scenario_can_be_chosen(run: Run, tmp_path: Path) -> None:
    size = ("--nodes", "25", "--jobs-at-start", "600", "--arrivals-per-hour", "120", "--arrival-hours", "0.25")
    code, printed, _ = run("validate", "--trace", "synthetic", "--scenario", "large", *size, "--json")
    found = json.loads(printed)
    assert (code, found["nodes"]) == (0, 25)
    assert found["nodes_by_flavor"] == {"h100": 4, "a100": 6, "v100": 5, "t4": 5, "cpu": 5}
    assert 600 < found["jobs"] < 700
    for spread, rows in (("0.3", "one per job"), ("0", "few")):
        out = tmp_path / spread
        options = ("--job-spread", spread, "--duration-factor", "0.2", "--horizon", "0.1", "--out", out)
        assert run("replay", "--trace", "synthetic", "--scenario", "large", *size, *options)[0] == 0
        rounds = pq.read_table(out / "rounds.parquet").to_pydict()
        assert rounds["live"][0] >= 600
        assert rounds["rows"][0] >= 500 if rows == "one per job" else rounds["rows"][0] <= 350


def test_dlrm_by_its_name_with_every_job_preemptible(run: Run, tmp_path: Path) -> None:
    code, printed, _ = run(
        *("replay", "--trace", "dlrm", "--path", FIXTURES / "dlrm", "--out", tmp_path / "out", "--json"),
        *("--all-preemptible", "--every-nth-node", "3"),
    )
    assert code == 0
    summary = json.loads(printed)
    assert summary["run"]["interval_s"] == 300.0
    assert "All jobs are taken to be preemptible." in summary["workload"]["assumptions"]
    assert 0.3 < summary["utilization"]["while_jobs_arrive"]["bandwidth"] <= 1.0
    assert summary["invariants"]["broken"] == 0


def test_every_third_job_alone(run: Run, tmp_path: Path) -> None:
    arguments = ("replay", "--trace", "openb", "--path", FIXTURES / "openb", "--json", "--out")
    every, third = (json.loads(run(*arguments, tmp_path / n, "--every-nth-job", n)[1])["workload"] for n in ("1", "3"))
    assert third["jobs"] == -(-every["jobs"] // 3)
    assert third["dropped"]["thinned"] == every["jobs"] - third["jobs"]
    assert any("Of every 3 jobs" in note for note in third["assumptions"])


def test_two_replays_of_one_workload_side_by_side(run: Run, tmp_path: Path) -> None:
    """Without hysteresis and restart costs jobs are stopped more often; that is what the ratio says."""
    arguments = (
        "replay",
        "--trace",
        "synthetic",
        "--scenario",
        "small",
        "--nodes",
        "5",
        "--limit",
        "40",
        "--seed",
        "2",
    )
    assert run(*arguments, "--out", tmp_path / "calm")[0] == 0
    hasty = ("--hysteresis", "0", "--minimum-run", "0", "--restart-cost", "0", "--out", tmp_path / "hasty")
    assert run(*arguments, *hasty)[0] == 0
    assumed = json.loads((tmp_path / "hasty" / "summary.json").read_text())["workload"]["assumptions"]
    assert "Every restart costs 0 s of work." in assumed
    code, printed, _ = run("compare", tmp_path / "hasty", tmp_path / "calm", "--json")
    assert code == 0
    found = json.loads(printed)
    assert found["replays"] == ["hasty", "calm"]
    before, after = found["figures"]["preemptions per job"]["values"]
    assert after < before
    assert found["figures"]["preemptions per job"]["ratios"] == [1.0, pytest.approx(after / before)]
    assert "rounding loss, time averages" in found["figures"]
    code, printed, _ = run("compare", tmp_path / "hasty", tmp_path / "calm")
    assert code == 0
    assert "preemptions per job" in printed
    assert "hasty" in printed


def test_what_compare_refuses(run: Run, tmp_path: Path) -> None:
    for limit in ("3", "4"):
        arguments = ("--trace", "synthetic", "--scenario", "small", "--limit", limit, "--horizon", "0.1")
        assert run("replay", *arguments, "--out", tmp_path / limit)[0] == 0
    code, _, complained = run("compare", tmp_path / "3", tmp_path / "4")
    assert code == 2
    assert "workload.jobs: must be the same in both; got 3 and 4" in complained
    assert run("compare", tmp_path / "3", tmp_path / "nowhere")[0] == 4
    (tmp_path / "3" / "summary.json").write_text("[]")
    code, _, complained = run("compare", tmp_path / "3", tmp_path / "4")
    assert code == 3
    assert "is no summary of a replay" in complained


def test_validate_reads_and_runs_nothing(run: Run) -> None:
    code, printed, _ = run("validate", "--trace", "openb", "--path", FIXTURES / "openb", "--json")
    found = json.loads(printed)
    assert (code, found["jobs"], found["nodes"]) == (0, 11, 6)
    assert found["dropped"] == {"fits_no_node": 1, "never_scheduled": 1, "no_run_time": 1}
    code, printed, _ = run("validate", "--trace", "philly", "--path", FIXTURES / "philly")
    assert code == 0
    assert "jobs by queue: team-a 3" in printed


def test_scenarios_are_listed(run: Run) -> None:
    code, printed, _ = run("scenarios")
    assert code == 0
    assert "small: 12 nodes" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--trace", "borg"], 2, "trace: must be one of batsim, dlrm, gavel, google, openb, own, philly, slurm, swf"),
        (["--trace", "openb"], 2, "path: must name the folder of the trace"),
        (["--trace", "openb", "--path", "nowhere"], 3, "nowhere: is not a folder"),
        (["--trace", "openb", "--path", FIXTURES / "philly"], 3, "holds no openb_pod_list_default.csv"),
        (["--trace", "openb", "--path", FIXTURES / "openb", "--from", "2017-10-01"], 2, "from: must be days"),
        (["--trace", "openb", "--path", FIXTURES / "openb", "--to", "3"], 2, "to: must be later than from"),
        (["--trace", "openb", "--path", FIXTURES / "openb", "--from", "900"], 2, "from: leaves no jobs"),
        (["--trace", "openb", "--path", FIXTURES / "openb", "--scenario", "small"], 2, "scenario: goes with"),
        (["--trace", "synthetic", "--scenario", "smal"], 2, "scenario: must be one of"),
        (["--trace", "synthetic", "--scenario", "no.toml"], 3, "no.toml: cannot be read"),
        (["--trace", "synthetic", "--path", "x"], 2, "path: goes with a trace"),
        (["--trace", "synthetic", "--nodes", "2"], 2, "nodes: must be between 3 and"),
        (["--trace", "synthetic", "--jobs-at-start", "-1"], 2, "jobs-at-start: must be between 0 and"),
        (["--trace", "synthetic", "--arrivals-per-hour", "0"], 2, "arrivals-per-hour: must be a finite number above"),
        (["--trace", "synthetic", "--arrival-hours", "nan"], 2, "arrival-hours: must be a finite number above"),
        (["--trace", "synthetic", "--duration-factor", "inf"], 2, "duration-factor: must be a finite number above"),
        (["--trace", "synthetic", "--job-spread", "-1"], 2, "job-spread: must be between 0 and 5"),
        (["--trace", "openb", "--path", FIXTURES / "openb", "--nodes", "2"], 2, "nodes: goes with --trace synthetic"),
    ],
)
def test_what_validate_refuses(arguments: list[str | Path], code: int, words: str, run: Run) -> None:
    found, printed, complained = run("validate", *arguments)
    assert (found, printed) == (code, "")
    assert complained.startswith("error: ")
    assert words in complained
    assert complained.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interval", "-1"], "interval: must be"),
        (["--interval", "1e-9"], "interval: must be 0, or at least 0.001 s"),
        (["--fairness", "-1"], "fairness: must be"),
        (["--fairness", "nan"], "fairness: must be"),
        (["--scheduler", "fifo", "--fairness", "1"], "fairness: fifo decides by a rule and has no such setting"),
        (["--scheduler", "las", "--usage-half-life", "1"], "usage-half-life: las decides by a rule"),
        (["--gap", "1"], "gap: must be between 0 and 1"),
        (["--iterations", "0"], "iterations: must be at least 1"),
        (["--horizon", "-5"], "horizon: must be above 0 hours, got -5"),
        (["--horizon", "nan"], "horizon: must be above 0 hours"),
        (["--mean-up-hours", "0"], "--mean-up-hours: must be a finite number above 0, got 0"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--every-nth-job", "0"], "Invalid value for '--every-nth-job'"),
        (["--seed", "x"], "Invalid value for '--seed'"),
        (["--frobnicate"], "No such option"),
    ],
)
def test_what_replay_refuses(arguments: list[str], words: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, complained = run("replay", "--trace", "synthetic", "--out", out, *arguments)
    assert code == 2
    assert words in complained
    assert not out.exists()


def test_earlier_results_are_not_replaced_unasked(run: Run, tmp_path: Path) -> None:
    arguments = ("replay", "--trace", "openb", "--path", FIXTURES / "openb", "--out", tmp_path, "--limit", "1")
    assert run(*arguments)[0] == 0
    code, _, complained = run(*arguments)
    assert code == 4
    assert "is not empty; name another folder, or use --force" in complained
    assert run(*arguments, "--force")[0] == 0


def test_a_place_that_cannot_be_written_is_refused_before_the_replay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("replayed")

    monkeypatch.setattr(replay_commands, "replay", never)
    code, printed, complained = run("replay", "--trace", "synthetic", "--out", "/proc/x")
    assert (code, printed) == (4, "")
    assert complained == (
        "error: --out /proc/x: cannot be written: No such file or directory; name a folder that can\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["scenarios"],
        ["--help"],
        ["replay", "--help"],
        ["validate", "--trace", "openb", "--path", str(FIXTURES / "openb")],
        ["validate", "--trace", "openb", "--path", str(FIXTURES / "openb"), "--json"],
    ],
)
def test_a_reader_that_leaves_is_no_broken_invariant(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "simulations", *arguments]
        ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("thrown", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
        (
            InvariantBroken(3, 180.0, ("node a is over its cpu by 1",)),
            1,
            "round 3 at 180.000 s: node a is over its cpu",
        ),
    ],
)
def test_a_replay_that_ends_early_writes_nothing(
    thrown: BaseException, code: int, words: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: object, **__: object) -> None:
        raise thrown

    monkeypatch.setattr(replay_commands, "replay", cut_short)
    out = tmp_path / "out"
    found, _, complained = run("replay", "--trace", "synthetic", "--out", out)
    assert found == code
    assert words in complained
    assert not out.exists()


def test_without_pyarrow_it_says_what_to_install(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    code, _, complained = run("replay", "--trace", "synthetic", "--out", tmp_path / "out")
    assert code == 4
    assert "pip install 'allocator[sim]'" in complained


def test_a_replay_under_a_policy_file(run: Run, tmp_path: Path) -> None:
    """Its limit holds from the first round on, and a policy that says little leaves the rest as it is."""
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[objective]\nname = "max-min"\n[[queue]]\nname = "extra"\n[floating]\nmatlab = 3\n')
    replay = ("replay", "--trace", "openb", "--path", FIXTURES / "openb", "--no-timings")
    code, _, complained = run(*replay, "--policy", policy, "--out", tmp_path / "with")
    assert (code, complained) == (0, "")
    said = json.loads((tmp_path / "with" / "summary.json").read_text())["run"]["policy"]
    assert (said["fairness"], said["floating_resources"]) == ("inf", ["matlab"])
    queues = pq.read_table(tmp_path / "with" / "queues.parquet").column("queue").to_pylist()
    assert "extra" in set(queues)

    code, _, complained = run(*replay, "--policy", policy, "--gap", "0.1", "--out", tmp_path / "both")
    assert (code, "gap cannot be given beside it" in complained) == (2, True)
    policy.write_text("version = 1\n[objective]\nnam = 3")
    code, _, complained = run(*replay, "--policy", policy, "--out", tmp_path / "wrong")
    assert (code, f"{policy}:3:1: objective.nam: is not known here" in complained) == (2, True)
