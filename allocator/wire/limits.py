"""What is scarce for a job, and prices of side constraints and pieces."""

from __future__ import annotations

from dataclasses import asdict

from allocator.explain.scarcity import (
    Binding,
    BindingKind,
    Gain,
    LimitExplanation,
    LimitPrice,
    LimitPrices,
    OneMore,
    Payer,
    ScarceLimit,
)
from allocator.v1 import explanation_pb2
from allocator.wire.fields import Enumeration, time_from_proto, time_to_proto
from allocator.wire.rounds import limit_usage_from_proto, limit_usage_to_proto

BINDING_KINDS = Enumeration(BindingKind, explanation_pb2.BindingKind, "BINDING_KIND")


def binding_to_proto(found: Binding) -> explanation_pb2.Binding:
    return explanation_pb2.Binding(
        kind=BINDING_KINDS.number(found.kind),
        queue=found.queue,
        flavor=found.flavor,
        resource=found.resource,
        price=found.price,
        paid=found.paid,
        limit=None if found.limit is None else explanation_pb2.ScarceLimit(**asdict(found.limit)),
    )


def binding_from_proto(message: explanation_pb2.Binding, field: str) -> Binding:
    """`field` is named where its kind is one of another version of the API."""
    return Binding(
        BINDING_KINDS.member(message.kind, field),
        message.queue,
        message.flavor,
        message.resource,
        message.price,
        message.paid,
        _limit_from_proto(message.limit) if message.HasField("limit") else None,
    )


def limit_prices_to_proto(found: LimitPrices) -> explanation_pb2.LimitPrices:
    return explanation_pb2.LimitPrices(
        round=found.round,
        time=time_to_proto(found.time),
        limits=[
            explanation_pb2.LimitPrice(
                kind=BINDING_KINDS.number(each.kind),
                flavor=each.flavor,
                resource=each.resource,
                price=each.price,
                limit=explanation_pb2.ScarceLimit(**asdict(each.limit)),
                payers=[explanation_pb2.Payer(**asdict(payer)) for payer in each.payers],
            )
            for each in found.limits
        ],
        usages=[limit_usage_to_proto(each) for each in found.usages],
    )


def limit_prices_from_proto(message: explanation_pb2.LimitPrices) -> LimitPrices:
    """Raises InvalidInput for a kind of another version of the API."""
    limits = tuple(
        LimitPrice(
            BINDING_KINDS.member(each.kind, f"limits[{index}].kind"),
            each.flavor,
            each.resource,
            each.price,
            _limit_from_proto(each.limit),
            tuple(Payer(payer.queue, payer.paid, payer.amount) for payer in each.payers),
        )
        for index, each in enumerate(message.limits)
    )
    usages = tuple(limit_usage_from_proto(each, f"usages[{index}]") for index, each in enumerate(message.usages))
    return LimitPrices(message.round, time_from_proto(message.time, "time"), limits, usages)


def limit_explanation_to_proto(found: LimitExplanation) -> explanation_pb2.LimitExplanation:
    return explanation_pb2.LimitExplanation(
        round=found.round,
        time=time_to_proto(found.time),
        usage=limit_usage_to_proto(found.usage),
        together=found.together,
        payers=[explanation_pb2.Payer(**asdict(payer)) for payer in found.payers],
        one_more=None if found.one_more is None else one_more_to_proto(found.one_more),
    )


def limit_explanation_from_proto(message: explanation_pb2.LimitExplanation) -> LimitExplanation:
    """Raises InvalidInput for a kind of another version of the API."""
    return LimitExplanation(
        message.round,
        time_from_proto(message.time, "time"),
        limit_usage_from_proto(message.usage, "usage"),
        tuple(message.together),
        tuple(Payer(payer.queue, payer.paid, payer.amount) for payer in message.payers),
        one_more_from_proto(message.one_more) if message.HasField("one_more") else None,
    )


def one_more_to_proto(found: OneMore) -> explanation_pb2.OneMore:
    return explanation_pb2.OneMore(
        objective=found.objective,
        accuracy=found.accuracy,
        gains=[explanation_pb2.Gain(**asdict(each)) for each in found.gains],
    )


def one_more_from_proto(message: explanation_pb2.OneMore) -> OneMore:
    gains = tuple(Gain(each.queue, each.objective, each.utility) for each in message.gains)
    return OneMore(message.objective, message.accuracy, gains)


def _limit_from_proto(message: explanation_pb2.ScarceLimit) -> ScarceLimit:
    return ScarceLimit(
        message.name,
        message.unit,
        message.size,
        message.some_nodes,
        message.most,
        message.used if message.HasField("used") else None,
        message.wanted,
        message.jobs,
    )
