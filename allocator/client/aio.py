"""The client for asyncio: `Client` with `await` and `async for`. What each method does is told there."""

# ruff: noqa: ASYNC109 - the timeout is a deadline that travels to the server; asyncio.timeout would only stop waiting

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio

from allocator.client import calls
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
from allocator.client.offering import OutputReader, offer_output
from allocator.client.retry import NEVER, RetryPolicy
from allocator.client.sync import Client
from allocator.client.views import JobEvent, Lease, QueueStatus, Registration
from allocator.domain.cluster import Node
from allocator.domain.job import Job, JobSpec, JobState
from allocator.domain.output import OutputEnd, OutputEvent
from allocator.domain.placement import Epoch, JobStart, NodeDesired
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.explain.answers import JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrices, PriceExplanation
from allocator.intake.commands import ItemResult, JobUpdate, ReplicaReport
from allocator.rounds.report import RoundSummary
from allocator.whatif.answers import CapacityPlan, Change, Offer, Outcome
from allocator.wire.explanations import PastPrice
from allocator.wire.policies import PolicyCheck, PolicyRecord
from allocator.wire.recording import CapturedRecord
from allocator.wire.rounds import ClusterStatus

T = TypeVar("T")


class AsyncClient:
    """As `Client`, for one event loop.

    async with AsyncClient("scheduler.example:50051") as client:
        async for event in client.watch_jobs(queue="research"):
            print(event)
    """

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
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)

    async def close(self) -> None:
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- jobs

    async def submit(
        self,
        specs: Iterable[JobSpec],
        *,
        request_id: str | None = None,
        allow_infeasible: bool = False,
        timeout: float | None = None,
    ) -> tuple[ItemResult, ...]:
        return await self._batches(calls.submit(specs, request_id, allow_infeasible=allow_infeasible), timeout)

    async def job(self, job_id: str, *, timeout: float | None = None) -> Job:
        return await self._call(calls.job(job_id), timeout)

    def jobs(
        self,
        *,
        queue: str = "",
        states: Iterable[JobState] = (),
        page_size: int = calls.PAGE_SIZE,
        timeout: float | None = None,
    ) -> AsyncIterator[Job]:
        return self._pages(calls.jobs(queue, states, page_size), timeout)

    async def cancel(
        self, job_ids: Iterable[str], *, message: str = "", timeout: float | None = None
    ) -> tuple[ItemResult, ...]:
        return await self._batches(calls.cancel(job_ids, message), timeout)

    async def update(self, updates: Iterable[JobUpdate], *, timeout: float | None = None) -> tuple[ItemResult, ...]:
        return await self._batches(calls.update(updates), timeout)

    async def report_progress(
        self, job_id: str, throughput: float, *, epoch: Epoch | None = None, timeout: float | None = None
    ) -> Job:
        return await self._call(calls.report_progress(job_id, throughput, epoch), timeout)

    def watch_jobs(self, *, queue: str = "", cursor: str = "") -> AsyncIterator[JobEvent]:
        return self._watch(calls.watch_jobs(queue, cursor))

    async def read_output(
        self,
        job_id: str,
        *,
        replica: int = 0,
        errors: bool = False,
        tail_lines: int | None = None,
        follow: bool = False,
    ) -> AsyncIterator[OutputEvent]:
        call = calls.read_output(job_id, replica, errors=errors, tail_lines=tail_lines, follow=follow)
        async for event in self._watch(call):
            if isinstance(event, OutputEnd):
                return
            yield event

    # --- queues

    async def queue(self, name: str, *, timeout: float | None = None) -> QueueStatus:
        return await self._call(calls.queue(name), timeout)

    def queues(self, *, timeout: float | None = None) -> AsyncIterator[QueueStatus]:
        return self._pages(calls.queues(), timeout)

    async def create_queue(self, queue: Queue, *, timeout: float | None = None) -> Queue:
        return await self._call(calls.create_queue(queue), timeout)

    async def update_queue(
        self,
        name: str,
        *,
        weight: float | None = None,
        max_live_jobs: int | None = None,
        clear_max_live_jobs: bool = False,
        priority: int | None = None,
        quotas: Iterable[Quota] | None = None,
        discipline: Discipline | None = None,
        timeout: float | None = None,
    ) -> Queue:
        return await self._call(
            calls.update_queue(
                name, weight, max_live_jobs, priority, quotas, discipline, clear_max_live_jobs=clear_max_live_jobs
            ),
            timeout,
        )

    async def delete_queue(self, name: str, *, timeout: float | None = None) -> None:
        await self._call(calls.delete_queue(name), timeout)

    async def cordon_queue(self, name: str, *, cordoned: bool = True, timeout: float | None = None) -> Queue:
        return await self._call(calls.cordon_queue(name, cordoned=cordoned), timeout)

    # --- policy

    async def check_policy(self, text: str, *, prune: bool = False, timeout: float | None = None) -> PolicyCheck:
        return await self._call(calls.check_policy(text, prune=prune), timeout)

    async def policy(self, version: int | None = None, *, timeout: float | None = None) -> PolicyRecord:
        return await self._call(calls.policy(version), timeout)

    async def policies(self, limit: int = 100, *, timeout: float | None = None) -> tuple[PolicyRecord, ...]:
        return await self._call(calls.policies(limit), timeout)

    async def apply_policy(
        self,
        text: str,
        *,
        expected_version: int | None = None,
        prune: bool = False,
        author: str = "",
        comment: str = "",
        timeout: float | None = None,
    ) -> PolicyRecord:
        return await self._call(calls.apply_policy(text, expected_version, author, comment, prune=prune), timeout)

    # --- nodes

    async def node(self, name: str, *, timeout: float | None = None) -> Node:
        return await self._call(calls.node(name), timeout)

    def nodes(self, *, timeout: float | None = None) -> AsyncIterator[Node]:
        return self._pages(calls.nodes(), timeout)

    async def drain_node(self, name: str, *, timeout: float | None = None) -> Node:
        return await self._call(calls.drain_node(name), timeout)

    async def cordon_node(self, name: str, *, cordoned: bool = True, timeout: float | None = None) -> Node:
        return await self._call(calls.cordon_node(name, cordoned=cordoned), timeout)

    async def taint_node(
        self,
        name: str,
        taints: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        timeout: float | None = None,
    ) -> Node:
        return await self._call(calls.taint_node(name, taints or {}, remove), timeout)

    async def remove_node(self, name: str, *, timeout: float | None = None) -> None:
        await self._call(calls.remove_node(name), timeout)

    async def register_node(self, node: Node, *, timeout: float | None = None) -> Registration:
        return await self._call(calls.register_node(node), timeout)

    async def heartbeat(
        self,
        node: str,
        reports: Iterable[ReplicaReport] = (),
        *,
        seen: Epoch | None = None,
        leaving: Iterable[JobStart] = (),
        timeout: float | None = None,
    ) -> Lease:
        return await self._call(calls.heartbeat(node, reports, seen, leaving), timeout)

    def watch_allocations(self, node: str) -> AsyncIterator[NodeDesired]:
        return self._watch(calls.watch_allocations(node))

    async def offer_output(self, nodes: Iterable[str], reader: OutputReader) -> None:
        """For agents: have the daemon's questions about what replicas on these nodes print answered by `reader`, until
        the stream ends; raises why. Only here: the blocking client has no use for it.
        """
        await offer_output(self._channel, self.address, tuple(nodes), reader)

    # --- rounds

    async def round(self, number: int | None = None, *, timeout: float | None = None) -> RoundSummary:
        return await self._call(calls.round_(number), timeout)

    def rounds(self, *, page_size: int = 100, timeout: float | None = None) -> AsyncIterator[RoundSummary]:
        return self._pages(calls.rounds(page_size), timeout)

    def watch_rounds(self, *, after: int | None = None) -> AsyncIterator[RoundSummary]:
        return self._watch(calls.watch_rounds(after))

    async def status(self, *, timeout: float | None = None) -> ClusterStatus:
        return await self._call(calls.status(), timeout)

    # --- why

    async def explain_job(
        self,
        job_id: str,
        *,
        estimate: bool = False,
        what_helps: bool = False,
        most_rounds: int = 0,
        timeout: float | None = None,
    ) -> JobExplanation:
        return await self._call(
            calls.explain_job(job_id, estimate=estimate, what_helps=what_helps, most_rounds=most_rounds), timeout
        )

    async def explain_queue(self, name: str, *, timeout: float | None = None) -> QueueExplanation:
        return await self._call(calls.explain_queue(name), timeout)

    async def explain_price(
        self,
        flavor: str,
        resource: str,
        *,
        one_more: bool = False,
        history: int = 0,
        timeout: float | None = None,
    ) -> tuple[PriceExplanation, tuple[PastPrice, ...]]:
        return await self._call(calls.explain_price(flavor, resource, one_more=one_more, history=history), timeout)

    async def explain_limit(
        self, name: str, *, one_more: bool = False, timeout: float | None = None
    ) -> LimitExplanation:
        return await self._call(calls.explain_limit(name, one_more=one_more), timeout)

    async def limit_prices(self, *, timeout: float | None = None) -> LimitPrices:
        return await self._call(calls.limit_prices(), timeout)

    async def simulate(
        self,
        changes: Iterable[Change],
        *,
        job_ids: Iterable[str] = (),
        rounds: int = 0,
        timeout: float | None = None,
    ) -> Outcome:
        return await self._call(calls.simulate(changes, job_ids, rounds), timeout)

    async def plan_capacity(
        self, budget: float, offers: Iterable[Offer], *, timeout: float | None = None
    ) -> CapacityPlan:
        return await self._call(calls.plan_capacity(budget, offers), timeout)

    def capture_rounds(self) -> AsyncIterator[CapturedRecord]:
        return self._watch(calls.capture_rounds())

    # --- how

    async def _call(self, call: Call[T], timeout: float | None) -> T:
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
                reply = await send(request, timeout=attempts.remaining())
            except grpc.RpcError as error:
                failure = failure_of(error, call.method, self.address, seconds)
            else:
                return answer_of(call, reply)
            await asyncio.sleep(attempts.after(failure))

    async def _batches(self, batches: Batches[T], timeout: float | None) -> T:
        call = next(batches)
        while True:
            answer = await self._call(call, timeout)
            try:
                call = batches.send(answer)
            except StopIteration as ended:
                all_answers: T = ended.value
                return all_answers

    async def _pages(self, pages: Pages[T], timeout: float | None) -> AsyncIterator[T]:
        token = ""
        while True:
            items, token = await self._call(pages.page(token), timeout)
            for item in items:
                yield item
            if not token:
                return

    async def _watch(self, stream: Stream[T]) -> AsyncIterator[T]:
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
                async for reply in responses:
                    reconnects.heard()
                    event = event_of(stream, reply)
                    if event is not None:
                        stream = stream.resume(event)
                        yield event
            except grpc.RpcError as error:
                if self._closed:
                    return
                failure = failure_of(error, stream.method, self.address, 0.0)
            except asyncio.CancelledError:
                if self._closed and not _cancelled():
                    return
                raise
            finally:
                responses.cancel()
            await asyncio.sleep(reconnects.after(failure))


def _cancelled() -> bool:
    """Whether it is this task that shall end, and not only the call that grpc ended because the channel was closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


for _name, _method in list(vars(AsyncClient).items()):
    if not _name.startswith("_") and callable(_method):
        _method.__doc__ = getattr(Client, _name, _method).__doc__

__all__ = ["AsyncClient"]
