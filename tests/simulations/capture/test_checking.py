"""A capture that does not say what was decided is found out, and told where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from allocator.domain.plan import Start
from allocator.wire.recording import CaptureBegin, Captured, CapturedRound, CaptureEnd, CaptureGap
from simulations.capture.checking import check
from simulations.capture.file import CaptureReader
from tests.simulations.capture.cluster import Story


@pytest.fixture
def records(a_dozen: tuple[Path, Story]) -> list[Captured]:
    return list(CaptureReader(a_dozen[0]))


def changed(
    records: Iterable[Captured], change: Callable[[CapturedRound], CapturedRound], number: int
) -> list[Captured]:
    return [change(one) if isinstance(one, CapturedRound) and one.snapshot.round == number else one for one in records]


def found(records: Iterable[Captured]) -> dict[int, tuple[str, ...]]:
    return {difference.round: difference.what for difference in check(records).differences}


def test_a_change_that_was_not_planned_is_told(records: list[Captured]) -> None:
    def moved(one: CapturedRound) -> CapturedRound:
        first = one.changes[0]
        assert isinstance(first, Start)
        elsewhere = replace(first.placement.replicas[0], node="n7")
        placement = replace(first.placement, replicas=(elsewhere,))
        return replace(one, changes=(Start(placement), *one.changes[1:]), plan_digest=b"")

    differences = found(changed(records, moved, 1))
    assert list(differences) == [1]
    (what,) = differences[1]
    assert what.startswith("change 1 was job ")
    assert "started in configuration 0 on n7 GPU 0" in what
    assert "and is job " in what


def test_a_change_too_few_is_told(records: list[Captured]) -> None:
    differences = found(changed(records, lambda one: replace(one, changes=one.changes[:-1], plan_digest=b""), 1))
    assert differences[1][0].startswith("change 2 was none and is job ")


def test_other_reasons_to_wait_are_told(records: list[Captured]) -> None:
    differences = found(changed(records, lambda one: replace(one, plan_digest=b""), 3))
    assert differences == {3: ("the same changes, but who waits, or why, differs",)}


def test_other_shares_are_told(records: list[Captured]) -> None:
    def worse(one: CapturedRound) -> CapturedRound:
        return replace(one, solution_digest=b"", summary=replace(one.summary, objective=-1.5))

    (what,) = found(changed(records, worse, 2))[2]
    assert what.startswith("shares or prices differ: objective was -1.5 and is ")
    differences = found(changed(records, lambda one: replace(one, solution_digest=b""), 2))
    assert differences == {2: ("bits of shares or prices differ; objective and bound are the same",)}


def test_one_bit_of_one_credit_is_found(records: list[Captured]) -> None:
    def nudged(one: CapturedRound) -> CapturedRound:
        credits_ = one.memory.credits[:]
        credits_[0] = credits_[0] * (1 + 2**-52) if credits_[0] else 5e-324
        return replace(one, memory=replace(one.memory, credits=credits_))

    differences = found(changed(records, nudged, 5))
    assert differences[5][0] == "the memory handed to it is not the one that the round before handed on"


def test_another_memory_handed_on_is_told(records: list[Captured]) -> None:
    differences = found(changed(records, lambda one: replace(one, memory_digest=b""), 12))
    assert differences == {
        12: ("the memory that it hands on differs: credits, prices, or what it knows of work to come",)
    }


def test_other_versions_are_told_and_are_no_difference(records: list[Captured]) -> None:
    elsewhere = [
        replace(one, version="0.0.1", machine={**one.machine, "numpy": "1.26"})
        if isinstance(one, CaptureBegin)
        else one
        for one in records
    ]
    result = check(elsewhere)
    assert result.differences == ()
    assert {name: there for name, (there, _) in result.elsewhere.items()} == {"allocator": "0.0.1", "numpy": "1.26"}


def test_gaps_and_a_missing_end_are_told(records: list[Captured]) -> None:
    gap = CaptureGap("lost", 3)
    result = check([*records[:4], gap])
    assert (result.gaps, result.ended, result.rounds) == ((gap,), False, 3)
    assert check([*records[:4], CaptureEnd("done", 3)]).ended
