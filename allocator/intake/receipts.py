"""What was answered to a request id, kept so that the same request can be answered again after a crash or a retry."""

from __future__ import annotations

import hashlib
import json

from allocator.domain import errors
from allocator.domain.errors import AllocatorError, NotFound, ResourceExhausted, Violation
from allocator.domain.job import Job
from allocator.intake.commands import ItemResult, SubmitJobs
from allocator.intake.ports import Facts, Receipt

JOB = "job"


def digest(command: SubmitJobs) -> str:
    """Identifies a request's body: as its reader did, or else equal specs in the same order, equal digest."""
    return command.body or hashlib.sha256(repr(command.specs).encode()).hexdigest()


def worth_keeping(answers: tuple[ItemResult, ...]) -> bool:
    """False where nothing was admitted and trying later may succeed: a receipt would make that refusal last."""
    return any(isinstance(answer, Job) for answer in answers) or not any(
        isinstance(answer, ResourceExhausted) for answer in answers
    )


def make(request_id: str, body: str, now: float, answers: tuple[ItemResult, ...]) -> Receipt:
    """A receipt for what is being answered now."""
    return Receipt(request_id, body, now, tuple(_written(answer) for answer in answers))


def answers(receipt: Receipt, facts: Facts) -> tuple[ItemResult, ...]:
    """The receipt's answers: the same jobs, as they are now, and the same refusals."""
    return tuple(_read(kind, text, facts) for kind, text in receipt.answers)


def _written(answer: ItemResult) -> tuple[str, str]:
    match answer:
        case Job():
            return (JOB, answer.id)
        case errors.InvalidInput():
            return ("InvalidInput", json.dumps([[v.field, v.description] for v in answer.violations]))
        case errors.NotFound():
            return ("NotFound", json.dumps([answer.kind, answer.name]))
        case errors.FailedPrecondition():
            return ("FailedPrecondition", json.dumps([answer.subject, answer.description]))
        case errors.ResourceExhausted():
            return (
                "ResourceExhausted",
                json.dumps([answer.subject, answer.description, answer.retry_after_seconds]),
            )
        case _:
            raise AssertionError(f"admission does not refuse with {type(answer).__name__}")


def _read(kind: str, text: str, facts: Facts) -> ItemResult:
    if kind == JOB:
        return facts.job(text) or NotFound("job", text)
    arguments = json.loads(text)
    refusals: dict[str, type[AllocatorError]] = {
        "NotFound": errors.NotFound,
        "FailedPrecondition": errors.FailedPrecondition,
        "ResourceExhausted": errors.ResourceExhausted,
    }
    if kind == "InvalidInput":
        return errors.InvalidInput(*(Violation(field, description) for field, description in arguments))
    return refusals[kind](*arguments)
