"""What work comes, as far as the live jobs tell: for each kind of replica how many there are, and what one would pay.

Whoever could run in several ways counts for each of them. What a replica would pay is its demand at the prices of the
last solution; on a flavor where nothing has a price, GPUs are counted instead, and cores where there are no GPUs.
Values are compared within a flavor only, so each flavor has its own unit.

Placement computes tables from this that cost more than a round may, so it goes on as the very same object until it
differs by more than a tenth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from allocator.domain.resources import Resources, display_unit
from allocator.domain.snapshot import WorkKind
from allocator.formulation.live import Live
from allocator.formulation.problem import Integers

TOLERANCE = 0.1
"""Part of the whole that may have changed."""
NEGLECTED = 0.01
"""Part of the whole that the rarest and cheapest kinds make up, which are left out."""
MOST_KINDS = 256
"""More are left out, too."""
LARGEST_VALUE = 10**6
"""Value of the dearest kind on each flavor."""
MOST_POPULARITY = 2**30
"""In all: sums of products with amounts of GPUs are integers of 64 bits."""

_Kinds = dict[tuple[str, Resources], tuple[int, int]]
"""Flavor and demand of one replica to popularity and value."""


def coming_work(
    live: Live, prices: Mapping[tuple[str, str], float], before: tuple[WorkKind, ...]
) -> tuple[WorkKind, ...]:
    """What comes now, by flavor and size; `before` itself where that is about right still. `prices` by (flavor,
    resource), per display unit.
    """
    return work_of(_popularity(live), prices, before)


def work_of(
    popularity: Mapping[tuple[str, Resources], int],
    prices: Mapping[tuple[str, str], float],
    before: tuple[WorkKind, ...],
) -> tuple[WorkKind, ...]:
    """The same, told how many replicas of each (flavor, demand) live jobs could run as."""
    found = _valued(popularity, prices)
    return found if found and differs(before, found) else before


def differs(before: tuple[WorkKind, ...], after: tuple[WorkKind, ...]) -> bool:
    """Whether the distributions of popularity times value are more than TOLERANCE apart, in total variation."""
    old, new = _parts(before), _parts(after)
    apart = sum(
        abs(old.get(kind, 0.0) - new.get(kind, 0.0)) for kind in [*old, *(kind for kind in new if kind not in old)]
    )
    return apart / 2 > TOLERANCE


def _parts(work: tuple[WorkKind, ...]) -> dict[tuple[str, Resources], float]:
    """What part of the whole each kind is."""
    whole = sum(kind.popularity * kind.value for kind in work)
    return {(kind.flavor, kind.demand): kind.popularity * kind.value / whole for kind in work}


def _popularity(live: Live) -> dict[tuple[str, Resources], int]:
    """Replicas of live jobs that could run as each kind of replica."""
    jobs_of_shape = np.bincount(live.shape, minlength=len(live.shapes.kind))
    able = (live.shapes.throughput > 0) & live.fits[live.shapes.kind] if len(live.fits) else live.shapes.throughput > 0
    row, column = np.nonzero(able)
    jobs: Integers = np.bincount(
        live.shapes.kind[row, column], weights=jobs_of_shape[row], minlength=len(live.kinds)
    ).astype(np.int64)
    found: dict[tuple[str, Resources], int] = defaultdict(int)
    for number in np.flatnonzero(jobs).tolist():
        kind = live.kinds[number]
        found[kind.flavor, kind.demand] += int(jobs[number]) * kind.replicas
    return found


def _valued(
    popularity: Mapping[tuple[str, Resources], int], prices: Mapping[tuple[str, str], float]
) -> tuple[WorkKind, ...]:
    """The kinds that matter, with what they are worth, in a fixed order."""
    paid = {kind: _pays(*kind, prices) for kind in popularity}
    for count in (_gpus, _cores):  # where nobody pays for anything
        poor = {flavor for flavor, _ in popularity} - {flavor for (flavor, _), value in paid.items() if value > 0}
        paid |= {(flavor, demand): count(demand) for flavor, demand in popularity if flavor in poor}
    dearest: dict[str, float] = defaultdict(float)
    for (flavor, _), value in paid.items():
        dearest[flavor] = max(dearest[flavor], value)
    scaled = {
        kind: max(1, round(LARGEST_VALUE * value / dearest[kind[0]])) for kind, value in paid.items() if value > 0
    }
    everybody = sum(popularity[kind] for kind in scaled)
    often = {kind: max(1, popularity[kind] * MOST_POPULARITY // max(everybody, MOST_POPULARITY)) for kind in scaled}
    order = sorted(scaled, key=lambda kind: (-often[kind] * scaled[kind], kind[0], tuple(kind[1].items())))
    whole = sum(often[kind] * scaled[kind] for kind in order)
    kept, covered = [], 0
    for kind in order[:MOST_KINDS]:
        if covered >= (1.0 - NEGLECTED) * whole:
            break
        covered += often[kind] * scaled[kind]
        kept.append(WorkKind(*kind, often[kind], scaled[kind]))
    return tuple(sorted(kept, key=lambda kind: (kind.flavor, tuple(kind.demand.items()))))


def _pays(flavor: str, demand: Resources, prices: Mapping[tuple[str, str], float]) -> float:
    return sum(
        max(0.0, prices.get((flavor, resource), 0.0)) * amount / display_unit(resource)[1]
        for resource, amount in demand.items()
    )


def _gpus(demand: Resources) -> float:
    return float(demand.gpu_millis)


def _cores(demand: Resources) -> float:
    return float(demand.cpu_millicores)
