"""Sending calls and waiting for answers, for ordinary, blocking code."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeVar

import grpc

from allocator.client.batches import Batches
from allocator.client.exchange import (
    CHANNEL_OPTIONS,
    DEFAULT_TIMEOUT,
    Attempts,
    Call,
    Pages,
    Reconnects,
    Stream,
    answer_of,
    event_of,
    message_of,
    resolve_address,
)
from allocator.client.failures import failure_of, stream_ended
from allocator.client.retry import NEVER, RetryPolicy

T = TypeVar("T")


class Sender:
    """A channel to the daemon, and how calls go through it: see `Client`."""

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        patience: float | None = None,
    ) -> None:
        self.address = resolve_address(address)
        self._timeout, self._retry, self._patience = timeout, retry, patience
        self._rng = random.Random()  # noqa: S311 - jitter, not a secret
        self._closed = False
        self._channel = grpc.insecure_channel(self.address, options=CHANNEL_OPTIONS)

    def close(self) -> None:
        """Ends every watch and call."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, call: Call[T], timeout: float | None) -> T:
        seconds = self._timeout if timeout is None else timeout
        request = message_of(call)
        send = self._channel.unary_unary(
            call.method.path,
            request_serializer=type(request).SerializeToString,
            response_deserializer=call.method.response.FromString,
        )
        attempts = Attempts(self._retry if call.repeatable else NEVER, seconds, time.monotonic, self._rng)
        while True:
            try:
                reply = send(request, timeout=attempts.remaining())
            except grpc.RpcError as error:
                failure = failure_of(error, call.method, self.address, seconds)
            else:
                return answer_of(call, reply)
            time.sleep(attempts.after(failure))

    def _batches(self, batches: Batches[T], timeout: float | None) -> T:
        """Each within `timeout`."""
        call = next(batches)
        while True:
            answer = self._call(call, timeout)
            try:
                call = batches.send(answer)
            except StopIteration as ended:
                all_answers: T = ended.value
                return all_answers

    def _pages(self, pages: Pages[T], timeout: float | None) -> Iterator[T]:
        token = ""
        while True:
            items, token = self._call(pages.page(token), timeout)
            yield from items
            if not token:
                return

    def _watch(self, stream: Stream[T]) -> Iterator[T]:
        reconnects = Reconnects(self._retry, self._patience, time.monotonic, self._rng)
        while not self._closed:
            request = message_of(stream)
            responses = self._channel.unary_stream(
                stream.method.path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=stream.method.response.FromString,
            )(request)
            failure = stream_ended(self.address)
            try:
                for reply in responses:
                    reconnects.heard()
                    event = event_of(stream, reply)
                    if event is not None:
                        stream = stream.resume(event)
                        yield event
            except grpc.RpcError as error:
                if self._closed:
                    return
                failure = failure_of(error, stream.method, self.address, 0.0)
            finally:
                responses.cancel()
            time.sleep(reconnects.after(failure))
