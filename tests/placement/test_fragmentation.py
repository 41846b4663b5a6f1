"""Fragmentation by the paper's definition: by hand, by difference, and the same compiled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from allocator.placement.fragmentation import Workload, increase, typical, unusable
from allocator.placement.space import Integers
from simulations.reproduce.openb_arriving import compiled
from tests.placement.kinds_of_work import (
    FLAVORS,
    Replica,
    integers,
    left_after,
    nodes_and_replicas,
    workload,
    workloads,
)

WHOLE, HALF, CORES, MANY_CORES = ((4,), 1, 0, 1, 0), ((2,), 0, 500, 2, 0), ((1,), 0, 0, 1, 0), ((16,), 1, 0, 1, 0)
DAY = workload(WHOLE, HALF, CORES, MANY_CORES)
"""One in five wants a GPU and 4 cores, two half a GPU and 2 cores, one a core, one a GPU and 16 cores."""
FREE, DEVICES = integers(8), integers(1000, 300)


def test_what_each_kind_cannot_use() -> None:
    # Of 1,300 milli-GPUs: a whole GPU and a half one cannot have the 300; cores alone and 16 cores have none of it.
    assert unusable(FREE, DEVICES, 0, DAY) == 1 * 300 + 2 * 300 + 1 * 1300 + 1 * 1300


@pytest.mark.parametrize(
    ("free", "devices", "kind", "expected"),
    [
        (4, (1000, 1000), WHOLE, 0),
        (3, (1000, 1000), WHOLE, 2000),  # too few cores
        (4, (999, 999), WHOLE, 1998),  # no device is idle
        (4, (1000, 0), ((4,), 2, 0, 1, 0), 1000),  # two are asked, one is there
        (4, (1000, 400), ((4,), 1, 0, 1, 0), 400),  # the scrap, though it fits
        (4, (500, 499), HALF, 2 * 499),
        (4, (499, 499), HALF, 2 * 998),
        (4, (1000, 500), CORES, 1500),
        (0, (0, 0), HALF, 0),  # nothing is left to waste
    ],
)
def test_one_kind(
    free: int, devices: tuple[int, ...], kind: tuple[tuple[int, ...], int, int, int, int], expected: int
) -> None:
    assert unusable(integers(free), integers(*devices), 0, workload(kind)) == expected


def test_a_flavor_that_will_not_do_is_unusable() -> None:
    chosen = workload(WHOLE, flavors=2)._replace(eligible=np.array([[True, False]]))
    assert unusable(FREE, DEVICES, 0, chosen) == 300
    assert unusable(FREE, DEVICES, 1, chosen) == 1300


def test_every_resource_can_be_the_one_that_lacks() -> None:
    chosen = workload(((1, 5), 1, 0, 1, 0))
    assert unusable(integers(1, 5), integers(1000), 0, chosen) == 0
    assert unusable(integers(1, 4), integers(1000), 0, chosen) == 1000


def test_the_part_goes_where_it_wastes_least() -> None:
    # Out of the scrap, the rest is a whole GPU: 0 + 0 + 1000 + 1000 cannot be used. Out of the whole one it would be
    # 1000 + 2 * 300 + 1000 + 1000.
    assert increase(FREE, DEVICES, 0, integers(1), 0, 300, DAY) == (2000 - 3500, 1)
    # Half a GPU fits only the whole one: 800 + 2 * 300 + 800 + 800.
    assert increase(FREE, DEVICES, 0, integers(2), 0, 500, DAY) == (3000 - 3500, 0)


def test_equal_devices_the_first() -> None:
    assert increase(integers(8), integers(700, 1000, 1000), 0, integers(2), 0, 800, DAY)[1] == 1


def test_cores_alone_can_make_gpus_unusable() -> None:
    # 5 of 8 cores leave too few for a whole GPU with 4.
    assert increase(FREE, DEVICES, 0, integers(5), 0, 0, DAY) == (1000, -1)
    assert increase(FREE, DEVICES, 0, integers(4), 0, 0, DAY) == (0, -1)


def test_typical_kinds_cover_what_is_asked() -> None:
    chosen = workload(((1,), 0, 0, 3, 0), ((2,), 0, 0, 90, 0), ((3,), 0, 0, 4, 0), ((4,), 0, 0, 3, 0))
    assert typical(chosen, 0.90).amounts[:, 0].tolist() == [2]
    assert typical(chosen, 0.94).amounts[:, 0].tolist() == [2, 3]
    assert typical(chosen, 0.95).amounts[:, 0].tolist() == [2, 3, 1]
    assert typical(chosen, 1.0).amounts[:, 0].tolist() == [2, 3, 1, 4]


def test_nothing_comes() -> None:
    nothing = Workload(*(array[:0] for array in DAY))  # type: ignore[arg-type] # arrays of each field, empty
    assert len(typical(nothing).popularity) == 0
    assert unusable(FREE, DEVICES, 0, nothing) == 0


@given(workloads(), nodes_and_replicas())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_the_increase_is_the_least_difference(work: Workload, case: tuple[Integers, Integers, Replica]) -> None:
    free, devices, replica = case
    for flavor in range(FLAVORS):
        before = unusable(free, devices, flavor, work)
        grows, device = increase(free, devices, flavor, *replica, work)
        choices = np.flatnonzero(devices >= replica.part).tolist() if replica.part else [-1]
        differences = [unusable(*left_after(free, devices, replica, other), flavor, work) - before for other in choices]
        assert grows == min(differences)
        assert device == choices[differences.index(grows)]


@given(workloads(), nodes_and_replicas())
@settings(deadline=None, max_examples=150, derandomize=True)
def test_compiled_it_is_the_same(work: Workload, case: tuple[Integers, Integers, Replica]) -> None:
    free, devices, replica = case
    kernels = compiled()
    for flavor in range(FLAVORS):
        assert kernels["unusable"](free, devices, flavor, work) == unusable(free, devices, flavor, work)
        assert kernels["increase"](free, devices, flavor, *replica, work) == increase(
            free, devices, flavor, *replica, work
        )
