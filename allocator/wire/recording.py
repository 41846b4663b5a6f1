"""A capture as a sequence of records: rounds are written as what has changed since the last one, and read whole.

    begin, facts*, round, facts*, round, ..., begin, facts*, round, ...

Facts come in records of at most FACTS_PER_RECORD, and some BYTES_PER_RECORD, so that no message is large and nobody is
kept waiting for one. The reader keeps what did not change as the very same object, as a store does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from google.protobuf.message import DecodeError, Message

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.cluster import Node
from allocator.domain.errors import InvalidInput
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.giving_way import checkpoint
from allocator.domain.job import Job
from allocator.domain.placement import Allocation, Epoch
from allocator.domain.plan import Applied, Change, Commit, Preempt, Rejected
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.snapshot import Memory, Snapshot
from allocator.rounds.captured import SeenRound, memory_digest, plan_digest, solution_digest
from allocator.rounds.report import RoundSummary
from allocator.v1 import capture_service_pb2 as pb
from allocator.wire import captures as wire
from allocator.wire.nodes import node_from_proto, node_to_proto
from allocator.wire.queues import queue_from_proto, queue_to_proto
from allocator.wire.rounds import round_from_proto, round_to_proto

FACTS_PER_RECORD = 500
"""Some 200 KiB."""
BYTES_PER_RECORD = 4 * 2**20
"""At most, unless a single fact is larger: jobs may have 64 KiB of environment each."""
FACTS_AT_A_TIME = 50
"""About 2 ms of work between two checkpoints, at which more urgent work on other threads may come first."""


@dataclass(frozen=True, slots=True)
class CaptureBegin:
    """What is true of all rounds up to the next beginning; see protos/allocator/v1/capture_service.proto."""

    version: str
    time: float
    interval_seconds: float
    scheduler: str = "allocator"
    seed: int = 0
    machine: Mapping[str, str] = field(default_factory=dict)
    placement: str = ""


@dataclass(frozen=True, slots=True)
class CaptureGap:
    """Rounds are missing after `after_round`."""

    why: str
    after_round: int


@dataclass(frozen=True, slots=True)
class CaptureEnd:
    """The capture was ended in good order, after so many rounds. `jobs` are known to have ended after the last one."""

    why: str
    rounds: int
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class CapturedRound:
    """A round as it was.

    `changed` are the live jobs that are new or not as in the round before, `ended` those that ended since then; of the
    first round after a beginning, all, and none.
    """

    snapshot: Snapshot
    memory: Memory
    policy: Policy
    changes: tuple[Change, ...]
    plan_digest: bytes
    solution_digest: bytes
    memory_digest: bytes
    rejected: tuple[Rejected, ...]
    commit_revision: int
    summary: RoundSummary
    changed: tuple[Job, ...]
    ended: tuple[Job, ...]

    @property
    def commit(self) -> Commit:
        """What became true, as far as the next round's memory depends on it: without what was pushed."""
        refused = {each.change.job_id for each in self.rejected}
        epoch = Epoch(self.snapshot.round, self.commit_revision)
        applied = tuple(
            Applied(change, None if isinstance(change, Preempt) else Allocation(change.placement, epoch, 0.0))
            for change in self.changes
            if change.job_id not in refused
        )
        return Commit(self.commit_revision, self.snapshot.round, applied, self.rejected, ())


@dataclass(frozen=True, slots=True)
class CapturedStanding:
    """Facts as they stood, without a round; `ended` are all jobs that had ended by then, as far as they are kept."""

    snapshot: Snapshot
    policy: Policy
    ended: tuple[Job, ...]


Captured = CaptureBegin | CapturedRound | CapturedStanding | CaptureGap | CaptureEnd


@dataclass(frozen=True, slots=True)
class CapturedRecord:
    """A record as it was received: its content, to be kept as it is, and what it is. `round` and `time` of a round."""

    content: bytes
    kind: str
    round: int = 0
    time: float = 0.0


def record_from_response(response: pb.CaptureRoundsResponse) -> CapturedRecord:
    """Without reading it: that is for whoever replays it."""
    record = response.record
    kind = record.WhichOneof("content") or ""
    content = record.SerializeToString()
    return CapturedRecord(content, kind, record.round.round, record.round.time)


