"""What comes from outside keeps to bounds, and the error names them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from allocator.domain.cluster import Node
from allocator.domain.errors import Violation
from allocator.domain.job import JobSpec
from allocator.domain.queue import Queue
from tests.builders import configuration, node, spec


def said(violations: tuple[Violation, ...]) -> str:
    return "; ".join(str(violation) for violation in violations)


@pytest.mark.parametrize("weight", [1e-6, 0.5, 1e6])
def test_weights_within_their_bounds_are_fine(weight: float) -> None:
    assert not spec(weight=weight).violations()
    assert not Queue("q", weight).violations()


@pytest.mark.parametrize("weight", [-1.0, 0.0, 5e-324, 0.9e-6, 1.1e6, 1e308, math.inf, math.nan])
def test_weights_outside_are_refused_with_the_bounds(weight: float) -> None:
    for violations in (spec(weight=weight).violations(), Queue("q", weight).violations()):
        assert said(violations).startswith("weight: must be a finite number from 1e-06 to 1e+06, got")


@pytest.mark.parametrize("throughput", [1e-9, 1.0, 1e12])
def test_throughputs_within_their_bounds_are_fine(throughput: float) -> None:
    ways = configuration("a", throughput=throughput), configuration("b", throughput=0.0)
    assert not spec("q", *ways).violations()


@pytest.mark.parametrize("throughput", [-1.0, 5e-324, 0.9e-9, 1.1e12, 1e300, math.inf, math.nan])
def test_throughputs_outside_are_refused_with_the_bounds(throughput: float) -> None:
    found = said(spec("q", configuration(throughput=throughput)).violations())
    assert "configurations[0].throughput: must be a finite number, 0 or from 1e-09 to 1e+12" in found


def test_times_are_at_most_a_billion_seconds() -> None:
    assert not spec(restart_cost_seconds=1e9, expected_duration_seconds=1e9).violations()
    for seconds in (1.1e9, math.inf, math.nan):
        found = spec(restart_cost_seconds=seconds, expected_duration_seconds=seconds).violations()
        assert [violation.field for violation in found] == ["restart_cost_seconds", "expected_duration_seconds"]
        assert all("at most 1e+09" in violation.description for violation in found)


def test_a_node_has_something_and_at_most_1024_gpus() -> None:
    assert not node(gpu=1024).violations()
    assert "capacity.gpu_millis: must be at most 1024000 (1024 GPUs)" in said(node(gpu=1025).violations())
    assert said(node(cpu=0, gpu=0, memory_gib=0).violations()) == "capacity: must have something: every amount is zero"


@pytest.mark.parametrize("name", ["", "a 100", "a\n", "-a", "a-", "x" * 254, "grün"])
def test_a_job_names_its_flavor_as_a_node_does(name: str) -> None:
    assert "flavor: must hold only letters" in said(node(flavor=name).violations())
    assert "configurations[0].flavor: must hold only letters" in said(spec("q", configuration(name)).violations())


@pytest.mark.parametrize("control", ["\x00", "\t", "\n", "\x1b", "\x7f", "\x9b"])
def test_texts_hold_no_control_characters(control: str) -> None:
    text = f"a{control}b"
    assert "name: must hold no control characters" in said(spec(name=text).violations())
    for labels in (((text, "value"),), (("key", text),)):
        wrong: tuple[JobSpec | Node, ...] = (spec(labels=labels), replace(node(), labels=labels))
        for item in wrong:
            assert f"labels[{labels[0][0]!r}]: must hold no control characters" in said(item.violations())


def test_texts_of_all_languages_are_fine() -> None:
    assert not spec(name="Übung 字 🙂", labels=(("Schlüssel", "Wert, 字"),)).violations()
