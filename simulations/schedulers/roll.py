"""Who is there: the live jobs by number, what they hold and what is free, as the last snapshot had them.

Only what is another object than last time is read. A number is a job's for as long as it lives, and somebody else's
after that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from operator import attrgetter

import numpy as np

from allocator.domain.job import Job
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.reason import PendingReason
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Snapshot
from allocator.formulation.nodes import NodeArrays
from allocator.placement.compiled import Kernels
from allocator.placement.fit import with_room
from allocator.placement.space import Integers, Places, Pool, Space
from allocator.placement.verify import replicas_by_node
from allocator.rounds.ruled import Tally
from simulations.schedulers.arrays import crowd_of, empty_pool, grown, places_of, strung
from simulations.schedulers.compiled import kernels_for
from simulations.schedulers.scene import Crowd, Scene
from simulations.schedulers.ways import Ways

UNKNOWN_SECONDS = 86_400.0
"""What a job is taken to run that does not say how long it will: a day, as many sites' default limit."""
_FEW = 1000
"""Pieces of gangs that are not worth forgetting."""


class Roll:
    """The facts, and what was decided on top of them and is not a fact yet."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: list[Job | None] = []
        """By number; None where a number is nobody's."""
        self.numbers: dict[str, int] = {}
        """By id, of all live jobs."""
        self.arrived: list[int] = []
        """Numbers of the jobs that this look found to be waiting and the last one did not: new or stopped."""
        self.began: list[int] = []
        """Numbers of the jobs that this look found running and the last one did not know to run."""
        self.released = False
        """Whether this look found something free that was not."""
        self.early = False
        """Whether this look found that somebody ended before it was expected to."""
        self.ways = Ways()
        self.tally = Tally()
        self.pool = empty_pool()
        self._snapshot: Snapshot | None = None
        self._nodes: NodeArrays | None = None
        self._spaces: tuple[Space, Space, Space] | None = None
        self._kernels: Kernels | None = None
        self._scene: Scene | None = None
        self._free: list[int] = []
        self._crowd = crowd_of(0)
        self._places = places_of(0)
        self._placement: list[Placement | None] = []
        """By number: where each runs, by the facts or by what was decided."""
        self._finished: list[frozenset[int]] = []
        self._decided: set[int] = set()
        """Whom the last decision changed."""
        self._told: list[PendingReason | None] = []
        """By number: what a waiting job was told."""
        self._untold: dict[int, None] = {}
        self._popularity: Counter[tuple[str, Resources]] = Counter()
        """Replicas of live jobs by what they could run as."""
        self._passed = 0
        """How many jobs have come and gone since that was last used."""
        self._holding: list[int] = []
        """Who runs by the facts, and does not hold its place in the arrays yet."""
        self._homeless: dict[int, None] = {}
        """Who runs by the facts on nodes that are gone."""
        self._narrow = False
        """Whether nodes may be too small for those who are there."""
        self._most_pieces = _FEW
        """From how many on pieces of the pool are worth sorting out."""

    @property
    def crowd(self) -> Crowd:
        return self._crowd

    @property
    def places(self) -> Places:
        return self._places

    def waiting(self) -> Integers:
        """Numbers of the jobs that wait, in order of admission."""
        numbers = np.flatnonzero(self._crowd.waits)
        order: Integers = numbers[np.argsort(self._crowd.sequence[numbers], kind="stable")]
        return order

    def running(self) -> Integers:
        """Numbers of the jobs that run, in order of admission."""
        numbers = np.flatnonzero((self._crowd.sequence > 0) & ~self._crowd.waits)
        order: Integers = numbers[np.argsort(self._crowd.sequence[numbers], kind="stable")]
        return order

    def _take_over(self, snapshot: Snapshot) -> None:
        """What differs from the last snapshot, and what of the last decision did not happen."""
        assert self._snapshot is not None
        changed, ended = _differences(self._snapshot.jobs, snapshot)
        there = [self.numbers[job_id] for job_id in ended if job_id in self.numbers]
        self._let_go(sorted(there, key=self._sequence_of))
        undone = self._decided - {self.numbers[job.id] for job in changed if job.id in self.numbers}
        unchanged = [self.jobs[number] for number in sorted(undone, key=self._sequence_of)]
        found = [*changed, *(job for job in unchanged if job is not None)]
        for job in found:
            self._leave(job)
        for job in found:
            self._update(job)
        self._decided = set()

    def _update(self, job: Job) -> None:
        """A live job as it is now."""
        number = self.numbers.get(job.id)
        if number is None:
            number = self._number(job)
        old = self.jobs[number]
        self.jobs[number] = job
        if old is None or old.measured_throughput is not job.measured_throughput:
            self._crowd.shape[number] = self.ways.shape(job)
        placement = None if job.allocation is None else job.allocation.placement
        finished = frozenset[int]() if job.allocation is None else job.allocation.finished
        crowd = self._crowd
        crowd.done[number], crowd.speed[number] = job.work_done_seconds, job.relative_speed
        crowd.counted[number] = math.inf if job.work_counted_time is None else job.work_counted_time
        if placement is None:
            self._crowd.duration[number] = _seconds_left(job)
        if placement is self._placement[number] and finished == self._finished[number]:
            if placement is None and number in self._decided:  # stopped, as decided; or not started, although it was
                self._wait(number)
            return
        self._placement[number], self._finished[number] = placement, finished
        self._crowd.duration[number] = _seconds_left(job)
        if placement is None:
            self._wait(number)
        else:
            self._enter(number, job, placement)

    def _wait(self, number: int) -> None:
        crowd = self._crowd
        crowd.waits[number], crowd.configuration[number], crowd.ends[number] = True, -1, math.inf
        self._places.kind[number] = -1
        self.arrived.append(number)
        self._untold[number] = None

    def _leave(self, job: Job) -> None:
        """A job whose place is not what was known gives that back."""
        number = self.numbers.get(job.id)
        if number is None:
            return
        known, mine = self.jobs[number], self._placement[number]
        placement = None if job.allocation is None else job.allocation.placement
        finished = frozenset[int]() if job.allocation is None else job.allocation.finished
        if mine is None or (placement is mine and finished == self._finished[number]):
            return
        assert known is not None
        self._release([number])
        self.tally.run(known, mine.configuration, -1, mine.millis)
        self._placement[number] = None
        self._crowd.waits[number] = True
        self._places.kind[number] = -1

    def _enter(self, number: int, job: Job, placement: Placement) -> None:
        """The job runs there, by the facts."""
        reason = self._told[number]
        if reason is not None:
            self.tally.causes[reason.cause] -= 1
            self._told[number] = None
        assert job.allocation is not None
        crowd, places = self._crowd, self._places
        places.kind[number] = self._kind(number, placement.configuration)
        places.millis[number] = placement.millis
        crowd.configuration[number], crowd.waits[number] = placement.configuration, False
        crowd.ends[number] = self._ends(number, placement.configuration)
        self._note_pieces(number, job.allocation.standing)
        self.tally.run(job, placement.configuration, 1, placement.millis)
        self.began.append(number)
        self._holding.append(number)

    def _ends(self, number: int, configuration: int) -> float:
        """When a running job is expected to end in this configuration."""
        job = self.jobs[number]
        assert job is not None
        since = self.now if job.work_counted_time is None else job.work_counted_time
        speed = job.throughput(job.spec.configurations[configuration])
        best = max(job.throughput(each) for each in job.spec.configurations)
        return since + float(self._crowd.duration[number]) * (best / speed if speed > 0 else 1.0)

    def _kind(self, number: int, configuration: int) -> int:
        """The kind of a configuration of the job, whether or not the nodes could run it now."""
        return self.ways.kind(int(self._crowd.shape[number]), configuration)

    def _let_go(self, ended: list[int]) -> None:
        """Jobs that are no more."""
        running = [number for number in ended if not self._crowd.waits[number]]
        if running:
            self._release(running)
        for number in ended:
            job, placement = self.jobs[number], self._placement[number]
            assert job is not None
            if not self._crowd.waits[number]:
                assert placement is not None
                self.early |= bool(self._crowd.ends[number] > self.now)
                self.tally.run(job, placement.configuration, -1, placement.millis)
            self.tally.ask(job, -1)
            reason = self._told[number]
            if reason is not None:
                self.tally.causes[reason.cause] -= 1
            self._popular(number, -1)
            self._forget(number, job)

    def _forget(self, number: int, job: Job) -> None:
        del self.numbers[job.id]
        self.jobs[number], self._placement[number], self._told[number] = None, None, None
        self._untold.pop(number, None)
        crowd = self._crowd
        crowd.sequence[number], crowd.waits[number], crowd.ends[number] = 0, False, math.inf
        crowd.configuration[number], self._places.kind[number] = -1, -1
        crowd.promised[number] = math.inf
        self._decided.discard(number)
        self._free.append(number)

    def _number(self, job: Job) -> int:
        """A number for a new job."""
        if not self._free:
            self._grow()
        number = self._free.pop()
        self.numbers[job.id] = number
        crowd = self._crowd
        crowd.sequence[number] = job.sequence
        crowd.shape[number] = self.ways.shape(job)
        crowd.stoppable[number] = job.spec.preemptible
        crowd.duration[number] = _seconds_left(job)
        crowd.promised[number], crowd.rank[number] = math.inf, 0
        self.jobs[number], self._placement[number], self._finished[number] = job, None, frozenset()
        self.tally.ask(job, 1)
        self._popular(number, 1)
        if job.allocation is None:
            self._wait(number)
        return number

    def _grow(self) -> None:
        old = len(self.jobs)
        size = max(64, 2 * old)
        self._crowd = grown(self._crowd, crowd_of(size))
        self._places = grown(self._places, places_of(size))
        self.jobs += [None] * (size - old)
        self._placement += [None] * (size - old)
        self._told += [None] * (size - old)
        self._finished += [frozenset()] * (size - old)
        self._free = list(range(size - 1, old - 1, -1))
        self._scene = None

    def _sequence_of(self, number: int) -> int:
        return int(self._crowd.sequence[number])

    def _hold(self) -> None:
        """Let those take their places who run by the facts."""
        assert self._spaces is not None
        for number in self._holding:
            self._take(self._spaces[0], self.ways.plain, self.pool, self._places, number, 1)
        if self._holding:
            space = self._spaces[0]
            self._narrow = bool((space.free < 0).any() or (space.devices < 0).any())
        self._holding = []

    def _release(self, numbers: list[int]) -> None:
        """Give back what running jobs hold."""
        assert self._spaces is not None
        space, kinds = self._spaces[0], self.ways.plain
        assert kinds is not None
        self.released = True
        for number in numbers:
            self._take(space, kinds, self.pool, self._places, number, -1)

    @property
    def _take(self) -> Callable[..., None]:
        assert self._nodes is not None
        if self._kernels is None:
            self._kernels = kernels_for(len(self._nodes.nodes), len(self.jobs))
        taken: Callable[..., None] = self._kernels.take
        return taken

    def _note_pieces(self, number: int, standing: tuple[ReplicaPlacement, ...]) -> None:
        """Where a running job's replicas are, at the end of the pool; nodes that are gone are left out."""
        assert self._nodes is not None
        index = self._nodes.index
        pieces = {name: found for name, found in replicas_by_node(standing).items() if name in index}
        if len(pieces) < len({replica.node for replica in standing}):
            self._homeless[number] = None
        self.pool = pool = with_room(self.pool, len(pieces), sum(len(gpus) for _, gpus in pieces.values()))
        piece, device = pool.used.tolist()
        self._places.first[number], self._places.pieces[number] = piece, len(pieces)
        for name, (count, gpus) in pieces.items():
            pool.node[piece], pool.replicas[piece] = index[name], count
            pool.device_start[piece], pool.device_count[piece] = device, len(gpus)
            pool.device[device : device + len(gpus)] = gpus
            piece, device = piece + 1, device + len(gpus)
        pool.used[:] = piece, device

    def _compact(self) -> None:
        """Forget the pieces of those who are gone, once they are the larger part."""
        if int(self.pool.used[0]) <= self._most_pieces:
            return
        pool, places = self.pool, self._places
        numbers = np.flatnonzero(places.kind >= 0)
        first, pieces = strung(places.first[numbers], places.pieces[numbers])
        starts, devices = strung(pool.device_start[pieces], pool.device_count[pieces])
        self.pool = Pool(
            node=pool.node[pieces],
            replicas=pool.replicas[pieces],
            device_start=starts,
            device_count=pool.device_count[pieces],
            device=pool.device[devices],
            used=np.array([len(pieces), len(devices)], dtype=np.int64),
        )
        places.first[numbers] = first
        self._most_pieces = 2 * len(pieces) + _FEW

    def _popular(self, number: int, sign: int) -> None:
        """Count the job among the work that comes, or no more."""
        job = self.jobs[number]
        assert job is not None
        self._passed += 1
        for configuration in job.spec.configurations:
            if configuration.throughput > 0:
                self._popularity[configuration.flavor, configuration.demand] += sign * configuration.replicas


