"""What the world of a replay is like beside the workload and its outages: everything is ideal unless said otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from allocator.domain.errors import InvalidInput, Violation
from simulations.restarts import MeasuredCosts


@dataclass(frozen=True, slots=True)
class Conditions:
    """Ordinary inputs; what is drawn for them is drawn with the replay's seed."""

    restart_costs: MeasuredCosts | None = None
    """What restarts really cost; None: what each job says."""
    interference: float = 0.0
    """A gang runs at 1 / (1 + interference x others) of its speed, where others are the jobs beside it on that of its
    nodes where most are.
    """
    thinking_seconds: float = 0.0
    """Virtual time from a round's look at the facts to its commit; the world goes on meanwhile."""
    thinking_seconds_per_job: float = 0.0
    """The same, for each live job."""
    push_delay_seconds: float = 0.0
    """From a commit until nodes know of it."""
    push_loss: float = 0.0
    """Part of the messages to nodes that do not arrive. A node notices, and asks for its newest state."""
    push_repair_seconds: float = 60.0
    """How long that takes."""

    @property
    def thinks(self) -> bool:
        return self.thinking_seconds > 0 or self.thinking_seconds_per_job > 0

    @property
    def pushes_late(self) -> bool:
        """Whether nodes may know something else than what was committed."""
        return self.push_delay_seconds > 0 or self.push_loss > 0

    def require_valid(self) -> None:
        """Raise InvalidInput with everything that is wrong."""
        found = list(self._violations())
        if found:
            raise InvalidInput(*found)

    def _violations(self) -> Iterator[Violation]:
        for name, value in (
            ("interference", self.interference),
            ("thinking-time", self.thinking_seconds),
            ("thinking-time-per-job", self.thinking_seconds_per_job),
            ("push-delay", self.push_delay_seconds),
            ("push-repair", self.push_repair_seconds),
        ):
            if not (math.isfinite(value) and value >= 0):
                yield Violation(name, f"must be a finite number, at least 0; got {value}")
        if not 0 <= self.push_loss < 1:
            yield Violation("push-loss", f"must be a part from 0 to below 1, got {self.push_loss}")

    def told(self) -> dict[str, Any]:
        """For the summary."""
        costs = self.restart_costs
        return {
            "restart_costs": None if costs is None else costs.told(),
            "interference": self.interference,
            "thinking_s": self.thinking_seconds,
            "thinking_s_per_job": self.thinking_seconds_per_job,
            "push_delay_s": self.push_delay_seconds,
            "push_loss": self.push_loss,
            "push_repair_s": self.push_repair_seconds if self.push_loss else None,
        }


IDEAL = Conditions()
