"""Whatever rounds see and decide, a capture holds exactly: to the bit, from the first round on and after changes."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.domain.applied_policy import AppliedPolicy
from allocator.domain.errors import InvalidInput
from allocator.domain.estimates import Estimate
from allocator.domain.job import Job, revised
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Commit, Move, Plan, Preempt, Rejected, Resize, Start
from allocator.domain.policy import Policy
from allocator.domain.process import Process
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason, Shortage
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.domain.snapshot import Memory, QueueHistory, Snapshot, WorkKind
from allocator.rounds.captured import SeenRound, memory_digest, plan_digest, solution_digest
from allocator.solvers.solution import Solution, Status
from allocator.v1 import capture_service_pb2 as pb
from allocator.wire import recording
from allocator.wire.recording import (
    CaptureBegin,
    CaptureDecoder,
    CapturedRound,
    CaptureEncoder,
    CaptureEnd,
    CaptureGap,
    end_record,
    gap_record,
)
from tests.builders import spec
from tests.wire import strategies as s

QUICK = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
T = TypeVar("T")
ROUNDS = 3
doubles = st.floats(allow_nan=False)
any_times = st.one_of(s.times, st.floats(0, 1e6))
"""Virtual times are no whole nanoseconds."""
names = ("a", "b", "c/d")
POLICIES = (
    Policy(fairness=math.inf, gap=1e-3),
    Policy(side_constraints=(SideConstraint("power", (Term("gpu", 0.1 + 0.2),), 7.1),), floating_resources=("matlab",)),
)


@st.composite
def exact_jobs(draw: st.DrawFn, sequence: int) -> Job:
    """With any times, also those that no timestamp can say."""
    job = draw(s.jobs())
    changes: dict[str, Any] = {"sequence": sequence, "id": f"j{sequence}", "submit_time": draw(any_times)}
    for field in ("first_start_time", "last_start_time", "end_time", "work_counted_time"):
        changes[field] = draw(st.none() | any_times)
    if job.allocation is not None:
        placement = replace(job.allocation.placement, job_id=f"j{sequence}")
        changes["allocation"] = replace(job.allocation, placement=placement, start_time=draw(any_times))
    if job.spec.deadline is not None:
        changes["spec"] = replace(job.spec, deadline=draw(any_times))
    if job.pending_reason is not None:
        changes["pending_reason"] = replace(job.pending_reason, reserved_until=draw(st.none() | any_times))
    changes["work_done_seconds"] = draw(st.floats(0, 1e9))
    return revised(job, **changes)


@st.composite
def histories(draw: st.DrawFn, kinds: list[list[T]]) -> list[tuple[T, ...]]:
    """For each round, of each kind one of its variants or none: things come, change and go."""
    rounds = []
    for _ in range(ROUNDS):
        chosen = [draw(st.none() | st.sampled_from(variants)) for variants in kinds]
        rounds.append(tuple(one for one in chosen if one is not None))
    return rounds


@st.composite
def job_histories(draw: st.DrawFn) -> list[tuple[Job, ...]]:
    kinds = []
    for sequence in range(3):
        job = draw(exact_jobs(sequence))
        other = draw(exact_jobs(sequence))
        kinds.append([job, revised(job, revision=job.revision + 1), other])
    return draw(histories(kinds))


def named(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    def two(name: str) -> st.SearchStrategy[list[Any]]:
        return st.lists(values.map(lambda value: replace(value, name=name)), min_size=2, max_size=2)

    kinds = st.tuples(*map(two, names))
    return kinds.flatmap(lambda found: histories(list(found)))


estimates = st.builds(
    Estimate, s.names, s.names, s.names, st.integers(1, 9), doubles, doubles, doubles, doubles, any_times
)
prices = st.dictionaries(st.tuples(s.names, s.names), doubles, max_size=3)
kinds_of_work = st.lists(st.builds(WorkKind, s.names, s.resources, s.counts, s.counts), max_size=2).map(tuple)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    sequences = sorted(draw(st.sets(st.integers(-(2**63), 2**63 - 1), max_size=4)))
    numbers = st.lists(doubles, min_size=len(sequences), max_size=len(sequences))
    return Memory(
        draw(any_times),
        array("q", sequences),
        array("d", draw(numbers)),
        array("d", draw(numbers)),
        draw(prices),
        draw(st.dictionaries(st.tuples(s.names, s.names, s.names), doubles, max_size=2)),
        draw(kinds_of_work),
        draw(st.dictionaries(s.names, st.builds(QueueHistory, doubles, doubles, doubles, doubles), max_size=2)),
    )


placements = st.builds(
    Placement,
    s.names,
    s.counts,
    st.lists(st.builds(ReplicaPlacement, s.names, s.device_indices), min_size=1, max_size=2).map(tuple),
    st.integers(1, 1000),
)
preemption = st.sampled_from(PreemptionReason)
changes = st.one_of(
    st.builds(Start, placements),
    st.builds(Move, placements, preemption),
    st.builds(Resize, placements),
    st.builds(Preempt, s.names, preemption, s.reasons),
)


@st.composite
def rounds(draw: st.DrawFn) -> list[tuple[SeenRound, tuple[Job, ...]]]:
    """Rounds that follow one another, each with the jobs that ended before it."""
    jobs, nodes, queues = draw(job_histories()), draw(named(s.nodes)), draw(named(s.queues))
    learned = sorted(draw(st.lists(estimates, max_size=2, unique_by=lambda e: e.name)), key=lambda e: e.name)
    applied = [None, *(AppliedPolicy(v, draw(any_times), p, "sent", "me", "why") for v, p in enumerate(POLICIES, 1))]
    memory = draw(memories())
    found: list[tuple[SeenRound, tuple[Job, ...]]] = []
    for number in range(ROUNDS):
        policy = applied[draw(st.integers(0, min(number, 2)))] if not found else found[-1][0].snapshot.applied
        another: bool = draw(st.booleans())
        if found and another:
            policy = applied[2]
        snapshot = Snapshot(
            number * 10,
            number + 1,
            draw(any_times),
            queues[number],
            nodes[number],
            jobs[number],
            tuple(learned[: draw(st.integers(0, 2))]),
            policy,
        )
        planned: tuple[Change, ...] = tuple(draw(st.lists(changes, max_size=3, unique_by=lambda c: c.job_id)))
        refused = [Rejected(change, "gone") for change in planned if draw(st.booleans())]
        summary = replace(draw(s.rounds), time=snapshot.time)
        shares = np.array(draw(st.lists(doubles, min_size=2, max_size=2)))
        solution = Solution(shares, shares, shares, 1.0, 2.0, 0.5, Status.OPTIMAL, "conic", 3)
        before, memory = memory, draw(st.just(memory) | memories())
        seen = SeenRound(
            snapshot,
            before,
            snapshot.policy(Policy(fairness=2.0)),
            Plan(snapshot.revision, snapshot.round, planned, (), ()),
            solution,
            Commit(number, snapshot.round, (), tuple(refused), ()),
            memory,
            summary,
        )
        ended = draw(st.sets(st.integers(0, 2))) - {job.sequence for job in jobs[number]}
        known = {job.sequence: job for job in jobs[number - 1]} if found else {}
        found.append((seen, tuple(revised(known[e], message="ended") for e in sorted(ended) if e in known)))
    return found


def begin() -> CaptureBegin:
    return CaptureBegin("1.2", 0.1 + 0.2, 10.0, "fifo", 7, {"numpy": "2"}, "best-fit")


@QUICK
@given(rounds(), st.integers(1, 3), st.sampled_from([1, 500, 2**22]))
def test_what_a_capture_holds_is_exactly_what_was(
    history: list[tuple[SeenRound, tuple[Job, ...]]], facts_per_record: int, bytes_per_record: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "FACTS_PER_RECORD", facts_per_record)
        patch.setattr(recording, "BYTES_PER_RECORD", bytes_per_record)
        encoder, decoder = CaptureEncoder(), CaptureDecoder()
        assert decoder.read(encoder.begin(begin()).SerializeToString()) == begin()
        for seen, ended in history:
            *facts, last = [record.SerializeToString() for record in encoder.round(seen, ended)]
            assert all(decoder.read(record) is None for record in facts)
            found = decoder.read(last)
            assert isinstance(found, CapturedRound)
            assert found.snapshot == seen.snapshot
            assert found.memory == seen.before
            assert memory_digest(found.memory) == memory_digest(seen.before)
            assert found.policy == seen.policy
            assert found.changes == seen.plan.changes
            assert found.rejected == seen.commit.rejected
            assert found.summary == seen.summary
            assert found.ended == ended
            assert (found.plan_digest, found.solution_digest, found.memory_digest) == (
                plan_digest(seen.plan),
                solution_digest(seen.solution),
                memory_digest(seen.after),
            )


def test_records_of_large_jobs_are_not_large() -> None:
    process = Process(("run",), (("LARGE", "x" * 60_000),))
    jobs = tuple(Job(f"j{n}", n, spec("q", process=process), 1.0) for n in range(200))
    facts = list(CaptureEncoder().standing(Snapshot(1, 1, 1.0, (), (), jobs), Policy(), ()))
    sizes = [record.ByteSize() for record in facts]
    assert sum(sizes) > 12_000_000
    assert max(sizes) <= recording.BYTES_PER_RECORD + 100


def test_gaps_and_ends_are_read_back() -> None:
    decoder = CaptureDecoder()
    gap, end = CaptureGap("lost", 7), CaptureEnd("interrupted", 9)
    assert decoder.read(gap_record(gap)) == gap
    assert decoder.read(end_record(end)) == end


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (pb.CaptureRecord(), "of a kind that this version does not know"),
        (pb.CaptureRecord(round=pb.CapturedRound(round=1)), "a round before any beginning"),
        (pb.CaptureRecord(facts=pb.CapturedFacts(gone_nodes=["n"])), "facts before any beginning"),
    ],
)
def test_records_that_make_no_sense_are_refused(record: pb.CaptureRecord, wrong: str) -> None:
    with pytest.raises(InvalidInput, match=wrong):
        CaptureDecoder().read(record.SerializeToString())


@pytest.mark.parametrize(
    ("record", "wrong"),
    [
        (pb.CaptureRecord(facts=pb.CapturedFacts(gone_nodes=["n"])), "node n is gone, but never was there"),
        (pb.CaptureRecord(facts=pb.CapturedFacts(jobs=[pb.CapturedJob()])), "state"),
        (pb.CaptureRecord(round=pb.CapturedRound(round=1)), "round.policy: is as in the round before"),
        (pb.CaptureRecord(round=pb.CapturedRound(round=1, policy="version = 1")), "memory: is as in the round before"),
        (pb.CaptureRecord(round=pb.CapturedRound(round=1, policy="version = 9")), "policy"),
    ],
)
def test_records_that_do_not_follow_are_refused(record: pb.CaptureRecord, wrong: str) -> None:
    decoder = CaptureDecoder()
    decoder.read(CaptureEncoder().begin(begin()).SerializeToString())
    with pytest.raises(InvalidInput, match=wrong):
        decoder.read(record.SerializeToString())


def test_bytes_that_are_no_record_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no record of a capture"):
        CaptureDecoder().read(b"\xff\xff\xff")


def test_arrays_of_different_lengths_are_refused() -> None:
    memory = pb.CapturedMemory(sequences=bytes(8), credits=bytes(16), paces=bytes(8), work=pb.CapturedWork())
    decoder = CaptureDecoder()
    decoder.read(CaptureEncoder().begin(begin()).SerializeToString())
    round_record = pb.CaptureRecord(round=pb.CapturedRound(round=1, policy="version = 1", memory=memory))
    with pytest.raises(InvalidInput, match="1 sequences, 2 credits and 1 paces"):
        decoder.read(round_record.SerializeToString())
    round_record.round.memory.credits = bytes(7)
    with pytest.raises(InvalidInput, match="whole numbers of 8 bytes, got 7"):
        decoder.read(round_record.SerializeToString())


def test_a_plan_that_waits_for_other_reasons_has_another_digest() -> None:
    one = PendingReason(PendingCause.FRAGMENTED, (Shortage("a100", "gpu", 1000),))
    plan = Plan(1, 1, (), (), (("a", one), ("b", one)))
    same = Plan(1, 1, (), (), (("a", one), ("b", replace(one))))
    swapped = Plan(1, 1, (), (), (("b", one), ("a", one)))
    assert plan_digest(plan) == plan_digest(same)
    assert plan_digest(plan) != plan_digest(swapped)
    assert plan_digest(plan) != plan_digest(replace(plan, waiting=plan.waiting[:1]))