class CaptureEncoder:
    """Writes rounds, each as what has changed since the last one that was given."""

    def __init__(self) -> None:
        self._snapshot = Snapshot(0, 0, 0.0, (), (), ())
        self._jobs: dict[int, Job] = {}
        self._memory: Memory | None = None
        self._policy: Policy | None = None

    def begin(self, begin: CaptureBegin) -> pb.CaptureRecord:
        """From here on everything is said anew."""
        self.__init__()  # type: ignore[misc] # exactly a new one
        return pb.CaptureRecord(
            begin=pb.CaptureBegin(
                version=begin.version,
                time=begin.time,
                interval_seconds=begin.interval_seconds,
                scheduler=begin.scheduler,
                seed=begin.seed,
                machine=dict(begin.machine),
                placement=begin.placement,
            )
        )

    def round(self, seen: SeenRound, ended: Iterable[Job] = ()) -> Iterator[pb.CaptureRecord]:
        """The facts that have changed, and the round. All of it is to be taken before the next call."""
        yield from _in_records(self._facts(seen.snapshot, ended))
        checkpoint()
        message = pb.CapturedRound(
            round=seen.snapshot.round,
            revision=seen.snapshot.revision,
            time=seen.snapshot.time,
            memory=wire.memory_to_proto(seen.before, self._memory),
            changes=map(wire.change_to_proto, seen.plan.changes),
            plan_digest=plan_digest(seen.plan),
            solution_digest=solution_digest(seen.solution),
            memory_digest=memory_digest(seen.after),
            refused=wire.refused_to_proto(seen.plan.changes, seen.commit),
            commit_revision=seen.commit.revision,
            summary=round_to_proto(seen.summary),
        )
        if seen.policy != self._policy:
            message.policy = wire.policy_text(seen.policy)
        self._policy, self._memory = seen.policy, seen.before
        yield pb.CaptureRecord(round=message)

    def standing(self, snapshot: Snapshot, policy: Policy, ended: Iterable[Job]) -> Iterator[pb.CaptureRecord]:
        """All facts, and that they stood so."""
        yield from _in_records(self._facts(snapshot, ended))
        yield pb.CaptureRecord(
            standing=pb.CapturedStanding(
                time=snapshot.time, revision=snapshot.revision, policy=wire.policy_text(policy)
            )
        )

    def ended(self, jobs: Iterable[Job]) -> Iterator[pb.CaptureRecord]:
        """Jobs that ended after the last round."""
        yield from _in_records(("ended", wire.captured_job_to_proto(job, self._jobs.get(job.sequence))) for job in jobs)

    def _facts(self, now: Snapshot, ended: Iterable[Job]) -> Iterator[tuple[str, Any]]:
        """(field, entry) of everything that has to be said."""
        before, self._snapshot = self._snapshot, now
        for job in ended:
            yield "ended", wire.captured_job_to_proto(job, self._jobs.get(job.sequence))
        yield from _named_changes("queues", "gone_queues", before.queues, now.queues, queue_to_proto)
        yield from _named_changes("nodes", "gone_nodes", before.nodes, now.nodes, node_to_proto)
        if before.estimates is not now.estimates:
            known = {estimate.name: estimate for estimate in before.estimates}
            for estimate in now.estimates:
                if known.pop(estimate.name, None) is not estimate:
                    yield "estimates", wire.estimate_to_proto(estimate)
            for name in known:
                yield "gone_estimates", wire.estimate_name_to_proto(name)
        if now.applied is not None and now.applied is not before.applied:
            yield "policy", wire.applied_to_proto(now.applied)
        if now.jobs is not before.jobs:
            yield from self._job_changes(now.jobs)

    def _job_changes(self, jobs: tuple[Job, ...]) -> Iterator[tuple[str, Any]]:
        before, self._jobs = self._jobs, {job.sequence: job for job in jobs}
        for sequence in before.keys() - self._jobs.keys():
            yield "gone_jobs", sequence
        for sequence, job in self._jobs.items():
            known = before.get(sequence)
            if known is not job:
                yield "jobs", wire.captured_job_to_proto(job, known)


def _named_changes(
    field_name: str, gone: str, before: tuple[Any, ...], now: tuple[Any, ...], to_proto: Any
) -> Iterator[tuple[str, Any]]:
    if before is now:
        return
    known = {each.name: each for each in before}
    for each in now:
        if known.pop(each.name, None) is not each:
            yield field_name, to_proto(each)
    for name in known:
        yield gone, name


def _in_records(facts: Iterator[tuple[str, Any]]) -> Iterator[pb.CaptureRecord]:
    record, count, size = pb.CaptureRecord(), 0, 0
    for field_name, entry in facts:
        bytes_of_it = entry.ByteSize() if isinstance(entry, Message) else 0
        if count and size + bytes_of_it > BYTES_PER_RECORD:
            yield record
            record, count, size = pb.CaptureRecord(), 0, 0
        size += bytes_of_it
        if field_name == "policy":
            record.facts.policy.CopyFrom(entry)
        else:
            getattr(record.facts, field_name).append(entry)
        count += 1
        if count % FACTS_AT_A_TIME == 0:
            checkpoint()
        if count == FACTS_PER_RECORD:
            yield record
            record, count, size = pb.CaptureRecord(), 0, 0
    if count:
        yield record


def gap_record(gap: CaptureGap) -> bytes:
    return pb.CaptureRecord(gap=pb.CaptureGap(why=gap.why, after_round=gap.after_round)).SerializeToString()


def end_record(end: CaptureEnd) -> bytes:
    return pb.CaptureRecord(end=pb.CaptureEnd(why=end.why, rounds=end.rounds)).SerializeToString()


