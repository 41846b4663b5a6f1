"""Objectives by name: what a round makes as large as possible.

| name | fairness (alpha) | utility of a job | the optimum |
|---|---|---|---|
| proportional | 1 | normalised throughput | weighted Nash welfare: Pareto efficient, nobody below an equal split |
| throughput | 0 | normalised throughput | as much work as possible, whoever does it |
| min-delay | 2 | normalised throughput | least sum of weighted times to finish a unit of work |
| max-min | inf | normalised throughput | the worst off as well off as can be, then the next |
| drf | inf | dominant share | the largest part of any resource that each job holds, equal by weight |

Any other alpha >= 0 is given as a number. (Mo and Walrand, 2000; Ghodsi et al., Dominant Resource Fairness, NSDI 2011.)
"""

from __future__ import annotations

import difflib
import math

NORMALISED_THROUGHPUT, DOMINANT_SHARE = UTILITIES = ("throughput", "dominant-share")

OBJECTIVES: dict[str, tuple[float, str]] = {
    "proportional": (1.0, NORMALISED_THROUGHPUT),
    "throughput": (0.0, NORMALISED_THROUGHPUT),
    "min-delay": (2.0, NORMALISED_THROUGHPUT),
    "max-min": (math.inf, NORMALISED_THROUGHPUT),
    "drf": (math.inf, DOMINANT_SHARE),
}
"""(fairness, utility) by name."""


def objective_of(text: str) -> tuple[float, str]:
    """(fairness, utility) of a name or of an alpha. ValueError says what would be right."""
    known = OBJECTIVES.get(text)
    if known is not None:
        return known
    try:
        alpha = float(text)
    except ValueError:
        near = difflib.get_close_matches(text, OBJECTIVES, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        names = ", ".join(OBJECTIVES)
        raise ValueError(f"must be one of {names}, or an alpha such as 0.5; got {text!r}{meant}") from None
    if not alpha >= 0:
        raise ValueError(f"must be a number, at least 0, or inf; got {text}")
    return alpha, NORMALISED_THROUGHPUT


def objective_name(fairness: float, utility: str) -> str:
    """The name, or the alpha where it has none."""
    for name, objective in OBJECTIVES.items():
        if objective == (fairness, utility):
            return name
    return f"alpha {fairness:g}" + ("" if utility == NORMALISED_THROUGHPUT else f" of {utility}")
