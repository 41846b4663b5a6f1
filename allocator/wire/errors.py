"""Refusals as google.rpc.Status, and back to the same exception.

| exception          | code                | details, besides ErrorInfo(reason, domain "allocator") |
|--------------------|---------------------|--------------------------------------------------------|
| InvalidInput       | INVALID_ARGUMENT    | BadRequest: every field path                           |
| NotFound           | NOT_FOUND           | ResourceInfo                                           |
| AlreadyExists      | ALREADY_EXISTS      | ResourceInfo                                           |
| FailedPrecondition | FAILED_PRECONDITION | PreconditionFailure                                    |
| ResourceExhausted  | RESOURCE_EXHAUSTED  | QuotaFailure, RetryInfo                                |
| StoreUnavailable   | UNAVAILABLE         | RetryInfo                                              |

A status travels in HTTP/2 trailers, which hold 8 KiB: long texts are cut, and of many violations the first are kept.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped] # ships no py.typed

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
from allocator.wire.fields import within

DOMAIN = "allocator"
DRAINING = "SERVER_DRAINING"
"""Reason of an UNAVAILABLE that another server, or this one after its restart, would not give."""
STORE_RETRY_SECONDS = 1.0

Detail = TypeVar("Detail", bound=Message)

_MESSAGE_BYTES = 512
_TEXT_BYTES = 384
_DETAILS_BYTES = 3000

_REASONS: dict[type[AllocatorError], tuple[str, int]] = {
    InvalidInput: ("INVALID_INPUT", code_pb2.INVALID_ARGUMENT),
    NotFound: ("NOT_FOUND", code_pb2.NOT_FOUND),
    AlreadyExists: ("ALREADY_EXISTS", code_pb2.ALREADY_EXISTS),
    FailedPrecondition: ("FAILED_PRECONDITION", code_pb2.FAILED_PRECONDITION),
    ResourceExhausted: ("RESOURCE_EXHAUSTED", code_pb2.RESOURCE_EXHAUSTED),
    StoreUnavailable: ("STORE_UNAVAILABLE", code_pb2.UNAVAILABLE),
}


def error_to_status(error: AllocatorError) -> status_pb2.Status:
    """The status to answer. An AllocatorError of none of the kinds above is UNKNOWN, with its text."""
    kind = next((kind for kind in _REASONS if isinstance(error, kind)), None)
    if kind is None:
        return status_pb2.Status(code=code_pb2.UNKNOWN, message=_cut(str(error), _MESSAGE_BYTES))
    reason, code = _REASONS[kind]
    return _status(code, str(error), reason, *_details(error))


def draining_status(retry_after_seconds: float = 1.0) -> status_pb2.Status:
    """UNAVAILABLE because this server is about to stop; nothing was done."""
    return _status(
        code_pb2.UNAVAILABLE,
        "this server is about to stop and takes no new requests; try another one, or again in a moment",
        DRAINING,
        error_details_pb2.RetryInfo(retry_delay=_duration(retry_after_seconds)),
    )


def error_from_status(status: status_pb2.Status) -> AllocatorError | None:
    """The exception that the status was made from; None if it was not made here (a network failure, another server)."""
    info = _detail(status, error_details_pb2.ErrorInfo())
    if info is None or info.domain != DOMAIN:
        return None
    match status.code:
        case code_pb2.INVALID_ARGUMENT:
            bad = _detail(status, error_details_pb2.BadRequest()) or error_details_pb2.BadRequest()
            return InvalidInput(*(Violation(v.field, v.description) for v in bad.field_violations))
        case code_pb2.NOT_FOUND:
            about = _detail(status, error_details_pb2.ResourceInfo()) or error_details_pb2.ResourceInfo()
            return NotFound(about.resource_type, about.resource_name)
        case code_pb2.ALREADY_EXISTS:
            about = _detail(status, error_details_pb2.ResourceInfo()) or error_details_pb2.ResourceInfo()
            return AlreadyExists(about.resource_type, about.resource_name, about.description)
        case code_pb2.FAILED_PRECONDITION:
            failure = _detail(status, error_details_pb2.PreconditionFailure())
            violation = failure.violations[0] if failure else error_details_pb2.PreconditionFailure.Violation()
            return FailedPrecondition(violation.subject, violation.description)
        case code_pb2.RESOURCE_EXHAUSTED:
            quota = _detail(status, error_details_pb2.QuotaFailure())
            exceeded = quota.violations[0] if quota else error_details_pb2.QuotaFailure.Violation()
            return ResourceExhausted(exceeded.subject, exceeded.description, retry_after(status) or 1.0)
        case code_pb2.UNAVAILABLE:
            return StoreUnavailable(status.message)
    return None


def retry_after(status: status_pb2.Status) -> float | None:
    """Seconds after which the server asks to try again; None if it does not say."""
    retry = _detail(status, error_details_pb2.RetryInfo())
    return None if retry is None else retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def under(error: AllocatorError, where: str) -> AllocatorError:
    """An item's error seen from the request: `where` goes before field paths; other errors have none."""
    return within(error, where) if isinstance(error, InvalidInput) else error


def _details(error: AllocatorError) -> tuple[Message, ...]:
    match error:
        case InvalidInput():
            return (_bad_request(error),)
        case NotFound():
            return (_resource_info(error.kind, error.name, "does not exist"),)
        case AlreadyExists():
            return (_resource_info(error.kind, error.name, error.description),)
        case FailedPrecondition():
            failure = error_details_pb2.PreconditionFailure()
            failure.violations.add(
                type="STATE",
                subject=_cut(error.subject, _TEXT_BYTES),
                description=_cut(error.description, _TEXT_BYTES),
            )
            return (failure,)
        case ResourceExhausted():
            quota = error_details_pb2.QuotaFailure()
            quota.violations.add(
                subject=_cut(error.subject, _TEXT_BYTES), description=_cut(error.description, _TEXT_BYTES)
            )
            return quota, error_details_pb2.RetryInfo(retry_delay=_duration(error.retry_after_seconds))
        case StoreUnavailable():
            return (error_details_pb2.RetryInfo(retry_delay=_duration(STORE_RETRY_SECONDS)),)
    return ()


def _bad_request(error: InvalidInput) -> error_details_pb2.BadRequest:
    """As many violations as fit; the last entry tells how many did not."""
    bad = error_details_pb2.BadRequest()
    size = 0
    for index, violation in enumerate(error.violations):
        field, description = _cut(violation.field, _TEXT_BYTES), _cut(violation.description, _TEXT_BYTES)
        size += len(field.encode()) + len(description.encode()) + 8
        if size > _DETAILS_BYTES:
            bad.field_violations.add(description=f"and {len(error.violations) - index} more violations")
            break
        bad.field_violations.add(field=field, description=description)
    return bad


def _resource_info(kind: str, name: str, description: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=kind, resource_name=_cut(name, _TEXT_BYTES), description=_cut(description, _TEXT_BYTES)
    )


def _status(code: int, message: str, reason: str, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_cut(message, _MESSAGE_BYTES))
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN), *details):
        status.details.add().Pack(detail)
    return status


def _detail(status: status_pb2.Status, empty: Detail) -> Detail | None:
    """The first detail of the type of `empty`, read into it."""
    return next((empty for detail in status.details if detail.Unpack(empty)), None)


def _duration(seconds: float) -> Duration:
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8; what is cut off is replaced by an ellipsis."""
    encoded = text[: limit + 1].encode("utf-8", errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "…"
