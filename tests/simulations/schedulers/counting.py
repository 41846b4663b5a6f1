"""The textbook schedulers over identical machines, written down once more and as plainly as possible: jobs want so many
machines, and which ones does not matter. Nothing of `simulations.schedulers` is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

INFINITE = float("inf")


class Asked(NamedTuple):
    """One job."""

    submitted: float
    machines: int
    estimate: float
    run: float


class Running(NamedTuple):
    expected: float
    started: float
    job: int
    machines: int


class Machines:
    """Who waits, in order of submission, and who runs."""

    def __init__(self, jobs: list[Asked], count: int) -> None:
        self.jobs, self.free, self.now = jobs, count, 0.0
        self.waiting: list[int] = []
        self.running: list[Running] = []
        self.starts = [INFINITE] * len(jobs)
        self.promised: dict[int, float] = {}

    def start(self, job: int) -> None:
        asked = self.jobs[job]
        self.waiting.remove(job)
        self.running.append(Running(self.now + asked.estimate, self.now, job, asked.machines))
        self.free -= asked.machines
        assert self.free >= 0
        self.starts[job] = self.now

    def end(self) -> None:
        """Those whose time it is."""
        over = [one for one in self.running if one.started + self.jobs[one.job].run <= self.now]
        self.running = [one for one in self.running if one not in over]
        self.free += sum(one.machines for one in over)


def simulate(jobs: list[Asked], count: int, rule: Callable[[Machines], None]) -> list[float]:
    """When each job starts. The rule is asked at every instant at which something happens, once."""
    machines = Machines(jobs, count)
    coming = sorted(range(len(jobs)), key=lambda job: (jobs[job].submitted, job))
    while coming or machines.running:
        times = [one.started + jobs[one.job].run for one in machines.running]
        machines.now = min([*times, *(jobs[job].submitted for job in coming[:1])])
        machines.end()
        while coming and jobs[coming[0]].submitted <= machines.now:
            machines.waiting.append(coming.pop(0))
        rule(machines)
    return machines.starts


def fifo(machines: Machines) -> None:
    while machines.waiting and machines.jobs[machines.waiting[0]].machines <= machines.free:
        machines.start(machines.waiting[0])


def sjf(machines: Machines) -> None:
    for job in sorted(machines.waiting, key=lambda job: (machines.jobs[job].estimate, job)):
        if machines.jobs[job].machines <= machines.free:
            machines.start(job)


def easy(machines: Machines) -> None:
    fifo(machines)
    if not machines.waiting:
        return
    head = machines.jobs[machines.waiting[0]]
    reached, shadow = machines.free, INFINITE
    for one in sorted(machines.running):
        reached += one.machines
        if reached >= head.machines:
            shadow = max(machines.now, one.expected)
            break
    spare = reached - head.machines
    for job in machines.waiting[1:]:
        asked = machines.jobs[job]
        late = machines.now + asked.estimate > shadow
        if asked.machines <= machines.free and (not late or asked.machines <= spare):
            spare -= asked.machines if late else 0
            machines.start(job)


def conservative(machines: Machines) -> None:
    """Everybody's promise, in order of submission: the earliest start while all others keep theirs."""
    for job in machines.waiting:
        others = {other: machines.promised[other] for other in machines.waiting if other in machines.promised}
        others.pop(job, None)
        best = earliest(machines, machines.jobs[job], others)
        assert best <= machines.promised.get(job, INFINITE), "a promise can always be kept"
        machines.promised[job] = best
    for job in list(machines.waiting):
        if machines.promised[job] <= machines.now:
            machines.start(job)


def earliest(machines: Machines, asked: Asked, others: dict[int, float]) -> float:
    """The earliest time from which on enough is free for long enough."""
    ends = [one.expected for one in machines.running]
    ends += [begin + machines.jobs[other].estimate for other, begin in others.items()]
    times = sorted({machines.now, *(end for end in ends if end > machines.now), *others.values()})
    total = machines.free + sum(one.machines for one in machines.running)

    def free_at(time: float) -> int:
        held = sum(one.machines for one in machines.running if one.expected > time)
        return (
            total
            - held
            - sum(
                machines.jobs[other].machines
                for other, begin in others.items()
                if begin <= time < begin + machines.jobs[other].estimate
            )
        )

    for begin in times:
        inside = [begin, *(time for time in times if begin < time < begin + asked.estimate)]
        if all(free_at(time) >= asked.machines for time in inside):
            return begin
    return INFINITE
