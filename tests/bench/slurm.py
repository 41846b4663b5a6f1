"""A real Slurm of many nodes on one machine: ours in drive mode beside its own backfill with multifactor fair-share.

The same jobs arrive at the same times, each scheduler on a cluster of its own that is set up alike: one after the
other, or, where others use the machine too, side by side (BENCH_SLURM_TOGETHER=1). In the middle the controller is
restarted, one node dies with all that runs on it, and of another only the daemon is killed. BENCH_SLURM_JOBS,
BENCH_SLURM_NODES, BENCH_SLURM_FAULTS=0 for a quieter one, BENCH_SLURM_KEEP for a folder that stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rich.table import Table

from allocator.client import Client
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.process import Process
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from tests import slurm_accounting, slurm_cluster
from tests.bench.slurm_jobs import WEIGHTS, BenchJob, Lives, Stamps, Verdict, jobs_of, least_seconds, verdict_of
from tests.daemon.process import running
from tests.slurm_cluster import SlurmCluster

JOBS = int(os.environ.get("BENCH_SLURM_JOBS", "2000"))
NODES = int(os.environ.get("BENCH_SLURM_NODES", "64"))
FAULTS = os.environ.get("BENCH_SLURM_FAULTS", "1") != "0"
TOGETHER = os.environ.get("BENCH_SLURM_TOGETHER", "0") != "0"
KEEP = os.environ.get("BENCH_SLURM_KEEP", "")
CORES = 4
MEMORY = 16 * 2**20
INTERVAL = "1"
"""Seconds from round to round, at most: where something has happened, the next comes early."""
AWAY_SECONDS = 30.0
"""How long killed nodes stay away."""
PATIENCE = 4.0
"""So many times the least possible makespan, and a minute."""
_CONFIGURATION = """PriorityType=priority/multifactor
PriorityWeightFairshare=100000
PriorityWeightAge=1000
PriorityCalcPeriod=1
PriorityDecayHalfLife=0-00:05
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1,bf_continue,bf_max_job_test=2000,bf_resolution=60,default_queue_depth=2000
KillWait=2
MinJobAge=10
SlurmdTimeout=10
JobRequeue=1
"""
"""As good for short jobs as it can be made: usage is counted once a minute, which is the least that Slurm can do."""


class Arm(Protocol):
    """A way to have jobs scheduled."""

    def submit(self, jobs: Sequence[BenchJob]) -> None:
        """All at once."""


@dataclass
class Ran:
    """What became of one arm."""

    verdict: Verdict
    lives: Lives
    effects: list[float] = field(default_factory=list)
    """Seconds from the commit to the start, of jobs that started once, and not while something was broken."""
    load: float = 0.0
    processor: float = 0.0
    """Seconds of processor time of daemon and bridge."""
    machine: float = 0.0
    """And of everything on the machine."""


def measure() -> Table:
    """Both arms, one after the other."""
    table = Table(title=f"{JOBS} jobs on a Slurm of {NODES} nodes with {CORES} cores", caption=_caption())
    why = slurm_cluster.missing() or slurm_accounting.missing()
    if why:
        table.add_column(f"not here: {why}")
        return table
    jobs = jobs_of(JOBS, NODES * CORES)
    with _folder() as folder, ThreadPoolExecutor(2 if TOGETHER else 1) as arms:
        first = arms.submit(_ours, folder / "ours", jobs)
        second = arms.submit(_slurms, folder / "slurm", jobs)
        ours, slurms = first.result(), second.result()
    least = least_seconds(jobs, NODES * CORES)
    for column in ("what", "ours", "Slurm's", "ours / Slurm's"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for what, of in _ROWS.items():
        mine, theirs = of(ours.verdict), of(slurms.verdict)
        table.add_row(what, f"{mine:.4g}", f"{theirs:.4g}", f"{mine / theirs:.3f}")
    table.add_row("makespan / the least possible", f"{ours.verdict.makespan / least:.3f}",
                  f"{slurms.verdict.makespan / least:.3f}", "")  # fmt: skip
    for what, count in _COUNTS.items():
        table.add_row(what, str(count(ours)), str(count(slurms)), "")
    table.add_row("load of the machine meanwhile", f"{ours.load:.1f}", f"{slurms.load:.1f}", "")
    table.add_row("processor seconds of the machine", f"{ours.machine:.0f}", f"{slurms.machine:.0f}", "")
    at50, at99 = _quantiles(ours.effects)
    table.add_row("commit to start on the node, s: p50 / p99", f"{at50:.3f} / {at99:.3f}", "", "")
    table.add_row("processor seconds of daemon and bridge", f"{ours.processor:.0f}", "", "")
    return table


_ROWS: dict[str, Callable[[Verdict], float]] = {
    "makespan, s": lambda found: found.makespan,
    "fairness error, at each moment": lambda found: found.error,
    "fairness error, by the minute": lambda found: found.error_by_minute,
    "fairness error, over all": lambda found: found.error_altogether,
    "mean wait, s": lambda found: found.mean_wait,
    "part of all cores held": lambda found: found.used,
}

_COUNTS: dict[str, Callable[[Ran], int]] = {
    "jobs lost": lambda ran: JOBS - ran.lives.ended,
    "jobs that came to their end twice": lambda ran: ran.lives.ran_twice,
    "starts for nothing": lambda ran: len(ran.lives.runs) - sum(ran.lives.ends.values()),
}


def _caption() -> str:
    one, five, _ = os.getloadavg()
    return (
        f"{os.cpu_count()} cores; load when it began: {one:.1f} (1 min), {five:.1f} (5 min); "
        f"faults {'on' if FAULTS else 'off'}, {'side by side' if TOGETHER else 'one after the other'}"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _quantiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values) or [float("nan")]
    return statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    if KEEP:
        folder = Path(KEEP)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    made = tempfile.mkdtemp(prefix="bench-slurm-")
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


# --- what happens to each arm


@dataclass
class Course:
    """What happened while an arm ran, in Unix time."""

    began: float
    submitted: dict[int, float] = field(default_factory=dict)
    broken: list[tuple[float, float]] = field(default_factory=list)
    """From when to when something was."""
    died: float = 0.0
    loads: list[float] = field(default_factory=list)
    """The machine's, with everything else that runs on it."""
    machine: float = 0.0
    """Processor time of everything on it, in seconds."""


