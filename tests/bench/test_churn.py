"""The bench of a busy data center does what it says, on a small one."""

from __future__ import annotations

from pathlib import Path

from tests.bench.churn import COLUMNS, Case, run


def test_jobs_end_and_come_and_every_round_is_measured(tmp_path: Path) -> None:
    case = Case(nodes=20, running=200, waiting=20, rounds=3)
    found = run(case, tmp_path)
    assert found.running + found.waiting == case.running + case.waiting, "as many are submitted as end"
    assert {stage: len(taken) for stage, taken in found.rounds.items()} == dict.fromkeys(COLUMNS, case.rounds)
    assert found.started > 0
    assert found.rows > 0
