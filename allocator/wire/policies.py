"""Policy files, those that are in force, and what is said of them. Clients send text: the server reads it."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.domain.applied_policy import MOST_POLICY_TEXT
from allocator.domain.errors import InvalidInput
from allocator.intake.commands import ApplyPolicy
from allocator.policyfile import Remark, read, written
from allocator.v1 import policy_service_pb2 as pb
from allocator.wire.fields import time_from_proto, time_to_proto


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A policy that is, or was, in force. Version 0: none was applied yet, this is the daemon's own, without a time.

    `text` is a policy file with every value written out; of the one in force with the queues as they are now.
    `sent_text` is the file as it was sent.
    """

    version: int
    time: float | None
    author: str
    comment: str
    text: str = ""
    sent_text: str = ""


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What a daemon says to a policy file. `refusal`: why applying it would be refused as things are, or empty."""

    mistakes: tuple[Remark, ...]
    warnings: tuple[Remark, ...]
    refusal: str = ""


def policy_to_proto(record: PolicyRecord) -> pb.Policy:
    return pb.Policy(
        version=record.version,
        time=None if record.time is None else time_to_proto(record.time),
        author=record.author,
        comment=record.comment,
        text=record.text,
        sent_text=record.sent_text,
    )


def policy_from_proto(message: pb.Policy) -> PolicyRecord:
    return PolicyRecord(
        message.version,
        time_from_proto(message.time, "time") if message.HasField("time") else None,
        message.author,
        message.comment,
        message.text,
        message.sent_text,
    )


def check_to_proto(check: PolicyCheck) -> pb.CheckPolicyResponse:
    return pb.CheckPolicyResponse(
        mistakes=map(_remark_to_proto, check.mistakes),
        warnings=map(_remark_to_proto, check.warnings),
        refusal=check.refusal,
    )


def check_from_proto(message: pb.CheckPolicyResponse) -> PolicyCheck:
    return PolicyCheck(
        tuple(map(_remark_from_proto, message.mistakes)),
        tuple(map(_remark_from_proto, message.warnings)),
        message.refusal,
    )


def _remark_to_proto(remark: Remark) -> pb.PolicyRemark:
    return pb.PolicyRemark(
        line=remark.line, column=remark.column, field=remark.field, description=remark.description
    )  # fmt: skip


def _remark_from_proto(message: pb.PolicyRemark) -> Remark:
    return Remark(message.line, message.column, message.field, message.description)


def apply_policy_to_proto(command: ApplyPolicy) -> pb.ApplyPolicyRequest:
    """A document that was not read from a file is written as one."""
    text = command.text or written(command.document)
    return apply_request(text, command.expected_version, command.author, command.comment, prune=command.prune)


def apply_request(
    text: str, expected_version: int | None, author: str, comment: str, *, prune: bool
) -> pb.ApplyPolicyRequest:
    return pb.ApplyPolicyRequest(
        text=text, expected_version=expected_version, prune=prune, author=author, comment=comment
    )


def apply_policy_from_proto(message: pb.ApplyPolicyRequest) -> ApplyPolicy:
    """Reads the file. Raises InvalidInput with every mistake: `text:12:3: queue[1].weight`."""
    if len(message.text) > MOST_POLICY_TEXT:
        raise InvalidInput.of("text", f"must be at most {MOST_POLICY_TEXT} characters, got {len(message.text)}")
    reading = read(message.text)
    if reading.document is None:
        raise InvalidInput(*(mistake.violation("text") for mistake in reading.mistakes))
    return ApplyPolicy(
        reading.document,
        message.text,
        message.expected_version if message.HasField("expected_version") else None,
        message.prune,
        message.author,
        message.comment,
    )