_READY = threading.Barrier(2 if TOGETHER else 1)


def _run(arm: Arm, slurm: SlurmCluster, jobs: Sequence[BenchJob], stamps: Stamps) -> Course:
    """Until all have ended, or patience has. Side by side, both begin at once."""
    _READY.wait(600)
    began = time.time()
    course = Course(began)
    submitted = course.submitted
    faults = _faults(slurm, course) if FAULTS else iter(())
    next_fault = next(faults, None)
    until = began + 60 + PATIENCE * least_seconds(jobs, NODES * CORES)
    waiting = list(jobs)
    shown, busy = began, _busy_seconds()
    while time.time() < until:
        now = time.time()
        due = [job for job in waiting if job.arrival <= now - began]
        if due:
            arm.submit(due)
            submitted |= {job.number: time.time() for job in due}
            waiting = waiting[len(due) :]
        ended = stamps.ended()
        if ended == len(jobs):
            break
        if next_fault is not None and ended >= next_fault * len(jobs):
            next_fault = next(faults, None)
        if now - shown > 30:
            shown = now
            course.loads.append(os.getloadavg()[0])
            who = f"{type(arm).__name__} after {now - began:.0f} s, at load {course.loads[-1]:.1f}"
            print(f"{who}: {len(submitted)} submitted, {ended} ended", flush=True)
        time.sleep(0.1)
    course.machine = _busy_seconds() - busy
    return course


