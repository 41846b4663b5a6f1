"""Calls that ask why, and what would be if. See `calls`."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.client.exchange import Call, Method
from allocator.explain.answers import JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrices, PriceExplanation
from allocator.v1 import explain_service_pb2 as explain_pb
from allocator.v1 import simulate_service_pb2 as simulate_pb
from allocator.whatif.answers import CapacityPlan, Change, Offer, Outcome, Question
from allocator.wire import explanations as wire_explanations
from allocator.wire import limits as wire_limits
from allocator.wire import simulations as wire_simulations
from allocator.wire.explanations import PastPrice

_SIMULATE = Method("SimulateService", "Simulate", simulate_pb.SimulateResponse)
_PLAN_CAPACITY = Method("SimulateService", "PlanCapacity", simulate_pb.PlanCapacityResponse)
_EXPLAIN_JOB = Method("ExplainService", "ExplainJob", explain_pb.ExplainJobResponse)
_EXPLAIN_QUEUE = Method("ExplainService", "ExplainQueue", explain_pb.ExplainQueueResponse)
_EXPLAIN_PRICE = Method("ExplainService", "ExplainPrice", explain_pb.ExplainPriceResponse)
_EXPLAIN_LIMIT = Method("ExplainService", "ExplainLimit", explain_pb.ExplainLimitResponse)
_LIST_LIMIT_PRICES = Method("ExplainService", "ListLimitPrices", explain_pb.ListLimitPricesResponse)


def explain_job(job_id: str, *, estimate: bool, what_helps: bool, most_rounds: int) -> Call[JobExplanation]:
    """Repeatable only where it is quick: a long replay that was cut off would be begun again and again."""
    request = explain_pb.ExplainJobRequest(
        job_id=job_id, estimate=estimate, what_helps=what_helps, most_rounds=most_rounds
    )
    return Call(
        _EXPLAIN_JOB,
        lambda: request,
        lambda reply: wire_explanations.job_explanation_from_proto(reply.explanation),
        repeatable=not (estimate or what_helps),
    )


def explain_queue(name: str) -> Call[QueueExplanation]:
    return Call(
        _EXPLAIN_QUEUE,
        lambda: explain_pb.ExplainQueueRequest(queue=name),
        lambda reply: wire_explanations.queue_explanation_from_proto(reply.explanation),
        repeatable=True,
    )


def explain_price(
    flavor: str, resource: str, *, one_more: bool, history: int
) -> Call[tuple[PriceExplanation, tuple[PastPrice, ...]]]:
    return Call(
        _EXPLAIN_PRICE,
        lambda: explain_pb.ExplainPriceRequest(flavor=flavor, resource=resource, one_more=one_more, history=history),
        wire_explanations.price_explanation_from_proto,
        repeatable=True,
    )


def explain_limit(name: str, *, one_more: bool) -> Call[LimitExplanation]:
    return Call(
        _EXPLAIN_LIMIT,
        lambda: explain_pb.ExplainLimitRequest(name=name, one_more=one_more),
        lambda reply: wire_limits.limit_explanation_from_proto(reply.explanation),
        repeatable=True,
    )


def limit_prices() -> Call[LimitPrices]:
    return Call(
        _LIST_LIMIT_PRICES,
        explain_pb.ListLimitPricesRequest,
        lambda reply: wire_limits.limit_prices_from_proto(reply.prices),
        repeatable=True,
    )


def simulate(changes: Iterable[Change], job_ids: Iterable[str], rounds: int) -> Call[Outcome]:
    """Repeatable only where it is quick: see `explain_job`."""
    question = Question(tuple(changes), tuple(job_ids), rounds)
    return Call(
        _SIMULATE,
        lambda: wire_simulations.question_to_proto(question),
        wire_simulations.outcome_from_proto,
        repeatable=not rounds,
    )


def plan_capacity(budget: float, offers: Iterable[Offer]) -> Call[CapacityPlan]:
    wanted = tuple(offers)
    return Call(
        _PLAN_CAPACITY,
        lambda: wire_simulations.plan_question_to_proto(budget, wanted),
        wire_simulations.plan_from_proto,
    )
