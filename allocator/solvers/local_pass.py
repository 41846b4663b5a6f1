"""Passes over a layout with local limits, whose prices each pass finds anew; otherwise passes like others."""

from __future__ import annotations

from typing import Any

import numpy as np

from allocator.formulation.chunks import Run, added_up
from allocator.formulation.problem import Floats
from allocator.solvers.local_layout import LocalLayout
from allocator.solvers.local_sums import LOCAL_PLACES, OVER, respond_locally
from allocator.solvers.price_guess import typical_prices
from allocator.solvers.price_pass import Evaluation, Passes

_CLOSE = 0.1
"""How well prices of local limits must be found, in squares of the window: what is lost by smoothing is like these."""
_UNKNOWN = 0.01
"""First price of a wide limit, as a part of the money of those who share it."""


class LocalPasses(Passes):
    """`near` (L,) are prices of local limits to begin with, until a pass has found some."""

    def __init__(self, local: LocalLayout, run: Run, near: Floats, gap: float, shares: Floats | None = None) -> None:
        self._local = local
        self._near, self._gap = near, gap
        layout = local.rows
        super().__init__(layout, run, shares)
        self._totals = np.empty((self._chunks, LOCAL_PLACES))
        self._rows = (
            layout.tiles, layout.columns, layout.column_count, layout.entries, layout.entry_count, layout.amount,
            layout.gain, layout.omega, layout.order, local.starts, local.position, local.number, local.listed,
        )  # fmt: skip

    def evaluate(self, prices: Floats, width: float, after: Evaluation | None = None) -> Evaluation:
        """One pass, as `Passes.evaluate` makes it; `gap` and `dual` include local limits at their best prices, which
        are looked for from those of `after`, or else of the last pass.
        """
        fresh, before = after is None, after or self.answered
        measure = np.empty(self.layout.size) if after is None else after.unit
        self._clear()
        if before is None:
            near, tangent, move = self._near.copy(), np.zeros((self._near.size, prices.size)), np.zeros(prices.size)
        else:
            near, tangent, move = before.near.copy(), before.tangent.copy(), prices - before.prices
        local, close = self._local, max(self._gap, _CLOSE * width * width)

        def task(chunk: int) -> None:
            groups = local.groups[local.chunks[chunk] : local.chunks[chunk + 1]]
            scratch = (self._wide[chunk], self._thin[chunk], self._bits[chunk])
            into = (self._schur[chunk], *self._vectors[chunk], self._totals[chunk], self._bids[chunk], self._shares)
            asked: tuple[Any, ...] = (fresh, self.layout.alpha, width, close, prices, move, local.capacities, groups)
            arguments: tuple[Any, ...] = (*asked, self._rows, near, tangent, local.mass, measure, scratch)
            respond_locally(*arguments, *into)

        self._run(task, self._chunks)
        totals = added_up(self._totals)
        cut = float(totals[OVER])
        return self._evaluation(
            prices, width, measure, totals, fresh=fresh, near=near, tangent=tangent, cut=cut
        )  # fmt: skip

    @property
    def typical(self) -> Floats:
        """(m,) prices of about the right size."""
        if self._typical is None:
            self._typical = typical_prices(self.layout)
            self._typical[self._local.capacities :] = _UNKNOWN * self._local.wide_mass
        return self._typical
