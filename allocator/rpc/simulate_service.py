"""SimulateService: what would happen if, decided on a thread of its own.

Answers read the facts as a round does, hold nothing that a round needs, and change nothing. One is worked out at a
time: more would only take turns with each other, and with the rounds. Work ends soon after its client goes away.
"""
# ruff: noqa: N802 - gRPC names the methods

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from allocator.domain.errors import ResourceExhausted
from allocator.domain.giving_way import giving_way
from allocator.domain.policy import Policy
from allocator.intake.commands import SubmitJobs
from allocator.rpc.backend import Backend, Context, remaining_seconds
from allocator.rpc.patience import Patience, patience_within
from allocator.solvers import ChainSolver
from allocator.v1 import simulate_service_pb2 as pb
from allocator.v1 import simulate_service_pb2_grpc as pb_grpc
from allocator.whatif.answers import Question
from allocator.whatif.simulator import Simulator
from allocator.wire.simulations import (
    outcome_to_proto,
    plan_question_from_proto,
    plan_to_proto,
    question_from_proto,
)

MOST_WAITING = 16
"""Answers under way and waiting for their turn; more are refused."""
_FOR_THE_ANSWER = 0.1
"""Part of the time to the client's deadline that is kept for the rest."""

Answer = TypeVar("Answer")


class SimulateService(pb_grpc.SimulateServiceServicer):
    """See protos/allocator/v1/simulate_service.proto. `policy` is asked at each question; `rest` waits, at most
    for so many seconds, until no round is under way: an answer gives way to rounds.
    """

    def __init__(self, backend: Backend, policy: Callable[[], Policy], rest: Callable[[float], object]) -> None:
        self._backend = backend
        interval = backend.settings.round_interval_seconds
        self._simulator = Simulator(backend.reads, ChainSolver(), policy, interval)
        self._rest = rest
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="whatif")
        self._waiting = 0

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def Simulate(self, request: pb.SimulateRequest, context: Context) -> pb.SimulateResponse:
        def answer(keep_going: Callable[[], bool]) -> pb.SimulateResponse:
            question = self._as_submitted(question_from_proto(request))
            return outcome_to_proto(self._simulator.ask(question, self._backend.now(), keep_going))

        return await self._worked_out(answer, context)

    async def PlanCapacity(self, request: pb.PlanCapacityRequest, context: Context) -> pb.PlanCapacityResponse:
        def answer(keep_going: Callable[[], bool]) -> pb.PlanCapacityResponse:
            budget, offers = plan_question_from_proto(request)
            return plan_to_proto(self._simulator.plan(budget, offers, self._backend.now(), keep_going))

        return await self._worked_out(answer, context)

    def _as_submitted(self, question: Question) -> Question:
        """With submits as this server takes them."""
        if self._backend.settings.reject_infeasible:
            return question
        changes = tuple(
            replace(change, feasible_only=False) if isinstance(change, SubmitJobs) else change
            for change in question.changes
        )
        return replace(question, changes=changes)

    async def _worked_out(self, work: Callable[[Callable[[], bool]], Answer], context: Context) -> Answer:
        """The answer, found while the client waits and most of its patience is left."""
        if self._waiting >= MOST_WAITING:
            raise ResourceExhausted("simulations", f"{MOST_WAITING} are being worked out already")
        loop = asyncio.get_running_loop()
        remaining = remaining_seconds(context)
        until = None if remaining is None else loop.time() + (1 - _FOR_THE_ANSWER) * remaining
        gone = threading.Event()

        def keep_going() -> bool:
            return not gone.is_set() and (until is None or loop.time() < until)

        patience = Patience(self._rest, patience_within(remaining), keep_going)

        def answer() -> Answer:
            with giving_way(patience):
                return work(keep_going)

        self._waiting += 1
        try:
            return await loop.run_in_executor(self._thread, answer)
        finally:
            gone.set()
            self._waiting -= 1
