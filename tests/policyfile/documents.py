"""Documents that an operator could write, drawn at random."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.objectives import UTILITIES
from allocator.domain.policy import PLACEMENTS, WEIGHTINGS, Policy
from allocator.domain.priority_class import BUILT_IN, DEFAULT_CLASS, PriorityClass
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import MAX_AMOUNT
from allocator.domain.side_constraint import SideConstraint, Term

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9._\-]{0,6}[a-z0-9])?", fullmatch=True)
EXTRAS = st.from_regex(r"[a-z][a-z0-9_.\-]{0,6}[a-z0-9]", fullmatch=True).filter(
    lambda name: name not in ("cpu", "gpu", "memory", "disk", "bandwidth")
)
FLAVORS = st.sampled_from(["a100", "h100", "t4.large", "X-1"])
TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=8)
LABELS = st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=2).map(lambda found: tuple(sorted(found.items())))
WEIGHTS = st.floats(1e-6, 1e6)
ALPHAS = st.one_of(st.sampled_from([0.0, 1.0, 2.0, math.inf]), st.floats(0, 100))
SECONDS = st.one_of(st.floats(0, 7200.0), st.sampled_from([0.0, 90.0, 0.1 + 0.2, 1e-12, 3600.0]))
POSITIVE = SECONDS.filter(lambda value: value > 0)


@st.composite
def quotas(draw: st.DrawFn) -> Quota:
    resource = draw(st.sampled_from(["cpu", "gpu", "memory", "bandwidth", "disk", "license"]))
    step = 1000 if resource == "gpu" else 1
    nominal = draw(st.integers(0, MAX_AMOUNT // step)) * step
    borrowed = draw(st.none() | st.integers(0, MAX_AMOUNT // step).map(lambda count: count * step))
    lent = draw(st.none() | st.integers(0, nominal // step).map(lambda count: count * step))
    return Quota(draw(FLAVORS), resource, nominal, borrowed, lent)


@st.composite
def queues(draw: st.DrawFn) -> tuple[Queue, ...]:
    roots = draw(st.lists(NAMES | st.sampled_from(["a", "b"]), max_size=3, unique=True))
    names = roots + [f"{root}/{draw(NAMES)}" for root in roots if draw(st.booleans())]
    return tuple(
        Queue(
            name,
            draw(WEIGHTS),
            draw(st.booleans()),
            draw(st.none() | st.integers(0, 2**40)),
            draw(st.integers(-1_000_000, 1_000_000)),
            tuple(draw(st.lists(quotas(), max_size=2, unique_by=lambda each: (each.flavor, each.resource)))),
            draw(st.sampled_from(Discipline)),
        )
        for name in names
    )


def terms(names: list[str]) -> st.SearchStrategy[Term]:
    within = st.lists(st.sampled_from(names), max_size=2, unique=True).map(tuple) if names else st.just(())
    return st.builds(
        Term,
        st.sampled_from(["cpu", "gpu", "memory"]) | EXTRAS,
        st.floats(1e-6, 1e9),
        st.lists(FLAVORS, max_size=2, unique=True).map(tuple),
        within,
        LABELS,
        LABELS,
    )


@st.composite
def limits(draw: st.DrawFn, names: list[str]) -> tuple[SideConstraint, ...]:
    return tuple(
        SideConstraint(name, tuple(draw(st.lists(terms(names), min_size=1, max_size=2))), most, part, draw(TEXTS))
        for name in draw(st.lists(NAMES, max_size=2, unique=True))
        for most, part in [draw(st.tuples(st.floats(0, 1e9), st.none()) | st.tuples(st.none(), st.floats(0, 1)))]
    )


@st.composite
def documents(draw: st.DrawFn) -> PolicyDocument:
    tree = draw(queues())
    rows = draw(limits([queue.name for queue in tree]))
    parts = {term.resource for row in rows if row.most_part is not None for term in row.terms}  # what floats has none
    floating = tuple(name for name in draw(st.lists(EXTRAS, max_size=2, unique=True)) if name not in parts)
    taken = {row.name for row in rows}
    own = tuple(
        SideConstraint(name, (Term(name),), draw(st.floats(0, 1e9)))
        for name in floating
        if name not in taken and draw(st.booleans())
    )
    rows = tuple(draw(st.permutations(rows + own)))
    classes = BUILT_IN
    if draw(st.booleans()):
        others = draw(st.lists(NAMES.filter(lambda name: name != DEFAULT_CLASS), max_size=2, unique=True))
        classes = tuple(
            PriorityClass(name, draw(st.integers(-1_000_000, 1_000_000)), draw(st.booleans()))
            for name in draw(st.permutations([DEFAULT_CLASS, *others]))
        )
    scalars: dict[str, Any] = {
        "fairness": draw(ALPHAS),
        "utility": draw(st.sampled_from(UTILITIES)),
        "minimum_run_seconds": draw(SECONDS),
        "hysteresis_seconds": draw(SECONDS),
        "lag_tolerance": draw(st.floats(0, 1, exclude_max=True)),
        "horizon_seconds": draw(POSITIVE),
        "credit_limit_seconds": draw(st.floats(7200.0, 1e9)),
        "gap": draw(st.floats(0, 1, exclude_min=True, exclude_max=True)),
        "iterations": draw(st.integers(1, 10**6)),
        "placement": draw(st.sampled_from(PLACEMENTS)),
        "weighting": draw(st.sampled_from(WEIGHTINGS)),
        "usage_strength": draw(st.floats(0, 8)),
        "usage_half_life_seconds": draw(POSITIVE),
        "service_seconds": draw(POSITIVE),
        "aging_seconds": draw(POSITIVE | st.just(math.inf)),
        "weight_factor_limit": draw(st.floats(1, 1024)),
        "crowd_strength": draw(st.floats(0, 1)),
    }
    policy = Policy(**scalars, side_constraints=rows, floating_resources=floating, priority_classes=classes)
    unsaid = frozenset(queue.name for queue in tree if not queue.cordoned and draw(st.booleans()))
    return PolicyDocument(policy, tree, unsaid)
