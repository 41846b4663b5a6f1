"""What can never run is told at once: why, and what is nearest to it that could. What is said to fit, fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.constraints import AtMost, Constraints, NodeRule
from allocator.domain.errors import FailedPrecondition, NotFound
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import LimitExcess, PendingCause
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import PRECISION, SideConstraint, Term
from allocator.formulation.eligibility import Kind, OpenNodes
from allocator.intake import commands as c
from allocator.intake.feasibility import Infeasible, fitting, infeasible
from allocator.store.memory import MemoryStore


def node(name: str, flavor: str = "h100", gpu: int = 8, cpu: int = 64, **more: object) -> Node:
    return Node(name, flavor, Resources(cpu * 1000, gpu * 1000), **more)  # type: ignore[arg-type] # of any field


def wants(gpu: float, replicas: int = 1, flavor: str = "h100", **more: object) -> JobSpec:
    demand = Resources(1000, round(gpu * 1000))
    return JobSpec("q", (Configuration(flavor, replicas, demand),), **more)  # type: ignore[arg-type] # of any field


CLUSTER = (node("n1"), node("n2"), node("t1", "t4", gpu=1, cpu=4))


def refused(spec: JobSpec, nodes: tuple[Node, ...] = CLUSTER) -> Infeasible:
    found = infeasible(spec, nodes)
    assert found is not None
    return found


def test_a_replica_larger_than_a_node_is_cut() -> None:
    found = refused(wants(16))
    assert found.reason.cause is PendingCause.EXCEEDS_NODE
    assert str(found) == (
        "a replica needs 16 GPUs, the largest node of h100 has 8; 2 replicas of 0.5 core, 8 GPUs would fit on h100"
    )


def test_a_gang_larger_than_the_cluster_has_fewer_replicas() -> None:
    found = refused(wants(8, replicas=5))
    assert found.reason.cause is PendingCause.EXCEEDS_CLUSTER
    assert found.nearest == ("2 such replicas would fit on h100",)


def test_a_part_that_no_engine_gives_is_refused_in_words() -> None:
    """Slurm's nodes: cores and GPUs are whole there. A job that may go elsewhere is taken."""
    whole = replace(node("n1"), capabilities=frozenset())
    found = refused(wants(0.5), (whole,))
    assert found.reason.cause is PendingCause.NO_MATCHING_NODE
    assert str(found) == (
        "engines of h100 nodes that it may use give whole cores or GPUs only, and it asks for a part; "
        "1 replica of 1 core, 1 GPU would fit on h100"
    )
    assert infeasible(wants(1), (whole,)) is None
    assert infeasible(wants(0.5), (whole, node("n2"))) is None


def test_what_belongs_to_no_node_is_not_looked_for_on_nodes() -> None:
    licensed = JobSpec("q", (Configuration("h100", 2, Resources(1000, 1000, extra=(("matlab", 1),))),))
    found = refused(licensed)
    assert found.reason.cause is PendingCause.EXCEEDS_NODE
    floating = Policy(floating_resources=("matlab",))
    assert infeasible(licensed, CLUSTER, (), floating) is None
    assert fitting(licensed, CLUSTER) == []
    assert fitting(licensed, CLUSTER, ("matlab",)) == [licensed.configurations[0]]
    licences = SideConstraint("licences", (Term("matlab"),), 1.0)
    beyond = infeasible(licensed, CLUSTER, (), replace(floating, side_constraints=(licences,)))
    assert beyond is not None
    assert beyond.reason.cause is PendingCause.EXCEEDS_LIMIT
    assert beyond.reason.limits == (LimitExcess("licences", 0, PRECISION, 2 * PRECISION),)
    assert str(beyond) == (
        "on h100 it takes 2 of licences, of which there is 1 at most; 1 such replica on h100 would be within that"
    )


def test_thirds_are_rounded_up_as_placement_does() -> None:
    thirds = SideConstraint("thirds", (Term("gpu", 1 / 3),), 2.0)
    found = infeasible(wants(1, replicas=6), CLUSTER, (), Policy(side_constraints=(thirds,)))
    assert str(found) == (
        "on h100 it takes 2.000004 of thirds, of which there is 2 at most; 5 such replicas on h100 would be within that"
    )
    assert infeasible(wants(1, replicas=6), CLUSTER, (), Policy(side_constraints=(replace(thirds, most=2.1),))) is None


