"""What the operator wants of a round."""

from __future__ import annotations

import math
from dataclasses import dataclass

from allocator.domain.errors import Violation
from allocator.domain.objectives import NORMALISED_THROUGHPUT, UTILITIES
from allocator.domain.priority_class import BUILT_IN, DEFAULT_CLASS, MOST_CLASSES, PriorityClass
from allocator.domain.resources import FIELD_BY_RESOURCE, is_resource_name
from allocator.domain.side_constraint import MOST_SIDE_CONSTRAINTS, SideConstraint

PROSPECTS, BEST_FIT, FRAGMENTATION = PLACEMENTS = ("prospects", "best-fit", "fragmentation")
"""Ways to choose among nodes: by what they are worth to all that will come, by what is left of them, or by how much the
next job could not use."""
BY_DECLARATION, LEAST_ATTAINED_SERVICE, SHORTEST_REMAINING, FINISH_TIME = WEIGHTINGS = (
    "none",
    "least-attained-service",
    "shortest-remaining",
    "finish-time",
)
"""By what the weights of jobs change as they run: nothing; less for who has run for long; less for who has long to go;
more for who will be late."""
MOST_STRENGTH, MOST_FACTOR = 8.0, 1024.0


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
    bound them. `priority_classes` are all that jobs may be in; jobs that name none are in DEFAULT_CLASS.

    Weights change with time as `formulation.weightings` says. A queue that had less than its weight's part counts more,
    as the power `usage_strength` of how much less: 0, nothing is paid back. What was is forgotten by half in
    `usage_half_life_seconds`. `weighting`, one of WEIGHTINGS, changes those of jobs: a job has its full weight until it
    has run for `service_seconds`, or when it has no longer to go than that. `aging_seconds` since it was submitted
    double a job's weight: inf, never. Each of the three changes a weight at most `weight_factor_limit` times, up or
    down. `crowd_strength` is how much the weights of its jobs count for a queue: 0, it counts by its own weight alone;
    1, every job counts alike, whatever queue it is in.
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
    usage_half_life_seconds: float = 86_400.0
    usage_strength: float = 0.0
    weighting: str = BY_DECLARATION
    service_seconds: float = 3600.0
    aging_seconds: float = math.inf
    weight_factor_limit: float = 8.0
    crowd_strength: float = 0.0
    priority_classes: tuple[PriorityClass, ...] = BUILT_IN

    @property
    def weights_change(self) -> bool:
        """Whether weights change with time alone."""
        return self.usage_strength > 0 or self.weighting != BY_DECLARATION or math.isfinite(self.aging_seconds)

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
        found += self._weight_violations()
        return (*found, *self._constraint_violations(), *self._floating_violations(), *self._class_violations())

    def _weight_violations(self) -> list[Violation]:
        found = []
        for field in ("usage_half_life_seconds", "service_seconds"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                found.append(Violation(field, f"must be a finite number above 0; got {value}"))
        if not 0 <= self.usage_strength <= MOST_STRENGTH:
            found.append(
                Violation("usage_strength", f"must be from 0 (off) to {MOST_STRENGTH:g}; got {self.usage_strength}")
            )
        if not 0 <= self.crowd_strength <= 1:
            found.append(
                Violation("crowd_strength", f"must be from 0 (off) to 1 (each job alike); got {self.crowd_strength}")
            )
        if self.weighting not in WEIGHTINGS:
            found.append(Violation("weighting", f"must be one of {', '.join(WEIGHTINGS)}; got {self.weighting!r}"))
        if not self.aging_seconds > 0:
            found.append(
                Violation("aging_seconds", f"must be a number above 0, or inf for never; got {self.aging_seconds}")
            )
        if not 1 <= self.weight_factor_limit <= MOST_FACTOR:
            found.append(
                Violation("weight_factor_limit", f"must be from 1 to {MOST_FACTOR:g}; got {self.weight_factor_limit}")
            )
        return found

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
            floats = sorted({term.resource for term in constraint.terms} & {*self.floating_resources})
            if constraint.most_part is not None and floats:
                why = f"{', '.join(floats)} floats and no node has any, so there is no part of it: give most"
                found.append(Violation(f"{where}.most_part", why))
        return found

    def _floating_violations(self) -> list[Violation]:
        found, seen = [], set[str]()
        for index, name in enumerate(self.floating_resources):
            where = f"floating_resources[{index}]"
            if name in FIELD_BY_RESOURCE:
                found.append(Violation(where, f"{name} belongs to nodes: only extras can float"))
            elif not is_resource_name(name):
                found.append(
                    Violation(
                        where,
                        "must be the name of an extra: begin with a lower-case letter, hold only a-z 0-9 _ . - / and "
                        f"be at most 63 long; got {name!r}",
                    )
                )
            if name in seen:
                found.append(Violation(where, f"{name!r} was given before: each name once"))
            seen.add(name)
        return found

    def _class_violations(self) -> list[Violation]:
        names = [each.name for each in self.priority_classes]
        found, seen = [], set[str]()
        if len(names) > MOST_CLASSES:
            found.append(Violation("priority_classes", f"must be at most {MOST_CLASSES}, got {len(names)}"))
        if DEFAULT_CLASS not in names:
            found.append(
                Violation("priority_classes", f"must hold {DEFAULT_CLASS!r}: the class of jobs that name none")
            )
        for index, each in enumerate(self.priority_classes):
            where = f"priority_classes[{index}]"
            found += [violation.under(where) for violation in each.violations()]
            if each.name in seen:
                found.append(Violation(where, f"{each.name!r} was given before: each name once"))
            seen.add(each.name)
        return found
