"""Which problems the solver's table holds, in order; few enough for about six minutes on two cores."""

from __future__ import annotations

import math
from dataclasses import dataclass

from allocator.solvers.chain import DEFAULT_ITERATIONS

EXACT_JOBS = 20_000
"""Up to so many jobs a gap of 1e-6 is asked for, beyond it 1e-4."""
ON_DEMAND = "wide"
"""The section that is left out unless it is named."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table; `clarabel` and `highs` are on how many of the seeds that peer runs too."""

    section: str
    jobs: int
    columns: int
    family: str = "market"
    fairness: float = 1.0
    clarabel: int = 0
    highs: int = 0
    most_seeds: int = 99
    memory: bool = False
    ungrouped: bool = False
    """Also without merging identical jobs."""

    @property
    def wished(self) -> float:
        return 1e-6 if self.jobs <= EXACT_JOBS else 1e-4

    @property
    def iterations(self) -> int:
        return DEFAULT_ITERATIONS

    @property
    def size(self) -> str:
        return f"{self.jobs:,} x {self.columns}"


_ALL = 99
_OURS = ("vector demands", "gangs, 5 shapes", "gangs, 500 shapes")
_DEGENERATE = ("near rank one", "rank one", "identical", "1 type", "20 types", "500 types")
_ALPHAS = (0.0, 0.5, 1.0, 2.0, math.inf)


def cases() -> list[Case]:
    """All of them; with more than 10,000 jobs x 16 columns, or 100,000 x 4, Clarabel takes minutes and is left out."""
    return [*_small(), *_fairness(), *_large(), *_degenerate(), *_ours(), *_grouped(), *_wide()]


def _small() -> list[Case]:
    sizes = ((1, 4), (10, 4), (100, 4), (1000, 4), (1000, 1), (1000, 16))
    found = [Case("small", jobs, columns, clarabel=_ALL) for jobs, columns in sizes]
    return [*found, *(Case("small", 300, 8, family, clarabel=_ALL) for family in ("identical", "gangs, 500 shapes"))]


def _fairness() -> list[Case]:
    found = [
        Case("alpha", jobs, 4, fairness=alpha, clarabel=_ALL if jobs == 1000 else 1, highs=1 if alpha == 0 else 0)
        for jobs in (1000, 10_000)
        for alpha in _ALPHAS
        if alpha != 1 and (math.isfinite(alpha) or jobs == 1000)
    ]
    return [*found, Case("alpha", 10_000, 4, fairness=math.inf)]


def _large() -> list[Case]:
    return [
        Case("size", 10_000, 4, clarabel=_ALL),
        Case("size", 10_000, 16, clarabel=_ALL),
        Case("size", 1000, 64, most_seeds=1, clarabel=1),
        Case("size", 10_000, 64, most_seeds=1),
        Case("size", 100_000, 1),
        Case("size", 100_000, 4, clarabel=1, memory=True),
        Case("size", 100_000, 4, fairness=0.0),
        Case("size", 100_000, 4, fairness=0.5),
        Case("size", 100_000, 4, fairness=2.0),
        Case("size", 100_000, 4, fairness=math.inf, most_seeds=1),
        Case("size", 100_000, 16, memory=True),
        Case("size", 1_000_000, 1, most_seeds=1),
        Case("size", 1_000_000, 4, memory=True),
        Case("size", 1_000_000, 4, fairness=0.0, most_seeds=1),
        Case("size", 1_000_000, 4, fairness=math.inf, most_seeds=1),
        Case("size", 1_000_000, 4, fairness=2.0, most_seeds=1),
        Case("size", 1_000_000, 16, memory=True),
    ]


def _degenerate() -> list[Case]:
    small = [Case("degenerate", 10_000, 4, family, clarabel=1) for family in _DEGENERATE]
    wide = [Case("degenerate", 100_000, 16, family) for family in _DEGENERATE if "type" not in family]
    plain = [Case("degenerate", 10_000, 4, family, 0.0) for family in ("near rank one", "identical", "20 types")]
    return [*small, *plain, *wide, Case("degenerate", 1_000_000, 4, "near rank one", most_seeds=1)]


def _ours() -> list[Case]:
    small = [Case("ours", 10_000, 8, family, alpha, clarabel=int(alpha == 1 and family != "vector demands"))
             for family in _OURS for alpha in (0.5, 1.0, 2.0)]  # fmt: skip
    large = [Case("ours", 100_000, 8, family, memory=family == "gangs, 500 shapes") for family in _OURS]
    return [*small, Case("ours", 10_000, 8, "gangs, 500 shapes", 0.0), *large]


def _wide() -> list[Case]:
    """Takes longer than all else together."""
    return [Case(ON_DEMAND, jobs, 64, most_seeds=1) for jobs in (100_000, 1_000_000)]


def _grouped() -> list[Case]:
    return [
        Case("grouped", 1_000_000, 4, "500 types", ungrouped=True),
        Case("grouped", 1_000_000, 4, "500 shapes, alike", ungrouped=True, memory=True),
    ]
