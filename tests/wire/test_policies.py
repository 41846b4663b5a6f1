"""Policies survive the wire: what is applied is read as it was meant, and what is answered as it was found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.applied_policy import MOST_POLICY_TEXT, PolicyDocument
from allocator.domain.errors import InvalidInput
from allocator.intake.commands import ApplyPolicy
from allocator.policyfile import Remark, written
from allocator.v1 import policy_service_pb2 as pb
from allocator.wire import policies
from tests.policyfile.documents import documents
from tests.wire.strategies import counts, texts, times

REMARKS = st.lists(st.builds(Remark, counts, counts, texts, texts), max_size=2).map(tuple)
QUICK = settings(max_examples=40, deadline=None, derandomize=True)


@QUICK
@given(documents(), st.none() | counts, st.booleans())
def test_a_document_is_applied_as_it_was_meant(document: PolicyDocument, version: int | None, prune: bool) -> None:
    for text in (written(document), ""):
        command = ApplyPolicy(document, text, version, prune, "me", "why")
        message = pb.ApplyPolicyRequest.FromString(policies.apply_policy_to_proto(command).SerializeToString())
        read = policies.apply_policy_from_proto(message)
        assert read == ApplyPolicy(document, written(document), version, prune, "me", "why")


@QUICK
@given(st.builds(policies.PolicyRecord, counts, st.none() | times, texts, texts, texts, texts))
def test_records_are_read_as_they_were_written(record: policies.PolicyRecord) -> None:
    assert policies.policy_from_proto(policies.policy_to_proto(record)) == record


@QUICK
@given(st.builds(policies.PolicyCheck, REMARKS, REMARKS, texts))
def test_checks_are_read_as_they_were_written(check: policies.PolicyCheck) -> None:
    assert policies.check_from_proto(policies.check_to_proto(check)) == check


def test_what_cannot_be_read_is_refused_with_every_place() -> None:
    with pytest.raises(InvalidInput) as error:
        policies.apply_policy_from_proto(pb.ApplyPolicyRequest(text="version = 2\nx = 1"))
    assert [violation.field for violation in error.value.violations] == ["text:1:1: version", "text:2:1: x"]
    with pytest.raises(InvalidInput, match="at most"):
        policies.apply_policy_from_proto(pb.ApplyPolicyRequest(text="#" * (MOST_POLICY_TEXT + 1)))
