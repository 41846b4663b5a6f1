"""A capture as a workload: nodes with their outages, queues, the policy, and jobs with their true run times.

What was there at the first round is carried in with what it did from then on. Jobs that did not end while rounds were
captured are taken to need what they had done by the last round, or what they were expected to, if that is more. Of a
daemon's database there are no rounds: all jobs that it keeps, and all else as it was last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Snapshot
from allocator.wire.recording import CaptureBegin, Captured, CapturedRound, CapturedStanding, CaptureEnd
from simulations.capture.file import CaptureError, CaptureReader
from simulations.capture.lives import Lives
from simulations.capture.nodes import NodeHistory
from simulations.faults import Outage
from simulations.workload import Workload


@dataclass(frozen=True, slots=True)
class CapturedWorkload:
    """What a replay of a capture needs. `policy` was in force at first; `scheduler` decided the captured rounds."""

    workload: Workload
    outages: tuple[Outage, ...]
    policy: Policy
    interval_seconds: float
    scheduler: str


def read_workload(path: Path) -> CapturedWorkload:
    """From a file, or a folder of files that follow one another. Raises CaptureError."""
    reader = CaptureReader(path)
    found = workload_of(reader, path)
    cut_off = tuple(f"{file.name} was cut off, and read as far as it goes." for file in reader.cut_off)
    return replace(found, workload=replace(found.workload, notes=(*found.workload.notes, *cut_off)))


def workload_of(captured: Iterable[Captured], path: Path) -> CapturedWorkload:
    """`path` is named by what is wrong. Raises CaptureError where nothing was captured that can be replayed."""
    history = _History()
    for one in captured:
        match one:
            case CaptureBegin():
                history.begin(one)
            case CapturedRound():
                history.round(one)
            case CapturedStanding():
                history.standing(one)
            case CaptureEnd():
                history.lives.see(one.jobs, 0.0)
    return history.result(path)


class _History:
    def __init__(self) -> None:
        self.lives = Lives()
        self._begun: CaptureBegin | None = None
        self._first: Snapshot | None = None
        self._last: Snapshot | None = None
        self._first_policy = self._policy = Policy()
        self._rounds = self._missing = self._policies = 0
        self._anew = self._stood = False
        self._queues: dict[str, Queue] = {}
        self._changed_queues: set[str] = set()
        self._nodes = NodeHistory()

    def begin(self, begin: CaptureBegin) -> None:
        if self._begun is None:
            self._begun = begin
        self._anew = True

    def round(self, captured: CapturedRound) -> None:
        now, before = captured.snapshot, self._last
        self.lives.see(captured.changed, now.time, carried=before is None)
        self.lives.see(captured.ended, now.time)
        if self._anew:
            self.lives.only_live(now.jobs)
        if before is None:
            self._first_policy = captured.policy
        else:
            self._missing += now.round - before.round - 1
            self._policies += captured.policy != self._policy
        self._policy = captured.policy
        self._look(now)
        self._rounds += 1
        self._anew = False

    def standing(self, captured: CapturedStanding) -> None:
        self.lives.see(captured.ended, captured.snapshot.time)
        self.lives.see(captured.snapshot.jobs, captured.snapshot.time)
        self._first_policy = captured.policy
        self._stood = True
        self._look(captured.snapshot)

    def _look(self, now: Snapshot) -> None:
        """At queues and nodes."""
        before = self._last
        if before is None:
            self._first = now
        if before is None or now.queues is not before.queues:
            for queue in now.queues:
                known = self._queues.get(queue.name)
                if known is not None and known != queue:
                    self._changed_queues.add(queue.name)
                self._queues[queue.name] = queue
        self._nodes.see(now)
        self._last = now

    def result(self, path: Path) -> CapturedWorkload:
        if self._first is None or self._last is None or self._begun is None:
            raise CaptureError(path, "holds no round: nothing can be replayed")
        start, end = self._first.time, self._last.time
        if self._stood:
            first = self.lives.first_submission
            if first is None:
                raise CaptureError(path, "holds no job: nothing can be replayed")
            start = min(start, first)
        found = self.lives.replayable(start, end)
        workload = Workload(
            name=f"capture {path.name}",
            start=start,
            nodes=self._nodes.nodes(),
            queues=tuple(replace(queue, cordoned=False) for _, queue in sorted(self._queues.items())),
            arrivals=found.arrivals,
            notes=(*self._beginning(start, end), *found.notes, *self._notes(), *self._nodes.notes()),
            dropped=found.dropped,
        )
        outages = () if self._stood else self._nodes.outages(end)
        return CapturedWorkload(
            workload, outages, self._first_policy, self._begun.interval_seconds, self._begun.scheduler
        )

    def _beginning(self, start: float, end: float) -> tuple[str, ...]:
        assert self._first is not None
        assert self._last is not None
        counted = "The true run time of a job is what it had done when it ended, by the daemon's own count."
        if self._stood:
            told = f"Jobs are all that a daemon's database keeps, over {end - start:g} s."
            return (told, "Nodes, queues and the policy are as they were last; nodes are never out.", counted)
        numbers = f"{self._first.round} to {self._last.round}"
        return (f"{self._rounds} rounds were captured, {numbers}, over {end - start:g} s.", counted)

    def _notes(self) -> tuple[str, ...]:
        assert self._first is not None
        notes = []
        if self._missing:
            notes.append(f"{self._missing} rounds are missing in between; what happened then is seen after them.")
        if self._policies:
            notes.append(
                f"Changes of the policy, {self._policies}, are not followed: the first is in force throughout."
            )
        if self._changed_queues:
            notes.append(f"{len(self._changed_queues)} queues changed; they are as they were last.")
        if any(queue.cordoned for queue in self._queues.values()):
            notes.append("Cordoned queues are open, since their jobs were admitted.")
        if self._first.estimates:
            notes.append("What had been learned of throughputs before the capture is not known at its start.")
        return tuple(notes)
