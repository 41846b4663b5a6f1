"""Random small worlds, with nodes that fail, replayed through the real rounds to the end."""

from __future__ import annotations

import hashlib
import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node
from allocator.domain.policy import Policy
from simulations.clock import Ending
from simulations.faults import ListedFaults, Outage
from simulations.output import write_results
from simulations.replay import ReplayOptions, ReplayResult, replay
from simulations.workload import Arrival, Workload
from tests.simulations.worlds import node, on, spec, workload

FLAVORS = {"t4": (8.0, 2), "a100": (16.0, 4), "cpu": (8.0, 0)}

nodes = st.lists(st.sampled_from(list(FLAVORS)), min_size=1, max_size=5).map(
    lambda flavors: [
        node(f"n{index}", flavor, cores=FLAVORS[flavor][0], gpus=FLAVORS[flavor][1])
        for index, flavor in enumerate(flavors)
    ]
)


@st.composite
def arrivals(draw: st.DrawFn, flavors: list[str]) -> list[Arrival]:
    found = []
    for _ in range(draw(st.integers(1, 12))):
        accepted = draw(st.lists(st.sampled_from(flavors), min_size=1, max_size=2, unique=True))
        replicas = draw(st.integers(1, 3))
        gpus = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]))
        cores = draw(st.sampled_from([0.5, 2.0, 6.0]))
        ways = [
            on(flavor, replicas, draw(st.sampled_from([0.5, 1.0, 3.0])), cores=cores, gpus=gpus) for flavor in accepted
        ]
        job = spec(
            *ways,
            queue=draw(st.sampled_from(["main", "other"])),
            restart_cost=draw(st.sampled_from([0.0, 20.0])),
            preemptible=draw(st.booleans()),
        )
        found.append(Arrival(float(draw(st.integers(0, 1800))), job, float(draw(st.integers(1, 2400)))))
    return found


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Workload, list[Outage]]:
    members = draw(nodes)
    jobs = draw(arrivals(sorted({member.flavor for member in members})))
    outages = [
        Outage(member.name, float(draw(st.integers(0, 3000))), float(draw(st.integers(1, 900))))
        for member in members
        if draw(st.booleans())
    ]
    return workload(members, jobs, ("main", "other")), outages


def can_run(arrival: Arrival, members: tuple[Node, ...]) -> bool:
    """Whether the gang fits on the empty cluster, by counting replicas per node."""
    for way in arrival.spec.configurations:
        room = 0
        for member in members:
            if member.flavor == way.flavor:
                copies = 0
                while copies < way.replicas and (way.demand * (copies + 1)).fits_in(member.capacity):
                    copies += 1
                room += copies
        if room >= way.replicas:
            return True
    return False


def play(world: tuple[Workload, list[Outage]], fairness: float) -> ReplayResult:
    policy = Policy(fairness=fairness, minimum_run_seconds=60.0, hysteresis_seconds=60.0)
    options = ReplayOptions(policy, interval_seconds=30.0, full_check_every=1, timings=False)
    return replay(world[0], options, faults=ListedFaults(world[1]))


@given(world=worlds(), fairness=st.sampled_from([0.0, 1.0, 2.0, math.inf]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_every_job_that_can_run_ends_exactly_once_and_no_invariant_breaks(
    world: tuple[Workload, list[Outage]], fairness: float
) -> None:
    result = play(world, fairness)
    jobs = result.table("jobs")
    by_state = result.summary["jobs"]["by_state"]
    possible = sum(can_run(arrival, world[0].nodes) for arrival in world[0].arrivals)
    assert len(jobs) == len(world[0].arrivals)
    if fairness > 0:
        assert by_state.get("succeeded", 0) == possible
        assert by_state.get("pending", 0) == len(jobs) - possible
        assert result.ending is (Ending.FINISHED if possible == len(jobs) else Ending.STALLED)
    for state, wait, slowdown in zip(
        jobs.values("state"), jobs.numbers("wait_s"), jobs.numbers("slowdown"), strict=True
    ):
        if state == "succeeded":
            assert wait >= 0
            assert slowdown >= 1 - 1e-9, "nothing runs faster than its best configuration"


@given(world=worlds())
@settings(max_examples=6, deadline=None, derandomize=True)
def test_two_runs_leave_the_same_bytes(world: tuple[Workload, list[Outage]]) -> None:
    assert fingerprint(play(world, 1.0)) == fingerprint(play(world, 1.0))


def fingerprint(result: ReplayResult) -> dict[str, str]:
    """Digest by file."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        write_results(out, result.tables, result.summary)
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())}
