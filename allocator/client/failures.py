"""What a failed RPC means: the refusal that the server raised, or an error of the client's own; and if it may pass."""

from __future__ import annotations

import re
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2  # type: ignore[import-untyped] # ships no py.typed

from allocator.client.errors import DeadlineExceeded, UnexpectedAnswer, Unreachable
from allocator.client.exchange import Failure, Method
from allocator.domain.errors import InvalidInput, ResourceExhausted, StoreUnavailable
from allocator.wire.errors import error_from_status, retry_after

_TOO_LARGE = re.compile(r"(SERVER|CLIENT): Received message larger than max \((\d+) vs\. (\d+)\)")
"""Who refused it, how large it was, and how large it might be: gRPC says so in words only."""


def failure_of(error: grpc.RpcError, method: Method, address: str, timeout: float) -> Failure:
    """`error` is what a stub of either kind (threads, asyncio) raised; it then also knows its own status."""
    ended: Any = error
    code: grpc.StatusCode = ended.code()
    details = ended.details() or ""
    status = _rich_status(ended.trailing_metadata())
    if status is not None:
        known = error_from_status(status)
        if known is not None:
            transient = isinstance(known, StoreUnavailable | ResourceExhausted)
            return Failure(known, transient, retry_after(status) or 0.0)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Failure(Unreachable(address, _shortened(details)), transient=True)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(DeadlineExceeded(method.name, timeout), transient=False)
    too_large = _TOO_LARGE.search(details) if code is grpc.StatusCode.RESOURCE_EXHAUSTED else None
    if too_large is not None:
        side, size, most = too_large.groups()
        if side == "SERVER":
            why = f"has {int(size):,} bytes, and the daemon takes {int(most):,} at most: send less at a time"
            return Failure(InvalidInput.of("request", why), transient=False)
        details = f"the answer has {int(size):,} bytes, and {int(most):,} are taken at most: ask for less at a time"
    return Failure(UnexpectedAnswer(method.name, code.name, details), transient=False)


def _rich_status(trailers: Any) -> status_pb2.Status | None:
    """The google.rpc.Status in a call's trailing metadata (a sequence of key and value pairs), if it holds one."""
    encoded = next((value for key, value in trailers or () if key == "grpc-status-details-bin"), None)
    try:
        return None if encoded is None else status_pb2.Status.FromString(encoded)
    except DecodeError:
        return None


def stream_ended(address: str) -> Failure:
    """A watch has no end of its own: when the server ends it, another one goes on."""
    return Failure(Unreachable(address, "the server ended the stream"), transient=True)


def _shortened(details: str) -> str:
    """gRPC tells the whole way to the failure; people want its end: `Connection refused`."""
    return details.rpartition(": ")[2].rstrip("]") or "no answer"
