"""Snapshot to Problem: the one place where integers become floats.

Amounts become display units (cores, GPUs, GiB, GB/s), so a price is per display unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.domain.policy import Policy
from allocator.domain.reason import PendingReason
from allocator.domain.snapshot import Memory, Snapshot
from allocator.formulation.problem import Floats, Problem


@dataclass(frozen=True, slots=True)
class Formulation:
    """A problem, and the way back from its indices to names.

    Every job of the snapshot is in exactly one of `rows`, `pinned` and `never`.
    """

    problem: Problem
    flavors: tuple[str, ...]
    """Names of the rows of `problem.capacity`."""
    resources: tuple[str, ...]
    """Names of its columns; amounts are in display units (`domain.resources.display_unit`)."""
    groups: tuple[tuple[str, ...], ...]
    """Job ids of each row, in order of sequence."""
    configurations: tuple[tuple[int, ...], ...]
    """Per row and column: index into the `spec.configurations` of its jobs; -1 where the column is padding."""
    pinned: frozenset[str]
    """Running jobs that stay where they are, and whose capacity is not in the problem."""
    never: Mapping[str, PendingReason]
    """Jobs that have no row because no configuration can run, and why."""
    rows: Mapping[str, int]
    """Row of each job in the problem."""

    def warm_prices(self, memory: Memory) -> Floats:
        """(F, R) prices of the last round where the same flavor and resource were priced; NaN elsewhere."""
        unknown = float("nan")
        return np.array(
            [[memory.prices.get((flavor, resource), unknown) for resource in self.resources] for flavor in self.flavors]
        ).reshape(len(self.flavors), len(self.resources))

    def price_map(self, prices: Floats) -> dict[tuple[str, str], float]:
        """`prices` (F, R) by (flavor, resource), per display unit of the resource."""
        return {
            (flavor, resource): float(prices[f, r])
            for f, flavor in enumerate(self.flavors)
            for r, resource in enumerate(self.resources)
        }


def build(snapshot: Snapshot, policy: Policy) -> Formulation:
    """The problem of this round."""
    raise NotImplementedError
