"""What it costs a job to be started again, as it really turns out: known, or drawn from what was measured.

The scheduler is told one number, the job's `restart_cost_seconds`. With a measured distribution that is its mean, and
each start of each job costs what is drawn for it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allocator.domain.bounds import MOST_SECONDS
from allocator.domain.errors import InvalidInput
from simulations.draws import uniform

MEASURED = "measured:"
_STREAM = 1
"""Tells these draws from others of the same seed."""


@dataclass(frozen=True, slots=True)
class MeasuredCosts:
    """A distribution by its quantiles, the first the smallest and the last the largest value, evenly apart; between
    them it is linear.
    """

    quantiles: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        found = self.quantiles
        if len(found) < 2:
            raise InvalidInput.of("restart-cost", f"needs two percentiles at least, got {len(found)}")
        if not all(math.isfinite(value) and 0 <= value <= MOST_SECONDS for value in found):
            raise InvalidInput.of("restart-cost", f"percentiles must be seconds from 0 to {MOST_SECONDS:g}")
        if any(after < before for before, after in itertools.pairwise(found)):
            raise InvalidInput.of("restart-cost", "percentiles must not fall")

    @property
    def mean(self) -> float:
        """Of the linear distribution between the quantiles, in seconds."""
        inner = math.fsum(self.quantiles[1:-1])
        return (inner + (self.quantiles[0] + self.quantiles[-1]) / 2) / (len(self.quantiles) - 1)

    def told(self) -> dict[str, Any]:
        """For the summary."""
        return {"source": self.source, "mean_s": self.mean, "max_s": self.quantiles[-1]}

    def drawn(self, seed: int, sequence: int, start: int) -> float:
        """Seconds that a job's start number `start` costs; the job is known by its number of admission."""
        return _between(self.quantiles, uniform(seed, _STREAM, sequence, start))


def _between(values: Sequence[float], part: float) -> float:
    place = part * (len(values) - 1)
    below = min(int(place), len(values) - 2)
    return values[below] + (place - below) * (values[below + 1] - values[below])


def read_costs(text: str) -> float | MeasuredCosts:
    """From what the option says: seconds, or `measured:FILE`, a JSON object whose `percentiles` are seconds.

    Raises InvalidInput with what is wrong.
    """
    if not text.startswith(MEASURED):
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds <= MOST_SECONDS:
            raise InvalidInput.of(
                "restart-cost", f"must be seconds from 0 to {MOST_SECONDS:g}, or {MEASURED}FILE; got {text!r}"
            )
        return seconds
    path = Path(text.removeprefix(MEASURED))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput.of("restart-cost", f"{path} cannot be read as JSON: {error}") from None
    values = found.get("percentiles") if isinstance(found, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise InvalidInput.of("restart-cost", f"{path} must hold an object with a list of numbers, `percentiles`")
    return MeasuredCosts(tuple(float(value) for value in values), path.name)