_sequence = attrgetter("sequence")


def _differences(before: tuple[Job, ...], snapshot: Snapshot) -> tuple[list[Job], list[str]]:
    """Of the snapshot's jobs, those that are new or other objects than `before`, by sequence; and the ids of those that
    are no more (some of which may never have been seen).
    """
    since = snapshot.since
    if snapshot.jobs is before:
        return [], []
    if since is not None and since.jobs is before:
        there = [job for job in since.changed if not job.state.is_final and not job.is_held(snapshot.time)]
        gone = [job.id for job in since.changed if job.state.is_final or job.is_held(snapshot.time)]
        return sorted(there, key=_sequence), gone
    known = dict(zip(map(id, before), before, strict=True))
    now = dict(zip(map(id, snapshot.jobs), snapshot.jobs, strict=True))
    changed = sorted((now[identity] for identity in now.keys() - known.keys()), key=_sequence)
    newer = {job.id for job in changed}
    left = (known[identity].id for identity in known.keys() - now.keys())
    return changed, [job_id for job_id in left if job_id not in newer]


def _seconds_left(job: Job) -> float:
    """How long a job is expected to run in its fastest configuration, from when it starts again or from when its work
    was counted last: what it said, less what it has done, and a restart where that is due.
    """
    expected = job.spec.expected_duration_seconds
    again = job.spec.restart_cost_seconds if job.preemption_count and job.allocation is None else 0.0
    whole = UNKNOWN_SECONDS if expected is None else expected
    return max(0.0, whole - job.work_done_seconds) + again
