"""The live jobs of a snapshot as arrays, in its order; carried over from round to round.

Between two rounds a hundredth of the jobs changes, and everything else is the very same object. So the arrays of the
last round are looked up by identity: unchanged jobs are copied in bulk, and only new and changed ones are read. The
result is the same as reading everything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from allocator.domain.estimates import Estimate, Learned, learned
from allocator.domain.job import Job
from allocator.domain.placement import WHOLE
from allocator.domain.priority_class import BUILT_IN, PriorityClass
from allocator.formulation.catalogue import Catalogue
from allocator.formulation.nodes import NodeArrays
from allocator.formulation.problem import Booleans, Floats, Integers

NEVER = float("inf")
"""As the time of the last start of a job that never started."""
_FEW = 1000
"""Entries that are not worth forgetting."""


@dataclass(frozen=True, slots=True, eq=False)
class JobColumns:
    """J jobs; P pieces: a running job's unfinished replicas on one node; D devices that pieces hold."""

    jobs: tuple[Job, ...]
    ids: NDArray[np.object_]
    """(J,)"""
    labels: NDArray[np.object_]
    """(J,) the label tuples themselves."""
    sequence: Integers
    """(J,) strictly ascending."""
    profile: Integers
    """(J,) number in the catalogue."""
    configuration: Integers
    """(J,) index into the spec's, -1 of a job that waits."""
    millis: Integers
    """(J,) thousandths of its demand that it holds."""
    submitted: Floats
    """(J,) when it was submitted."""
    since: Floats
    """(J,) last start; NEVER if there was none."""
    duration: Floats
    """(J,) expected seconds in its best configuration; inf if nobody knows."""
    learner: Integers
    """(J,) number in the catalogue of what its throughputs depend on besides itself; -1 of nothing."""
    misdeclared: Booleans
    """(J,) whether a throughput that it declared was measured to be another."""
    deadline: Floats
    """(J,) when it wants to have ended; NEVER where it does not say."""
    minimum: Floats
    """(J,) work per second that it wants at least; 0 where it does not say."""
    work_done: Floats
    """(J,) see `Job.work_done_seconds`."""
    work_counted: Floats
    """(J,) up to when that was counted of a running job; NEVER of one that waits."""
    first_piece: Integers
    """(J + 1,)"""
    piece_node: Integers
    """(P,) number in `node_names` of the registry."""
    piece_count: Integers
    """(P,) replicas."""
    first_device: Integers
    """(P + 1,)"""
    device: Integers
    """(D,) indices on the node: those of the first replica there, then of the next."""

    @property
    def runs(self) -> Booleans:
        return self.configuration >= 0

    @property
    def piece_owner(self) -> Integers:
        """(P,) position of the job each piece belongs to."""
        return np.repeat(np.arange(len(self.jobs), dtype=np.int64), np.diff(self.first_piece))