def test_a_replica_that_takes_more_than_any_rack_allows_is_refused() -> None:
    """The nodes count that admit it: 5.6 kW of 5 in the first rack, of 6 in the second."""

    def power(rack: str, most: float) -> SideConstraint:
        return SideConstraint(f"power-{rack}", (Term("gpu", 0.7, node_labels=(("rack", rack),)),), most, unit="kW")

    nodes = tuple(node(f"n{rack}", labels=(("rack", rack),)) for rack in "12")
    policy = Policy(side_constraints=(power("1", 5.0), power("2", 6.0)))
    assert infeasible(wants(8), nodes, (), policy) is None
    inside = Constraints(nodes=(NodeRule("rack", ("1",)),))
    found = infeasible(wants(8, constraints=inside), nodes, (), policy)
    assert found is not None
    assert found.reason.cause is PendingCause.EXCEEDS_LIMIT
    assert found.reason.limits == (LimitExcess("power-1", 0, 5_000_000, 5_600_000, "kW"),)
    assert str(found) == "on h100 each replica takes 5.6 kW of power-1, of which there is 5 at most"
    assert infeasible(wants(7, constraints=inside), nodes, (), policy) is None
    assert infeasible(wants(8), nodes, (), Policy(side_constraints=(power("1", 5.0), power("2", 5.0)))) is not None
    outside = (*nodes, node("n3"))
    assert infeasible(wants(8), outside, (), Policy(side_constraints=(power("1", 5.0), power("2", 5.0)))) is None


def test_a_gang_beyond_a_side_constraint_is_refused_unless_it_can_run_otherwise() -> None:
    """4 GPUs of 700 W, of 2 kW for queue q; on t4 it has a way of its own, and a part of a demand is always within."""
    power = SideConstraint("power", (Term("gpu", 0.7, flavors=("h100",), queues=("q",)),), 2.0, unit="kW")
    policy = Policy(side_constraints=(power,))
    found = infeasible(wants(4), CLUSTER, (), policy)
    assert found is not None
    assert found.why == "on h100 it takes 2.8 kW of power, of which there is 2 at most"
    either = replace(wants(4), configurations=(*wants(4).configurations, *wants(1, flavor="t4").configurations))
    assert infeasible(either, CLUSTER, (), policy) is None
    assert infeasible(replace(wants(4), queue="other"), CLUSTER, (), policy) is None
    assert infeasible(replace(wants(4), divisible=True), CLUSTER, (), policy) is None
    racks = replace(power, terms=(replace(power.terms[0], node_labels=(("rack", "r1"),)),))
    assert infeasible(wants(4), CLUSTER, (), Policy(side_constraints=(racks,))) is None
    part = replace(power, most=None, most_part=0.2)  # of 16 GPUs
    assert infeasible(wants(3), CLUSTER, (), Policy(side_constraints=(part,))) is None
    assert infeasible(wants(4), CLUSTER, (), Policy(side_constraints=(part,))) is not None


def test_a_misspelt_flavor_is_recognised() -> None:
    found = refused(wants(1, flavor="h10"))
    assert found.reason.cause is PendingCause.NO_ELIGIBLE_FLAVOR
    assert found.why == "no node has flavor h10, did you mean h100?"
    assert found.nearest == ("it would fit on h100, t4, which it does not accept",)


def test_constraints_that_no_node_meets_are_named() -> None:
    tainted = tuple(replace(each, taints=(("dedicated", "ml"),)) for each in CLUSTER)
    assert refused(wants(1), tainted).nearest == ("tolerating its taints it would fit on h100",)
    zoned = wants(1, constraints=Constraints(nodes=(NodeRule("zone", ("a",)),)))
    assert refused(zoned).nearest == ("without its demands on node labels it would fit on h100",)
    spread = wants(1, replicas=3, constraints=Constraints(at_most=(AtMost(1),)))
    assert "2 such replicas would fit on h100" in refused(spread).nearest
    assert "without its limits per node and domain it would fit on h100" in refused(spread).nearest


def test_nodes_that_are_lost_or_closed_may_come_back() -> None:
    away = (replace(CLUSTER[0], health=NodeHealth.LOST, availability=NodeAvailability.DRAINING),)
    assert infeasible(wants(8), away) is None


