"""What every service stands on: a ledger to write, reads to ask, a hub to listen to, and threads for slow work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from grpc import aio

from allocator.domain.placement import NodeDesired
from allocator.intake.commands import Command
from allocator.intake.ports import Ledger
from allocator.rpc.hub import Draining, Hub
from allocator.rpc.output_relay import OutputRelay
from allocator.rpc.ports import Reads
from allocator.rpc.settings import RpcSettings

Answer = TypeVar("Answer")
Parameters = ParamSpec("Parameters")
Context = aio.ServicerContext[Any, Any]


def remaining_seconds(context: Context) -> float | None:
    """Until the client's deadline; below 0 when it has passed, None when there is none (the stubs do not know that)."""
    return context.time_remaining()


SMALL_BATCH = 100
"""Items that are translated on the event loop, in about 2 ms; more would keep other calls waiting."""


class DeadlinePassed(Exception):
    """The client no longer waits, so nothing was done."""


class Backend:
    """Shared by the services of one server; used on its event loop."""

    def __init__(
        self,
        ledger: Ledger,
        reads: Reads,
        hub: Hub,
        clock_now: Callable[[], float],
        settings: RpcSettings,
        shown: Callable[[NodeDesired], NodeDesired] = lambda desired: desired,
    ) -> None:
        self.reads = reads
        self.shown = shown
        """A node's desired state as its agent shall see it now."""
        self.hub = hub
        self.settings = settings
        self.outputs = OutputRelay(settings.most_output_readers)
        self.draining = False
        self._ledger = ledger
        self._clock_now = clock_now
        self._threads = ThreadPoolExecutor(settings.reader_threads, thread_name_prefix="rpc")

    def now(self) -> float:
        """Seconds since the epoch, as commands see it."""
        return self._clock_now()

    async def write(self, command: Command, context: Context) -> Any:
        """The command's answer once it is durable. Raises AllocatorError as the command does; Draining, DeadlinePassed.

        A client that goes away after this point changes nothing: the command is in the ledger's hands.
        """
        if self.draining:
            raise Draining
        remaining = remaining_seconds(context)
        if remaining is not None and remaining <= 0:
            raise DeadlinePassed
        future = self._ledger.execute(command, self._clock_now())
        if future.done():
            return future.result()
        return await asyncio.shield(asyncio.wrap_future(future))

    async def ask(
        self, question: Callable[Parameters, Answer], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Answer:
        """The answer of something that may take long, found on another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: question(*args, **kwargs))

    async def translate(self, items: int, work: Callable[[], Answer]) -> Answer:
        """The result of `work` on a batch: here if it is small, on another thread otherwise."""
        return work() if items <= SMALL_BATCH else await self.ask(work)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
