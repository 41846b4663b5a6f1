"""A Slurm that a daemon drives, for tests: all of it real, and each part may be killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from allocator.client import Client
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.process import Process
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from tests.daemon.process import DaemonProcess, running
from tests.slurm_cluster import SlurmCluster

PATIENCE = 90.0
TICKS = (
    'while [ ! -e "$1/enough" ]; do '
    'printf "%s %s %s\\n" "$(date +%s.%N)" "$SLURM_JOB_ID" "$SLURMD_NODENAME" >> "$1/$0"; sleep 0.1; done'
)
"""For `sh -c TICKS NAME FOLDER`: writes into FOLDER/NAME that it runs, until FOLDER/enough is there."""


class Driven:
    """A daemon, a Slurm, and the bridge between them, which a test may kill."""

    def __init__(self, folder: Path, slurm: SlurmCluster, daemon: DaemonProcess, *options: str) -> None:
        self.folder, self.slurm, self.daemon, self._options = folder, slurm, daemon, options
        self.spool = folder / "spool"
        self.client = Client(daemon.address)
        self._bridge: subprocess.Popen[bytes] | None = None

    def drive(self) -> None:
        with (self.folder / "bridge.log").open("ab") as log:
            self._bridge = subprocess.Popen(
                [sys.executable, "-m", "allocator", "slurm", "drive", f"--spool={self.spool}", "--poll=0.2",
                 f"--address={self.daemon.address}", *self._options],
                env=self.slurm.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        assert self._bridge is not None
        self._bridge.kill()
        self._bridge.wait()

    def submit(
        self,
        *command: str,
        cores: int = 1,
        replicas: int = 1,
        count: int = 1,
        grace: float = 5.0,
        memory_mib: int = 64,
        **more: Any,
    ) -> list[str]:
        demand = Resources(cpu_millicores=cores * 1000, memory_bytes=memory_mib * 2**20)
        process = Process(tuple(command), grace_seconds=grace)
        spec = JobSpec("q", (Configuration("cpu", replicas, demand),), process=process, **more)
        answers = self.client.submit([spec] * count)
        return [answer.id for answer in answers if isinstance(answer, Job)]

    def queue(self) -> list[list[str]]:
        """Slurm's jobs: id, state, comment."""
        text = self.slurm.call("squeue", "--noheader", "--states=all", "-o", "%A|%T|%k")
        return [line.split("|") for line in text.splitlines() if line.count("|") == 2]  # not those that a comment makes

    def wait_for(self, what: str, holds: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            log = self.folder / "bridge.log"
            assert time.monotonic() < until, f"{what}: {self.queue()}\n{log.read_text()[-2000:]}"
            time.sleep(0.05)

    def wait_until_ended(self, *jobs: str) -> list[Job]:
        self.wait_for("jobs end", lambda: all(self.client.job(job).state.is_final for job in jobs))
        return [self.client.job(job) for job in jobs]

    def close(self) -> None:
        if self._bridge is not None and self._bridge.poll() is None:
            self.kill()
        self.client.close()


@contextlib.contextmanager
def driving(folder: Path, *options: str, nodes: int, lease_seconds: float, extra: str = "") -> Iterator[Driven]:
    """Nodes with four cores each, all registered; `options` of `allocator slurm drive`."""
    lease = {"ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": f"{lease_seconds:g}"}
    with (
        SlurmCluster(folder / "slurm", nodes=nodes, cores=4, extra=f"KillWait=2\nMinJobAge=5\n{extra}") as slurm,
        running(folder, **lease) as daemon,
    ):
        made = Driven(folder, slurm, daemon, *options)
        made.client.create_queue(Queue("q"))
        made.drive()
        try:
            made.wait_for("nodes register", lambda: len(list(made.client.nodes())) == nodes)
            yield made
        finally:
            made.close()


def ticks(file: Path) -> list[tuple[float, str, str]]:
    """(when, Slurm's job, node), of whole lines."""
    text = file.read_text() if file.exists() else ""
    words = (line.split() for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [(float(when), job, node) for when, job, node in words]
