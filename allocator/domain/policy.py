"""What the operator wants of a round."""

from __future__ import annotations

import math
from dataclasses import dataclass

from allocator.domain.errors import Violation
from allocator.domain.objectives import NORMALISED_THROUGHPUT, UTILITIES
from allocator.domain.side_constraint import MOST_SIDE_CONSTRAINTS, SideConstraint

PROSPECTS, BEST_FIT, FRAGMENTATION = PLACEMENTS = ("prospects", "best-fit", "fragmentation")
"""Ways to choose among nodes: by what they are worth to all that will come, by what is left of them, or by how much the
next job could not use."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`fairness` is alpha: 0 plain throughput, 1 proportional (default), 2 minimum delay, inf max-min; any value >= 0.
    `utility`, one of UTILITIES, is what it is applied to; `domain.objectives` has names for both together.

    A running job is stopped for another one's share only after `minimum_run_seconds`, and only if the other is owed at
    least `hysteresis_seconds` (or the runner's restart cost, if that is longer) more than it. The older a job, the more
    patient: what it is owed, or received in advance, counts relative to `lag_tolerance` of the time since it was
    submitted, where that is more than the hysteresis (at most half of the credit limit; nothing without hysteresis).
    `horizon_seconds` is how long a placement is expected to last: it turns a restart cost into a fraction of
    throughput. Credits are kept within +-`credit_limit_seconds`. `gap` is what the solver aims for, `iterations` its
    budget. `placement` says which of the nodes that fit is taken: one of PLACEMENTS. `side_constraints`
    are never broken. `floating_resources` belong to no node: jobs ask for them as extras, and only side constraints
    bound them.
    """

    fairness: float = 1.0
    minimum_run_seconds: float = 300.0
    hysteresis_seconds: float = 300.0
    lag_tolerance: float = 0.01
    horizon_seconds: float = 3600.0
    credit_limit_seconds: float = 7200.0
    gap: float = 1e-4
    iterations: int = 400
    placement: str = PROSPECTS
    utility: str = NORMALISED_THROUGHPUT
    side_constraints: tuple[SideConstraint, ...] = ()
    floating_resources: tuple[str, ...] = ()

    def violations(self) -> tuple[Violation, ...]:
        found = []
        if not self.fairness >= 0:
            found.append(Violation("fairness", f"must be a number, at least 0, or inf; got {self.fairness}"))
        for field in ("minimum_run_seconds", "hysteresis_seconds"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value >= 0):
                found.append(Violation(field, f"must be a finite number, at least 0; got {value}"))
        if not 0 <= self.lag_tolerance < 1:
            found.append(
                Violation(
                    "lag_tolerance", f"must be a part of a job's age, at least 0 and below 1; got {self.lag_tolerance}"
                )
            )
        for field in ("horizon_seconds", "credit_limit_seconds"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                found.append(Violation(field, f"must be a finite number above 0; got {value}"))
        if self.hysteresis_seconds > self.credit_limit_seconds:
            found.append(
                Violation(
                    "hysteresis_seconds",
                    f"must be at most credit_limit_seconds ({self.credit_limit_seconds}), or nobody is ever owed "
                    f"enough; got {self.hysteresis_seconds}",
                )
            )
        if not 0 < self.gap < 1:
            found.append(Violation("gap", f"must be between 0 and 1, got {self.gap}"))
        if self.iterations < 1:
            found.append(Violation("iterations", f"must be at least 1, got {self.iterations}"))
        if self.placement not in PLACEMENTS:
            found.append(Violation("placement", f"must be one of {', '.join(PLACEMENTS)}; got {self.placement!r}"))
        if self.utility not in UTILITIES:
            found.append(Violation("utility", f"must be one of {', '.join(UTILITIES)}; got {self.utility!r}"))
        return (*found, *self._constraint_violations())

    def _constraint_violations(self) -> list[Violation]:
        found, seen = [], set()
        if len(self.side_constraints) > MOST_SIDE_CONSTRAINTS:
            count = len(self.side_constraints)
            found.append(Violation("side_constraints", f"must be at most {MOST_SIDE_CONSTRAINTS}, got {count}"))
        for index, constraint in enumerate(self.side_constraints):
            where = f"side_constraints[{index}]"
            found += [violation.under(where) for violation in constraint.violations()]
            if constraint.name in seen:
                found.append(Violation(where, f"{constraint.name!r} was given before: each name once"))
            seen.add(constraint.name)
        return found
