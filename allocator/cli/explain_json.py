"""Explanations as JSON: the API's messages with the API's field names, under the rules of `schema`."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

from allocator.cli import schema
from allocator.cli.schema import Json
from allocator.domain.reason import PendingReason
from allocator.explain.answers import Change, Estimate, JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrice, PriceExplanation
from allocator.rounds.promise import JobPromise
from allocator.rounds.report import FlavorUsage, LimitUsage
from allocator.wire.explanations import PastPrice

_TIMES = ("time", "deadline", "expected_end", "not_before")
"""Fields in seconds since the epoch."""


def job_explanation(found: JobExplanation) -> Json:
    return _message(found)


def queue_explanation(found: QueueExplanation) -> Json:
    return _message(found) | {"fairness_error": schema.finite(found.fairness_error)}


def price_explanation(found: PriceExplanation, history: tuple[PastPrice, ...]) -> Json:
    return {"explanation": _message(found), "history": [_message(each) for each in history]}


def promise(found: JobPromise) -> Json:
    return _message(found)


def limit_explanation(found: LimitExplanation) -> Json:
    return _message(found)


def limit_price(found: LimitPrice) -> Json:
    return _message(found)


def _message(value: Any) -> Json:
    return {field.name: _plain(field.name, getattr(value, field.name)) for field in fields(value)}


def _plain(name: str, value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return schema.time_text(value) if name in _TIMES else schema.finite(value)
        case Enum():
            return value.value
        case PendingReason():
            return schema.pending_reason(value)
        case LimitUsage():
            return schema.limit_usage(value)
        case FlavorUsage():
            return schema.flavor_usage(value)
        case Change():
            amounts = [{"resource": resource, "amount": amount} for resource, amount in value.amounts]
            return _message(value) | {"amounts": amounts}
        case Estimate():
            return _message(value) | {"starts": [{"after_seconds": schema.finite(start)} for start in value.starts]}
        case tuple():
            return [_plain(name, each) for each in value]
        case _:
            return _message(value)
