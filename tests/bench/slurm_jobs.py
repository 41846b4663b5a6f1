"""The jobs of the Slurm comparison: what they are, what they write down when they run, and how it is judged.

Every job appends a line to one file when it starts and when it ends, with the time: what happened is told by the jobs
themselves, alike for whoever scheduled them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulations.judging.evenness import HOUR, evenness
from simulations.judging.shares import Holders, queue_shares

WEIGHTS = {"amber": 1, "blue": 2, "coral": 3}
SHAPES = (
    *((1, 1, 6), (1, 1, 12), (1, 1, 20), (1, 2, 4), (1, 2, 10), (1, 2, 18), (1, 4, 3), (1, 4, 9), (1, 4, 16)),
    *((2, 1, 8), (2, 2, 12), (2, 4, 6), (3, 2, 10), (4, 1, 14), (4, 2, 7), (4, 4, 11), (6, 2, 9), (8, 1, 15)),
    *((8, 2, 13), (8, 4, 5)),
)
"""(tasks, cores of each, seconds)."""
OVERLOAD = 1.6
"""How much faster work arrives than all cores can do it."""
TASK = (
    'if [ "${SLURM_PROCID:-0}" != 0 ]; then '
    'sleep "$2" && printf "%s part 0 %s\\n" "$1" "$SLURM_JOB_ID" >> "$3"; exit; fi; '
    'printf "%s start %s %s\\n" "$1" "$(date +%s.%N)" "$SLURM_JOB_ID" >> "$3"; '
    'trap \'printf "%s killed %s %s\\n" "$1" "$(date +%s.%N)" "$SLURM_JOB_ID" >> "$3"; exit 143\' TERM; '
    'sleep "$2" & wait $! && printf "%s end %s %s\\n" "$1" "$(date +%s.%N)" "$SLURM_JOB_ID" >> "$3"'
)
"""For `sh -c TASK sh NUMBER SECONDS FILE`."""


@dataclass(frozen=True, slots=True)
class BenchJob:
    """One of them; `arrival` in seconds after the beginning."""

    number: int
    queue: str
    arrival: float
    tasks: int
    cores: int
    seconds: int

    def command(self, stamps: Path) -> tuple[str, ...]:
        return ("sh", "-c", TASK, "sh", str(self.number), str(self.seconds), str(stamps))


def jobs_of(count: int, total_cores: int, seed: int = 1) -> tuple[BenchJob, ...]:
    """In order of arrival. The light queue asks all the time, the others in turns, so that shares have to change."""
    draw = random.Random(seed)
    shapes = [draw.choice(SHAPES) for _ in range(count)]
    work = sum(tasks * cores * seconds for tasks, cores, seconds in shapes)
    span = work / total_cores / OVERLOAD
    when = {"amber": ((0.0, 1.0),), "blue": ((0.0, 0.25), (0.5, 0.75)), "coral": ((0.25, 0.5), (0.75, 1.0))}
    found = []
    for number, (tasks, cores, seconds) in enumerate(shapes):
        queue = list(WEIGHTS)[number % len(WEIGHTS)]
        first, last = draw.choice(when[queue])
        found.append((draw.uniform(first, last) * span, queue, tasks, cores, seconds))
    return tuple(BenchJob(number, queue, at, *rest) for number, (at, queue, *rest) in enumerate(sorted(found)))


def least_seconds(jobs: Sequence[BenchJob], total_cores: int) -> float:
    """No schedule ends sooner: work that arrives later than each arrival, on all cores, after it."""
    later, least = 0.0, 0.0
    for job in sorted(jobs, key=lambda job: -job.arrival):
        later += job.tasks * job.cores * job.seconds
        least = max(least, job.arrival + later / total_cores, job.arrival + job.seconds)
    return least


@dataclass(frozen=True, slots=True)
class Lives:
    """What jobs wrote: (start, end) of each time that one ran, and how often each came to its end."""

    runs: tuple[tuple[int, float, float], ...]
    ends: Mapping[int, int]
    ended_at: dict[int, float]
    first_start: dict[int, float]

    @property
    def ended(self) -> int:
        return len(self.ends)

    @property
    def ran_twice(self) -> int:
        """Jobs that came to their end more than once."""
        return sum(count > 1 for count in self.ends.values())


@dataclass(slots=True)
class _Attempt:
    """`over`: when its first task ended or was told to; `tasks`: how many have come to their ends."""

    start: float
    over: float | None = None
    tasks: int = 0


class Stamps:
    """What jobs have written to a file: each has come to its end when all its tasks have."""

    def __init__(self, path: Path, jobs: Iterable[BenchJob]) -> None:
        self.path = path
        path.touch()
        self._place = 0
        self._tasks = {job.number: job.tasks for job in jobs}
        self._attempts: dict[tuple[int, int], list[_Attempt]] = {}
        self._ended: set[int] = set()

    def ended(self) -> int:
        """How many jobs have, by now. Reads only what is new."""
        with self.path.open("rb") as file:
            file.seek(self._place)
            for line in file:
                if line.endswith(b"\n"):
                    self._place += len(line)
                    self._take(line.decode())
        return len(self._ended)

    def _take(self, line: str) -> None:
        told, what, when, slurm = line.split()
        number = int(told)
        attempts = self._attempts.setdefault((number, int(slurm)), [])
        if what == "start":  # for the second time where it was requeued, with the same id, after a node's death
            attempts.append(_Attempt(float(when)))
            return
        last = attempts[-1]
        if what != "part":
            last.over = float(when)
        last.tasks += what != "killed"
        if last.tasks == self._tasks[number]:
            self._ended.add(number)

    def lives(self, died: float) -> Lives:
        """As of the last look. `died`: when the nodes did, and with them the runs that wrote no end."""
        runs, ends, ended_at, first = [], Counter[int](), dict[int, float](), dict[int, float]()
        for (number, _), attempts in self._attempts.items():
            for each in attempts:
                over = max(each.start, died) if each.over is None else each.over
                runs.append((number, each.start, over))
                first[number] = min(each.start, first.get(number, each.start))
                if each.tasks == self._tasks[number]:
                    ends[number] += 1
                    ended_at[number] = min(over, ended_at.get(number, over))
        return Lives(tuple(runs), ends, ended_at, first)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one scheduler. Errors are of shares of all cores: at each moment, by the minute, and over all."""

    makespan: float
    error: float
    error_by_minute: float
    error_altogether: float
    mean_wait: float
    used: float
    """Part of all cores that was held until the last end."""


