"""A scenario in another size: more nodes, more jobs, other rates and run times, with everything else as it was.

So that one question (what does a round with so many active jobs cost?) needs options, and no new file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from allocator.domain.errors import InvalidInput, Violation
from simulations.scenario import MOST_AT_START, MOST_NODES, Scenario

MOST_SPREAD = 5.0
"""exp(5) is 150: one job in three would differ that much from its class."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What shall be different; None keeps what the scenario says.

    `nodes` altogether, in the scenario's proportions, at least one of each flavor; quotas keep their part of their
    flavor. `jobs_at_start` are there at time 0,
    `arrivals_per_hour` come for `arrival_hours`. `duration_factor` multiplies all run times. `job_spread` replaces
    `weight_sigma` and `throughput_sigma` of every class: 0 makes the jobs of a class alike.
    """

    nodes: int | None = None
    jobs_at_start: int | None = None
    arrivals_per_hour: float | None = None
    arrival_hours: float | None = None
    duration_factor: float | None = None
    job_spread: float | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """Options that are not None, as they are typed."""
        return tuple(name.replace("_", "-") for name in self.__slots__ if getattr(self, name) is not None)

    def applied_to(self, scenario: Scenario) -> Scenario:
        """The scenario in this size. Raises InvalidInput that names every option which cannot be."""
        found = self._violations(len(scenario.flavors))
        if found:
            raise InvalidInput(*found)
        part, factor = scenario.arrivals, 1.0 if self.duration_factor is None else self.duration_factor
        changed = {"per_hour": self.arrivals_per_hour, "hours": self.arrival_hours, "at_start": self.jobs_at_start}
        sigmas = (
            {} if self.job_spread is None else {"weight_sigma": self.job_spread, "throughput_sigma": self.job_spread}
        )
        counts = [flavor.nodes for flavor in scenario.flavors]
        if self.nodes is not None:
            counts = in_proportion(self.nodes, counts)
        times = {flavor.name: count / flavor.nodes for flavor, count in zip(scenario.flavors, counts, strict=True)}
        return scenario.model_copy(
            update={
                "queues": [
                    queue.model_copy(
                        update={"quotas": [quota.scaled(times.get(quota.flavor, 1.0)) for quota in queue.quotas]}
                    )
                    for queue in scenario.queues
                ],
                "flavors": [
                    flavor.model_copy(update={"nodes": count})
                    for flavor, count in zip(scenario.flavors, counts, strict=True)
                ],
                "classes": [
                    each.model_copy(update={"median_seconds": each.median_seconds * factor, **sigmas})
                    for each in scenario.classes
                ],
                "arrivals": part.model_copy(update={key: value for key, value in changed.items() if value is not None}),
            }
        )

    def _violations(self, flavors: int) -> list[Violation]:
        found = []
        for name, least, most in (("nodes", flavors, MOST_NODES), ("jobs_at_start", 0, MOST_AT_START)):
            count = getattr(self, name)
            if count is not None and not least <= count <= most:
                found.append(_wrong(name, f"must be between {least} and {most}, got {count}"))
        for name in ("arrivals_per_hour", "arrival_hours", "duration_factor"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                found.append(_wrong(name, f"must be a finite number above 0, got {value}"))
        if self.job_spread is not None and not 0 <= self.job_spread <= MOST_SPREAD:
            found.append(_wrong("job_spread", f"must be between 0 and {MOST_SPREAD:g}, got {self.job_spread}"))
        return found


def in_proportion(total: int, parts: list[int]) -> list[int]:
    """`total` split like `parts`, each at least 1; what rounding leaves over goes to the largest remainders.

    Raises ValueError if there are fewer than one for each.
    """
    if total < len(parts):
        raise ValueError(f"total: must be at least {len(parts)}, one for each part; got {total}")
    free, together = total - len(parts), sum(parts)
    counts = [1 + free * part // together for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: (-(free * parts[index] % together), index))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _wrong(name: str, what: str) -> Violation:
    return Violation(name.replace("_", "-"), what)
