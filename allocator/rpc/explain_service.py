"""ExplainService: the last round explained, on threads of its own.

Quick answers and those that replay rounds do not wait for one another, and neither holds anything that a round needs:
they read the report of the last one, which nobody changes. Work stops when its client goes away.
"""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from allocator.domain.errors import FailedPrecondition, InvalidInput, ResourceExhausted
from allocator.domain.giving_way import giving_way
from allocator.domain.job import JobState
from allocator.explain.answers import JobExplanation
from allocator.explain.counterfactuals import MOST_ROUNDS, what_helps
from allocator.explain.estimate import ROUNDS, SCENARIOS, estimate_start
from allocator.explain.finished import Finished
from allocator.explain.job import explain_job
from allocator.explain.one_limit import explain_limit, one_more_of_limit
from allocator.explain.own_limits import limit_prices
from allocator.explain.prices import explain_price, one_more
from allocator.explain.promise_weight import weight_that_holds
from allocator.explain.queue import explain_queue
from allocator.formulation.problem import Problem
from allocator.rounds.ports import Solver
from allocator.rounds.promise import PromiseState
from allocator.rpc.backend import Backend, Context, remaining_seconds
from allocator.rpc.patience import Patience, patience_within
from allocator.solvers import ChainSolver
from allocator.solvers.solution import Solution, WarmStart
from allocator.v1 import explain_service_pb2 as pb
from allocator.v1 import explain_service_pb2_grpc as pb_grpc
from allocator.wire.explanations import (
    PastPrice,
    job_explanation_to_proto,
    price_explanation_to_proto,
    queue_explanation_to_proto,
)
from allocator.wire.limits import limit_explanation_to_proto, limit_prices_to_proto

MOST_ROUNDS_ASKED, MOST_HISTORY = 10_000, 1000
MOST_WAITING = 8
"""Answers that replay rounds, under way and waiting for their turn; more are refused."""

Answer = TypeVar("Answer")


class _Abandoned(Exception):
    """Nobody waits for the answer any more."""


class _WhileAsked:
    """A solver that works for as long as somebody wants to know."""

    def __init__(self) -> None:
        self._solver = ChainSolver()
        self._gone = threading.Event()

    def abandon(self) -> None:
        self._gone.set()

    def is_wanted(self) -> bool:
        return not self._gone.is_set()

    def solve(self, problem: Problem, *, gap: float, iterations: int, warm_start: WarmStart | None) -> Solution:
        if self._gone.is_set():
            raise _Abandoned
        return self._solver.solve(problem, gap=gap, iterations=iterations, warm_start=warm_start)


