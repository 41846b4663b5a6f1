"""A first guess of prices: what makes every column of every row cost as much as it gives, by least squares.

Where rows choose between columns, prices at the optimum make the columns that are chosen about equally good; a fit
over all of them knows how the price of one capacity compares with that of another, over any orders of magnitude, and
nothing of how scarce they are. (Hedonic prices: Rosen, Hedonic prices and implicit markets, J. Political Economy 82(1),
1974.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from allocator.formulation.problem import Floats
from allocator.solvers.box import box_minimum

if TYPE_CHECKING:
    from allocator.solvers.price_layout import Layout

Array = NDArray[Any]
_LEAST_PART = 0.03
"""Part of the price that a capacity would have if it were all that a column needs, given where the fit says 0."""


def typical_prices(layout: Layout) -> Floats:
    """(m,) prices above 0, as parts of all money."""
    m = layout.scarce.size
    normal, right = np.zeros((m, m)), np.zeros(m)
    tables: tuple[Any, ...] = (layout.tiles, layout.columns, layout.entries, layout.entry_count)
    arguments: tuple[Any, ...] = (*tables, layout.amount, layout.gain, layout.omega, normal, right)
    _add_normal_equations(*arguments)
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
    fit = scale * box_minimum(normal * scale[:, None] * scale, -right * scale, np.zeros(m), np.full(m, 1e12))
    alone = right * scale * scale
    prices: Floats = np.maximum(fit / max(fit.sum(), 1e-300), _LEAST_PART * alone / max(alone.sum(), 1e-300))
    return prices


@njit(cache=True, nogil=True, error_model="numpy")
def _add_normal_equations(
    tiles: Array, columns: Array, entries: Array, entry_count: Array, amount: Array, gain: Array, omega: Array,
    normal: Array, right: Array,
) -> None:  # fmt: skip
    """Those of cost = gain for every column, each row weighing omega / (its largest gain)^2."""
    for index in range(tiles.shape[0]):
        pattern = tiles[index, 0]
        listed, count = entries[pattern], entry_count[pattern]
        for i in range(tiles[index, 1], tiles[index, 2]):
            most = 0.0
            for k in range(gain.shape[0]):
                most = max(most, gain[k, i])
            weight = omega[i] / (most * most)
            for e in range(count):
                use = weight * amount[listed[e, 2], i]
                right[listed[e, 1]] += use * gain[columns[pattern, listed[e, 0]], i]
                for f in range(count):
                    if listed[f, 0] == listed[e, 0]:
                        normal[listed[e, 1], listed[f, 1]] += use * amount[listed[f, 2], i]
