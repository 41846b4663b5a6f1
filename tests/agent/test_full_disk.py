"""Jobs that fill the disk that the agent's own state is on: they can be stopped, and how they ended is known."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.confinement import Confinement
from allocator.intake.commands import ReplicaState
from tests.agent.conftest import Machine
from tests.agent.wanted import replica, shell

_FILL = "while [ ! -e {} ]; do cat /dev/zero >> zeros 2> /dev/null; sleep 0.02; done"


@pytest.fixture
def small(tmp_path: Path, confinement: Confinement) -> Iterator[Machine]:
    """A machine whose state is on a disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=False).returncode:
        pytest.skip("THIS USER CANNOT MOUNT A SMALL DISK")
    try:
        machine = Machine(disk / "state", confinement)
        yield machine
        for file in disk.glob("state/work/*/zeros"):
            file.unlink()
        machine.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def full(machine: Machine) -> bool:
    return os.statvfs(machine.state).f_bavail == 0


def test_the_end_of_who_filled_the_disk_is_known_and_the_lease_is_renewed(small: Machine, tmp_path: Path) -> None:
    small.want(replica(process=shell(_FILL.format(tmp_path / "go"))))
    small.until(lambda: full(small))
    small.renew(700.0)
    assert '"lease_seconds": 700.0' in (small.state / "lease.json").read_text()
    (tmp_path / "go").touch()
    (run,) = (small.state / "runs").iterdir()
    small.until((run / "exit.json").exists)
    (small.state / "work/j1/zeros").unlink()
    assert small.ended().state is ReplicaState.SUCCEEDED


def test_who_filled_the_disk_can_be_stopped(small: Machine) -> None:
    small.want(replica(process=shell(_FILL.format("never"))))
    small.until(lambda: full(small))
    small.want()
    (run,) = (small.state / "runs").iterdir()
    small.until((run / "exit.json").exists)