class ExplainService(pb_grpc.ExplainServiceServicer):
    """See protos/allocator/v1/explain_service.proto."""

    def __init__(self, backend: Backend, rest: Callable[[float], object] = lambda _: None) -> None:
        self._backend = backend
        self._rest = rest
        self._quick = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._slow = ThreadPoolExecutor(1, thread_name_prefix="replay")
        self._replaying = 0
        self._last: Finished | None = None

    def close(self) -> None:
        """Let go of the threads."""
        for threads in (self._quick, self._slow):
            threads.shutdown(wait=False, cancel_futures=True)

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: Context) -> pb.ExplainJobResponse:
        rounds = request.most_rounds or MOST_ROUNDS
        if not 0 < rounds <= MOST_ROUNDS_ASKED:
            raise InvalidInput.of("most_rounds", f"must be from 1 to {MOST_ROUNDS_ASKED}, or 0; got {rounds}")
        reads = self._backend.reads

        def quick() -> tuple[Finished | None, JobExplanation]:
            job = reads.get_job(request.job_id)
            finished = self._newest()
            return finished, explain_job(finished, job)

        finished, found = await self._on(self._quick, quick)
        if finished is not None and found.round is not None and found.state is JobState.PENDING:
            found = await self._replayed(request, context, finished, found, rounds)
        if finished is not None and request.what_helps:
            found = await self._with_weight(context, finished, found)
        return pb.ExplainJobResponse(explanation=job_explanation_to_proto(found))

    async def _with_weight(self, context: Context, finished: Finished, found: JobExplanation) -> JobExplanation:
        """With what weight its promise would hold, if it is at risk."""
        promise = found.promise
        if promise is None or promise.state is not PromiseState.AT_RISK:
            return found
        job = await self._backend.ask(self._backend.reads.get_job, found.job_id)
        interval = self._backend.settings.round_interval_seconds
        weight = await self._replay(context, lambda solver: weight_that_holds(finished, job, solver, interval))
        return replace(found, promise=replace(promise, weight=weight))

    async def _replayed(
        self, request: pb.ExplainJobRequest, context: Context, finished: Finished, found: JobExplanation, rounds: int
    ) -> JobExplanation:
        """With what was asked for beyond the plain answer."""
        job = await self._backend.ask(self._backend.reads.get_job, request.job_id)
        at = finished.position_of(job.sequence)
        if at is None or finished.configuration[at] >= 0:
            return found
        interval = self._backend.settings.round_interval_seconds
        if request.estimate:
            scenarios = max(1, min(SCENARIOS, rounds // ROUNDS))
            estimate = await self._replay(
                context,
                lambda solver: estimate_start(finished, job.id, solver, interval, min(ROUNDS, rounds), scenarios),
            )
            found = replace(found, estimate=estimate)
        if request.what_helps:
            helps = await self._replay(
                context, lambda solver: what_helps(finished, job, solver, interval, most_rounds=rounds)
            )
            found = replace(found, what_helps=helps)
        return found

    async def ExplainQueue(self, request: pb.ExplainQueueRequest, context: Context) -> pb.ExplainQueueResponse:
        reads = self._backend.reads

        def quick() -> pb.ExplainQueueResponse:
            queue = reads.get_queue(request.queue)
            finished = self._newest_or_refuse()
            if all(known.name != queue.name for known in finished.report.snapshot.queues):
                raise FailedPrecondition(
                    f"queue {queue.name!r}", "no round has looked at it yet: ask after the next one"
                )
            return pb.ExplainQueueResponse(explanation=queue_explanation_to_proto(explain_queue(finished, queue.name)))

        return await self._on(self._quick, quick)

    async def ExplainPrice(self, request: pb.ExplainPriceRequest, context: Context) -> pb.ExplainPriceResponse:
        if not 0 <= request.history <= MOST_HISTORY:
            raise InvalidInput.of("history", f"must be from 0 to {MOST_HISTORY}, got {request.history}")
        finished = await self._on(self._quick, self._newest_or_refuse)
        flavor, resource = request.flavor, request.resource
        found = await self._on(self._quick, lambda: explain_price(finished, flavor, resource))
        if request.one_more:
            more = await self._replay(context, lambda solver: one_more(finished, flavor, resource, solver))
            found = replace(found, one_more=more)
        past: tuple[PastPrice, ...] = ()
        if request.history:
            past = await self._backend.ask(self._past, flavor, resource, request.history)
        return price_explanation_to_proto(found, past)

    async def ExplainLimit(self, request: pb.ExplainLimitRequest, context: Context) -> pb.ExplainLimitResponse:
        finished = await self._on(self._quick, self._newest_or_refuse)
        found = await self._on(self._quick, lambda: explain_limit(finished, request.name))
        if request.one_more:
            more = await self._replay(context, lambda solver: one_more_of_limit(finished, request.name, solver))
            found = replace(found, one_more=more)
        return pb.ExplainLimitResponse(explanation=limit_explanation_to_proto(found))

    async def ListLimitPrices(self, request: pb.ListLimitPricesRequest, context: Context) -> pb.ListLimitPricesResponse:
        found = await self._on(self._quick, lambda: limit_prices(self._newest_or_refuse()))
        return pb.ListLimitPricesResponse(prices=limit_prices_to_proto(found))

    def _past(self, flavor: str, resource: str, limit: int) -> tuple[PastPrice, ...]:
        """Newest first."""
        return tuple(
            PastPrice(summary.round, summary.time, usage.price)
            for summary in self._backend.reads.list_rounds(None, limit)
            for usage in summary.flavors
            if (usage.flavor, usage.resource) == (flavor, resource)
        )

    def _newest(self) -> Finished | None:
        """The last round; None before the first. What was worked out of it is kept until the next one."""
        report = self._backend.hub.newest
        if report is None or report.market is None:
            return None
        if self._last is None or self._last.report is not report:
            self._last = Finished.of(report)
        return self._last

    def _newest_or_refuse(self) -> Finished:
        finished = self._newest()
        if finished is None:
            raise FailedPrecondition("round", "none has run since the daemon started: ask after the first one")
        return finished

    async def _replay(self, context: Context, work: Callable[[Solver], Answer]) -> Answer:
        """The answer of something that may take long, unless nobody wants it any more."""
        if self._replaying >= MOST_WAITING:
            raise ResourceExhausted("explanations", f"{MOST_WAITING} are being worked out already")
        solver = _WhileAsked()
        patience = Patience(self._rest, patience_within(remaining_seconds(context)), solver.is_wanted)

        def answer() -> Answer:
            with giving_way(patience):
                return work(solver)

        self._replaying += 1
        try:
            return await self._on(self._slow, answer)
        finally:
            solver.abandon()
            self._replaying -= 1

    @staticmethod
    async def _on(threads: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
