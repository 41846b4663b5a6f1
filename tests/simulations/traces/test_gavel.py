"""Jobs with a throughput for each GPU model are read as documented."""

from __future__ import annotations

import pytest

from allocator.domain.errors import InvalidInput
from allocator.domain.resources import Resources
from simulations.traces.formats import Choices
from simulations.traces.window import Window
from tests.simulations.traces.places import by_name, read


def test_jobs_are_read_as_documented() -> None:
    workload = read("gavel")
    jobs = by_name(workload)
    assert workload.dropped == {"no_run_time": 1}
    assert len(workload.nodes) == 108
    assert {node.capacity for node in workload.nodes} == {Resources(gpu_millis=1000)}
    small = {way.flavor: (way.replicas, way.throughput) for way in jobs["0"].spec.configurations}
    assert small == {"k80": (1, 2.0), "p100": (1, 12.5), "v100": (1, 10.0)}
    assert jobs["0"].duration == 1000 / 12.5, "on the fastest model, which is not always the same"
    large = {way.flavor: way.throughput for way in jobs["1"].spec.configurations}
    assert large == {"p100": 2.5, "v100": 5.0}, "not where its throughput is 0"
    assert jobs["1"].duration == 2000 / 5.0
    two = {way.flavor: (way.replicas, way.throughput) for way in jobs["2"].spec.configurations}
    assert two == {"k80": (2, 4.0), "p100": (2, 24.0), "v100": (2, 18.0)}, "workers on different servers"


def test_arrivals_are_as_far_apart_as_is_said() -> None:
    assert [arrival.time for arrival in read("gavel").arrivals] == [0.0, 450.0, 1125.0, 2250.0]
    fast = read("gavel", choices=Choices(jobs_per_hour=36.0))
    assert [arrival.time for arrival in fast.arrivals] == [0.0, 50.0, 125.0, 250.0]
    assert "Jobs arrive at 36 an hour on average, on nodes v100=36,p100=36,k80=36." in fast.notes
    assert [arrival.time for arrival in read("gavel", window=Window(100.0, 2000.0)).arrivals] == [450.0, 1125.0]


def test_nodes_are_as_many_as_is_said() -> None:
    workload = read("gavel", choices=Choices(machines="v100=4, p100=1"))
    assert sorted(node.name for node in workload.nodes) == ["p100-0", "v100-0", "v100-1", "v100-2", "v100-3"]
    jobs = by_name(workload)
    assert [way.flavor for way in jobs["2"].spec.configurations] == ["v100"], "one p100 is too few for two replicas"
    assert workload.dropped == {"fits_no_node": 1, "no_run_time": 1}


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (Choices(jobs_per_hour=0.0), "jobs_per_hour: must be from 1e-6 to 1e9"),
        (Choices(jobs_per_hour=float("nan")), "jobs_per_hour: must be from"),
        (Choices(machines="v100"), "machines: must be numbers of nodes by GPU model, such as"),
        (Choices(machines="v100=0"), "machines: must be numbers of nodes"),
        (Choices(machines="v100=999999"), "machines: must be numbers of nodes by GPU model, .* at most 200,000"),
        (Choices(machines="v100=1,v100=2"), "machines: names v100 twice"),
        (Choices(queue_by="user"), "queue_by: does not go with --trace gavel"),
    ],
)
def test_choices_that_mean_nothing_are_refused(choices: Choices, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read("gavel", choices=choices)
