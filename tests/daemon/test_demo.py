"""`allocator demo` as a program: what it says is real runs, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.client import Client, Job, OutputPiece
from allocator.domain.job import JobState
from tests.agent.conftest import alive

pytestmark = pytest.mark.system
PATIENCE = 120.0


def processes_about(directory: Path) -> list[str]:
    """Command lines of what runs and names the directory, or works below it."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and alive(int(process.name)):
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (process / "environ").read_bytes()
                folder = str((process / "cwd").readlink())
            except OSError:
                continue
            if str(directory) in line or str(directory) in folder or str(directory).encode() in environment:
                found.append(line)
    return found


def test_real_jobs_run_beside_simulated_ones_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "allocator", "demo", "--directory", str(tmp_path / "demo"), "--interval", "0.5"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def until(what: str, found: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not found():
            assert demo.poll() is None, demo.communicate()[0].decode()
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    try:
        log = tmp_path / "demo/daemon.log"
        until("the daemon serves", lambda: log.exists() and '"api"' in log.read_text())
        address = log.read_text().partition('"api": "')[2].partition('"')[0]
        with Client(address, timeout=60) as client:
            until("all nodes are there", lambda: len(list(client.nodes())) == 11)
            nodes = {node.name: node for node in client.nodes()}
            assert {name for name, node in nodes.items() if not node.simulated} == {"this-machine"}
            assert all(dict(node.labels)["demo"] == "simulated" for node in nodes.values() if node.simulated)

            def real() -> list[Job]:
                running = client.jobs(states=[JobState.RUNNING])
                return [job for job in running if ("demo", "real") in job.spec.labels]

            until("real jobs of all kinds run", lambda: {job.spec.name for job in real()} == {"burn", "digits"})
            digits = next(job for job in real() if job.spec.name == "digits")
            printed = b""
            for event in client.read_output(digits.id, follow=True):
                printed += event.content if isinstance(event, OutputPiece) else b""
                if b"5820974944" in printed:
                    break
            assert printed.startswith(b"pi = 3.\n    0  1415926535\n")
        assert {"demo", "serve", "agent", "burn.py", "digits.py"} <= {
            word.rpartition("/")[2] for line in processes_about(tmp_path) for word in line.split()
        }
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
        assert processes_about(tmp_path) == []
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(60)
        assert demo.stdout is not None
        demo.stdout.close()