class Registry:
    """Makes columns; remembers those of the last snapshot. `catalogue` numbers the profiles."""

    def __init__(self, classes: tuple[PriorityClass, ...] = BUILT_IN, floating: tuple[str, ...] = ()) -> None:
        self.classes, self.floating = classes, floating
        self.catalogue = Catalogue(classes, floating)
        self.node_names: dict[str, int] = {}
        """Every node that a job ever ran on, numbered; grows by what is read."""
        self.sequences: dict[str, int] = {}
        """By id, of every job that was read not long ago."""
        self._last: JobColumns | None = None
        self._known: Learned | None = None
        self._identities: Integers = np.zeros(0, dtype=np.int64)
        self._order: Integers = np.zeros(0, dtype=np.int64)
        self._positions: tuple[NodeArrays, Integers] | None = None

    def positions(self, nodes: NodeArrays) -> Integers:
        """(names,) where each of `node_names` is among `nodes`; -1 if it is gone."""
        known = self._positions
        if known is None or known[0] is not nodes or len(known[1]) != len(self.node_names):
            found = [nodes.index.get(name, -1) for name in self.node_names]
            known = self._positions = (nodes, np.array(found, dtype=np.int64))
        return known[1]

    def columns(self, jobs: tuple[Job, ...], estimates: tuple[Estimate, ...] = ()) -> JobColumns:
        """The jobs as arrays, with throughputs as far as is known by `estimates`."""
        last, known = self._last, learned(estimates)
        if last is not None and last.jobs is jobs and self._known is known:
            return last
        self._known = known
        if self.catalogue.is_mostly_stale(len(jobs)):  # begin anew: numbers mean nothing outside
            self.catalogue, self._identities, last = (
                Catalogue(self.classes, self.floating),
                np.zeros(0, dtype=np.int64),
                None,
            )
        changed = self.catalogue.learn(known)
        if last is not None and changed.any():
            last = self._judged_anew(last, changed)
        # The old jobs are alive in `last`, so that no new one can have the identity of one of them.
        identities = np.fromiter(map(id, jobs), dtype=np.int64, count=len(jobs))
        source = self._found(identities)
        fresh = np.flatnonzero(source < 0)
        read = self._read([jobs[position] for position in fresh.tolist()])
        columns = read if last is None else _carried_over(last, jobs, source, fresh, read)
        self._last = columns = replace(columns, jobs=jobs)
        self.sequences.update(zip(read.ids.tolist(), read.sequence.tolist(), strict=True))
        if len(self.sequences) > 2 * len(jobs) + _FEW:
            self.sequences = dict(zip(columns.ids.tolist(), columns.sequence.tolist(), strict=True))
        self._order = np.argsort(identities, kind="stable")
        self._identities = identities[self._order]
        return columns

    def _judged_anew(self, last: JobColumns, changed: Booleans) -> JobColumns:
        """With the throughputs of jobs by what is known now, where `changed` (by learner) says that they are others."""
        profile, misdeclared = last.profile.copy(), last.misdeclared.copy()
        some = np.flatnonzero((last.learner >= 0) & changed[last.learner])
        known: dict[tuple[int, int, object, object], tuple[int, bool]] = {}
        for position, old, learner in zip(
            some.tolist(), profile[some].tolist(), last.learner[some].tolist(), strict=True
        ):
            job = last.jobs[position]
            ways = tuple([(way.throughput, way.declared) for way in job.spec.configurations])
            key = (old, learner, job.measured_throughput, ways)  # whoever was alike in all of this still is
            found = known.get(key)
            if found is None:
                found = known[key] = (self.catalogue.profile(job), self._is_misdeclared(job))
            profile[position], misdeclared[position] = found
        return replace(last, profile=profile, misdeclared=misdeclared)

    def _is_misdeclared(self, job: Job) -> bool:
        if not job.measured_throughput and not job.spec.job_class:
            return False
        assert self._known is not None
        return bool(self._known.misdeclared(job))

    def _found(self, identities: Integers) -> Integers:
        """(J,) position in the last columns of the very same job; -1 of others."""
        if not len(self._identities):
            return np.full(len(identities), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._identities, identities), len(self._identities) - 1)
        same = self._identities[place] == identities
        found: Integers = np.where(same, self._order[place], -1)
        return found

    def _read(self, jobs: Sequence[Job]) -> JobColumns:
        """Everything of these jobs."""
        node_count: list[int] = []
        piece_node: list[int] = []
        piece_count: list[int] = []
        devices: list[tuple[int, ...]] = []
        for job in jobs:
            before = len(piece_node)
            if job.allocation is not None:
                for name, (count, gpus) in _pieces(job).items():
                    piece_node.append(self.node_names.setdefault(name, len(self.node_names)))
                    piece_count.append(count)
                    devices.append(gpus)
            node_count.append(len(piece_node) - before)
        places = [None if job.allocation is None else job.allocation.placement for job in jobs]
        durations = [job.spec.expected_duration_seconds for job in jobs]
        return JobColumns(
            jobs=tuple(jobs),
            ids=_objects([job.id for job in jobs]),
            labels=_objects([job.spec.labels for job in jobs]),
            sequence=np.array([job.sequence for job in jobs], dtype=np.int64),
            profile=np.array([self.catalogue.profile(job) for job in jobs], dtype=np.int64),
            configuration=np.array([-1 if at is None else at.configuration for at in places], dtype=np.int64),
            millis=np.array([WHOLE if at is None else at.millis for at in places], dtype=np.int64),
            submitted=np.array([job.submit_time for job in jobs], dtype=np.float64),
            since=np.array([NEVER if job.last_start_time is None else job.last_start_time for job in jobs]),
            duration=np.array([NEVER if seconds is None else seconds for seconds in durations], dtype=np.float64),
            learner=np.array([self.catalogue.learner(job) for job in jobs], dtype=np.int64),
            misdeclared=np.array([self._is_misdeclared(job) for job in jobs], dtype=np.bool_),
            deadline=np.array([NEVER if job.spec.deadline is None else job.spec.deadline for job in jobs]),
            minimum=np.array([job.spec.minimum_throughput or 0.0 for job in jobs], dtype=np.float64),
            work_done=np.array([job.work_done_seconds for job in jobs], dtype=np.float64),
            work_counted=np.array([NEVER if job.work_counted_time is None else job.work_counted_time for job in jobs]),
            first_piece=_starts(np.array(node_count, dtype=np.int64)),
            piece_node=np.array(piece_node, dtype=np.int64),
            piece_count=np.array(piece_count, dtype=np.int64),
            first_device=_starts(np.array([len(gpus) for gpus in devices], dtype=np.int64)),
            device=np.array(list(chain.from_iterable(devices)), dtype=np.int64),
        )


