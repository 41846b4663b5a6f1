"""Captured facts and rounds, piece by piece: every double exact, everything else as the API has it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from allocator.domain.applied_policy import AppliedPolicy, PolicyDocument
from allocator.domain.errors import InvalidInput
from allocator.domain.estimates import Estimate, EstimateName
from allocator.domain.job import Job, revised
from allocator.domain.placement import Allocation, Epoch, Placement
from allocator.domain.plan import Change, Commit, Move, Preempt, Rejected, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.snapshot import LimitName, Memory, QueueHistory, WorkKind
from allocator.policyfile import read, written
from allocator.v1 import capture_service_pb2 as pb
from allocator.v1 import job_pb2
from allocator.wire.fields import time_from_proto, time_to_proto
from allocator.wire.jobs import allocation_from_proto, allocation_to_proto, job_from_proto, job_to_proto
from allocator.wire.reasons import PREEMPTION_REASONS, pending_reason_from_proto, pending_reason_to_proto
from allocator.wire.resources import resources_from_proto, resources_to_proto

Number = TypeVar("Number", int, float)

_NO_EPOCH = Epoch(0, 0)
_DEADLINE, _RESERVED, _STARTED = "spec.deadline", "pending_reason.reserved_until", "allocation.start_time"
_TIMES = ("submit_time", "first_start_time", "last_start_time", "end_time", "work_counted_time", "not_before")


# --- jobs


def captured_job_to_proto(job: Job, known: Job | None = None) -> pb.CapturedJob:
    """Without its spec where that is the very one of `known`, which was sent before."""
    message = pb.CapturedJob(job=job_to_proto(job))
    for field, seconds in _times(job):
        if time_from_proto(time_to_proto(seconds), field) != seconds:
            message.exact_times[field] = seconds
    if known is not None and known.spec is job.spec:
        message.job.ClearField("spec")
    return message


def captured_job_from_proto(message: pb.CapturedJob, known: Job | None) -> Job:
    """`known` is the job as it was sent before. InvalidInput for one that never had a spec."""
    job = job_from_proto(message.job)
    changes: dict[str, object] = {}
    if not message.job.HasField("spec"):
        if known is None:
            raise InvalidInput.of("job.spec", f"was never given for job {job.id!r}")
        changes["spec"] = known.spec
    for field, seconds in message.exact_times.items():
        if field in _TIMES:
            changes[field] = seconds
        elif field == _STARTED and job.allocation is not None:
            changes["allocation"] = replace(job.allocation, start_time=seconds)
        elif field == _DEADLINE and "spec" not in changes:
            changes["spec"] = replace(job.spec, deadline=seconds)
        elif field == _RESERVED and job.pending_reason is not None:
            changes["pending_reason"] = replace(job.pending_reason, reserved_until=seconds)
        elif field != _DEADLINE:
            raise InvalidInput.of("exact_times", f"{field!r} is no time of job {job.id!r}")
    return revised(job, **changes) if changes else job


def _times(job: Job) -> Iterable[tuple[str, float]]:
    for field in _TIMES:
        if (seconds := getattr(job, field)) is not None:
            yield field, seconds
    if job.allocation is not None:
        yield _STARTED, job.allocation.start_time
    if job.spec.deadline is not None:
        yield _DEADLINE, job.spec.deadline
    if job.pending_reason is not None and job.pending_reason.reserved_until is not None:
        yield _RESERVED, job.pending_reason.reserved_until


# --- estimates and policies


def estimate_to_proto(estimate: Estimate) -> pb.CapturedEstimate:
    return pb.CapturedEstimate(
        queue=estimate.queue,
        job_class=estimate.job_class,
        flavor=estimate.flavor,
        replicas=estimate.replicas,
        count=estimate.count,
        log_mean=estimate.log_mean,
        log_squares=estimate.log_squares,
        value=estimate.value,
        time=estimate.time,
    )


def estimate_from_proto(message: pb.CapturedEstimate) -> Estimate:
    return Estimate(
        *estimate_name_from_proto(message),
        message.count,
        message.log_mean,
        message.log_squares,
        message.value,
        message.time,
    )


def estimate_name_to_proto(name: EstimateName) -> pb.CapturedEstimate:
    queue, job_class, flavor, replicas = name
    return pb.CapturedEstimate(queue=queue, job_class=job_class, flavor=flavor, replicas=replicas)


def estimate_name_from_proto(message: pb.CapturedEstimate) -> EstimateName:
    return (message.queue, message.job_class, message.flavor, message.replicas)


def policy_text(policy: Policy) -> str:
    """A policy file that is read back to exactly the same."""
    return written(PolicyDocument(policy))


def policy_from_text(text: str) -> Policy:
    """Raises InvalidInput with every mistake: of a policy that a later version wrote, which knows more settings."""
    reading = read(text)
    if reading.document is None:
        raise InvalidInput(*(mistake.violation("policy") for mistake in reading.mistakes))
    return reading.document.policy


def applied_to_proto(applied: AppliedPolicy) -> pb.CapturedPolicy:
    return pb.CapturedPolicy(
        version=applied.version,
        time=applied.time,
        text=policy_text(applied.policy),
        sent_text=applied.text,
        author=applied.author,
        comment=applied.comment,
    )


def applied_from_proto(message: pb.CapturedPolicy) -> AppliedPolicy:
    return AppliedPolicy(
        message.version,
        message.time,
        policy_from_text(message.text),
        message.sent_text,
        message.author,
        message.comment,
    )


# --- memory


def memory_to_proto(memory: Memory, known: Memory | None) -> pb.CapturedMemory:
    """Without what is as it was in `known`, which was sent before."""
    message = pb.CapturedMemory(
        time=memory.time,
        credits=_bytes(memory.credits),
        prices=[
            pb.CapturedPrice(flavor=flavor, resource=resource, price=price)
            for (flavor, resource), price in memory.prices.items()
        ],
        limit_prices=[
            pb.CapturedPrice(queue=queue, flavor=flavor, resource=resource, price=price)
            for (queue, flavor, resource), price in memory.limit_prices.items()
        ],
        history=[
            pb.CapturedHistory(
                queue=queue,
                had=had.had,
                entitled=had.entitled,
                had_pace=had.had_pace,
                entitled_pace=had.entitled_pace,
            )
            for queue, had in memory.history.items()
        ],
    )
    if known is None or known.sequences != memory.sequences:
        message.sequences = _bytes(memory.sequences)
    if known is None or _bytes(known.pace) != _bytes(memory.pace):
        message.paces = _bytes(memory.pace)
    if known is None or (known.work is not memory.work and known.work != memory.work):
        message.work.kinds.extend(_kind_to_proto(kind) for kind in memory.work)
        message.work.SetInParent()
    return message


def memory_from_proto(message: pb.CapturedMemory, known: Memory | None) -> Memory:
    """Raises InvalidInput where it builds upon one that was never sent, or its arrays cannot be."""
    if known is None and not (message.HasField("sequences") and message.HasField("paces") and message.HasField("work")):
        raise InvalidInput.of("memory", "is as in the round before, and there is none")
    before = known or Memory()
    sequences = _integers(message.sequences) if message.HasField("sequences") else before.sequences
    pace = _doubles("paces", message.paces) if message.HasField("paces") else before.pace
    credits_ = _doubles("credits", message.credits)
    if not len(sequences) == len(pace) == len(credits_):
        raise InvalidInput.of(
            "memory", f"has {len(sequences)} sequences, {len(credits_)} credits and {len(pace)} paces: as many of each"
        )
    limit_prices: dict[LimitName, float] = {(p.queue, p.flavor, p.resource): p.price for p in message.limit_prices}
    return Memory(
        message.time,
        sequences,
        credits_,
        pace,
        {(price.flavor, price.resource): price.price for price in message.prices},
        limit_prices,
        tuple(map(_kind_from_proto, message.work.kinds)) if message.HasField("work") else before.work,
        {h.queue: QueueHistory(h.had, h.entitled, h.had_pace, h.entitled_pace) for h in message.history},
    )


def _kind_to_proto(kind: WorkKind) -> pb.CapturedWorkKind:
    return pb.CapturedWorkKind(
        flavor=kind.flavor, demand=resources_to_proto(kind.demand), popularity=kind.popularity, value=kind.value
    )


def _kind_from_proto(message: pb.CapturedWorkKind) -> WorkKind:
    return WorkKind(message.flavor, resources_from_proto(message.demand), message.popularity, message.value)


def _bytes(values: array[int] | array[float]) -> bytes:
    """Little-endian."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _integers(content: bytes) -> array[int]:
    return _filled("sequences", array("q"), content)


