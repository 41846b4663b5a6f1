"""What a call is, as data, and the course of its attempts: everything that the two clients share about talking.

`Call` is one request and how to read its answer; `Stream` one that is answered by many messages and can be resumed.
`Attempts` decides, without sleeping or sending anything itself, how long an attempt may take and what follows a failure.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from allocator.client.retry import RetryPolicy
from allocator.domain.errors import AllocatorError, InvalidInput

T = TypeVar("T")

DEFAULT_ADDRESS = "127.0.0.1:50051"
ADDRESS_VARIABLE = "ALLOCATOR_ADDRESS"
DEFAULT_TIMEOUT = 10.0
MAX_MESSAGE_BYTES = 64 * 2**20

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),
)
"""Retries are ours alone, so that what is not safe to repeat is sent once."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request to `/allocator.v1.<service>/<method>`. `repeatable`: sending it twice is as good as once."""

    service: str
    method: str
    request: Message
    response: type[Message]
    parse: Callable[[Any], T]
    repeatable: bool = False

    @property
    def path(self) -> str:
        return f"/allocator.v1.{self.service}/{self.method}"


@dataclass(frozen=True)
class Pages(Generic[T]):
    """A list answered page by page: `page(token)` gets (items, token of the next page or empty)."""

    page: Callable[[str], Call[tuple[Sequence[T], str]]]


@dataclass(frozen=True)
class Stream(Generic[T]):
    """Many answers. `resume(last)` is the stream that goes on after the answer `last`."""

    service: str
    method: str
    request: Message
    response: type[Message]
    parse: Callable[[Any], T]
    resume: Callable[[T], Stream[T]]

    @property
    def path(self) -> str:
        return f"/allocator.v1.{self.service}/{self.method}"


@dataclass(frozen=True)
class Failure:
    """A failed attempt. `transient`: the same request may well succeed later, not before `retry_after` seconds."""

    error: AllocatorError
    transient: bool
    retry_after: float = 0.0


class Attempts:
    """The attempts of one call, within `timeout` seconds altogether. `clock` gives seconds from any start."""

    def __init__(
        self, policy: RetryPolicy, timeout: float, clock: Callable[[], float], *, rng: random.Random | None = None
    ) -> None:
        self._clock = clock
        self._deadline = clock() + timeout
        self._delays = policy.delays(rng or random.Random())  # noqa: S311 - jitter, not a secret

    def remaining(self) -> float:
        """Seconds that the next attempt may take; at least a millisecond, for it to end as it should."""
        return max(0.001, self._deadline - self._clock())

    def after(self, failure: Failure) -> float:
        """Seconds to wait before the next attempt. Raises the failure's error when there shall be none."""
        delay = next(self._delays, None) if failure.transient else None
        if delay is None:
            raise failure.error
        delay = max(delay, failure.retry_after)
        if self._clock() + delay >= self._deadline:
            raise failure.error
        return delay


def resolve_address(address: str | None) -> str:
    """The address to call: as given, else from the environment, else the default. Errors: InvalidInput."""
    chosen = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    host, separator, port = chosen.rpartition(":")
    if chosen.startswith("unix:") and len(chosen) > len("unix:"):
        return chosen
    if not host or not separator or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in chosen:
        raise InvalidInput.of("address", f"must be host:port such as {DEFAULT_ADDRESS}, or unix:path; got {chosen!r}")
    return chosen


Timeout = float | None
RpcFailure = grpc.RpcError
