"""`allocator agent` and `allocator serve` as programs: both are killed in the middle, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from allocator.agent.records import locked, start_ticks
from allocator.client import Client, Configuration, Job, JobSpec, JobState, Queue, Resources
from allocator.domain.process import Process
from tests.agent.conftest import alive, this_machines
from tests.agent.wanted import shell
from tests.daemon.process import DaemonProcess, running

pytestmark = pytest.mark.system


class AgentProcess:
    """`allocator agent` with a state folder, that a test may kill."""

    def __init__(self, daemon: DaemonProcess, directory: Path) -> None:
        self.state = directory / "state"
        self._log = directory / "agent.log"
        group = f"/allocator-test-{os.getpid()}-program" if os.getuid() == 0 else "allocator-test"
        self._command = [
            *(sys.executable, "-m", "allocator", "agent", "--json", "--address", daemon.address, "--name", "here"),
            *("--state", str(self.state), "--cgroup", group, "--cpu", "4", "--memory", "4GiB", "--label", "rack=r1"),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def sweep(self) -> None:
        """End what still runs, through its supervisors."""
        for started in self.state.glob("runs/*/started.json"):
            pid, ticks = json.loads(started.read_text())["supervisor"]
            with contextlib.suppress(ProcessLookupError):
                while start_ticks(pid) == ticks and alive(pid):
                    (started.parent / "stop.json").write_text('{"signal": "SIGKILL", "grace_seconds": 0}')
                    os.kill(pid, signal.SIGTERM)
                    time.sleep(0.02)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    # A slow machine needs more than the usual lease to start a program anew.
    with running(tmp_path, ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS="300") as started:
        yield started


@pytest.fixture
def agent(daemon: DaemonProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(daemon, tmp_path)
    made.start()
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()
    made.sweep()
    groups = this_machines("program")
    for run_id in groups.known():
        groups.remove(run_id)
    groups.close()


def until(happened: Callable[[], bool], agent: AgentProcess, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, agent.said[-3000:]
        time.sleep(0.02)


def submit(client: Client, process: Process) -> str:
    way = Configuration("cpu", 1, Resources(cpu_millicores=500, memory_bytes=2**28), 1.0)
    (job,) = client.submit([JobSpec("q", (way,), process=process)], allow_infeasible=True)
    assert isinstance(job, Job), job
    return job.id


def test_what_runs_survives_the_death_of_agent_and_daemon(daemon: DaemonProcess, agent: AgentProcess) -> None:
    with Client(daemon.address) as client:
        client.create_queue(Queue("q"))
        job = submit(client, shell("echo begun; until test -e go; do sleep 0.05; done; echo over", grace=2.0))
        output = agent.state / "output" / job
        until(lambda: any("begun" in file.read_text() for file in output.glob("*.out")), agent)
        assert client.job(job).state is JobState.RUNNING
        node = client.node("here")
        assert node.capacity.cpu_millicores == 4000
        assert {"rack", "agent/cpu-limits", "agent/bandwidth-limits"} <= {key for key, _ in node.labels}

        agent.kill()
        agent.start()
        until(lambda: agent.said.count('"capabilities"') == 2, agent)
        daemon.kill()
        daemon.start()
        (agent.state / "work" / job / "go").touch()
        until(lambda: client.job(job).state.is_final, agent)
        assert client.job(job).state is JobState.SUCCEEDED
        assert [file.read_text() for file in output.iterdir()] == ["begun\nover\n"]
    assert agent.stop() == 0


def test_a_second_agent_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, locked(tmp_path))
        command = (sys.executable, "-m", "allocator", "agent", "--state", str(tmp_path), "--cgroup", "/allocator-test")
        other = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert other.returncode == 4
    assert b"is another agent's, which runs" in other.stderr
    assert not other.stdout
