"""Explanations, sent and read again, are what they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobState
from allocator.domain.reason import PendingCause
from allocator.explain import answers as a
from allocator.explain.scarcity import (
    Binding,
    BindingKind,
    ClassPrice,
    Gain,
    LimitExplanation,
    LimitPrice,
    LimitPrices,
    OneMore,
    Payer,
    PriceExplanation,
    ScarceLimit,
)
from allocator.rounds.report import LimitKind, LimitUsage
from allocator.v1 import explain_service_pb2, explanation_pb2
from allocator.wire import explanations
from allocator.wire.explanations import PastPrice
from allocator.wire.limits import (
    limit_explanation_from_proto,
    limit_explanation_to_proto,
    limit_prices_from_proto,
    limit_prices_to_proto,
)
from tests.wire import strategies as some

quick = settings(deadline=None, max_examples=60, derandomize=True)


def few(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=3).map(tuple)


maybe = st.none() | some.numbers
one_change = (
    st.sampled_from(a.ChangeKind),
    some.positive,
    some.names,
    some.names,
    few(st.tuples(some.names, some.amounts)),
    st.integers(0, 64),
)
limited = (some.names, some.numbers, some.names)
changes = st.builds(a.Change, *one_change, few(st.builds(a.Change, *one_change)), *limited)
outcomes = st.builds(a.Outcome, some.numbers, maybe, st.none() | st.sampled_from(PendingCause))
helps = st.builds(
    a.WhatHelps,
    st.none() | outcomes,
    few(st.builds(a.Counterfactual, changes, outcomes)),
    few(changes),
    some.numbers,
    some.counts,
    st.booleans(),
)
estimates = st.builds(a.Estimate, few(maybe), some.numbers, some.counts, few(st.sampled_from(a.Assumption)))
limits = st.builds(
    ScarceLimit,
    some.names,
    some.names,
    some.numbers,
    some_nodes=st.booleans(),
    most=some.numbers,
    used=maybe,
    wanted=some.numbers,
    jobs=st.integers(0, 9),
)
kinds = st.sampled_from(BindingKind)
bindings = st.builds(Binding, kinds, *[some.names] * 3, some.numbers, some.numbers, st.none() | limits)
payers = few(st.builds(Payer, some.names, some.numbers, some.numbers))
usages = st.builds(LimitUsage, st.sampled_from(LimitKind), *[some.names] * 5, maybe, maybe, maybe, some.numbers)
limit_prices = st.builds(
    LimitPrices,
    some.counts,
    some.times,
    few(st.builds(LimitPrice, kinds, some.names, some.names, some.numbers, limits, payers)),
    few(usages),
)
job_explanations = st.builds(
    a.JobExplanation,
    job_id=some.names,
    queue=some.names,
    state=st.sampled_from(JobState),
    tier=st.none() | st.sampled_from(a.Tier),
    reason=st.none() | some.reasons,
    round=st.none() | some.counts,
    time=st.none() | some.times,
    owed_share=maybe,
    received_share=maybe,
    credit_seconds=maybe,
    budget=maybe,
    spends=maybe,
    configurations=few(
        st.builds(
            a.ConfigurationCost,
            st.integers(0, 9),
            some.names,
            st.integers(1, 100),
            *[some.numbers] * 4,
            possible=st.booleans(),
        )
    ),
    bindings=few(bindings),
    position=st.none() | some.counts,
    waiting=st.none() | some.counts,
    estimate=st.none() | estimates,
    what_helps=st.none() | helps,
    weight=st.none() | st.builds(a.JobWeight, *[some.numbers] * 6),
)
queue_amounts = st.builds(
    a.QueueAmounts,
    some.names,
    some.names,
    maybe,
    maybe,
    *[some.numbers] * 5,
    st.none() | st.sampled_from(a.Shortfall),
    some.numbers,
    some.numbers,
    few(st.builds(a.Borrower, some.names, some.numbers)),
)
queue_explanations = st.builds(
    a.QueueExplanation,
    some.names,
    some.counts,
    some.times,
    *[some.numbers] * 9,
    few(queue_amounts),
    past=st.none() | st.builds(a.PastUsage, *[some.numbers] * 4),
    counts=some.numbers,
)
gains = st.builds(Gain, some.names, some.numbers, some.numbers)
price_explanations = st.builds(
    PriceExplanation,
    some.counts,
    some.times,
    some.usages,
    few(st.builds(ClassPrice, some.priorities, some.numbers)),
    few(st.builds(Payer, some.names, some.numbers, some.numbers)),
    st.none() | st.builds(OneMore, some.numbers, some.numbers, few(gains)),
)


@quick
@given(job_explanations)
def test_a_job(found: a.JobExplanation) -> None:
    message = explanations.job_explanation_to_proto(found)
    sent = explanation_pb2.JobExplanation.FromString(message.SerializeToString())
    assert explanations.job_explanation_from_proto(sent) == found


@quick
@given(queue_explanations)
def test_a_queue(found: a.QueueExplanation) -> None:
    message = explanations.queue_explanation_to_proto(found)
    sent = explanation_pb2.QueueExplanation.FromString(message.SerializeToString())
    assert explanations.queue_explanation_from_proto(sent) == found
    assert sent.fairness_error == found.fairness_error


@quick
@given(price_explanations, few(st.builds(PastPrice, some.counts, some.times, some.numbers)))
def test_a_price_and_its_past(found: PriceExplanation, past: tuple[PastPrice, ...]) -> None:
    message = explanations.price_explanation_to_proto(found, past)
    sent = explain_service_pb2.ExplainPriceResponse.FromString(message.SerializeToString())
    assert explanations.price_explanation_from_proto(sent) == (found, past)


@quick
@given(limit_prices)
def test_prices_of_limits(found: LimitPrices) -> None:
    sent = explanation_pb2.LimitPrices.FromString(limit_prices_to_proto(found).SerializeToString())
    assert limit_prices_from_proto(sent) == found


def test_what_a_later_version_says_is_refused_by_name() -> None:
    message = explanation_pb2.JobExplanation(job_id="j1", state="JOB_STATE_PENDING", tier=99)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="tier"):
        explanations.job_explanation_from_proto(message)


def test_every_cause_has_a_tier() -> None:
    tiers = {cause: a.tier_of(cause) for cause in PendingCause}
    assert tiers[PendingCause.EXCEEDS_NODE] is a.Tier.NEVER
    assert tiers[PendingCause.FRAGMENTED] is a.Tier.NOT_NOW
    assert tiers[PendingCause.SCHEDULER_STALE] is a.Tier.NEXT_ROUND


@quick
@given(
    st.builds(
        LimitExplanation,
        some.counts,
        some.times,
        usages,
        few(some.names),
        payers,
        st.none() | st.builds(OneMore, some.numbers, some.numbers, few(gains)),
    )
)
def test_one_limit(found: LimitExplanation) -> None:
    sent = explanation_pb2.LimitExplanation.FromString(limit_explanation_to_proto(found).SerializeToString())
    assert limit_explanation_from_proto(sent) == found
