"""Refusals as google.rpc.Status: the right code, details that programs can read, and the same exception back."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped] # ships no py.typed
from hypothesis import given, settings

from allocator.domain.errors import (
    AllocatorError,
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    ResourceExhausted,
    StoreUnavailable,
    Violation,
)
from allocator.wire.errors import draining_status, error_from_status, error_to_status, retry_after, under
from tests.wire import strategies as some


@settings(deadline=None, max_examples=100, derandomize=True)
@given(some.errors)
def test_an_error_comes_back_as_it_was(error: AllocatorError) -> None:
    status = status_pb2.Status.FromString(error_to_status(error).SerializeToString())
    read = error_from_status(status)
    assert (type(read), vars(read), str(read)) == (type(error), vars(error), str(error))


def details(status: status_pb2.Status) -> dict[str, Message]:
    """By name of the type."""
    found = {}
    for packed in status.details:
        message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        found[type(message).__name__] = message
    return found


@pytest.mark.parametrize(
    ("error", "code", "reason", "kinds"),
    [
        (InvalidInput.of("a", "b"), code_pb2.INVALID_ARGUMENT, "INVALID_INPUT", {"BadRequest"}),
        (NotFound("job", "j1"), code_pb2.NOT_FOUND, "NOT_FOUND", {"ResourceInfo"}),
        (AlreadyExists("queue", "q"), code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", {"ResourceInfo"}),
        (FailedPrecondition("a", "b"), code_pb2.FAILED_PRECONDITION, "FAILED_PRECONDITION", {"PreconditionFailure"}),
        (
            ResourceExhausted("a", "b", 2.5),
            code_pb2.RESOURCE_EXHAUSTED,
            "RESOURCE_EXHAUSTED",
            {"QuotaFailure", "RetryInfo"},
        ),
        (StoreUnavailable("a"), code_pb2.UNAVAILABLE, "STORE_UNAVAILABLE", {"RetryInfo"}),
    ],
)
def test_each_error_has_its_code_and_details(error: AllocatorError, code: int, reason: str, kinds: set[str]) -> None:
    status = error_to_status(error)
    found = details(status)
    assert (status.code, status.message) == (code, str(error))
    assert found.keys() == kinds | {"ErrorInfo"}
    info = found["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "allocator")


def test_the_time_to_wait_is_told() -> None:
    assert retry_after(error_to_status(ResourceExhausted("queue 'q'", "is full", 2.5))) == 2.5
    assert retry_after(error_to_status(StoreUnavailable("disk full"))) == 1.0
    assert retry_after(error_to_status(NotFound("job", "j1"))) is None


def test_draining_is_told_apart_from_a_store_that_fails() -> None:
    status = draining_status(3.0)
    info = details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (status.code, info.reason, retry_after(status)) == (code_pb2.UNAVAILABLE, "SERVER_DRAINING", 3.0)
    assert isinstance(error_from_status(status), StoreUnavailable)


@pytest.mark.parametrize("text", ["x" * 10**5, "字" * 10**5])
def test_a_status_fits_into_trailers_however_much_is_wrong(text: str) -> None:
    many = InvalidInput(*(Violation(f"jobs[{index}].{text}", text) for index in range(20)))
    for error in (many, NotFound("job", text), FailedPrecondition(text, text), ResourceExhausted(text, text)):
        status = error_to_status(error)
        assert status.ByteSize() + 3 * len(status.message.encode()) < 7000
        assert isinstance(error_from_status(status), type(error))


def test_violations_that_are_left_out_are_counted() -> None:
    error = InvalidInput(*(Violation(f"reports[{index}].state", "must be given " * 5) for index in range(1000)))
    read = error_from_status(error_to_status(error))
    assert isinstance(read, InvalidInput)
    assert read.violations[0] == error.violations[0]
    assert read.violations[-1].description == f"and {1000 - (len(read.violations) - 1)} more violations"


def test_statuses_of_others_are_not_ours() -> None:
    assert error_from_status(status_pb2.Status(code=code_pb2.NOT_FOUND, message="no such host")) is None
    foreign = status_pb2.Status(code=code_pb2.NOT_FOUND)
    foreign.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="example.com"))
    assert error_from_status(foreign) is None


def test_an_unforeseen_refusal_keeps_its_text() -> None:
    status = error_to_status(AllocatorError("something else"))
    assert (status.code, status.message) == (code_pb2.UNKNOWN, "something else")


def test_an_item_s_paths_start_at_the_request() -> None:
    moved = under(InvalidInput.of("weight", "must be above 0"), "updates[2]")
    assert isinstance(moved, InvalidInput)
    assert moved.violations[0].field == "updates[2].weight"
    same = NotFound("job", "j1")
    assert under(same, "updates[2]") is same
