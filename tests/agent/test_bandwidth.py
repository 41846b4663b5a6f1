"""What a job may send, between two network namespaces. How exactly it is kept is measured in tests.bench."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent import bandwidth
from allocator.agent.bandwidth import HtbShaper, Unshaped
from allocator.agent.confinement import Confinement, Unconfined
from allocator.agent.instructions import RunnerSettings
from allocator.agent.runner import Runner
from allocator.domain.resources import Resources
from tests.agent.conftest import Machine
from tests.agent.links import SENDER, Link, link, measured, why_not
from tests.agent.wanted import python, replica

MEGABYTE = 10**6


@pytest.fixture
def wire() -> Iterator[Link]:
    missing = why_not()
    if missing:
        pytest.skip(missing)
    with link() as made:
        yield made


def classes(device: str) -> str:
    shown = subprocess.run(["tc", "class", "show", "dev", device], capture_output=True, text=True, check=True)
    return shown.stdout


def test_a_job_sends_what_it_may_and_a_change_is_in_force_at_once(
    wire: Link, tmp_path: Path, confinement: Confinement
) -> None:
    shaper = bandwidth.find(wire.device, confinement)
    if not shaper.capability.on:
        pytest.skip(f"THIS MACHINE CANNOT LIMIT BANDWIDTH: {shaper.capability.why}")
    machine = Machine(tmp_path / "state", confinement)
    machine.runner.close()
    machine.runner = Runner(RunnerSettings("n", machine.state), confinement, shaper)
    machine.runner.open()
    try:
        with wire.receiving() as receiver:
            machine.want(replica(process=python(SENDER), demand=Resources(bandwidth_bytes_per_second=4 * MEGABYTE)))
            slow = measured(receiver, settle=0.3, seconds=0.7)
            demand = Resources(bandwidth_bytes_per_second=16 * MEGABYTE)
            machine.want(replica(process=python(SENDER), demand=demand, epoch=2, start=1), epoch=2)
            fast = measured(receiver, settle=0.3, seconds=0.7)
        assert 3 * MEGABYTE < slow < 4.2 * MEGABYTE
        assert 10 * MEGABYTE < fast < 16.8 * MEGABYTE
        assert "htb" in classes(wire.device)
        machine.want()
        machine.gone()
        assert "htb" not in classes(wire.device)
    finally:
        machine.close()


def test_a_discipline_that_somebody_chose_is_not_replaced(wire: Link, confinement: Confinement) -> None:
    subprocess.run(
        ["tc", "qdisc", "add", "dev", wire.device, "root", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms"],
        check=True,
    )
    shaper = bandwidth.find(wire.device, confinement)
    assert isinstance(shaper, Unshaped)
    assert "has the queueing discipline tbf, which is not ours" in shaper.capability.why


def test_ours_is_known_again(wire: Link, confinement: Confinement) -> None:
    first = bandwidth.find(wire.device, confinement)
    if not isinstance(first, HtbShaper):
        pytest.skip(f"THIS MACHINE CANNOT LIMIT BANDWIDTH: {first.capability.why}")
    group = confinement.enclose("r").unified
    first.limit(0, group, MEGABYTE)
    again = bandwidth.find(wire.device, confinement)
    assert isinstance(again, HtbShaper)
    assert "rate 8Mbit" in classes(wire.device)
    again.limit(0, group, 2 * MEGABYTE)
    assert "rate 16Mbit" in classes(wire.device)
    again.release()
    assert classes(wire.device) == ""
    confinement.remove("r")


@pytest.mark.skipif(os.getuid() != 0, reason="ONLY ROOT CAN SHAPE DEVICES")
@pytest.mark.parametrize(("device", "why"), [("", "no network device was named"), ("nosuchdevice", "nosuchdevice")])
def test_what_cannot_be_says_why(device: str, why: str, confinement: Confinement) -> None:
    shaper = bandwidth.find(device, confinement)
    assert not shaper.capability.on
    assert why in shaper.capability.why


def test_without_the_unified_groups_packets_cannot_be_told_apart() -> None:
    shaper = bandwidth.find("lo", Unconfined("not here"))
    assert not shaper.capability.on
