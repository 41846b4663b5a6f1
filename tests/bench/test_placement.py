"""The placement protocol on a small cluster, and on the published one where the trace is at hand."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.placement.fragmentation import Workload
from simulations.reproduce import openb_protocol as openb
from simulations.reproduce.openb_arriving import fits
from simulations.reproduce.openb_protocol import Cluster, Kind
from tests.bench import placement

KINDS: list[tuple[Kind, int]] = [
    ((3, 5, 0, 810, (True,)), 25),
    ((11, 40, 1, 0, (True,)), 35),
    ((19, 60, 1, 0, (True,)), 8),
    ((3, 5, 1, 0, (True,)), 8),
    ((12, 40, 0, 470, (True,)), 18),
    ((12, 40, 0, 650, (True,)), 6),
    ((4, 15, 0, 320, (True,)), 8),
    ((4, 15, 0, 160, (True,)), 4),
    ((12, 50, 0, 0, (True,)), 12),
    ((32, 60, 0, 0, (True,)), 8),
]
"""Cores, GiB, whole GPUs, a part of one, and how often: roughly the mix that was published."""


def world() -> tuple[Cluster, Workload]:
    """20 nodes with 12 cores per GPU, 12 with 52. Cores are in thousandths, memory in MiB."""
    free = np.array([(96_000, 393_216)] * 20 + [(104_000, 524_288)] * 12)
    devices = np.where(np.arange(8) < np.array([8] * 20 + [2] * 12)[:, None], 1000, 0)
    kinds = [(cores * 1000, memory * 1024, *gpus) for (cores, memory, *gpus), _ in KINDS]
    work = openb.workload_of([tuple(kind) for kind in kinds], [popularity for _, popularity in KINDS])  # type: ignore[misc] # kinds as they were, rescaled
    return Cluster(free, devices, np.zeros(32, np.int64)), work


def test_a_better_score_places_more() -> None:
    cluster, work = world()
    replicas = np.repeat(np.arange(len(KINDS)), work.popularity)
    found, seconds = placement.run(cluster, work, replicas, range(100, 106))
    mean = {policy: float(np.mean(values)) for policy, values in found.items()}
    assert mean["random"] + 1.0 < mean["best fit"] < mean["descent"] < mean["prospects"] <= 100.0
    assert mean["prospects"] > mean["descent"] + 0.3
    assert all(second > 0.0 for second in seconds.values())


def test_arrivals_ask_for_what_the_protocol_says() -> None:
    cluster, work = world()
    replicas = np.repeat(np.arange(len(KINDS)), work.popularity)
    for copies in (1, 20):  # copies are drawn, or replicas left out
        order = openb.arrivals(np.tile(replicas, copies), work, cluster.millis, 7)
        asked = work.value[order].sum()
        assert 1.3 * cluster.millis - 1000 < asked <= 1.3 * cluster.millis
    assert openb.arrivals(replicas, work, cluster.millis, 7).tolist() != order.tolist()


def test_in_proportion_by_hand() -> None:
    # Parts of 600 go alone, those of 300 in threes or one beside 600: ten of each and ten whole GPUs take 20 devices.
    kinds: list[Kind] = [(1, 1, 0, 600, (True,)), (1, 1, 0, 300, (True,)), (1, 1, 1, 0, (True,))]
    cluster = Cluster(np.ones((10, 2), np.int64), np.full((10, 1), 1000), np.zeros(10, np.int64))
    assert placement.in_proportion(cluster, openb.workload_of(kinds, [10, 10, 10])) == pytest.approx(95.0)


def test_what_fits() -> None:
    work = openb.workload_of([(4, 2, 2, 0, (True, False)), (4, 2, 0, 300, (True, True))], [1, 1])
    free, two, scraps = np.array([4, 2]), np.array([1000, 1000, 0]), np.array([1000, 299, 0])
    assert fits(free, two, 0, 0, work)
    assert not fits(free, two, 1, 0, work)
    assert not fits(free, scraps, 0, 0, work)
    assert fits(free, scraps, 1, 1, work)
    assert not fits(free - 1, two, 0, 1, work)


def test_the_published_figures() -> None:
    trace = placement.folder()
    if trace is None:
        pytest.skip(f"ALLOCATOR_TRACES names no folder with {openb.FOLDER}")
    cluster, models = openb.read_cluster(trace)
    reference = openb.published(trace)
    work, replicas = openb.read_replicas(trace, "default", models)
    found, _ = placement.run(cluster, work, replicas, (42, 43))
    for policy, name in placement.PUBLISHED.items():
        assert np.mean(found[policy]) == pytest.approx(
            reference["default", name], abs=0.75 if policy == "random" else 0.5
        )
    assert np.mean(found["prospects"]) > reference["default", "FGD"] + 0.4
