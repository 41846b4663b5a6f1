"""Explanations of jobs, queues and prices."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from allocator.domain.reason import PendingCause
from allocator.explain.answers import (
    Assumption,
    Borrower,
    Change,
    ChangeKind,
    ConfigurationCost,
    Counterfactual,
    Estimate,
    JobExplanation,
    JobWeight,
    Outcome,
    PastUsage,
    QueueAmounts,
    QueueExplanation,
    Shortfall,
    Tier,
    WhatHelps,
)
from allocator.explain.scarcity import ClassPrice, Payer, PriceExplanation
from allocator.v1 import explain_service_pb2, explanation_pb2, reason_pb2
from allocator.wire.fields import Enumeration, clamped, time_from_proto, time_to_proto
from allocator.wire.jobs import JOB_STATES
from allocator.wire.limits import binding_from_proto, binding_to_proto, one_more_from_proto, one_more_to_proto
from allocator.wire.nodes import CAPABILITIES
from allocator.wire.processes import dependencies_from_proto, dependency_to_proto
from allocator.wire.promises import promise_from_proto, promise_to_proto, throughput_from_proto
from allocator.wire.reasons import PENDING_CAUSES, pending_reason_from_proto, pending_reason_to_proto
from allocator.wire.rounds import flavor_usage_from_proto, flavor_usage_to_proto

TIERS = Enumeration(Tier, explanation_pb2.Tier, "TIER")
ASSUMPTIONS = Enumeration(Assumption, explanation_pb2.Assumption, "ASSUMPTION")
CHANGE_KINDS = Enumeration(ChangeKind, explanation_pb2.ChangeKind, "CHANGE_KIND")
SHORTFALLS = Enumeration(Shortfall, explanation_pb2.Shortfall, "SHORTFALL")


@dataclass(frozen=True, slots=True)
class PastPrice:
    """What a price was in an earlier round."""

    round: int
    time: float
    price: float


def job_explanation_to_proto(found: JobExplanation) -> explanation_pb2.JobExplanation:
    return explanation_pb2.JobExplanation(
        job_id=found.job_id,
        queue=found.queue,
        state=JOB_STATES.number(found.state),
        tier=explanation_pb2.TIER_UNSPECIFIED if found.tier is None else TIERS.number(found.tier),
        reason=None if found.reason is None else pending_reason_to_proto(found.reason),
        round=found.round,
        time=None if found.time is None else time_to_proto(found.time),
        owed_share=found.owed_share,
        received_share=found.received_share,
        credit_seconds=found.credit_seconds,
        budget=found.budget,
        spends=found.spends,
        configurations=[
            explanation_pb2.ConfigurationCost(
                configuration=each.configuration,
                flavor=each.flavor,
                replicas=each.replicas,
                speed=each.speed,
                share=each.share,
                cost=each.cost,
                limits_cost=each.limits_cost,
                possible=each.possible,
            )
            for each in found.configurations
        ],
        bindings=[binding_to_proto(each) for each in found.bindings],
        position=found.position,
        waiting=found.waiting,
        estimate=None if found.estimate is None else _estimate_to_proto(found.estimate),
        what_helps=None if found.what_helps is None else _what_helps_to_proto(found.what_helps),
        weight=None if found.weight is None else explanation_pb2.JobWeight(**asdict(found.weight)),
        promise=None if found.promise is None else promise_to_proto(found.promise),
        throughputs=[explanation_pb2.JobThroughput(**asdict(each)) for each in found.throughputs],
        waits_for=[dependency_to_proto(each) for each in found.waits_for],
        failures=found.failures,
        not_before=None if found.not_before is None else time_to_proto(found.not_before),
        lacking=[CAPABILITIES.number(each) for each in found.lacking],
    )


def job_explanation_from_proto(message: explanation_pb2.JobExplanation) -> JobExplanation:
    """Raises InvalidInput for enumerations of another version of the API, as everything that reads an answer here."""
    return JobExplanation(
        job_id=message.job_id,
        queue=message.queue,
        state=JOB_STATES.member(message.state, "state"),
        tier=TIERS.member(message.tier, "tier") if message.tier else None,
        reason=pending_reason_from_proto(message.reason, "reason") if message.HasField("reason") else None,
        round=message.round if message.HasField("round") else None,
        time=time_from_proto(message.time, "time") if message.HasField("time") else None,
        owed_share=message.owed_share if message.HasField("owed_share") else None,
        received_share=message.received_share if message.HasField("received_share") else None,
        credit_seconds=message.credit_seconds if message.HasField("credit_seconds") else None,
        budget=message.budget if message.HasField("budget") else None,
        spends=message.spends if message.HasField("spends") else None,
        configurations=tuple(
            ConfigurationCost(
                each.configuration,
                each.flavor,
                each.replicas,
                each.speed,
                each.share,
                each.cost,
                each.limits_cost,
                each.possible,
            )
            for each in message.configurations
        ),
        bindings=tuple(
            binding_from_proto(each, f"bindings[{index}].kind") for index, each in enumerate(message.bindings)
        ),
        position=message.position if message.HasField("position") else None,
        waiting=message.waiting if message.HasField("waiting") else None,
        estimate=_estimate_from_proto(message.estimate) if message.HasField("estimate") else None,
        what_helps=_what_helps_from_proto(message.what_helps) if message.HasField("what_helps") else None,
        weight=_weight_from_proto(message.weight) if message.HasField("weight") else None,
        promise=promise_from_proto(message.promise) if message.HasField("promise") else None,
        throughputs=tuple(map(throughput_from_proto, message.throughputs)),
        waits_for=dependencies_from_proto(message.waits_for, "waits_for"),
        failures=message.failures,
        not_before=time_from_proto(message.not_before, "not_before") if message.HasField("not_before") else None,
        lacking=tuple(CAPABILITIES.member(each, f"lacking[{index}]") for index, each in enumerate(message.lacking)),
    )


def _weight_from_proto(message: explanation_pb2.JobWeight) -> JobWeight:
    return JobWeight(
        message.declared,
        message.counts,
        message.service_factor,
        message.aging_factor,
        message.received_seconds,
        message.waited_seconds,
    )


def _estimate_to_proto(found: Estimate) -> explanation_pb2.Estimate:
    return explanation_pb2.Estimate(
        starts=[explanation_pb2.EstimatedStart(after_seconds=start) for start in found.starts],
        horizon_seconds=found.horizon_seconds,
        rounds=found.rounds,
        assumptions=[ASSUMPTIONS.number(each) for each in found.assumptions],
    )


def _estimate_from_proto(message: explanation_pb2.Estimate) -> Estimate:
    return Estimate(
        tuple(each.after_seconds if each.HasField("after_seconds") else None for each in message.starts),
        message.horizon_seconds,
        message.rounds,
        tuple(ASSUMPTIONS.member(each, "estimate.assumptions") for each in message.assumptions),
    )


def _what_helps_to_proto(found: WhatHelps) -> explanation_pb2.WhatHelps:
    return explanation_pb2.WhatHelps(
        unchanged=None if found.unchanged is None else _outcome_to_proto(found.unchanged),
        found=[
            explanation_pb2.Counterfactual(
                change=_change_to_proto(each.change), outcome=_outcome_to_proto(each.outcome)
            )
            for each in found.found
        ],
        useless=[_change_to_proto(each) for each in found.useless],
        horizon_seconds=found.horizon_seconds,
        rounds=found.rounds,
        complete=found.complete,
    )


def _what_helps_from_proto(message: explanation_pb2.WhatHelps) -> WhatHelps:
    return WhatHelps(
        _outcome_from_proto(message.unchanged) if message.HasField("unchanged") else None,
        tuple(
            Counterfactual(_change_from_proto(each.change), _outcome_from_proto(each.outcome)) for each in message.found
        ),
        tuple(_change_from_proto(each) for each in message.useless),
        message.horizon_seconds,
        message.rounds,
        message.complete,
    )


def _change_to_proto(change: Change) -> explanation_pb2.Change:
    return explanation_pb2.Change(
        kind=CHANGE_KINDS.number(change.kind),
        weight=change.weight,
        flavor=change.flavor,
        queue=change.queue,
        amounts=[
            explanation_pb2.ChangedAmount(resource=resource, amount=clamped(amount))
            for resource, amount in change.amounts
        ],
        nodes=change.nodes,
        also=[_change_to_proto(each) for each in change.also],
        limit=change.limit,
        most=change.most,
        unit=change.unit,
    )


def _change_from_proto(message: explanation_pb2.Change) -> Change:
    return Change(
        CHANGE_KINDS.member(message.kind, "change.kind"),
        message.weight,
        message.flavor,
        message.queue,
        tuple((each.resource, each.amount) for each in message.amounts),
        message.nodes,
        tuple(_change_from_proto(each) for each in message.also),
        message.limit,
        message.most,
        message.unit,
    )


def _outcome_to_proto(outcome: Outcome) -> explanation_pb2.Outcome:
    waits: PendingCause | None = outcome.waits_for
    return explanation_pb2.Outcome(
        share=outcome.share,
        starts_after_seconds=outcome.starts_after_seconds,
        waits_for=reason_pb2.PENDING_CAUSE_UNSPECIFIED if waits is None else PENDING_CAUSES.number(waits),
    )


def _outcome_from_proto(message: explanation_pb2.Outcome) -> Outcome:
    return Outcome(
        message.share,
        message.starts_after_seconds if message.HasField("starts_after_seconds") else None,
        PENDING_CAUSES.member(message.waits_for, "outcome.waits_for") if message.waits_for else None,
    )


def queue_explanation_to_proto(found: QueueExplanation) -> explanation_pb2.QueueExplanation:
    return explanation_pb2.QueueExplanation(
        queue=found.queue,
        round=found.round,
        time=time_to_proto(found.time),
        weight=found.weight,
        entitlement=found.entitlement,
        budget=found.budget,
        spends=found.spends,
        demand=found.demand,
        constrained_demand=found.constrained_demand,
        fair_share=found.fair_share,
        adjusted_fair_share=found.adjusted_fair_share,
        actual_share=found.actual_share,
        fairness_error=found.fairness_error,
        amounts=[_amounts_to_proto(each) for each in found.amounts],
        past=None if found.past is None else explanation_pb2.PastUsage(**asdict(found.past)),
        counts=found.counts,
    )


def queue_explanation_from_proto(message: explanation_pb2.QueueExplanation) -> QueueExplanation:
    return QueueExplanation(
        queue=message.queue,
        round=message.round,
        time=time_from_proto(message.time, "time"),
        weight=message.weight,
        entitlement=message.entitlement,
        budget=message.budget,
        spends=message.spends,
        demand=message.demand,
        constrained_demand=message.constrained_demand,
        fair_share=message.fair_share,
        adjusted_fair_share=message.adjusted_fair_share,
        actual_share=message.actual_share,
        amounts=tuple(_amounts_from_proto(each) for each in message.amounts),
        past=_past_from_proto(message.past) if message.HasField("past") else None,
        counts=message.counts,
    )


def _past_from_proto(message: explanation_pb2.PastUsage) -> PastUsage:
    return PastUsage(message.factor, message.had, message.entitled, message.half_life_seconds)


def _amounts_to_proto(found: QueueAmounts) -> explanation_pb2.QueueAmounts:
    short = found.shortfall
    return explanation_pb2.QueueAmounts(
        flavor=found.flavor,
        resource=found.resource,
        nominal=found.nominal,
        most=found.most,
        demand=found.demand,
        constrained_demand=found.constrained_demand,
        optimum=found.optimum,
        holds=found.holds,
        guaranteed=found.guaranteed,
        shortfall=explanation_pb2.SHORTFALL_UNSPECIFIED if short is None else SHORTFALLS.number(short),
        limit_price=found.limit_price,
        lent=found.lent,
        borrowers=[explanation_pb2.Borrower(queue=each.queue, amount=each.amount) for each in found.borrowers],
    )


def _amounts_from_proto(message: explanation_pb2.QueueAmounts) -> QueueAmounts:
    return QueueAmounts(
        flavor=message.flavor,
        resource=message.resource,
        nominal=message.nominal if message.HasField("nominal") else None,
        most=message.most if message.HasField("most") else None,
        demand=message.demand,
        constrained_demand=message.constrained_demand,
        optimum=message.optimum,
        holds=message.holds,
        guaranteed=message.guaranteed,
        shortfall=SHORTFALLS.member(message.shortfall, "amounts.shortfall") if message.shortfall else None,
        limit_price=message.limit_price,
        lent=message.lent,
        borrowers=tuple(Borrower(each.queue, each.amount) for each in message.borrowers),
    )


def price_explanation_to_proto(
    found: PriceExplanation, history: tuple[PastPrice, ...] = ()
) -> explain_service_pb2.ExplainPriceResponse:
    return explain_service_pb2.ExplainPriceResponse(
        explanation=explanation_pb2.PriceExplanation(
            round=found.round,
            time=time_to_proto(found.time),
            usage=flavor_usage_to_proto(found.usage),
            classes=[explanation_pb2.ClassPrice(priority=each.priority, price=each.price) for each in found.classes],
            payers=[
                explanation_pb2.Payer(queue=each.queue, paid=each.paid, amount=each.amount) for each in found.payers
            ],
            one_more=None if found.one_more is None else one_more_to_proto(found.one_more),
        ),
        history=[
            explanation_pb2.PastPrice(round=each.round, time=time_to_proto(each.time), price=each.price)
            for each in history
        ],
    )


def price_explanation_from_proto(
    message: explain_service_pb2.ExplainPriceResponse,
) -> tuple[PriceExplanation, tuple[PastPrice, ...]]:
    """The explanation, and earlier prices."""
    found = message.explanation
    explanation = PriceExplanation(
        found.round,
        time_from_proto(found.time, "time"),
        flavor_usage_from_proto(found.usage),
        tuple(ClassPrice(each.priority, each.price) for each in found.classes),
        tuple(Payer(each.queue, each.paid, each.amount) for each in found.payers),
        one_more_from_proto(found.one_more) if found.HasField("one_more") else None,
    )
    past = tuple(PastPrice(each.round, time_from_proto(each.time, "time"), each.price) for each in message.history)
    return explanation, past
