"""What the solver wants to reach, and how far the rows of one run are from it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.cases import Case
from tests.bench.measured import Measurement

Row = tuple[Case, list[Measurement]]


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` should be at most `limit`, or at least that; None where no row of this run says anything about it."""

    name: str
    figure: float | None
    limit: float
    at_least: bool = False
    remark: str = ""

    @property
    def part(self) -> float | None:
        """1 and more: reached; 0.5: twice too much, or half of what is wanted."""
        if self.figure is None:
            return None
        if self.at_least:
            return self.figure / self.limit
        return self.limit / self.figure if self.figure > 0 else float("inf")

    def __str__(self) -> str:
        wanted = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        if self.figure is None or self.part is None:
            return f"{self.name}: {wanted}; not measured in this run"
        judged = "reached" if self.part >= 1 else f"{self.part:.2g} of the goal"
        return f"{self.name}: {self.figure:.3g} ({wanted}): {judged}" + (f"; {self.remark}" if self.remark else "")


def goals(rows: list[Row]) -> list[Goal]:
    """Figures are medians over seeds; of what must always hold, the worst."""
    return [*_quality(rows), *_cold(rows), *_clarabel(rows), *_grouped(rows), *_warm(rows), *_memory(rows)]


def _quality(rows: list[Row]) -> list[Goal]:
    found = [(case, one) for case, several in rows for one in several]
    missed = [
        f"{case.size} {case.family} alpha {case.fairness:g} seed {one.seed}" for case, one in found if not one.good
    ]
    relative = sum(one.within and one.relative for _, one in found)
    remark = f"of {len(found)}; {relative} more are as good as asked only relative to the mean of u^(1 - alpha)"
    return [
        Goal(
            "solves that missed the gap asked for, or overused",
            float(len(missed)) if found else None,
            0.0,
            remark="; ".join([remark, *missed]),
        ),
        Goal(
            "largest relative overuse",
            max((one.overuse for _, one in found), default=None),
            0.0,
            remark=_in_words(max((one.unrounded_overuse for _, one in found), default=None), "without rounding {:.2g}"),
        ),
    ]


def _cold(rows: list[Row]) -> list[Goal]:
    """In units of a plain fused pass."""
    wanted = ((1_000_000, 4, 40.0), (1_000_000, 16, 100.0), (100_000, 16, 100.0))
    return [
        Goal(
            f"cold, {jobs:,} x {columns}, in unit passes",
            _median(_market(rows, jobs, columns), lambda one: one.units),
            limit,
            remark=_in_words(_median(_market(rows, jobs, columns), lambda one: one.seconds), "{:.3g} s"),
        )
        for jobs, columns, limit in wanted
    ]


def _clarabel(rows: list[Row]) -> list[Goal]:
    found = [
        Goal(
            f"times faster than Clarabel at equal gap, {jobs:,} x {columns}",
            _median(_market(rows, jobs, columns), _times_slower),
            limit,
            at_least=True,
        )
        for jobs, columns, limit in ((10_000, 16, 20.0), (100_000, 4, 100.0))
    ]
    small = [(_median(several, _times_slower), case) for case, several in rows if case.jobs <= 1000]
    ratios = [
        (ratio, f"{case.size} {case.family} alpha {case.fairness:g}") for ratio, case in small if ratio is not None
    ]
    least, where = min(ratios, default=(None, ""))
    return [*found, Goal("least times faster up to 1,000 jobs", least, 1.0, at_least=True, remark=where)]


def _grouped(rows: list[Row]) -> list[Goal]:
    grouped = [(case, several) for case, several in rows if case.ungrouped]
    return [
        goal
        for case, several in grouped
        for goal in (
            Goal(
                f"{case.size} of {case.family}: grouped / ungrouped, grouping included",
                _median(several, lambda one: one.seconds / one.grouping.ungrouped_seconds if one.grouping else None),
                0.1,
            ),
            Goal(
                f"{case.size} of {case.family}: ms after grouping",
                _median(several, lambda one: 1000 * one.grouping.after_seconds if one.grouping else None),
                50.0,
                remark=_in_words(
                    _median(several, lambda one: 1000 * one.grouping.merging_seconds if one.grouping else None),
                    "grouping {:.3g} ms",
                ),
            ),
        )
    ]


def _warm(rows: list[Row]) -> list[Goal]:
    """Where prices were discovered, from 500 jobs up, nothing merged."""
    found = [
        (one.warm.seconds / one.seconds, one.warm.passes)
        for _, several in rows
        for one in several
        if one.solver == "price" and not one.merged
    ]
    if not found:
        return [Goal("warm / cold seconds, mean", None, 0.2), Goal("warm passes, mean", None, 3.0)]
    ratios, passes = zip(*found, strict=True)
    of = f"of {len(found)}"
    return [
        Goal(
            "warm / cold seconds, mean",
            statistics.fmean(ratios),
            0.2,
            remark=f"{min(ratios):.2g} to {max(ratios):.2g}, median {statistics.median(ratios):.2g} {of}",
        ),
        Goal(
            "warm passes, mean",
            statistics.fmean(passes),
            3.0,
            remark=f"{min(passes)} to {max(passes)}, median {statistics.median(passes):g} {of}",
        ),
    ]


def _memory(rows: list[Row]) -> list[Goal]:
    found = [
        (one.memory, f"{case.size} {case.family}")
        for case, several in rows
        for one in several
        if one.memory is not None
    ]
    worst = max(found, key=lambda pair: pair[0].solve_factor, default=None)
    remark = "" if worst is None else f"{worst[1]}; with the problem itself {worst[0].peak_factor:.3g}"
    factor = None if worst is None else worst[0].solve_factor
    return [Goal("memory that a solve adds, in input arrays, worst", factor, 4.0, remark=remark)]


def _market(rows: list[Row], jobs: int, columns: int) -> list[Measurement]:
    wanted = Case("", jobs, columns)
    return [
        one
        for case, several in rows
        if (case.jobs, case.columns, case.family, case.fairness) == (jobs, columns, wanted.family, wanted.fairness)
        for one in several
    ]


def _median(several: Iterable[Measurement], figure: Callable[[Measurement], float | None]) -> float | None:
    found = [value for value in map(figure, several) if value is not None]
    return statistics.median(found) if found else None


def _times_slower(one: Measurement) -> float | None:
    return None if one.clarabel is None else one.clarabel.times_slower


def _in_words(value: float | None, words: str) -> str:
    return "" if value is None else words.format(value)
