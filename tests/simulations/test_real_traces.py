"""The real traces, where they are to be had: read whole, and a slice of each replayed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from simulations.replay import ReplayOptions, replay
from simulations.traces import openb, philly
from simulations.traces.window import DAY, Window, seconds_into

TRACES = os.environ.get("ALLOCATOR_TRACES")
pytestmark = pytest.mark.skipif(
    TRACES is None, reason="ALLOCATOR_TRACES is not set: name the folder that holds alibaba-openb-2023 and philly-2017"
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