def test_more_than_a_queue_may_ever_use_is_refused_wherever_it_would_fit() -> None:
    above = Queue("r", quotas=(Quota("h100", "gpu", 4000, borrowing_limit=2000),))
    queues = [Queue("r/q", quotas=(Quota("h100", "gpu", 1000),)), above]
    assert infeasible(wants(2, replicas=3), CLUSTER, queues) is None
    found = infeasible(wants(2, replicas=4), CLUSTER, queues)
    assert found is not None
    assert found.reason.cause is PendingCause.EXCEEDS_QUOTA
    assert str(found) == (
        "it needs 8 GPUs on h100, of which queue r may use 6 at most; 3 such replicas would be within that"
    )
    assert infeasible(wants(2, replicas=4), (), queues) == found
    elsewhere = JobSpec("q", (*wants(2, replicas=4).configurations, *wants(1, flavor="t4").configurations))
    assert infeasible(elsewhere, CLUSTER, queues) is None


def test_without_nodes_nobody_can_tell() -> None:
    assert infeasible(wants(10_000), ()) is None


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 8), st.integers(1, 16)), min_size=1, max_size=4),
    st.sampled_from([0.5, 1, 2, 4, 9, 16]),
    st.integers(1, 40),
    st.integers(1, 6),
)
def test_what_is_said_to_fit_does(sizes: list[tuple[str, int, int]], gpu: float, cpu: int, replicas: int) -> None:
    nodes = tuple(node(f"n{index}", *size) for index, size in enumerate(sizes))
    demand = Resources(cpu * 1000, round(gpu * 1000))
    found = infeasible(JobSpec("q", (Configuration("a", replicas, demand),)), nodes)
    there = OpenNodes(nodes)
    fits = there.verdict(Kind("a", replicas, demand, Constraints())).cause is None
    assert (found is None) is fits
    for sentence in () if found is None else found.nearest:
        words = sentence.split()
        if sentence.endswith("would fit on a"):
            count, piece = int(words[0]), demand
            if " of " in sentence:
                amounts = sentence.split(" of ")[1].split(" would")[0]
                parts = {part.split()[1].removesuffix("s"): float(part.split()[0]) for part in amounts.split(", ")}
                piece = Resources(round(parts["core"] * 1000), round(parts["GPU"] * 1000))
            assert there.verdict(Kind("a", count, piece, Constraints())).cause is None


class TestSubmission:
    @pytest.fixture
    def store(self) -> MemoryStore:
        store = MemoryStore()
        store.execute(c.CreateQueue(Queue("q")), 0.0).result()
        return store

    def submit(self, store: MemoryStore, *specs: JobSpec, **more: object) -> tuple[c.ItemResult, ...]:
        command = c.SubmitJobs(specs, **more)  # type: ignore[arg-type] # of any field
        return tuple(store.execute(command, 0.0).result())

    def test_one_that_can_never_run_spoils_no_other(self, store: MemoryStore) -> None:
        store.execute(c.RegisterNode(CLUSTER[0]), 0.0).result()
        good, never, unknown = self.submit(
            store, wants(1), wants(16), replace(wants(16), queue="nowhere"), feasible_only=True
        )
        assert isinstance(good, Job)
        assert isinstance(never, FailedPrecondition)
        assert "1 replica of 1 core, 8 GPUs would fit" in never.description
        assert isinstance(unknown, NotFound)

    def test_repeated_it_is_answered_the_same_even_when_it_could_run_by_now(self, store: MemoryStore) -> None:
        store.execute(c.RegisterNode(CLUSTER[0]), 0.0).result()
        (first,) = self.submit(store, wants(16), feasible_only=True, request_id="r")
        store.execute(c.RegisterNode(node("big", gpu=16)), 0.0).result()
        (again,) = self.submit(store, wants(16), feasible_only=True, request_id="r")
        assert str(again) == str(first)
        (other,) = self.submit(store, wants(16), feasible_only=True, request_id="s")
        assert isinstance(other, Job)

    def test_it_is_admitted_when_asked_to_wait_for_nodes(self, store: MemoryStore) -> None:
        (early,) = self.submit(store, wants(16), feasible_only=True)
        assert isinstance(early, Job), "no node is known"
        store.execute(c.RegisterNode(CLUSTER[0]), 0.0).result()
        (allowed,) = self.submit(store, wants(16))
        assert isinstance(allowed, Job)
