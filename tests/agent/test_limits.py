"""Limits that hold, on this machine's own control groups. How well CPU shares are met is measured in tests.bench."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allocator.agent import cgroups
from allocator.agent.cgroups_v2 import VersionTwo
from allocator.agent.confinement import Confinement, Limits, Unconfined
from allocator.domain.resources import Resources
from allocator.intake.commands import ReplicaState
from tests.agent.conftest import Machine, alive
from tests.agent.wanted import python, replica, shell

MEBIBYTE = 2**20


def test_who_takes_too_much_memory_is_killed_and_told_why(limited: Machine) -> None:
    demand = Resources(cpu_millicores=1000, memory_bytes=64 * MEBIBYTE)
    limited.want(replica(process=python("held = []", "while True: held.append(bytearray(1 << 20))"), demand=demand))
    report = limited.ended()
    assert report.state is ReplicaState.FAILED
    assert report.message == "killed: it reached its memory limit of 64 MiB (ended by SIGKILL)"
    assert 60 * MEBIBYTE < report.peak_memory_bytes <= 64 * MEBIBYTE


def test_a_child_that_takes_too_much_ends_the_whole_job(limited: Machine) -> None:
    demand = Resources(cpu_millicores=1000, memory_bytes=64 * MEBIBYTE)
    process = python(
        "import os, time",
        "if os.fork() == 0:",
        "    held = []",
        "    while True: held.append(bytearray(1 << 20))",
        "time.sleep(600)",
    )
    limited.want(replica(process=process, demand=demand))
    assert "memory limit of 64 MiB" in limited.ended().message


def test_a_fork_bomb_stays_within_its_bounds(limited: Machine) -> None:
    limited.runner.close()
    limited.runner = limited.make(most_processes=20)
    limited.runner.open()
    bomb = python(
        "import os, time",
        "while True:",
        "    try: os.fork()",
        "    except OSError: break",
        "print('full', flush=True)",
        "time.sleep(600)",
    )
    limited.want(replica(process=bomb))
    limited.says("full")
    (run,) = limited.runner.runs()
    members = members_of(limited.confinement, run.id)
    assert 1 < len(members) <= 20
    limited.want()
    limited.runner.kill(run.id)
    limited.gone()
    assert not any(alive(pid) for pid in members)


def test_a_changed_share_is_in_force_at_once(limited: Machine) -> None:
    """It used to be throttled most of the time, and then is not throttled at all."""
    process = python("while True: pass")
    small, large = Resources(50, 0, 64 * MEBIBYTE), Resources(64_000, 0, 128 * MEBIBYTE)
    limited.want(replica(process=process, demand=small))
    limited.until(lambda: limited.report().cpu_seconds > 0.02)
    (run,) = limited.runner.runs()
    before = quota_of(limited.confinement, run.id)
    limited.want(replica(process=process, demand=large, epoch=2, start=1), epoch=2)
    assert (before, quota_of(limited.confinement, run.id)) == (0.05, 64.0)
    assert limited.report().epoch.round == 2
    assert limited.report().state is ReplicaState.RUNNING


def test_what_it_used_is_reported(limited: Machine) -> None:
    process = python("import time", "block = bytearray(32 << 20)", "while time.process_time() < 0.3: pass")
    limited.want(replica(process=process, demand=Resources(4000, 0, 256 * MEBIBYTE)))
    report = limited.ended()
    assert 0.3 <= report.cpu_seconds < 3.0
    assert 32 * MEBIBYTE <= report.peak_memory_bytes < 128 * MEBIBYTE


def test_memory_in_use_is_taken_back_later(limited: Machine) -> None:
    process = python(
        "block = bytearray(96 << 20)",
        "block[::4096] = b'x' * (len(block) // 4096)",
        "print('held', flush=True)",
        "import time",
        "time.sleep(600)",
    )
    limited.want(replica(process=process, demand=Resources(4000, 0, 256 * MEBIBYTE)))
    limited.says("held")
    limited.want(replica(process=process, demand=Resources(4000, 0, 32 * MEBIBYTE), epoch=2, start=1), epoch=2)
    assert limited.report().state is ReplicaState.RUNNING
    limited.want(replica(process=process, demand=Resources(4000, 0, 512 * MEBIBYTE), epoch=3, start=1), epoch=3)
    assert limited.report().state is ReplicaState.RUNNING


def test_without_control_groups_nothing_hides_either(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "state", Unconfined("not here"))
    try:
        assert [(each.on, each.why) for each in machine.confinement.capabilities] == [(False, "not here")] * 3
        machine.want(
            replica(process=shell("setsid sh -c 'echo $$; trap \"\" TERM; exec sleep 600' & sleep 600", grace=0.1))
        )
        pid = int(machine.says("\n"))
        machine.want()
        machine.gone()
        assert not alive(pid)
    finally:
        machine.close()


@pytest.mark.skipif(os.getuid() != 0, reason="ONLY ROOT CAN RUN JOBS AS ANOTHER USER")
def test_jobs_run_as_another_user(tmp_path: Path, confinement: Confinement) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    machine = Machine(tmp_path / "state", confinement)
    try:
        machine.runner.close()
        machine.runner = machine.make(user="nobody")
        machine.runner.open()
        machine.want(replica(process=shell("id -un; id -Gn; touch made; cat /proc/1/environ 2>&1 | head -c 1000")))
        machine.ended()
        said = machine.printed()
        assert said.startswith("nobody\nnogroup\n")
        assert "Permission denied" in said
        assert (machine.state / "work/j1/made").owner() == "nobody"
    finally:
        machine.close()


# --- what the two versions are told


@pytest.mark.parametrize(
    ("millicores", "quota"),
    [(0, None), (1, (1000, 1_000_000)), (5, (1000, 200_000)), (10, (1000, 100_000)), (2500, (250_000, 100_000))],
)
def test_quotas(millicores: int, quota: tuple[int, int] | None) -> None:
    assert Limits(millicores).quota() == quota


def test_version_two_is_told_the_same(tmp_path: Path) -> None:
    groups = VersionTwo(tmp_path, frozenset({"cpu", "memory", "pids"}), {})
    enclosure = groups.enclose("r")
    groups.limit("r", Limits(1500, 2**30, 100))
    told = {file.name: file.read_text() for file in (tmp_path / "r").iterdir()}
    assert told == {
        "cpu.max": "150000 100000",
        "cpu.weight": "150",
        "memory.max": "1073741824",
        "memory.high": "max",
        "memory.oom.group": "1",
        "pids.max": "100",
    }
    assert enclosure.join == (tmp_path / "r/cgroup.procs",)
    assert enclosure.quench == ((tmp_path / "r/cgroup.kill", "1"),)


@pytest.mark.skipif(os.getuid() != 0, reason="ONLY ROOT CAN MAKE CONTROL GROUPS HERE")
def test_version_two_ends_all_of_a_job_at_once(tmp_path: Path) -> None:
    """In the kernel's own unified hierarchy, whatever controllers it has."""
    unified = cgroups.hierarchies().unified
    if unified is None:
        pytest.skip("NO UNIFIED CONTROL GROUPS ARE MOUNTED")
    groups = VersionTwo(unified / f"allocator-test-{os.getpid()}", frozenset(), {})
    machine = Machine(tmp_path / "state", groups)
    try:
        script = "setsid sh -c 'echo $$; trap \"\" TERM; exec sleep 600' & until test -e go; do sleep 0.01; done"
        machine.want(replica(process=shell(script)))
        pid = int(machine.says("\n"))
        (machine.state / "work/j1/go").touch()
        report = machine.ended()
        assert report.state is ReplicaState.SUCCEEDED
        assert not alive(pid)
        assert 0 < report.cpu_seconds < 10
    finally:
        machine.close()
        groups.close()


