"""The real traces, where they are to be had: read whole, and a slice of each replayed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simulations.replay import ReplayOptions, replay
from simulations.shrinking import on_every_nth_node
from simulations.traces import dlrm, openb, philly
from simulations.traces.window import DAY, Window, seconds_into
from tests.simulations.test_dlrm import Links

TRACES = os.environ.get("ALLOCATOR_TRACES")
pytestmark = pytest.mark.skipif(
    TRACES is None,
    reason="ALLOCATOR_TRACES is not set: name the folder that holds the traces, such as alibaba-openb-2023",
)
ROOT = Path(TRACES or ".")


def test_openb_whole() -> None:
    """Counts as its authors publish them."""
    workload = openb.read(ROOT / "alibaba-openb-2023", Window())
    workload.require_valid()
    assert len(workload.nodes) == 1523
    assert sum(node.gpu_count for node in workload.nodes) == 6212
    assert len(workload.arrivals) + sum(workload.dropped.values()) == 8152
    assert workload.dropped == {"never_scheduled": 897}


def test_openb_variants_with_a_choice_of_models() -> None:
    workload = openb.read(ROOT / "alibaba-openb-2023" / "openb_pod_list_gpuspec20.csv.gz", Window())
    assert any(len(arrival.spec.configurations) == 1 for arrival in workload.arrivals)


def test_openb_slice_replayed() -> None:
    workload = openb.read(ROOT / "alibaba-openb-2023", Window(start=120 * DAY, end=120.1 * DAY, carry_in=True))
    result = replay(workload, ReplayOptions(interval_seconds=300.0, horizon_seconds=0.1 * DAY))
    assert result.summary["jobs"]["by_state"]["succeeded"] > 0
    assert result.summary["invariants"]["checks"] > 0


def test_philly_whole() -> None:
    workload = philly.read(ROOT / "philly-2017")
    assert len(workload.nodes) == 552
    assert sum(node.gpu_count for node in workload.nodes) == 2490
    assert len(workload.arrivals) + sum(workload.dropped.values()) == 111_549
    assert len(workload.queues) == 16


def test_philly_slice_replayed() -> None:
    start = seconds_into("2017-10-10", "from", philly.ORIGIN)
    workload = philly.read(ROOT / "philly-2017", Window(start, start + 0.1 * DAY), restart_cost_seconds=30.0)
    result = replay(workload, ReplayOptions(interval_seconds=300.0, horizon_seconds=0.1 * DAY))
    assert result.summary["rounds"]["gap_max"] <= 1e-4


def test_dlrm_whole() -> None:
    """Every row is an instance or is counted; bandwidth is what the GPU nodes run out of."""
    workload = dlrm.read(ROOT / "alibaba-dlrm-rdma-2025")
    workload.require_valid()
    assert len(workload.arrivals) + sum(workload.dropped.values()) == 13_624
    assert workload.dropped == {"no_run_time": 13}
    assert len(workload.queues) == 78
    assert {flavor: sum(node.flavor == flavor for node in workload.nodes) for flavor in ("cn", "hn")} == {
        "cn": 1152,
        "hn": 530,
    }
    assert max(arrival.fastest.demand.bandwidth_bytes_per_second for arrival in workload.arrivals) == 12_750_000_000


def test_dlrm_slice_replayed() -> None:
    """A tenth of the nodes for an hour after the start, when everything that was there before wants a place."""
    workload = on_every_nth_node(dlrm.read(ROOT / "alibaba-dlrm-rdma-2025", Window(end=3600.0)), 10)
    links = Links(workload)
    result = replay(
        workload, ReplayOptions(interval_seconds=300.0, horizon_seconds=3600.0, full_check_every=1), observers=[links]
    )
    assert result.summary["invariants"]["broken"] == 0
    assert result.summary["jobs"]["by_state"]["pending"] > 0
    assert links.fullest == dlrm.RNIC_BYTES_PER_SECOND, "some RNIC is full to the last byte, and none is over it"
