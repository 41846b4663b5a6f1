"""`simulations reproduce`: what counts as met, what is refused, and one table where the traces are at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulations.cli import ExitCode, app, run
from simulations.reproduce.gavel import OVERLOAD, PUBLISHED
from simulations.reproduce.table import EXACT, PERCENT, POINTS, Reproduction, Row

TRACES = os.environ.get("ALLOCATOR_TRACES")
LONG = os.environ.get("ALLOCATOR_REPRODUCE")


@pytest.mark.parametrize(
    ("row", "off", "met"),
    [
        (Row(("a",), 20.0, 20.6, 3.0, PERCENT), 3.0, True),
        (Row(("a",), 20.0, 19.3, 3.0, PERCENT), -3.5, False),
        (Row(("a",), 95.0, 95.5, 0.5, POINTS), 0.5, True),
        (Row(("a",), 95.0, 94.4, 0.5, POINTS), -0.6, False),
        (Row(("a",), 801, 801, 0.0, EXACT), 0.0, True),
        (Row(("a",), 801, 800, 0.0, EXACT), -1.0, False),
        (Row(("a",), 20.0, float("nan"), 3.0, PERCENT), float("nan"), False),
    ],
)
def test_what_is_near_enough(row: Row, off: float, met: bool) -> None:
    assert row.off == pytest.approx(off, nan_ok=True)
    assert row.met is met
    good = Row(("b",), 1.0, 1.0)
    assert Reproduction("x", "x", "x", ("x",), "s", (good, row), 1.0).met is met


def test_overload_is_one_of_the_cases() -> None:
    assert OVERLOAD in PUBLISHED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("easy",), "traces: must name the folder"),
        (("gavel", "--traces", "."), "holds no folder gavel-2020"),
        (("gandiva", "--traces", "."), "table: must be one of easy, openb, gavel; got 'gandiva'"),
    ],
)
def test_what_is_missing_is_named(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("ALLOCATOR_TRACES", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["simulations", "reproduce", *arguments])
    assert run(app) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.skipif(TRACES is None, reason="ALLOCATOR_TRACES is not set")
def test_another_simulator_s_starts() -> None:
    result = CliRunner().invoke(app, ["reproduce", "easy"])
    assert result.exit_code == 0, result.output
    assert result.output.count("met") >= 2
    assert "not met" not in result.output


@pytest.mark.skipif(TRACES is None or LONG is None, reason="ALLOCATOR_TRACES or ALLOCATOR_REPRODUCE is not set")
def test_every_table() -> None:
    """Minutes."""
    result = CliRunner().invoke(app, ["reproduce"])
    assert result.exit_code == 0, result.output