class CaptureDecoder:
    """Reads records in their order."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._begun = False
        self._queues: dict[str, Queue] = {}
        self._nodes: dict[str, Node] = {}
        self._jobs: dict[int, Job] = {}
        self._estimates: dict[EstimateName, Estimate] = {}
        self._applied: AppliedPolicy | None = None
        self._changed: list[int] = []
        self._ended: list[Job] = []
        self._memory: Memory | None = None
        self._policy: Policy | None = None
        self._sorted: dict[str, tuple[Any, ...]] = {}

    def read(self, content: bytes) -> Captured | None:
        """What the record holds; None of facts, which the next round tells. InvalidInput for what cannot be one."""
        try:
            record = pb.CaptureRecord.FromString(content)
        except DecodeError:
            raise InvalidInput.of("record", "is no record of a capture") from None
        match record.WhichOneof("content"):
            case "begin":
                self._forget()
                self._begun = True
                return _begin(record.begin)
            case "facts":
                self._require_begun("facts")
                self._take(record.facts)
                return None
            case "round":
                self._require_begun("a round")
                return self._round(record.round)
            case "standing":
                self._require_begun("facts")
                return self._standing(record.standing)
            case "gap":
                return CaptureGap(record.gap.why, record.gap.after_round)
            case "end":
                return CaptureEnd(record.end.why, record.end.rounds, tuple(self._ended))
        raise InvalidInput.of("record", "is of a kind that this version does not know")

    def _require_begun(self, what: str) -> None:
        if not self._begun:
            raise InvalidInput.of("record", f"holds {what} before any beginning")

    def _take(self, facts: pb.CapturedFacts) -> None:
        for ended in facts.ended:
            self._ended.append(wire.captured_job_from_proto(ended, self._jobs.get(ended.job.sequence)))
        for queue in facts.queues:
            self._queues[queue.name] = queue_from_proto(queue)
        for node in facts.nodes:
            self._nodes[node.name] = node_from_proto(node)
        for message in facts.jobs:
            sequence = message.job.sequence
            self._jobs[sequence] = wire.captured_job_from_proto(message, self._jobs.get(sequence))
            self._changed.append(sequence)
        for estimate in map(wire.estimate_from_proto, facts.estimates):
            self._estimates[estimate.name] = estimate
        if facts.HasField("policy"):
            self._applied = wire.applied_from_proto(facts.policy)
        _remove("queue", self._queues, facts.gone_queues)
        _remove("node", self._nodes, facts.gone_nodes)
        _remove("job", self._jobs, facts.gone_jobs)
        _remove("estimate", self._estimates, map(wire.estimate_name_from_proto, facts.gone_estimates))
        for kind, said in (
            ("queues", chain(facts.queues, facts.gone_queues)),
            ("nodes", chain(facts.nodes, facts.gone_nodes)),
            ("jobs", chain(facts.jobs, facts.gone_jobs)),
            ("estimates", chain(facts.estimates, facts.gone_estimates)),
        ):
            if any(True for _ in said):
                self._sorted.pop(kind, None)

    def _all(self, kind: str, known: dict[Any, Any]) -> tuple[Any, ...]:
        """In order of the names; the same object until one changes."""
        found = self._sorted.get(kind)
        if found is None:
            found = self._sorted[kind] = tuple(known[name] for name in sorted(known))
        return found

    def _standing(self, message: pb.CapturedStanding) -> CapturedStanding:
        snapshot = self._snapshot(message.revision, 0, message.time)
        ended, self._ended, self._changed = tuple(self._ended), [], []
        return CapturedStanding(snapshot, wire.policy_from_text(message.policy), ended)

    def _snapshot(self, revision: int, number: int, time: float) -> Snapshot:
        return Snapshot.of_sorted(
            revision,
            number,
            time,
            self._all("queues", self._queues),
            self._all("nodes", self._nodes),
            self._all("jobs", self._jobs),
            self._all("estimates", self._estimates),
            self._applied,
        )

    def _round(self, message: pb.CapturedRound) -> CapturedRound:
        snapshot = self._snapshot(message.revision, message.round, message.time)
        if message.HasField("policy"):
            policy = wire.policy_from_text(message.policy)
            applied = self._applied
            self._policy = applied.policy if applied is not None and applied.policy == policy else policy
        if self._policy is None:
            raise InvalidInput.of("round.policy", "is as in the round before, and there is none")
        self._memory = wire.memory_from_proto(message.memory, self._memory)
        changes = tuple(map(wire.change_from_proto, message.changes))
        changed, ended = tuple(self._jobs[sequence] for sequence in self._changed), tuple(self._ended)
        self._changed, self._ended = [], []
        return CapturedRound(
            snapshot,
            self._memory,
            self._policy,
            changes,
            message.plan_digest,
            message.solution_digest,
            message.memory_digest,
            wire.refused_from_proto(message.refused, changes),
            message.commit_revision,
            replace(round_from_proto(message.summary), time=message.time),
            changed,
            ended,
        )


def _begin(message: pb.CaptureBegin) -> CaptureBegin:
    return CaptureBegin(
        message.version,
        message.time,
        message.interval_seconds,
        message.scheduler,
        message.seed,
        dict(sorted(message.machine.items())),
        message.placement,
    )


def _remove(what: str, known: dict[Any, Any], names: Iterable[Any]) -> None:
    for name in names:
        if known.pop(name, None) is None:
            raise InvalidInput.of("facts", f"{what} {name} is gone, but never was there")