def _doubles(field: str, content: bytes) -> array[float]:
    return _filled(field, array("d"), content)


def _filled(field: str, values: array[Number], content: bytes) -> array[Number]:
    if len(content) % values.itemsize:
        raise InvalidInput.of(field, f"must be whole numbers of {values.itemsize} bytes, got {len(content)} bytes")
    values.frombytes(content)
    if sys.byteorder == "big":
        values.byteswap()
    return values


# --- changes


def change_to_proto(change: Change) -> pb.PlannedChange:
    message = pb.PlannedChange(job_id=change.job_id)
    match change:
        case Start():
            message.kind = pb.PLANNED_CHANGE_KIND_START
        case Move():
            message.kind = pb.PLANNED_CHANGE_KIND_MOVE
            message.reason = PREEMPTION_REASONS.number(change.reason)
        case Resize():
            message.kind = pb.PLANNED_CHANGE_KIND_RESIZE
        case Preempt():
            message.kind = pb.PLANNED_CHANGE_KIND_PREEMPT
            message.reason = PREEMPTION_REASONS.number(change.reason)
            message.pending.CopyFrom(pending_reason_to_proto(change.pending))
    if not isinstance(change, Preempt):
        message.place.CopyFrom(_place_to_proto(change.placement))
    return message


def change_from_proto(message: pb.PlannedChange) -> Change:
    """Raises InvalidInput for a kind or reason of another version of the API."""
    kind, job_id = message.kind, message.job_id
    if kind == pb.PLANNED_CHANGE_KIND_PREEMPT:
        reason = PREEMPTION_REASONS.member(message.reason, "reason")
        return Preempt(job_id, reason, pending_reason_from_proto(message.pending, "pending"))
    placement = allocation_from_proto(job_id, message.place).placement
    if kind == pb.PLANNED_CHANGE_KIND_START:
        return Start(placement)
    if kind == pb.PLANNED_CHANGE_KIND_MOVE:
        return Move(placement, PREEMPTION_REASONS.member(message.reason, "reason"))
    if kind == pb.PLANNED_CHANGE_KIND_RESIZE:
        return Resize(placement)
    raise InvalidInput.of("kind", f"must be one of start, move, resize and preempt; got {kind}")


def _place_to_proto(placement: Placement) -> job_pb2.Allocation:
    message = allocation_to_proto(Allocation(placement, _NO_EPOCH, 0.0))
    for field in ("epoch", "start_time", "start_epoch"):
        message.ClearField(field)
    return message


def refused_to_proto(changes: tuple[Change, ...], commit: Commit) -> list[pb.RefusedChange]:
    index = {change.job_id: position for position, change in enumerate(changes)}
    return [pb.RefusedChange(change=index[each.change.job_id], why=each.why) for each in commit.rejected]


def refused_from_proto(messages: Iterable[pb.RefusedChange], changes: tuple[Change, ...]) -> tuple[Rejected, ...]:
    found = []
    for message in messages:
        if not 0 <= message.change < len(changes):
            raise InvalidInput.of("refused", f"names change {message.change} of {len(changes)}")
        found.append(Rejected(changes[message.change], message.why))
    return tuple(found)
