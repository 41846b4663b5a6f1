"""Around every call of our services: refusals become statuses with details, surprises an id, and calls are counted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2  # type: ignore[import-untyped] # ships no py.typed
from grpc import aio

from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.rpc.backend import Context, DeadlinePassed, remaining_seconds
from allocator.rpc.hub import Draining
from allocator.wire.errors import draining_status, error_to_status

OnRequest = Callable[[str, str, float | None], None]
"""Called when a call ended: `package.Service/Method`, name of the gRPC status, seconds (None for a stream)."""

OURS = "/allocator."
_DETAILS = "grpc-status-details-bin"
_CODES = {code.value[0]: code for code in grpc.StatusCode}

log = structlog.get_logger(__name__)


class _Undecodable:
    """A request whose bytes are not a message of its type."""


class CallInterceptor(aio.ServerInterceptor):
    """Wraps the handlers of our services; health and reflection pass through."""

    def __init__(self, on_request: OnRequest | None = None) -> None:
        self._on_request = on_request or (_unheard)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return handler
        if handler.unary_unary is not None:
            make, behaviour = grpc.unary_unary_rpc_method_handler, self._unary(method[1:], handler.unary_unary)
        elif handler.unary_stream is not None:
            make, behaviour = grpc.unary_stream_rpc_method_handler, self._stream(method[1:], handler.unary_stream)
        else:
            make, behaviour = grpc.stream_stream_rpc_method_handler, self._stream(method[1:], handler.stream_stream)
        return make(behaviour, _tolerant(handler.request_deserializer), handler.response_serializer)

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            began = time.perf_counter()
            code = grpc.StatusCode.OK
            try:
                return await behaviour(_decoded(request), context)
            except Exception as error:  # noqa: BLE001 - the client gets an id, the log the rest
                status = _status(error, method)
                code = _CODES[status.code]
                await _abort(context, status)
            except asyncio.CancelledError:
                code = _gone(context)
                raise
            finally:
                self._on_request(method, code.name, time.perf_counter() - began)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            code = grpc.StatusCode.OK
            try:
                async for response in behaviour(_decoded(request), context):
                    yield response
            except Exception as error:  # noqa: BLE001 - the client gets an id, the log the rest
                status = _status(error, method)
                code = _CODES[status.code]
                await _abort(context, status)
            except (asyncio.CancelledError, GeneratorExit):
                code = _gone(context)
                raise
            finally:
                self._on_request(method, code.name, None)

        return call


def _unheard(method: str, code: str, seconds: float | None) -> None:
    """Nobody wants to know."""


def _tolerant(deserializer: Any) -> Any:
    """Answers a marker instead of raising: gRPC would log a traceback and blame the server."""

    def read(raw: bytes) -> Any:
        try:
            return deserializer(raw)
        except DecodeError:
            return _Undecodable()

    return read


def _decoded(request: Any) -> Any:
    """A request, or each of a stream of them."""
    if isinstance(request, AsyncIterator):
        return _each_decoded(request)
    if isinstance(request, _Undecodable):
        raise InvalidInput.of("", "the request's bytes are not a message of this method's request type")
    return request


async def _each_decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _decoded(request)


def _status(error: Exception, method: str) -> status_pb2.Status:
    """What the client is told; a surprise only by an id that the log has too."""
    match error:
        case AllocatorError():
            return error_to_status(error)
        case Draining():
            return draining_status()
        case DeadlinePassed():
            return status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message="the deadline passed; nothing was done")
    error_id = uuid.uuid4().hex[:12]
    log.error("request_failed", method=method, error_id=error_id, exc_info=error)
    return status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error; the server's log has it as {error_id}")


async def _abort(context: Context, status: status_pb2.Status) -> NoReturn:
    details = ((_DETAILS, status.SerializeToString()),) if status.details else ()
    await context.abort(_CODES[status.code], status.message, details)


def _gone(context: Context) -> grpc.StatusCode:
    """Why a call was cancelled from the client's side."""
    remaining = remaining_seconds(context)
    return grpc.StatusCode.DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else grpc.StatusCode.CANCELLED