def _pieces(job: Job) -> dict[str, tuple[int, tuple[int, ...]]]:
    """By node, in order of the first replica there: how many, and all their devices."""
    assert job.allocation is not None
    standing = job.allocation.standing
    if len(standing) == 1:
        return {standing[0].node: (1, standing[0].gpus)}
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for replica in standing:
        count, gpus = found.get(replica.node, (0, ()))
        found[replica.node] = (count + 1, gpus + replica.gpus)
    return found


_BY_JOB = (
    "ids",
    "labels",
    "sequence",
    "profile",
    "configuration",
    "millis",
    "submitted",
    "since",
    "duration",
    "learner",
    "misdeclared",
    "deadline",
    "minimum",
    "work_done",
    "work_counted",
)


def _carried_over(
    last: JobColumns, jobs: tuple[Job, ...], source: Integers, fresh: Integers, read: JobColumns
) -> JobColumns:
    """Job i as `source[i]` of `last`, or, where that is -1, as the next of `read`."""
    row = source.copy()
    row[fresh] = len(last.jobs) + np.arange(len(fresh))
    by_job = {name: np.concatenate([getattr(last, name), getattr(read, name)])[row] for name in _BY_JOB}
    first_piece, pieces = gather(_joined(last.first_piece, read.first_piece), row)
    first_device, devices = gather(_joined(last.first_device, read.first_device), pieces)
    return JobColumns(
        jobs=jobs,
        **by_job,
        first_piece=first_piece,
        piece_node=np.concatenate([last.piece_node, read.piece_node])[pieces],
        piece_count=np.concatenate([last.piece_count, read.piece_count])[pieces],
        first_device=first_device,
        device=np.concatenate([last.device, read.device])[devices],
    )


def gather(starts: Integers, rows: Integers) -> tuple[Integers, Integers]:
    """Of lists that lie one after another, list i being starts[i] : starts[i + 1], choose some in a new order: their
    new starts (len(rows) + 1,), and for each of their entries its old position.
    """
    lengths = np.diff(starts)[rows]
    fresh = _starts(lengths)
    old = np.repeat(starts[rows] - fresh[:-1], lengths) + np.arange(fresh[-1])
    return fresh, old


def _joined(first: Integers, second: Integers) -> Integers:
    return np.concatenate([first, second[1:] + first[-1]])


def _starts(lengths: Integers) -> Integers:
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _objects(values: Sequence[object]) -> NDArray[np.object_]:
    """An array of the very objects, whatever they are."""
    array = np.empty(len(values), dtype=np.object_)
    for position, value in enumerate(values):
        array[position] = value
    return array


class _Spare(threading.local):
    """One per thread: who decides beside the rounds what would happen if, does not take theirs away."""

    registry: Registry | None = None


_spare = _Spare()


@contextmanager
def last_registry(classes: tuple[PriorityClass, ...] = BUILT_IN, floating: tuple[str, ...] = ()) -> Iterator[Registry]:
    """The registry of this thread's last round, or a new one: also where there were other priority classes or floating
    resources. Nobody else has it meanwhile.

    It is kept for the next round unless what is done with it fails.
    """
    registry, _spare.registry = _spare.registry, None
    if registry is None or (registry.classes, registry.floating) != (classes, floating):
        registry = Registry(classes, floating)
    yield registry
    _spare.registry = registry


def forget_registry() -> None:
    """Begin with an empty one next time, on this thread."""
    _spare.registry = None
