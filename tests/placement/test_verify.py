"""The checker finds every kind of impossible placement, names it, and finds nothing in a possible one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node
from allocator.domain.job import Job
from allocator.domain.resources import Resources
from allocator.placement import NodeUsage, usage_by_node, violations
from tests.placement.worlds import node, running, waiting, way

NODES = [node("n1", cpu=8, gpu=2), node("n2", cpu=8, gpu=2), node("n3", flavor="b", cpu=8)]


def test_nothing_is_wrong_with_full_nodes() -> None:
    jobs = [
        running(waiting(1, way(cpu=4, gpu=1, replicas=3)), "n1:0", "n1:1", "n2:0"),
        running(waiting(2, way(cpu=2, gpu=0.5, replicas=2)), "n2:1", "n2:1"),
        running(waiting(3, way(flavor="b", cpu=8)), "n3"),
        waiting(4),
    ]
    assert violations(NODES, jobs) == []


@pytest.mark.parametrize(
    ("jobs", "expect"),
    [
        (
            [running(waiting(1, way(cpu=5)), "n1"), running(waiting(2, way(cpu=4)), "n1")],
            "node n1: 9000 of cpu is used, capacity is 8000",
        ),
        ([running(waiting(1, way(cpu=1, extra=2)), "n1")], "node n1: 2 of licence is used, capacity is 0"),
        (
            [running(waiting(1, way(gpu=1)), "n1:0"), running(waiting(2, way(gpu=0.5)), "n1:0")],
            "node n1: GPU 0 is used at 1500 of 1000",
        ),
        (
            [running(waiting(1, way(gpu=0.6, replicas=2)), "n1:1", "n1:1")],
            "node n1: GPU 1 is used at 1200 of 1000",
        ),
        ([running(waiting(1, way(gpu=1)), "n1:2")], "node n1: GPU 2 is used, but it has 2 GPUs"),
        ([running(waiting(1, way(cpu=1, replicas=2)), "n1")], "job j1: 1 of 2 replicas are placed"),
        ([running(waiting(1, way(cpu=1)), "n9")], "job j1: replica 0 is on node n9, which does not exist"),
        ([running(waiting(1, way(cpu=1)), "n3")], "job j1: replica 0 needs flavor a, node n3 has b"),
        ([running(waiting(1, way(gpu=2)), "n1:0")], "job j1: replica 0 needs 2 GPU devices, holds (0,)"),
        ([running(waiting(1, way(gpu=0.5)), "n1")], "job j1: replica 0 needs 1 GPU devices, holds ()"),
        ([running(waiting(1, way(cpu=1)), "n1:0")], "job j1: replica 0 needs 0 GPU devices, holds (0,)"),
        ([running(waiting(1, way(cpu=1)), "n1", configuration=3)], "job j1: configuration 3 does not exist"),
    ],
)
def test_each_kind_of_violation_is_named(jobs: list[Job], expect: str) -> None:
    assert expect in violations(NODES, jobs)


def test_one_device_twice_for_one_replica_is_not_two_devices() -> None:
    assert violations(NODES, [running(waiting(1, way(gpu=2)), "n1:0,0")]) == [
        "node n1: GPU 0 is used at 2000 of 1000",
        "job j1: replica 0 needs 2 GPU devices, holds (0, 0)",
    ]


def test_a_finished_replica_holds_nothing_and_may_outlive_its_node() -> None:
    gang = running(waiting(1, way(cpu=8, replicas=3)), "n1", "n9", "n2")
    assert gang.allocation is not None
    done = replace(gang, allocation=replace(gang.allocation, finished=frozenset({0, 1})))
    other = running(waiting(2), "n1")
    assert violations(NODES, [done, other]) == []
    assert violations(NODES, [gang, other])[0] == "node n1: 16000 of cpu is used, capacity is 8000"


def test_usage_can_be_followed_replica_by_replica() -> None:
    jobs = [running(waiting(1, way(cpu=4, gpu=0.5, replicas=2)), "n1:0", "n1:1"), waiting(2)]
    usage = usage_by_node(jobs)
    assert list(usage) == ["n1"]
    held = usage["n1"]
    assert held.amounts == {"cpu": 8000, "gpu": 1000}
    assert held.devices == {0: 500, 1: 500}
    more = Resources(cpu_millicores=1, gpu_millis=1000)
    held.add(more, (1,))
    assert held.violations(NODES[0]) == [
        "node n1: 8001 of cpu is used, capacity is 8000",
        "node n1: GPU 1 is used at 1500 of 1000",
    ]
    held.remove(more, (1,))
    assert held.violations(NODES[0]) == []


demands = st.builds(
    Resources,
    cpu_millicores=st.integers(0, 5),
    gpu_millis=st.sampled_from([0, 500, 1000]),
    memory_bytes=st.integers(0, 5),
    bandwidth_bytes_per_second=st.integers(0, 5),
    disk_bytes=st.integers(0, 5),
    extra=st.sampled_from([(), (("licence", 1),), (("fpga", 2), ("licence", 1))]),
)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    replicas=st.lists(st.tuples(demands, st.integers(0, 2), st.booleans()), max_size=4),
    capacity=st.builds(
        Resources, *[st.integers(4, 12)] + [st.sampled_from([0, 1000, 2000])] + [st.integers(4, 12)] * 3,
        extra=st.sampled_from([(), (("fpga", 2), ("licence", 2))]),
    ),
)  # fmt: skip
def test_what_fits_is_what_an_addition_by_hand_says(
    replicas: list[tuple[Resources, int, bool]], capacity: Resources
) -> None:
    usage, total, devices = NodeUsage(), Resources(), Counter[int]()
    for demand, device, stays in replicas:
        gpus = (device,) if demand.gpu_millis else ()
        usage.add(demand, gpus)
        if stays:
            total += demand
            devices.update(dict.fromkeys(gpus, demand.gpu_millis))
        else:
            usage.remove(demand, gpus)
    host = Node("n1", "a", capacity)
    fits = total.fits_in(capacity) and all(
        millis <= 1000 and device < host.gpu_count for device, millis in devices.items()
    )
    assert usage.amounts == dict(total.items())
    assert usage.fits(host) is fits
    assert bool(usage.violations(host)) is not fits
    other = usage.copy()
    other.add(Resources(cpu_millicores=1, gpu_millis=1000), (0,))
    assert usage.amounts == dict(total.items())
    assert {device: millis for device, millis in usage.devices.items() if millis} == dict(devices)


def test_an_untouched_node_holds_nothing() -> None:
    assert NodeUsage().violations(Node("n1", "a", Resources())) == []
