"""The agent's systemd unit: systemd understands it, and a restart leaves the jobs alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.deploy.prometheus import program

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "systemd" / "allocator-agent.service").read_text(encoding="utf-8")


@pytest.mark.system
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "allocator-agent.service"
    unit.write_text(re.sub(r"/opt/allocator/bin/allocator", "/bin/true", UNIT), encoding="utf-8")
    command = [program("systemd-analyze"), "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_restart_of_the_agent_ends_no_job() -> None:
    assert "KillMode=process\n" in UNIT
    assert "Restart=always\n" in UNIT


def test_it_may_shape_devices_and_has_its_groups_to_itself() -> None:
    assert "Delegate=yes\n" in UNIT
    assert re.search(r"^CapabilityBoundingSet=.*\bCAP_NET_ADMIN\b", UNIT, re.MULTILINE)


def test_it_sees_the_devices_of_the_machine() -> None:
    """Whatever allows one device, and ProtectClock allows that of the clock, forbids all others: GPUs, too."""
    assert not re.search(r"^(ProtectClock|PrivateDevices|DeviceAllow|DevicePolicy)=", UNIT, re.MULTILINE)
