"""One workload's part of a report: its verdict, and which plots show what of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulations.report.gantt import gantt
from simulations.report.over_time import Shown, fairness, fragments, prices, utilization
from simulations.report.plots import Plot
from simulations.report.results import Result
from simulations.report.spreads import delays, lateness, slowdowns, tradeoff
from simulations.report.variants import Comparison, Variant, comparisons
from simulations.report.verdict import Verdict, verdict

DRAWN = 12
"""Most variants in plots; tables hold all."""
SHOWN = 8
"""Most that are switched on at first."""


@dataclass(frozen=True, slots=True)
class Section:
    """`drawn`: numbers of the variants in the plots; `shown`: those of them that are switched on at first."""

    comparison: Comparison
    verdict: Verdict
    plots: tuple[Plot, ...]
    drawn: tuple[int, ...]
    shown: tuple[int, ...]


def sections(results: Sequence[Result]) -> tuple[Section, ...]:
    """One per workload. Raises InvalidInput for what cannot be compared."""
    return tuple(_section(comparison) for comparison in comparisons(results))


def _section(comparison: Comparison) -> Section:
    found = verdict(comparison)
    chosen = _chosen(comparison, found)
    drawn = tuple(sorted(chosen[:DRAWN]))
    seed = next(iter(comparison.variants[0].by_seed))
    shown = [
        Shown(number, variant.name, variant.by_seed.get(seed, variant.first))
        for number in drawn
        for variant in (comparison.variants[number],)
    ]
    together = [(number, comparison.variants[number]) for number in drawn]
    plots = (
        tradeoff(together, found.front, found.time),
        delays(together),
        slowdowns(together),
        lateness(together),
        utilization(shown),
        fairness(shown),
        fragments(shown),
        prices(shown),
        gantt(shown),
    )
    return Section(
        comparison, found, tuple(plot for plot in plots if plot is not None), drawn, tuple(sorted(chosen[:SHOWN]))
    )


def _chosen(comparison: Comparison, found: Verdict) -> list[int]:
    """Numbers of the variants, those that matter most first: the first, the front, who wins anything, the rest."""
    ranked: list[Variant] = [comparison.variants[0], *(found.front or ()), *(win.best for win in found.wins)]
    ranked += comparison.variants
    number = {id(variant): index for index, variant in enumerate(comparison.variants)}
    return list(dict.fromkeys(number[id(variant)] for variant in ranked))