def verdict_of(
    jobs: Sequence[BenchJob], submitted: dict[int, float], lives: Lives, began: float, total_cores: int
) -> Verdict:
    """`submitted`: when each was there to be scheduled; `began`: when the first arrived. Unix time."""
    names = sorted(WEIGHTS)
    queue = np.array([names.index(job.queue) for job in jobs], dtype=np.int64)
    size = np.array([[job.tasks * job.cores] for job in jobs], dtype=np.float64)
    last = max(lives.ended_at.values())
    times = np.arange(0.0, last - began, 0.5)
    capacity = np.full((len(times), 1), float(total_cores))
    start = np.array([submitted[job.number] - began for job in jobs])
    end = np.array([lives.ended_at.get(job.number, last) - began for job in jobs])
    ran = sorted(lives.runs)
    who = np.array([number for number, _, _ in ran], dtype=np.int64)
    starts = np.array([start - began for _, start, _ in ran])
    ends = np.array([end - began for _, _, end in ran])
    found = queue_shares(
        times,
        capacity,
        names,
        {name: float(weight) for name, weight in WEIGHTS.items()},
        Holders(queue, start, end, size),
        Holders(queue[who], starts, ends, size[who]),
    )
    seconds = np.full(len(times), 0.5)
    overall, _ = evenness(found, times * (HOUR / 60), seconds, names)  # an hour of these times is a minute
    waits = [lives.first_start[job.number] - submitted[job.number] for job in jobs if job.number in lives.first_start]
    work = sum((end - start) * size[number, 0] for number, start, end in ran)
    return Verdict(
        last - began,
        overall["error"],
        overall["error_hourly"],
        overall["error_altogether"],
        sum(waits) / len(waits),
        work / (total_cores * (last - began)),
    )
