"""The live view says the same on a small terminal as on a large one, only shorter."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from allocator.daemon.demo.here import Here
from allocator.daemon.demo.view import Tally, line, screen
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary

FLAVORS = ("a100", "cpu", "t4", "v100")
SUMMARY = RoundSummary(
    round=7,
    revision=9,
    time=0.0,
    outcome=RoundOutcome.OPTIMAL,
    solver="conic",
    iterations=20,
    fairness=1.0,
    objective=-1.0,
    bound=-1.0,
    gap=1e-9,
    rounding_loss=0.05,
    started=1,
    moved=0,
    kept=3,
    rejected=0,
    preempted=(),
    waiting=(("insufficient_capacity", 4),),
    lost=(),
    flavors=tuple(
        FlavorUsage(flavor, resource, 8000, 9000, 6000, 0.017)
        for flavor in FLAVORS
        for resource in ("cpu", "gpu", "memory", "bandwidth")
        if (flavor, resource) != ("cpu", "gpu")
    ),
    queues=tuple(QueueUsage(name, 2.0, 4, 3, 0.3, 0.25) for name in ("batch", "production", "research")),
    stages=(("solve", 0.003),),
)


def drawn(height: int | None, width: int = 80) -> list[str]:
    paper = Console(file=io.StringIO(), width=width, record=True)
    paper.print(screen(SUMMARY, Tally(submitted=9, finished=2), height))
    return paper.export_text().splitlines()


@pytest.mark.parametrize("height", [24, None])
def test_everything_promised_is_there(height: int | None) -> None:
    text = "\n".join(drawn(height))
    for expected in (
        *FLAVORS,
        "batch",
        "production",
        "research",
        "25.0%",
        "30.0%",
        "0.017",
        "1.0e-09",
        "75%",
        "Ctrl-C",
    ):
        assert expected in text


def test_fits_a_terminal_of_24_lines() -> None:
    assert len(drawn(24)) <= 23


def test_nothing_yet() -> None:
    paper = Console(file=io.StringIO(), width=80)
    paper.print(screen(None, Tally()))
    assert "waiting for the first round" in paper.file.getvalue()  # type: ignore[attr-defined] # a StringIO


def test_what_is_simulated_is_marked_and_what_is_not_enforced_is_said() -> None:
    paper = Console(file=io.StringIO(), width=100, record=True)
    here = Here(2.0, (("cpu-limits", "on"), ("memory-limits", "not mounted"), ("process-limits", "not mounted")))
    summary = replace(SUMMARY, flavors=(*SUMMARY.flavors, FlavorUsage("local", "cpu", 1000, 2000, 1500, 0.0)))
    paper.print(screen(summary, Tally(here=here)))
    lines = paper.export_text().splitlines()
    marks = [lines[at + 1].split()[0] for at, line in enumerate(lines) if line.split()[:1] in ([f] for f in FLAVORS)]
    assert marks == ["simulated"] * len(FLAVORS)
    assert any(line.split()[:1] == ["real"] for line in lines)
    assert "2 cores of this machine; limits on cpu; no limits on memory, process: not mounted" in "\n".join(lines)


def test_one_line_for_pipes() -> None:
    text = line(SUMMARY, Tally(finished=2))
    assert "\n" not in text
    assert "9 running, 12 waiting, 2 finished" in text
