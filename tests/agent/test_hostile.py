"""Jobs that mean harm, or behave as if they did: on real processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocator.agent.confinement import Confinement
from allocator.agent.disk import LEAST_BYTES, taken
from allocator.domain.job import JobState
from allocator.domain.process import Process
from allocator.domain.resources import Resources
from allocator.intake.commands import ReplicaState
from allocator.rpc import RpcSettings
from tests.agent.conftest import Machine, alive
from tests.agent.test_agent import agent, now, start, state, submit
from tests.agent.wanted import python, replica, shell
from tests.rpc.serving import serving, until

__all__ = ["state"]
MIB = 2**20
MOST_DISK = 4 * MIB


@pytest.fixture
def counting(tmp_path: Path, confinement: Confinement) -> Iterator[Machine]:
    """A machine that counts what files of jobs take, often."""
    made = Machine(tmp_path / "state", confinement)
    made.runner.close()
    made.runner = made.make(most_disk_bytes=MOST_DISK, disk_look_seconds=0.05)
    made.runner.open()
    yield made
    made.close()


FILLS = {
    "one file": "head -c 6000000 /dev/zero > big; sleep 600",
    "many files": "for i in 1 2 3 4 5 6; do head -c 1000000 /dev/zero > f$i; done; sleep 600",
    "many empty files": "mkdir d; i=0; while :; do : > d/$i; i=$((i+1)); done",
    "its output": "head -c 6000000 /dev/zero; sleep 600",
    "deep folders": "mkdir -p a/b/c; head -c 6000000 /dev/zero > a/b/c/big; sleep 600",
}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS.keys())
def test_who_fills_the_disk_is_ended_and_told_so(counting: Machine, fill: str) -> None:
    counting.want(replica(process=shell(fill)))
    report = counting.ended()
    assert report.state is ReplicaState.FAILED
    assert report.message == "killed: its files grew beyond its limit of 4 MiB together"


def test_what_a_job_asked_for_is_its_limit_and_nobody_elses(counting: Machine) -> None:
    asks = Resources(500, disk_bytes=MIB)
    write = "head -c 1500000 /dev/zero | split -b 500000; echo written; sleep 600"
    counting.want(replica("modest", shell(write), demand=asks), replica("large", shell(write)))
    assert "limit of 1 MiB together" in counting.ended("modest").message
    counting.says("written", "large")
    assert counting.report("large").state is ReplicaState.RUNNING


def test_what_is_on_the_disk_is_counted_once_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "job/sub").mkdir(parents=True)
    (tmp_path / "job/sub/file").write_bytes(b"x" * 100_000)
    with (tmp_path / "job/sparse").open("wb") as file:
        file.truncate(10 * MIB)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/large").write_bytes(b"x" * 5 * MIB)
    (tmp_path / "job/link").symlink_to(tmp_path / "elsewhere")
    os.sync()
    found = taken([tmp_path / "job", tmp_path / "missing"], 10 * MIB)
    assert 100_000 <= found <= 100_000 + 8 * LEAST_BYTES
    assert taken([tmp_path / "job"], 10_000) > 10_000, "it stops as soon as it is too much"


def test_folders_too_deep_to_be_named_are_too_much(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=at)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    assert taken([tmp_path], MIB) > MIB


def test_a_family_that_hides_and_ignores_its_end_is_ended(machine: Machine) -> None:
    """Forks, forks again into a session of its own, closes everything, ignores what can be ignored."""
    process = python(
        "import os, signal, time",
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)",
        "for _ in range(4):",
        "    if os.fork() == 0:",
        "        os.setsid()",
        "        if os.fork() == 0:",
        "            os.closerange(3, 100)",
        "            print('pid', os.getpid(), flush=True)",
        "            while True: time.sleep(600)",
        "        os._exit(0)",
        "print('all', flush=True)",
        "while True: time.sleep(600)",
        grace=0.3,
    )
    machine.want(replica(process=process))
    machine.says("all")
    machine.until(lambda: machine.printed().count("pid ") == 4)
    pids = [int(line.split()[1]) for line in machine.printed().splitlines() if line.startswith("pid ")]
    assert all(map(alive, pids))
    began = time.monotonic()
    machine.want(epoch=2)
    machine.gone()
    assert time.monotonic() - began >= 0.25, "its grace is its own"
    assert not any(map(alive, pids))


async def test_hundreds_of_jobs_that_exit_in_zero_time(state: Path, confinement: Confinement) -> None:
    """None is lost, none is run twice, and nothing is left of them. Ten thousand: `make bench-instant`."""
    count = 200
    async with (
        serving(RpcSettings(lease_seconds=600, heartbeat_interval_seconds=0.2)) as served,
        agent(served.port, state, confinement) as runner,
    ):
        jobs = [submit(served, Process(("true",))) for _ in range(count)]
        for job in jobs:
            start(served, job)
        await until(lambda: all(now(served, job).state.is_final for job in jobs))
        assert {now(served, job).state for job in jobs} == {JobState.SUCCEEDED}
        served.hub.push(served.commit())
        await until(lambda: runner.runs() == ())
        assert f'{{"next": {count}}}' == (state / "counter.json").read_text()
        assert [entry for kind in ("runs", "work", "output", "ended") for entry in (state / kind).iterdir()] == []
