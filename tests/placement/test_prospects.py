"""Prospects: small tables by hand, what the cost prefers, and the same compiled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from allocator.placement.fragmentation import Workload
from allocator.placement.prospects import (
    FORGOTTEN,
    STEPS,
    Prospects,
    filled_by_diagonals,
    filled_by_rows,
    prospect,
    prospects,
    spend,
)
from allocator.placement.space import Integers
from simulations.reproduce.openb_arriving import compiled
from tests.placement.kinds_of_work import (
    DEVICES,
    FLAVORS,
    RESOURCES,
    Replica,
    integers,
    left_after,
    nodes_and_replicas,
    workload,
    workloads,
)

CLOSE = 1e-6
LARGEST = np.full((FLAVORS, RESOURCES), 24)


def tables_of(work: Workload, largest: int = STEPS, devices: int = 2) -> Prospects:
    """With steps of one, if the largest amount is not given."""
    flavors, resources = work.eligible.shape[1], work.amounts.shape[1]
    return prospects(work, np.full((flavors, resources), largest), devices)


def worth(free: tuple[int, ...], devices: tuple[int, ...], tables: Prospects, flavor: int = 0) -> float:
    return prospect(integers(*free), integers(*devices), flavor, tables) / tables.scale


def test_devices_by_hand() -> None:
    usable = tables_of(workload(((1,), 0, 500, 1, 500))).usable[0]
    # Of a whole device two halves sell, one after the other: half a device is worth no more than half of that.
    assert usable[[0, 499, 500, 999, 1000]].tolist() == [0, 0, 500_000, 500_000, 1_000_000]


def test_devices_that_are_better_whole() -> None:
    usable = tables_of(workload(((1,), 0, 600, 1, 600), ((1,), 1, 0, 9, 1000))).usable[0]
    part = 0.1 * 600 / (0.1 + FORGOTTEN)
    whole = (0.1 * 600 + 0.9 * 1000) / (1 + FORGOTTEN)
    assert usable[[599, 600, 999, 1000]].tolist() == [0, *[round(1e6 * part / whole)] * 2, 1_000_000]


def test_scarce_small_work_does_not_make_scraps_usable() -> None:
    rare = tables_of(workload(((1,), 1, 0, 99, 1000), ((1,), 0, 100, 1, 100))).usable[0]
    frequent = tables_of(workload(((1,), 1, 0, 50, 1000), ((1,), 0, 100, 50, 100))).usable[0]
    assert rare[100] < 30_000
    assert frequent[100] == 100_000


def test_nodes_by_hand() -> None:
    tables = tables_of(workload(((4,), 1, 0, 1, 7)))
    assert worth((8,), (1000, 1000), tables) == pytest.approx(14, rel=CLOSE)
    assert worth((100,), (1000, 1000), tables) == pytest.approx(14, rel=CLOSE)  # no more devices
    assert worth((4,), (1000, 1000), tables) == pytest.approx(7, rel=CLOSE)  # no more cores
    assert worth((3,), (1000, 1000), tables) == 0
    assert worth((100,), (999, 999), tables) == pytest.approx(0, abs=CLOSE)


def test_nodes_get_what_random_arrivals_bring() -> None:
    # 4 cores and one GPU: the cores go to a kind worth 10, or all to one worth 20, whose odds are its popularity 1
    # times (20 / 20) ** 2, against 2 times (10 / 20) ** 2. Nothing else fits then.
    tables = tables_of(workload(((4,), 0, 0, 2, 10), ((4,), 1, 0, 1, 20)), devices=1)
    assert worth((4,), (1000,), tables) == pytest.approx((0.5 * 10 + 1 * 20) / 1.5, rel=CLOSE)


def test_work_that_would_lower_the_prospect_is_not_counted_on() -> None:
    # With 3 cores only the kind worth 20 fits. A fourth, which the kind worth 10 can take, is no loss.
    tables = tables_of(workload(((4,), 0, 0, 2, 10), ((1,), 1, 0, 1, 20)), devices=1)
    assert worth((3,), (1000,), tables) == worth((4,), (1000,), tables) == pytest.approx(20, rel=CLOSE)


def test_between_rows_and_columns() -> None:
    tables = tables_of(workload(((64,), 1, 0, 1, 1)), largest=64 * STEPS)
    assert worth((32,), (1000, 0), tables) == pytest.approx(0.5, rel=1e-3)
    assert worth((64 * STEPS * 2,), (1000, 0), tables) == pytest.approx(1, rel=CLOSE)  # beyond the largest


def test_the_resource_that_runs_out_first_decides() -> None:
    tables = tables_of(workload(((1, 2), 1, 0, 1, 5)))
    assert worth((2, 2), (1000, 1000), tables) == pytest.approx(5, rel=CLOSE)
    assert worth((2, 4), (1000, 1000), tables) == pytest.approx(10, rel=CLOSE)


def test_gpus_count_where_nothing_else_is_needed() -> None:
    tables = tables_of(workload(((0, 0), 1, 0, 1, 5)))
    assert worth((0, 0), (1000, 1000), tables) == pytest.approx(10, rel=CLOSE)


def test_a_resource_that_nobody_needs_does_not_matter() -> None:
    tables = tables_of(workload(((1, 0), 1, 0, 1, 5)))
    assert worth((2, 0), (1000, 1000), tables) == pytest.approx(10, rel=CLOSE)


def test_no_gpus_at_all() -> None:
    tables = tables_of(workload(((3,), 0, 0, 1, 2)), devices=0)
    assert worth((9,), (), tables) == pytest.approx(6, rel=CLOSE)


def test_where_no_work_will_go_nothing_has_a_price() -> None:
    chosen = workload(((1,), 1, 0, 1, 5), flavors=2)._replace(eligible=np.array([[True, False]]))
    tables = tables_of(chosen)
    assert worth((5,), (1000,), tables, flavor=1) == 0
    assert spend(integers(5), integers(1000), 1, integers(1), 1, 0, tables) == (0, -1)
    nothing = Workload(*(array[:0] for array in chosen))  # type: ignore[arg-type] # arrays of each field, empty
    assert spend(integers(5), integers(1000), 0, integers(1), 0, 400, tables_of(nothing)) == (0, 0)


HALVES = workload(((1,), 0, 500, 3, 500), ((4,), 1, 0, 1, 1000))


def test_a_part_goes_where_it_leaves_no_scrap() -> None:
    tables = tables_of(HALVES)
    assert spend(integers(20), integers(1000, 500), 0, integers(1), 0, 500, tables)[1] == 1
    assert spend(integers(20), integers(1000, 700), 0, integers(1), 0, 300, tables)[1] == 1
    assert spend(integers(20), integers(1000, 1000), 0, integers(1), 0, 300, tables)[1] == 0


def test_work_for_many_cores_costs_least_where_cores_are_plenty() -> None:
    tables = tables_of(HALVES)
    poor = spend(integers(8), integers(1000, 1000), 0, integers(6), 0, 0, tables)[0]
    rich = spend(integers(40), integers(1000, 1000), 0, integers(6), 0, 0, tables)[0]
    assert rich == 0 < poor


def test_more_is_never_worth_less() -> None:
    rng = np.random.default_rng(5)
    kinds = [((int(rng.integers(0, 9)),), int(rng.integers(0, 3)), 0, 1, int(rng.integers(1, 9))) for _ in range(6)]
    table = tables_of(workload(*kinds)).worth[0, 0]
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table, axis=1) >= 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_rows_and_diagonals_fill_the_same_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = np.unique(np.stack([rng.integers(1, 30, 9), rng.integers(0, 50, 9)], axis=1), axis=0)[: rng.integers(0, 9)]
    odds = rng.uniform(0.0, 3.0, len(shapes)) ** 3
    gains = odds * rng.integers(1, 5000, len(shapes))
    first, second = shapes[:, 0], shapes[:, 1]
    rows = filled_by_rows(first, second, odds, gains, (40, 60))
    assert rows == pytest.approx(filled_by_diagonals(first, second, odds, gains, (40, 60)), rel=1e-14, abs=0.0)
    columns = filled_by_rows(first, second, odds, gains, (60, 40)).T
    assert columns == pytest.approx(filled_by_diagonals(second, first, odds, gains, (40, 60)), rel=1e-14, abs=0.0)


@given(workloads(), nodes_and_replicas())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_the_cost_is_what_the_prospect_falls_by(work: Workload, case: tuple[Integers, Integers, Replica]) -> None:
    free, devices, replica = case
    tables = prospects(work, LARGEST, DEVICES)
    kernels = compiled()
    for flavor in range(FLAVORS):
        cost, device = spend(free, devices, flavor, *replica, tables)
        before = prospect(free, devices, flavor, tables)
        choices = np.flatnonzero(devices >= replica.part).tolist() if replica.part else [-1]
        costs = [before - prospect(*left_after(free, devices, replica, other), flavor, tables) for other in choices]
        assert cost == costs[choices.index(device)] == min(costs)
        assert kernels["spend"](free, devices, flavor, *replica, tables) == (cost, device)
        assert kernels["prospect"](free, devices, flavor, tables) == before
