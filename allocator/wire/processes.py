"""What jobs run, retries and dependencies."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.domain.errors import InvalidInput
from allocator.domain.process import (
    MOST_ARGUMENTS,
    MOST_DEPENDENCIES,
    MOST_VARIABLES,
    NO_RETRIES,
    Condition,
    Dependency,
    Process,
    Retries,
)
from allocator.v1 import job_pb2
from allocator.wire.fields import Enumeration, within

CONDITIONS = Enumeration(Condition, job_pb2.DependencyCondition, "DEPENDENCY_CONDITION")


def process_to_proto(process: Process) -> job_pb2.Process:
    return job_pb2.Process(
        command=process.command,
        environment=dict(process.environment),
        directory=process.directory,
        output=process.output,
        errors=process.errors,
        checkpoint_signal=process.checkpoint_signal,
        grace_seconds=process.grace_seconds,
    )


def process_from_proto(message: job_pb2.Process) -> Process:
    """Its values are not judged, but there may not be too many of them. Raises InvalidInput."""
    if len(message.command) > MOST_ARGUMENTS:
        raise InvalidInput.of("command", f"must have at most {MOST_ARGUMENTS} arguments, got {len(message.command)}")
    if len(message.environment) > MOST_VARIABLES:
        raise InvalidInput.of(
            "environment", f"must have at most {MOST_VARIABLES} variables, got {len(message.environment)}"
        )
    return Process(
        tuple(message.command),
        tuple(sorted(message.environment.items())),
        message.directory,
        message.output,
        message.errors,
        message.checkpoint_signal,
        message.grace_seconds if message.HasField("grace_seconds") else 30.0,
    )


def retries_to_proto(retries: Retries) -> job_pb2.Retries | None:
    """None where there are none."""
    if retries == NO_RETRIES:
        return None
    return job_pb2.Retries(
        limit=retries.limit,
        backoff_seconds=retries.backoff_seconds,
        most_backoff_seconds=retries.most_backoff_seconds,
    )


def retries_from_proto(message: job_pb2.Retries) -> Retries:
    return Retries(
        message.limit,
        message.backoff_seconds if message.HasField("backoff_seconds") else NO_RETRIES.backoff_seconds,
        message.most_backoff_seconds if message.HasField("most_backoff_seconds") else NO_RETRIES.most_backoff_seconds,
    )


def dependency_to_proto(dependency: Dependency) -> job_pb2.Dependency:
    return job_pb2.Dependency(job_id=dependency.job_id, condition=CONDITIONS.number(dependency.condition))


def dependencies_from_proto(messages: Sequence[job_pb2.Dependency], field: str = "after") -> tuple[Dependency, ...]:
    """In their order. Raises InvalidInput where there is too much, or a condition is not known."""
    if len(messages) > MOST_DEPENDENCIES:
        raise InvalidInput.of(field, f"must name at most {MOST_DEPENDENCIES} jobs, got {len(messages)}")
    found = []
    for index, dependency in enumerate(messages):
        condition = Condition.SUCCEEDED
        if dependency.condition:
            try:
                condition = CONDITIONS.member(dependency.condition, "condition")
            except InvalidInput as error:
                raise within(error, f"{field}[{index}]") from None
        found.append(Dependency(dependency.job_id, condition))
    return tuple(found)
