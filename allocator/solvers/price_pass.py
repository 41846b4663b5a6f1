"""One pass over all rows of a layout at given prices, chunk by chunk on threads, and what it adds up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from allocator.formulation.chunks import Run, added_up
from allocator.formulation.problem import Floats
from allocator.solvers.price_guess import typical_prices
from allocator.solvers.price_layout import Layout
from allocator.solvers.price_sums import (
    BEND,
    BILL,
    EXACT,
    PLACES,
    THIN,
    TILE,
    UNITS,
    VALUE,
    WEIGHT,
    WIDE,
    respond,
)

BIDDERS = 16_384
"""Rows up to which bids are looked for: with more, prices come from a sample and are near."""
_NONE = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a pass at `prices` (m,) and a window of `width` adds up, in the layout's money.

    `dual`, `slope` (m,) and `curvature` (m, m) are those of the smoothed dual function.
    """

    prices: Floats
    width: float
    unit: Floats
    """(n,) utility of each row in which its smoothing is measured."""
    value: float
    """Of the answers, as if there were capacity for them."""
    dual: float
    slope: Floats
    curvature: Floats
    loss: float
    """What the rows lose by smoothing, together."""
    gap: float
    """Estimate of what a certificate will say."""
    bids: Floats
    """(m,) the highest price of each coupling row, all others as they are, at which somebody begins to use it; 0 where
    nobody asked.
    """
    scale: float
    """What everybody would pay if all were spent: about 1, unless utilities are far from those of an equal split."""
    near: Floats
    """(L,) prices of local limits, if there are any."""
    tangent: Floats
    """(L, m) how those change with `prices`."""


class Passes:
    """Passes over one layout; `count` of them so far. What they need is allocated once.

    Every pass leaves the rows' answers in `shares` (n, K), if there is one; `answered` is the last evaluation.
    """

    def __init__(self, layout: Layout, run: Run, shares: Floats | None = None) -> None:
        self.layout = layout
        self.count = 0
        self.answered: Evaluation | None = None
        self._shares = np.empty((0, 0)) if shares is None else shares
        self._run = run
        m, self._chunks = layout.scarce.size, layout.chunks.size - 1
        self._unit_value = 0.0
        self._typical: Floats | None = None
        self._wide = np.empty((self._chunks, WIDE, layout.gain.shape[0], TILE))
        self._thin = np.empty((self._chunks, THIN, TILE))
        self._bits = np.empty((self._chunks, TILE), dtype=np.int64)
        self._schur = np.empty((self._chunks, m, m))
        self._vectors = np.empty((self._chunks, 2, m))
        self._totals = np.empty((self._chunks, PLACES))
        self._bids = np.empty((self._chunks, m if layout.size <= BIDDERS else 0))

    def evaluate(self, prices: Floats, width: float, after: Evaluation | None = None) -> Evaluation:
        """One pass, in the units of `after`. Without, smoothing is measured anew, in the utilities that rows have at
        these prices.
        """
        fresh = after is None
        measure = np.empty(self.layout.size) if after is None else after.unit
        self._clear()

        def task(chunk: int) -> None:
            into = (
                self._bits[chunk],
                self._schur[chunk],
                *self._vectors[chunk],
                self._totals[chunk],
                self._bids[chunk],
            )
            arguments: tuple[Any, ...] = (fresh, width, prices, *self._tables(chunk, measure), *into, self._shares)
            respond(*arguments)

        self._run(task, self._chunks)
        return self._evaluation(prices, width, measure, added_up(self._totals), fresh=fresh)

    def _clear(self) -> None:
        self._schur[:], self._vectors[:], self._totals[:] = 0.0, 0.0, 0.0
        self._bids[:] = 0.0

    def _evaluation(
        self, prices: Floats, width: float, unit: Floats, totals: Floats, *, fresh: bool,
        near: Floats = _NONE, tangent: Floats = _NONE, cut: float = 0.0,
    ) -> Evaluation:  # fmt: skip
        """What the chunks came to; `cut` is what cutting overuse of local limits costs."""
        self.count += 1
        use, through = added_up(self._vectors)
        if fresh:
            self._unit_value = float(totals[UNITS])
        value = totals[VALUE] + self._unit_value
        money = float(prices.sum() + near.sum())
        over = 1 - 1 / np.maximum(use, 1.0)
        over *= 1 + 0.5 * self.layout.alpha * over  # what cutting that much of a row's utility costs, to second order
        self.answered = Evaluation(
            prices=prices,
            width=width,
            unit=unit,
            value=float(value),
            dual=float(money + value - totals[BILL] - totals[BEND]),
            slope=1 - use,
            curvature=added_up(self._schur),
            loss=float(totals[EXACT] - value + totals[BILL]),
            gap=float(money + totals[EXACT] - value + (over * through).sum() + cut),
            bids=self._bids.max(axis=0) if self._bids.size else np.zeros(prices.size),
            scale=float(totals[WEIGHT]),
            near=near,
            tangent=tangent,
        )
        return self.answered

    @property
    def typical(self) -> Floats:
        """(m,) prices of about the right size."""
        if self._typical is None:
            self._typical = typical_prices(self.layout)
        return self._typical

    def answer(self, found: Evaluation) -> Evaluation:
        """See to it that `shares` are those of `found`, and return what they belong to."""
        return found if found is self.answered else self.evaluate(found.prices, found.width, found)

    def _tables(self, chunk: int, unit: Floats) -> tuple[Any, ...]:
        layout = self.layout
        tiles = layout.tiles[layout.chunks[chunk] : layout.chunks[chunk + 1]]
        return (
            layout.alpha, tiles, layout.columns, layout.column_count, layout.entries, layout.entry_count,
            layout.amount, layout.gain, layout.omega, layout.order, unit, self._wide[chunk], self._thin[chunk],
        )  # fmt: skip