def test_version_two_takes_no_memory_by_force(tmp_path: Path) -> None:
    groups = VersionTwo(tmp_path, frozenset({"memory"}), {"cpu": "why"})
    groups.enclose("r")
    (tmp_path / "r/memory.current").write_text("1000000")
    (tmp_path / "r/memory.max").write_text("2000000")
    with pytest.raises(BlockingIOError):
        groups.limit("r", Limits(0, 500_000))
    assert (tmp_path / "r/memory.max").read_text() == "2000000"
    assert (tmp_path / "r/memory.high").read_text() == "500000"
    assert [(each.name, each.on) for each in groups.capabilities] == [
        ("cpu-limits", False),
        ("memory-limits", True),
        ("process-limits", False),
    ]


def test_version_two_reads_what_was_used(tmp_path: Path) -> None:
    groups = VersionTwo(tmp_path, frozenset({"memory"}), {})
    groups.enclose("r")
    (tmp_path / "r/cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (tmp_path / "r/memory.peak").write_text("4096\n")
    (tmp_path / "r/memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    usage = groups.usage("r")
    assert (usage.cpu_seconds, usage.peak_memory_bytes, usage.memory_kills) == (2.5, 4096, 1)


def members_of(confinement: Confinement, run_id: str) -> list[int]:
    members = confinement.enclose(run_id).members
    assert members is not None
    return [int(pid) for pid in members.read_text().split()]


def quota_of(confinement: Confinement, run_id: str) -> float:
    """Cores, as the kernel has it."""
    for group in {path.parent for path in confinement.enclose(run_id).join}:
        if (group / "cpu.cfs_quota_us").exists():
            return int((group / "cpu.cfs_quota_us").read_text()) / int((group / "cpu.cfs_period_us").read_text())
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
            return int(quota) / int(period)
    raise AssertionError("there is no quota")
