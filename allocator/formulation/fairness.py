"""The family of concave functions that says how much more a unit of utility is worth to whoever has less.

    phi_alpha(u) = u^(1-alpha) / (1-alpha),   log u at alpha = 1,   slope u^-alpha

alpha = 0 is plain sum, 1 proportional fairness, 2 minimum delay; alpha = inf (max-min) has no such function.
(Mo and Walrand, Fair end-to-end window-based congestion control, IEEE/ACM Trans. Networking 8(5), 2000.)
"""

from __future__ import annotations

import numpy as np

from allocator.formulation.problem import Floats


def phi(utility: Floats, alpha: float) -> Floats:
    """phi_alpha of every element (>= 0); -inf at 0 for alpha >= 1, and where the power overflows. `alpha` finite."""
    with np.errstate(divide="ignore", over="ignore"):
        if alpha == 1:
            return np.log(utility)
        return np.power(utility, 1 - alpha) / (1 - alpha)


def slope(utility: Floats, alpha: float) -> Floats:
    """phi_alpha' of every element; inf at 0 unless alpha = 0."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.power(utility, -alpha)


def utility_at_slope(ratio: Floats, alpha: float) -> Floats:
    """The utility at which phi_alpha' equals 1 / `ratio`: where a job of weight w stops buying at unit cost w / ratio.

    At alpha = 0 it buys everything (inf) when ratio > 1, nothing otherwise.
    """
    if alpha == 0:
        return np.where(ratio > 1, np.inf, 0.0)
    with np.errstate(over="ignore"):
        return np.power(ratio, 1 / alpha)
