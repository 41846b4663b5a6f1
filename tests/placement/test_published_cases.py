"""Published answers to "where does this request go?": the unit tests of AdaptDL's Pollux policy, through `place`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from allocator.domain.cluster import Node
from allocator.domain.constraints import Constraints
from allocator.domain.job import Configuration, Job
from allocator.domain.plan import Plan, Preempt
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingCause
from allocator.domain.resources import NOTHING, Resources
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.decide import decide as decide_round
from allocator.solvers.chain import ChainSolver
from tests.placement.worlds import applied, decide, snapshot, waiting

CASES = os.environ.get("ALLOCATOR_CASES")
pytestmark = pytest.mark.skipif(
    CASES is None, reason="ALLOCATOR_CASES is not set: name the folder that holds adaptdl_placement_tests.json"
)
FLAVOR = "a"
Case = Mapping[str, Any]


@cache
def published(name: str) -> Case:
    text = (Path(CASES or ".") / "adaptdl_placement_tests.json").read_text(encoding="utf-8")
    cases: list[Case] = json.loads(text)["cases"]
    return next(case for case in cases if case["name"] == name)


def amounts(published_amounts: Mapping[str, int]) -> Resources:
    """Theirs are GPUs, millicores and pods; pods become units of a resource of that name."""
    return Resources(
        cpu_millicores=published_amounts.get("cpu", 0),
        gpu_millis=published_amounts["gpu"] * 1000,
        extra=(("pods", published_amounts["pods"]),),
    )


def nodes_of(case: Case) -> list[Node]:
    """Nodes that may be taken away by their owner are like the others here."""
    return [Node(name, FLAVOR, amounts(node)) for name, node in case["nodes"].items()]


def job_of(published_job: Case, sequence: int = 1) -> Job:
    """Their smallest number of replicas, at least one, is a gang here."""
    gang = max(1, published_job.get("min_replicas", 0))
    return waiting(sequence, Configuration(FLAVOR, gang, amounts(published_job["req"])))


def placed(plan: Plan) -> dict[str, list[str]]:
    """The node of every replica, by id of the jobs that the plan starts or moves."""
    return {
        change.job_id: [replica.node for replica in change.placement.replicas]
        for change in plan.changes
        if not isinstance(change, Preempt)
    }


@pytest.mark.parametrize("index", range(4))
def test_a_request_goes_where_the_published_answer_says(index: int) -> None:
    """Requests are independent of one another. Theirs stay on one node, so each node is tried alone here: an answer of
    no node means that none takes the whole request.
    """
    case = published("test_allocate_job")
    job = job_of(case["jobs"][index])
    expected = case["jobs"][index]["expect"]
    alone = {node.name: placed(decide(snapshot([node], [job]))).get("j1", []) for node in nodes_of(case)}
    if not expected:
        assert not any(alone.values())
        return
    assert alone[expected[0]] == expected
    assert placed(decide(snapshot(nodes_of(case), [job])))["j1"] == expected


@pytest.mark.parametrize("index", range(4))
def test_a_gang_that_wants_one_node_gets_one_or_none(index: int) -> None:
    """The same on the whole cluster: the last request would fit on two nodes, and is to be on one."""
    case = published("test_allocate_job")
    job = job_of(case["jobs"][index])
    job = replace(job, spec=replace(job.spec, constraints=Constraints(within="node")))
    plan = decide(snapshot(nodes_of(case), [job]))
    assert placed(plan).get("j1", []) == case["jobs"][index]["expect"]


def test_a_node_without_enough_of_one_resource_stays_empty() -> None:
    """Three nodes with a GPU each, one of them short of CPU: two of three jobs run, and the third is told."""
    case = published("test_unusable_node")
    jobs = [job_of(job, sequence) for sequence, job in enumerate(case["jobs"], start=1)]
    plan = decide(snapshot(nodes_of(case), jobs))
    assert sorted(node for nodes in placed(plan).values() for node in nodes) == ["1", "2"]
    ((job_id, reason),) = plan.waiting
    assert job_id not in placed(plan)
    assert reason.cause in (PendingCause.INSUFFICIENT_CAPACITY, PendingCause.FRAGMENTED)
    assert {shortage.resource for shortage in reason.shortages} <= {"cpu", "gpu"}


JOBS, MOST_REPLICAS, GPUS, PODS = 16, 8, 16, 32


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_elastic_jobs_stay_within_nodes_and_their_largest_size(count: int) -> None:
    """16 jobs of 1 to 8 replicas on 16 GPUs, three rounds in a row: no node over capacity, no GPU idle, and once
    everybody runs, nothing changes any more.
    """
    assert f"max_replicas {MOST_REPLICAS}" in published("test_optimize")["note"]
    demand = amounts({"gpu": 1, "pods": 1})
    ways = [Configuration(FLAVOR, size, demand, throughput=float(size)) for size in range(1, MOST_REPLICAS + 1)]
    capacity = amounts({"gpu": GPUS // count, "pods": PODS})
    world = snapshot(
        [Node(f"n{index:02}", FLAVOR, capacity) for index in range(count)],
        [waiting(sequence, *ways, weight=1.0) for sequence in range(1, JOBS + 1)],
    )
    stories = []
    for _ in range(3):
        plan = decide_round(world, Memory(time=world.time), Policy(), ChainSolver()).plan
        world = applied(world, plan, now=world.time + 60.0)
        require_within_capacity(world)
        stories.append(plan.changes)
    assert stories[1:] == [(), ()]


def require_within_capacity(world: Snapshot) -> None:
    """Added up anew from where the running jobs are."""
    held: dict[str, Resources] = {}
    devices: Counter[tuple[str, int]] = Counter()
    for job in world.jobs:
        if job.allocation is None:
            continue
        placement = job.allocation.placement
        configuration = job.spec.configurations[placement.configuration]
        assert len(placement.replicas) == configuration.replicas <= MOST_REPLICAS
        for replica in placement.replicas:
            held[replica.node] = held.get(replica.node, NOTHING) + configuration.demand
            devices.update((replica.node, gpu) for gpu in replica.gpus)
    for node in world.nodes:
        assert held.get(node.name, NOTHING).fits_in(node.capacity)
        assert all(devices[node.name, gpu] <= 1 for gpu in range(node.gpu_count))
    assert sum(amount.gpu_millis for amount in held.values()) == GPUS * 1000