def _faults(slurm: SlurmCluster, course: Course) -> Iterator[float]:
    """Yields at which part of the jobs ended each comes."""
    yield 0.25
    now = time.time()
    slurm.end("slurmctld")
    slurm.start_controller()
    course.broken.append((now, time.time() + 10))
    print("the controller was restarted", flush=True)
    yield 0.5
    course.died = time.time()
    course.broken.append((course.died, course.died + AWAY_SECONDS + 10))
    dead, deaf = slurm.nodes[NODES // 3], slurm.nodes[2 * NODES // 3]
    slurm.power_off(dead)
    slurm.kill(deaf)
    print(f"{dead} died, and the daemon of {deaf} was killed", flush=True)

    def back() -> None:
        time.sleep(AWAY_SECONDS)
        for node in (dead, deaf):
            slurm.start_node(node)

    threading.Thread(target=back, daemon=True).start()


# --- ours


class Ours:
    """Jobs go to a daemon, whose bridge drives the cluster."""

    def __init__(self, client: Client, stamps: Path) -> None:
        self._client, self._stamps = client, stamps
        self.numbers: dict[str, int] = {}

    def submit(self, jobs: Sequence[BenchJob]) -> None:
        answers = self._client.submit([self._spec(job) for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            assert isinstance(answer, Job), answer
            self.numbers[answer.id] = job.number

    def _spec(self, job: BenchJob) -> JobSpec:
        demand = Resources(cpu_millicores=job.cores * 1000, memory_bytes=MEMORY)
        return JobSpec(
            job.queue,
            (Configuration("cpu", job.tasks, demand),),
            preemptible=False,
            expected_duration_seconds=60.0,
            process=Process(job.command(self._stamps), grace_seconds=2.0),
        )


def _ours(folder: Path, jobs: Sequence[BenchJob]) -> Ran:
    folder.mkdir()
    stamps = Stamps(folder / "stamps", jobs)
    environment = {"ALLOCATOR_ROUNDS__INTERVAL_SECONDS": INTERVAL, "ALLOCATOR_NODES__HEARTBEAT_TIMEOUT_SECONDS": "20"}
    with _cluster(folder) as slurm, running(folder, **environment) as daemon, Client(daemon.address) as client:
        for name, weight in WEIGHTS.items():
            client.create_queue(Queue(name, weight=float(weight)))
        with (folder / "bridge.log").open("ab") as log:
            bridge = subprocess.Popen(
                [sys.executable, "-m", "allocator", "slurm", "drive", f"--spool={folder / 'spool'}",
                 f"--address={daemon.address}"],
                env=slurm.environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            while len(list(client.nodes())) < NODES:
                time.sleep(0.1)
            arm = Ours(client, stamps.path)
            course = _run(arm, slurm, jobs, stamps)
            assert daemon.process is not None
            processor = sum(_processor_seconds(pid) for pid in (bridge.pid, daemon.process.pid))
            lives = stamps.lives(course.died)
            starts: dict[int, int] = {}
            for number, _, _ in lives.runs:
                starts[number] = starts.get(number, 0) + 1
            effects = [
                lives.first_start[number] - at
                for job in client.jobs()
                if (number := arm.numbers[job.id]) in lives.first_start
                and starts[number] == 1
                and (at := job.last_start_time) is not None
                and not any(since <= at <= until for since, until in course.broken)
            ]
        finally:
            bridge.terminate()
            bridge.wait()
    return Ran(
        verdict_of(jobs, course.submitted, lives, course.began, NODES * CORES),
        lives,
        effects,
        _mean(course.loads),
        processor,
        course.machine,
    )


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """Of all processors since the machine began: neither idle nor waiting for a disk."""
    user, nice, system, _idle, _disk, *interrupts = Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


# --- Slurm's


class Slurms:
    """Jobs go to Slurm, as its users would send them: no srun where there is one task."""

    def __init__(self, slurm: SlurmCluster, stamps: Path) -> None:
        self._slurm, self._stamps = slurm, stamps
        self._threads = ThreadPoolExecutor(4)

    def submit(self, jobs: Sequence[BenchJob]) -> None:
        list(self._threads.map(self._submit, jobs))

    def _submit(self, job: BenchJob) -> None:
        options = ["--parsable", f"--account={job.queue}", f"--ntasks={job.tasks}", f"--cpus-per-task={job.cores}",
                   "--mem-per-cpu=4M", "--time=1", "--output=/dev/null", "--requeue"]  # fmt: skip
        while True:
            ran = subprocess.run(
                ["sbatch", *options, str(self._script(job)), *job.command(self._stamps)],
                env=self._slurm.environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if ran.returncode == 0:
                return
            time.sleep(0.5)

    def _script(self, job: BenchJob) -> Path:
        path = self._stamps.parent / ("many.sh" if job.tasks > 1 else "one.sh")
        if not path.exists():
            path.write_text("#!/bin/sh\nexec " + ("srun " if job.tasks > 1 else "") + '"$@"\n', encoding="utf-8")
        return path


def _slurms(folder: Path, jobs: Sequence[BenchJob]) -> Ran:
    folder.mkdir()
    stamps = Stamps(folder / "stamps", jobs)
    with _cluster(folder) as slurm:
        course = _run(Slurms(slurm, stamps.path), slurm, jobs, stamps)
    lives = stamps.lives(course.died)
    verdict = verdict_of(jobs, course.submitted, lives, course.began, NODES * CORES)
    return Ran(verdict, lives, load=_mean(course.loads), machine=course.machine)


def _cluster(folder: Path) -> SlurmCluster:
    return SlurmCluster(folder / "slurm", nodes=NODES, cores=CORES, extra=_CONFIGURATION, shares=WEIGHTS)
