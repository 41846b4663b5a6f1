"""How jobs' deadlines stand, and what is known of how fast they run."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from allocator.domain.job import LATEST
from allocator.explain.answers import JobThroughput
from allocator.rounds.promise import JobPromise, PromiseState
from allocator.v1 import explanation_pb2
from allocator.wire.fields import Enumeration, time_from_proto, time_to_proto

PROMISE_STATES = Enumeration(PromiseState, explanation_pb2.PromiseState, "PROMISE_STATE")


def promise_to_proto(found: JobPromise) -> explanation_pb2.JobPromise:
    return explanation_pb2.JobPromise(
        state=PROMISE_STATES.number(found.state),
        deadline=_time_to_proto(found.deadline),
        minimum_throughput=found.minimum_throughput,
        needed_share=found.needed_share,
        given_share=found.given_share,
        expected_end=_time_to_proto(found.expected_end),
        weight=found.weight,
    )


def promise_from_proto(message: explanation_pb2.JobPromise) -> JobPromise:
    """Raises InvalidInput for an unknown state: the server speaks another version of the API."""
    return JobPromise(
        state=PROMISE_STATES.member(message.state, "promise.state"),
        deadline=time_from_proto(message.deadline, "promise.deadline") if message.HasField("deadline") else None,
        minimum_throughput=message.minimum_throughput if message.HasField("minimum_throughput") else None,
        needed_share=message.needed_share,
        given_share=message.given_share,
        expected_end=(
            time_from_proto(message.expected_end, "promise.expected_end") if message.HasField("expected_end") else None
        ),
        weight=message.weight if message.HasField("weight") else None,
    )


def throughput_from_proto(message: explanation_pb2.JobThroughput) -> JobThroughput:
    return JobThroughput(
        index=message.index,
        declared=message.declared if message.HasField("declared") else None,
        measured=message.measured if message.HasField("measured") else None,
        observations=message.observations,
        uncertainty=message.uncertainty,
        used=message.used,
        wrong=message.wrong,
    )


def _time_to_proto(seconds: float | None) -> Timestamp | None:
    """A job that gets next to nothing ends later than can be written: then nothing is said."""
    return None if seconds is None or seconds > LATEST else time_to_proto(seconds)
