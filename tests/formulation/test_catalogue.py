"""What is remembered from round to round saves work and decides nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import NodeAvailability, NodeHealth
from allocator.domain.estimates import Estimate, observed
from allocator.domain.job import Configuration, Job
from allocator.domain.policy import Policy
from allocator.domain.snapshot import Snapshot
from allocator.formulation import Formulation, build
from allocator.formulation.catalogue import Catalogue
from allocator.formulation.columns import Registry, forget_registry
from allocator.formulation.live import Live
from tests.formulation.facts import amounts, job, node, snapshot, way

DEMANDS = (amounts(4, 1, 32), amounts(4, 1, 32), amounts(8, 0, 600), amounts(1, 0.5, 1), amounts(0, 0, 1))
"""Two of them equal, one too large for a node."""


def known(job_class: str, flavor: str, throughput: float) -> Estimate:
    return observed(None, ("q", job_class, flavor, 1), throughput, 0.0, 1.0)


ESTIMATES = [
    (),
    (known("x", "a100", 5.0),),
    (known("x", "a100", 5.0), known("x", "v100", 2.0)),
    (known("x", "a100", 7.0), known("y", "a100", 1.0), known("y", "tpu", 4.0)),
]


@st.composite
def ways(draw: st.DrawFn) -> tuple[Configuration, ...]:
    flavors = draw(st.lists(st.sampled_from(["a100", "v100", "tpu"]), min_size=1, max_size=3, unique=True))
    speeds = st.sampled_from([0.0, 1.0, 2.0])
    made = [
        way(flavor, draw(st.sampled_from(DEMANDS)), draw(st.integers(1, 3)), draw(speeds)) for flavor in flavors[1:]
    ]
    first = replace(way(flavors[0], draw(st.sampled_from(DEMANDS)), 1, 1.0), declared=draw(st.booleans()))
    return (first, *made)


@st.composite
def worlds(draw: st.DrawFn) -> list[Snapshot]:
    """A few rounds of the same jobs: some go, some come, nodes get lost, throughputs are measured."""
    pool = draw(st.lists(ways(), min_size=1, max_size=4))
    everybody = [
        job(
            sequence,
            *draw(st.sampled_from(pool)),
            weight=draw(st.sampled_from([1.0, 2.0])),
            restart_cost_seconds=draw(st.sampled_from([0.0, 60.0])),
            preemptible=draw(st.booleans()),
            runs_on=draw(st.sampled_from([(), (), ("n1",), ("n2",)])),
            job_class=draw(st.sampled_from(["", "x", "y"])),
        )
        for sequence in range(draw(st.integers(1, 8)))
    ]
    if draw(st.booleans()):  # the same configurations as one object, as a store keeps them
        everybody = [replace(each, spec=replace(each.spec, configurations=pool[0])) for each in everybody]
    found = []
    for _ in range(draw(st.integers(1, 4))):
        nodes = [
            node("n1", availability=draw(st.sampled_from(NodeAvailability))),
            node("n2", "v100", health=draw(st.sampled_from(NodeHealth))),
        ]
        jobs = [_seen(each, draw(st.sampled_from([(), (("a100", 3.0),)]))) for each in everybody if draw(st.booleans())]
        found.append(replace(snapshot(nodes, jobs), estimates=draw(st.sampled_from(ESTIMATES))))
    return found


def _seen(each: Job, measured: tuple[tuple[str, float], ...]) -> Job:
    able = {c.flavor for c in each.spec.configurations if c.throughput > 0}
    return replace(each, measured_throughput=tuple(pair for pair in measured if pair[0] in able))


def comparable(formulation: Formulation) -> dict[str, Any]:
    """Everything in it that has an equality."""
    problem = formulation.problem
    names = ("throughput", "flavor", "demand", "capacity", "weight", "count", "reference")
    arrays = {name: getattr(problem, name).tolist() for name in names}
    ways_back = (formulation.groups, formulation.configurations, formulation.pinned, formulation.never)
    return {**arrays, "shape": problem.throughput.shape, "back": ways_back, "rows": formulation.rows}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(worlds())
def test_a_formulation_does_not_depend_on_earlier_rounds(rounds: list[Snapshot]) -> None:
    forget_registry()
    warm = [comparable(build(facts, Policy())) for facts in rounds]
    for facts, found in zip(rounds, warm, strict=True):
        forget_registry()
        assert comparable(build(facts, Policy())) == found


def test_equal_jobs_have_one_shape_and_kinds_are_judged_once() -> None:
    catalogue = Catalogue()
    shared = (way(), way("v100", replicas=2, speed=3.0))
    jobs = [
        job(1, *shared),
        job(2, way(), way("v100", replicas=2, speed=3.0)),
        job(3, way(), way("v100", replicas=2, speed=4.0)),
        job(4, way(speed=7.0), way("v100", replicas=2, speed=3.0), measured=(("a100", 1.0),)),
        job(5, *shared, resizable=True),
    ]
    numbers = [catalogue.shape(each) for each in jobs]
    assert numbers == [0, 0, 1, 0, 2], "measured is as good as declared"
    assert [catalogue.shape(each) for each in jobs] == numbers
    assert (catalogue.shape_count, len(catalogue.kinds)) == (3, 2)
    columns = catalogue.columns(np.array([1, 0]))
    assert columns.throughput.tolist() == [[1.0, 4.0], [1.0, 3.0]]


def test_jobs_that_are_gone_are_forgotten() -> None:
    """Otherwise a daemon would remember every job it ever saw."""
    registry, largest = Registry(), 0
    for first in range(0, 20000, 500):
        jobs = tuple(job(sequence, way(speed=1.0 + sequence)) for sequence in range(first, first + 500))
        columns = registry.columns(jobs)
        assert columns.sequence.tolist() == [each.sequence for each in jobs]
        largest = max(largest, registry.catalogue.shape_count, len(registry.sequences))
    assert largest <= 3500


@settings(max_examples=80, deadline=None, derandomize=True)
@given(worlds())
def test_columns_carried_over_are_those_read_anew(rounds: list[Snapshot]) -> None:
    registry = Registry()
    for facts in rounds:
        found, fresh = Live.of(facts, registry), Live.of(facts, Registry())
        for name in ("sequence", "configuration", "millis", "since", "duration", "first_piece", "piece_count"):
            assert getattr(found.jobs, name).tolist() == getattr(fresh.jobs, name).tolist()
        assert found.piece_node.tolist() == fresh.piece_node.tolist()
        for name in ("misdeclared", "deadline", "minimum"):
            assert getattr(found.jobs, name).tolist() == getattr(fresh.jobs, name).tolist()
        for one, same in zip(found.shape.tolist(), fresh.shape.tolist(), strict=True):
            widths = [
                live.shapes.throughput[at][live.shapes.throughput[at] > 0] for live, at in ((found, one), (fresh, same))
            ]
            assert widths[0].tolist() == widths[1].tolist()
        assert (found.jobs.ids == fresh.jobs.ids).all()
        for mine, theirs in zip(found.jobs.profile.tolist(), fresh.jobs.profile.tolist(), strict=True):
            assert found.profiles.weight[mine] == fresh.profiles.weight[theirs]
            assert found.queues[found.profiles.queue[mine]] == fresh.queues[fresh.profiles.queue[theirs]]
