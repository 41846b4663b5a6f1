"""Limits that an operator sets across queues, flavors and resources: power, licences, money per hour, part of a flavor.

Each is one linear row. What a running job takes of it is the sum, over the terms that apply to it, of what it holds of
the term's resource times `per_unit`; all jobs together never take more than `most`. A limit is inviolable: what would
rather be had belongs into the objective (weights, priorities, usage history), which trades.

    at most 12 kW in rack r7        Term("gpu", 0.7, node_labels=(("rack", "r7"),)), Term("cpu", 0.01, ...)   most 12
    20 licences of a program        Term("matlab", 1.0)                                                       most 20
    100 EUR an hour                 Term("gpu", 2.5, flavors=("h100",)), Term("gpu", 0.6, flavors=("t4",))    most 100
    at most 40 % of h100 for batch  Term("gpu", 1.0, flavors=("h100",), queues=("batch",))                    most 40 %
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from allocator.domain.bounds import name_violations, text_violations
from allocator.domain.cluster import Labels, label_violations
from allocator.domain.errors import Violation
from allocator.domain.resources import FIELD_BY_RESOURCE, is_resource_name

MOST_SIDE_CONSTRAINTS, MOST_TERMS, MOST_UNIT = 256, 64, 16
"""In one policy; in one of them; characters of a unit."""
LEAST_COEFFICIENT, MOST_COEFFICIENT = 1e-6, 1e9
PRECISION = 1_000_000
"""Placement counts in integers: millionths of the constraint's unit, what a job takes rounded up, the limit down."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._\-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Term:
    """`per_unit` of the constraint's unit for each display unit (core, GPU, GiB, GB/s, or one of any other) of
    `resource`, held by jobs in one of `queues` or below them, with all of `job_labels`, on nodes of one of `flavors`
    with all of `node_labels`. What is empty selects everything.
    """

    resource: str
    per_unit: float = 1.0
    flavors: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    job_labels: Labels = ()
    node_labels: Labels = ()

    def violations(self) -> tuple[Violation, ...]:
        found = []
        if not is_resource_name(self.resource):
            known = ", ".join(FIELD_BY_RESOURCE)
            found.append(Violation("resource", f"must be {known}, or the name of an extra; got {self.resource!r}"))
        if not LEAST_COEFFICIENT <= self.per_unit <= MOST_COEFFICIENT:
            found.append(
                Violation(
                    "per_unit",
                    f"must be a finite number from {LEAST_COEFFICIENT:g} to {MOST_COEFFICIENT:g}; got {self.per_unit}",
                )
            )
        for flavor in self.flavors:
            found += name_violations("flavors", flavor)
        found += label_violations(self.job_labels, "job_labels")
        found += label_violations(self.node_labels, "node_labels")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class SideConstraint:
    """At most `most`, in `unit`, of what the terms count; or at most the part `most_part` (0 to 1) of what they would
    count if every node they select were used whole by jobs they select. Exactly one of the two is given.
    """

    name: str
    terms: tuple[Term, ...]
    most: float | None = None
    most_part: float | None = None
    unit: str = ""
    """Of what is counted, for people: kW, EUR/h."""

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with it, whatever else exists."""
        found = []
        if not _NAME.match(self.name):
            found.append(
                Violation(
                    "name",
                    "must be of a-z 0-9 . _ -, start and end with a letter or digit, and be at most 63 long; "
                    f"got {self.name!r}",
                )
            )
        found += text_violations("unit", self.unit, MOST_UNIT)
        if (self.most is None) == (self.most_part is None):
            both = "neither" if self.most is None else "both"
            found.append(Violation("most", f"exactly one of most and most_part must be given; got {both}"))
        if self.most is not None and not (math.isfinite(self.most) and 0 <= self.most <= MOST_COEFFICIENT):
            found.append(Violation("most", f"must be a finite number from 0 to {MOST_COEFFICIENT:g}; got {self.most}"))
        if self.most_part is not None and not 0 <= self.most_part <= 1:
            found.append(Violation("most_part", f"must be from 0 to 1; got {self.most_part}"))
        if not 1 <= len(self.terms) <= MOST_TERMS:
            found.append(Violation("terms", f"must be 1 to {MOST_TERMS}, got {len(self.terms)}"))
        for index, term in enumerate(self.terms):
            found += [violation.under(f"terms[{index}]") for violation in term.violations()]
        return tuple(found)
