"""What a job may say about its place, and which changes of its size are no restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.constraints import UNCONSTRAINED, AtMost, Constraints, Near, NodeRule, carries
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement, held
from allocator.domain.resources import Resources
from tests.builders import configuration, node, spec

IN_A = (("rack", "r1"), ("zone", "a"))


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        (NodeRule("zone"), True),
        (NodeRule("zone", ("a", "b")), True),
        (NodeRule("zone", ("b",)), False),
        (NodeRule("ssd"), False),
        (NodeRule("ssd", ("yes",)), False),
        (NodeRule("zone", negated=True), False),
        (NodeRule("zone", ("a",), negated=True), False),
        (NodeRule("zone", ("b",), negated=True), True),
        (NodeRule("ssd", ("yes",), negated=True), True),
    ],
)
def test_a_rule_admits_by_the_value_of_one_label(rule: NodeRule, admitted: bool) -> None:
    assert rule.admits(IN_A) is admitted


@pytest.mark.parametrize(
    ("tolerations", "admitted"),
    [
        ((), False),
        ((("dedicated", "web"),), False),
        ((("dedicated", "web"), ("spot", "")), True),
        ((("dedicated", ""), ("spot", "yes")), True),
        ((("dedicated", "db"), ("spot", "yes")), False),
    ],
)
def test_every_taint_must_be_tolerated(tolerations: Any, admitted: bool) -> None:
    tainted = replace(node(), taints=(("dedicated", "web"), ("spot", "yes")))
    assert Constraints(tolerations=tolerations).admits(tainted) is admitted


def test_every_rule_must_admit_and_without_any_only_taints_count() -> None:
    there = replace(node(), labels=IN_A)
    assert Constraints(nodes=(NodeRule("zone", ("a",)), NodeRule("rack"))).admits(there)
    assert not Constraints(nodes=(NodeRule("zone", ("a",)), NodeRule("ssd"))).admits(there)
    assert UNCONSTRAINED.admits(there)
    assert not UNCONSTRAINED.admits(replace(there, taints=(("spot", ""),)))


def test_domains_are_nodes_or_label_values_and_a_node_without_the_label_is_alone() -> None:
    here, same, alone = replace(node("n1"), labels=IN_A), replace(node("n2"), labels=IN_A), node("r1")
    assert here.domain("rack") == same.domain("rack") != alone.domain("rack")
    assert here.domain("node") != same.domain("node")
    assert (here.label("zone"), alone.label("zone")) == ("a", None)


@pytest.mark.parametrize(
    ("constraints", "field"),
    [
        (Constraints(nodes=(NodeRule(""),)), "constraints.nodes[0].key"),
        (Constraints(nodes=(NodeRule("a"), NodeRule("b", ("x", "\n")))), "constraints.nodes[1].values[1]"),
        (Constraints(nodes=(NodeRule("a", ("x",) * 65),)), "constraints.nodes[0].values"),
        (Constraints(nodes=(NodeRule("a"),) * 17), "constraints.nodes"),
        (Constraints(at_most=(AtMost(1), AtMost(0))), "constraints.at_most[1].replicas"),
        (Constraints(at_most=(AtMost(-1, of=(("a", "b"),)),)), "constraints.at_most[0].replicas"),
        (Constraints(at_most=(AtMost(100_001),)), "constraints.at_most[0].replicas"),
        (Constraints(at_most=(AtMost(1, per=""),)), "constraints.at_most[0].per"),
        (Constraints(at_most=(AtMost(1, of=(("", "b"),)),)), "constraints.at_most[0].of['']"),
        (Constraints(near=(Near("rack", ()),)), "constraints.near[0].of"),
        (Constraints(near=(Near("", (("a", "b"),)),)), "constraints.near[0].per"),
        (Constraints(within="x" * 254), "constraints.within"),
        (Constraints(tolerations=(("", ""),)), "constraints.tolerations['']"),
        (Constraints(tolerations=tuple((f"k{i:02}", "") for i in range(17))), "constraints.tolerations"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(constraints: Constraints, field: str) -> None:
    assert [violation.field for violation in spec(constraints=constraints).violations()] == [field]


def test_sensible_constraints_are_accepted() -> None:
    wanted = Constraints(
        (NodeRule("zone", ("a", "b")), NodeRule("spot", negated=True)),
        (AtMost(2, "rack"), AtMost(0, of=(("noisy", "true"),))),
        (Near("rack", (("app", "db"),)),),
        "rack",
        (("dedicated", ""),),
    )
    assert spec(constraints=wanted).violations() == ()


def test_taints_are_judged_like_labels() -> None:
    assert [v.field for v in replace(node(), taints=(("", "x"),)).violations()] == ["taints['']"]
    many = tuple((f"k{i:02}", "") for i in range(17))
    assert [v.field for v in replace(node(), taints=many).violations()] == ["taints"]


@pytest.mark.parametrize(
    ("ways", "wrong"),
    [
        ((Configuration("a", 1, Resources(cpu_millicores=1, bandwidth_bytes_per_second=1)),), None),
        ((Configuration("a", 2, Resources(cpu_millicores=1)),), "configurations[0] has 2 replicas"),
        (
            (Configuration("a", 1, Resources(1)), Configuration("b", 1, Resources(1, 1000, 5))),
            "configurations[1] has gpu, memory",
        ),
    ],
)
def test_only_cpu_and_bandwidth_of_one_replica_can_be_divided(
    ways: tuple[Configuration, ...], wrong: str | None
) -> None:
    found = JobSpec("q", ways, divisible=True).violations()
    assert [violation.field for violation in found] == ([] if wrong is None else ["divisible"])
    assert wrong is None or found[0].description.endswith(wrong)
    assert JobSpec("q", ways).violations() == ()


@settings(deadline=None, derandomize=True, max_examples=50)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 1000))
def test_a_part_is_rounded_up_and_never_more_than_the_whole(cpu: int, bandwidth: int, millis: int) -> None:
    demand = Resources(cpu, bandwidth_bytes_per_second=bandwidth)
    part = held(demand, millis)
    assert part.fits_in(demand)
    for name, amount in demand.items():
        assert (part.get(name) - 1) * 1000 < amount * millis <= part.get(name) * 1000
    assert held(demand, 1000) is demand


ELASTIC = (configuration(replicas=1), configuration(replicas=2), configuration(replicas=3), configuration("t4", 2))
A, B, C, D = (ReplicaPlacement(name, (0,)) for name in "abcd")


@pytest.mark.parametrize(
    ("old", "new", "fields", "possible"),
    [
        ((1, A, B), (2, A, B, C), {"resizable": True}, True),
        ((1, A, B), (2, A, B, C), {}, False),
        ((1, A, B), (2, A, C, B), {"resizable": True}, False),
        ((1, A, B), (2, C, A, B), {"resizable": True}, False),
        ((2, A, B, C), (1, A, C), {"resizable": True}, True),
        ((2, A, B, C), (1, C, A), {"resizable": True}, False),
        ((2, A, B, C), (1, A, D), {"resizable": True}, False),
        ((2, A, A, B), (1, A, A), {"resizable": True}, True),
        ((1, A, B), (3, A, B), {"resizable": True}, False),
        ((1, A, B), (1, A, C), {"resizable": True}, False),
        ((1, A, B), (9, A, B), {"resizable": True}, False),
    ],
)
def test_a_resize_keeps_flavor_and_the_places_of_those_who_stay(
    old: Any, new: Any, fields: dict[str, Any], possible: bool
) -> None:
    asked = spec("q", *ELASTIC, **fields)
    assert asked.goes_on(Placement("j", old[0], old[1:]), Placement("j", new[0], new[1:])) is possible


def test_another_part_is_for_divisible_jobs_and_another_demand_for_nobody() -> None:
    ways = (Configuration("a", 1, Resources(1000)), Configuration("a", 2, Resources(500)))
    whole, half = Placement("j", 0, (A,)), Placement("j", 0, (A,), 500)
    assert JobSpec("q", ways[:1], divisible=True).goes_on(whole, half)
    assert not JobSpec("q", ways[:1], resizable=True).goes_on(whole, half)
    assert not JobSpec("q", ways, resizable=True).goes_on(whole, Placement("j", 1, (A, B)))


def test_a_run_began_at_its_own_epoch_unless_it_was_resized() -> None:
    started = Allocation(Placement("j", 0, (A,)), Epoch(1, 2), 0.0)
    assert started.start_epoch == Epoch(1, 2)
    assert replace(started, epoch=Epoch(3, 4), started=Epoch(1, 2)).start_epoch == Epoch(1, 2)


def test_carrying_labels_means_all_of_them() -> None:
    assert carries(IN_A, ())
    assert carries(IN_A, (("zone", "a"),))
    assert not carries(IN_A, (("zone", "a"), ("x", "y")))
    assert not carries((), (("zone", "a"),))
