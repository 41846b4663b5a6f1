"""The commands: what they print, what they leave, and their exit codes."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path

import pytest

from simulations.capture.file import CaptureReader
from simulations.cli import ExitCode, app, run
from tests.client.served import Served
from tests.simulations.capture.cluster import Story, gpu_job


def command(*args: object) -> int:
    return run(lambda: app([str(arg) for arg in args]))


def test_a_daemon_is_captured_until_so_many_rounds(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(command("capture", "--address", served.address, "--out", tmp_path, "--rounds", 2))
    )
    thread.start()
    story = Story(served)
    story.submit(gpu_job())
    while not codes and thread.is_alive():
        story.round()
        story.pass_time()
        thread.join(0.05)
    thread.join()
    assert codes == [ExitCode.OK]
    said = capsys.readouterr().out
    assert re.search(
        r"2 rounds \(\d+ to \d+\), [0-9.]+ KiB: so many rounds were captured\nwritten to .*\.capture\.gz", said
    )
    (file,) = CaptureReader(tmp_path).files
    assert re.fullmatch(r"\d{8}T\d{6}Z\.capture\.gz", file.name)
    assert command("decide", tmp_path) == ExitCode.OK


def test_what_is_decided_the_same_is_said(a_dozen: tuple[Path, Story], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("decide", a_dozen[0]) == ExitCode.OK
    said = capsys.readouterr().out
    assert re.search(
        r"^12 rounds with [0-9.]+ live jobs on average and \d+ changes: 12 decided the same to the bit$",
        said,
        re.MULTILINE,
    )
    assert command("decide", a_dozen[0], "--json") == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "rounds": 12, "same": 12, "differences": [], "captured_with": {}, "decided_with": {}, "gaps": [], "cut_off": [],
    }  # fmt: skip


def test_what_was_cut_off_is_said(
    a_dozen: tuple[Path, Story], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "half.capture.gz"
    content = a_dozen[0].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert command("decide", path) == ExitCode.OK
    assert "was cut off: it is read as far as it goes" in capsys.readouterr().out


def test_a_difference_is_an_exit_code(
    a_dozen: tuple[Path, Story], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simulations.capture.checking.plan_digest", lambda _: b"another program")
    assert command("decide", a_dozen[0]) == 1
    said = capsys.readouterr().out
    assert "round 1: the same changes, but who waits, or why, differs" in said
    assert "and 2 rounds more" in said
    assert "0 decided the same to the bit, 12 differently" in said


def test_what_is_no_capture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.capture.gz"
    path.write_bytes(b"")
    assert command("decide", path) == ExitCode.BAD_TRACE
    assert "is empty" in capsys.readouterr().err
    assert command("replay", "--trace", "capture", "--path", path, "--out", tmp_path / "o") == ExitCode.BAD_TRACE


def test_a_capture_is_replayed_under_a_policy_file(
    a_dozen: tuple[Path, Story], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(a_dozen[0], tmp_path)
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\n[objective]\nname = "throughput"\n')
    code = command(
        "replay", "--trace", "capture", "--path", tmp_path, "--policy", policy, "--out", tmp_path / "o",
        "--capture", tmp_path / "again.capture.gz", "--json",
    )  # fmt: skip
    assert code == ExitCode.OK
    summary = json.loads(capsys.readouterr().out)
    assert summary["run"]["policy"]["fairness"] == 0.0
    assert summary["run"]["interval_s"] == 10.0
    assert any("12 rounds were captured" in note for note in summary["workload"]["assumptions"])
    assert command("decide", tmp_path / "again.capture.gz") == ExitCode.OK


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--from", "3"], "from: does not go with --trace capture"),
        (["--nodes", "3"], "nodes: does not go with --trace capture"),
    ],
)
def test_options_of_other_traces_are_refused(
    a_dozen: tuple[Path, Story], options: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("validate", "--trace", "capture", "--path", a_dozen[0], *options) == ExitCode.BAD_INPUT
    assert wrong in capsys.readouterr().err


def test_a_time_that_makes_no_sense_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("capture", "--out", tmp_path, "--for", "soon") == ExitCode.BAD_INPUT
    assert "for" in capsys.readouterr().err
