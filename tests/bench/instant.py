"""Jobs that exit in zero time, thousands of them, on the real daemon and the real agent: is anything lost, or left?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.table import Table

from allocator.agent import records
from allocator.client import Client, Configuration, Job, JobSpec, Queue, Resources
from allocator.domain.process import Process
from tests.daemon.process import running

JOBS = int(os.environ.get("BENCH_JOBS", "10000"))
AT_ONCE = 100
"""So many have room on the machine at a time."""
_BATCH = 1000


def measure() -> Table:
    """Counts, processor time and memory of both programs."""
    table = Table(title=f"{JOBS} jobs that exit in zero time, {AT_ONCE} at a time", show_header=False)
    with tempfile.TemporaryDirectory() as folder:
        for what, figure in _measured(Path(folder)):
            table.add_row(what, figure)
    return table


def _measured(folder: Path) -> list[tuple[str, str]]:
    state = folder / "state"
    group = f"/allocator-bench-{os.getpid()}" if os.getuid() == 0 else "allocator-bench"
    command = (
        *(sys.executable, "-m", "allocator", "agent", "--name", "here", "--cpu", "1", "--memory", "1GiB"),
        *("--state", str(state), "--cgroup", group, "--end-jobs", "--address"),
    )
    lease = {"ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "120"}
    with running(folder, **lease) as daemon, (folder / "agent.log").open("wb") as log:
        assert daemon.process is not None
        agent = subprocess.Popen([*command, daemon.address], stdout=log, stderr=log)
        try:
            with Client(daemon.address, timeout=120) as client:
                ids = _submitted(client)
                programs = {"daemon": daemon.process.pid, "agent": agent.pid}
                begun = {name: _memory(pid) for name, pid in programs.items()}
                seconds = _until_ended(client, len(ids))
                ended = Counter(job.state.value for job in client.jobs())
                rows = [
                    ("ended", ", ".join(f"{count} {state}" for state, count in sorted(ended.items()))),
                    ("begun on the machine", str((records.read_json(state / "counter.json") or {}).get("next"))),
                    ("jobs per second", f"{len(ids) / seconds:.1f}"),
                ]
                for name, pid in programs.items():
                    cpu = f"{_processor_seconds(pid) / len(ids) * 1000:.1f} ms of processor time per job"
                    rows.append((name, f"{cpu}; {begun[name]} MiB before, {_memory(pid)} MiB after"))
                rows.append(("folders left", str(_left(state))))
                return rows
        finally:
            agent.terminate()
            agent.wait(60)


def _submitted(client: Client) -> list[str]:
    client.create_queue(Queue("q"))
    way = Configuration("cpu", 1, Resources(cpu_millicores=1000 // AT_ONCE))
    spec = JobSpec("q", (way,), process=Process(("true",)))
    found: list[str] = []
    while len(found) < JOBS:
        answers = client.submit([spec] * min(_BATCH, JOBS - len(found)), allow_infeasible=True)
        found += [answer.id for answer in answers if isinstance(answer, Job)]
    return found


def _until_ended(client: Client, count: int) -> float:
    began = time.monotonic()
    while True:
        status = client.queue("q")
        if not status.pending_jobs and not status.running_jobs:
            return time.monotonic() - began
        print(f"{count - status.pending_jobs - status.running_jobs} ended", file=sys.stderr, flush=True)
        time.sleep(5.0)


def _memory(pid: int) -> int:
    """MiB that are in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _left(state: Path) -> int:
    """What is in the folders of jobs, once the last are forgotten."""
    until = time.monotonic() + 60
    while (left := sum(1 for kind in ("runs", "work", "output", "ended") for _ in (state / kind).iterdir())) and (
        time.monotonic() < until
    ):
        time.sleep(0.5)
    return left
