"""What a call is, as data, and the course of its attempts: everything that the two clients share about talking.

`Call` is one request and how to read its answer; `Stream` one that is answered by many messages and can be resumed.
`Attempts` and `Reconnects` decide, without sleeping or sending anything themselves, what follows a failure.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from allocator.client.errors import UnexpectedAnswer
from allocator.client.retry import RetryPolicy
from allocator.domain.errors import AllocatorError, InvalidInput

T = TypeVar("T")

DEFAULT_ADDRESS = "127.0.0.1:50051"
ADDRESS_VARIABLE = "ALLOCATOR_ADDRESS"
DEFAULT_TIMEOUT = 10.0
PAGE_SIZE = 1000
"""Of lists that are fetched page by page."""
MAX_MESSAGE_BYTES = 64 * 2**20

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 3000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
"""Retries are ours alone, so that what is not safe to repeat is sent once. `min_reconnect_backoff` is how long one
attempt to connect may take, against its name. Every client has a connection of its own: a server takes a thousand calls
at a time on one, and clients of one program would share them, without knowing."""


@dataclass(frozen=True)
class Method:
    """`/allocator.v1.<service>/<name>`, and what it answers with."""

    service: str
    name: str
    response: type[Message]

    @property
    def path(self) -> str:
        return f"/allocator.v1.{self.service}/{self.name}"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request; `build` makes its message, `parse` reads the answer. `repeatable`: sent twice is as good as once."""

    method: Method
    build: Callable[[], Message]
    parse: Callable[[Any], T]
    repeatable: bool = False


@dataclass(frozen=True)
class Pages(Generic[T]):
    """A list answered page by page: `page(token)` gets (items, token of the next page or empty)."""

    page: Callable[[str], Call[tuple[Sequence[T], str]]]


@dataclass(frozen=True)
class Stream(Generic[T]):
    """One request and many answers, those read as None passed over. `resume(last)` goes on after the answer `last`."""

    method: Method
    build: Callable[[], Message]
    parse: Callable[[Any], T | None]
    resume: Callable[[T], Stream[T]]


def message_of(call: Call[T] | Stream[T]) -> Message:
    """The request's message. Errors: InvalidInput for a value that no message can hold (half a character, 2^70)."""
    try:
        return call.build()
    except ValueError as error:
        raise InvalidInput.of("request", f"cannot be sent: {error}") from None


def answer_of(call: Call[T], reply: Message) -> T:
    """The answer that was read. Errors: UnexpectedAnswer when the server speaks another version of the API."""
    try:
        return call.parse(reply)
    except InvalidInput as error:
        raise UnexpectedAnswer(call.method.name, "an answer that cannot be read", str(error)) from None


def event_of(stream: Stream[T], reply: Message) -> T | None:
    """As `answer_of`, for one message of a stream."""
    try:
        return stream.parse(reply)
    except InvalidInput as error:
        raise UnexpectedAnswer(stream.method.name, "an answer that cannot be read", str(error)) from None


@dataclass(frozen=True)
class Failure:
    """A failed attempt. `transient`: the same request may well succeed later, not before `retry_after` seconds."""

    error: AllocatorError
    transient: bool
    retry_after: float = 0.0


class Attempts:
    """The attempts of one call, within `timeout` seconds altogether. `clock` gives seconds from any start."""

    def __init__(self, policy: RetryPolicy, timeout: float, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._deadline = clock() + timeout
        self._delays = policy.delays(rng)

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


class Reconnects:
    """The lives of one watch: as often as `policy` says until it first hears something; from then on it gives up only
    when it has heard nothing for `patience` seconds of trying (None: never).
    """

    def __init__(
        self, policy: RetryPolicy, patience: float | None, clock: Callable[[], float], rng: random.Random
    ) -> None:
        self._policy, self._patience, self._clock, self._rng = policy, patience, clock, rng
        self._heard = False
        self._failures = 0
        self._broken_since: float | None = None

    def heard(self) -> None:
        """Something arrived."""
        self._heard, self._failures, self._broken_since = True, 0, None

    def after(self, failure: Failure) -> float:
        """Seconds to wait before connecting again. Raises the failure's error when it is time to give up."""
        if self._broken_since is None:
            self._broken_since = self._clock()
        delay = max(self._policy.delay(self._failures, self._rng), failure.retry_after)
        self._failures += 1
        exhausted = not self._heard and self._failures >= self._policy.attempts
        silent = self._patience is not None and self._clock() + delay - self._broken_since > self._patience
        if not failure.transient or exhausted or silent:
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
