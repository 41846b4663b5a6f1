"""Runs the daemon as users do: a process of its own, on free ports, that a test may kill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from allocator.client import Client
from allocator.domain.errors import AllocatorError
from tests.ports import free_port


class DaemonProcess:
    """`allocator serve` on a database in `directory`; rounds every 0.2 s, unless `environment` says otherwise."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self.port, self.metrics_port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.environment = (
            {name: value for name, value in os.environ.items() if not name.startswith("ALLOCATOR_")}
            | {
                "ALLOCATOR_SERVER__PORT": str(self.port),
                "ALLOCATOR_SERVER__DRAIN_SECONDS": "2",
                "ALLOCATOR_METRICS__PORT": str(self.metrics_port),
                "ALLOCATOR_STORE__URL": f"sqlite:///{directory / 'allocator.db'}",
                "ALLOCATOR_ROUNDS__INTERVAL_SECONDS": "0.2",
                "ALLOCATOR_LOG__FORMAT": "json",
                "OPENBLAS_NUM_THREADS": "1",
            }
            | environment
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "allocator", "serve"], env=self.environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 120
        with Client(self.address) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    client.status(timeout=5.0)
                except AllocatorError:
                    time.sleep(0.02)
                else:
                    return
        raise AssertionError(f"the daemon did not start:\n{self.log.read_text()[-3000:]}")

    def run_to_its_end(self) -> subprocess.CompletedProcess[bytes]:
        """For a daemon that is expected to give up."""
        command = [sys.executable, "-m", "allocator", "serve"]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(90)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@contextlib.contextmanager
def running(directory: Path, **environment: str) -> Iterator[DaemonProcess]:
    """A daemon that answers; killed at the end if it still runs."""
    daemon = DaemonProcess(directory, **environment)
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
