"""What is written is read back exactly; what says the same changes nothing; what differs is told."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.policyfile import differences, read, written
from allocator.policyfile.fields import OTHERWISE_SAID, SETTINGS
from tests.policyfile.documents import documents, queues

EXAMPLE = Path(__file__).parents[2] / "deploy" / "policy.example.toml"
Queues = tuple[Queue, ...]
QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@QUICK
@given(documents())
def test_what_is_written_is_read_back_exactly(document: PolicyDocument) -> None:
    assert not document.violations()
    reading = read(written(document, ["as it was", ""]))
    assert reading.mistakes == ()
    assert reading.document == document


@QUICK
@given(documents())
def test_applying_what_is_there_changes_nothing(document: PolicyDocument) -> None:
    assert differences(document, document, prune=True) == ()
    assert written(read(written(document)).document or document) == written(document)


@QUICK
@given(queues(), queues(), st.booleans())
def test_exactly_the_queues_that_differ_are_told(one: Queues, other: Queues, prune: bool) -> None:
    before, after = (PolicyDocument(Policy(), tree) for tree in (one, other))
    told = {change.thing.removeprefix("queue ") for change in differences(before, after, prune=prune)}
    known, wanted = ({queue.name: _arranged(queue) for queue in tree} for tree in (one, other))
    gone = known.keys() - wanted.keys() if prune else set()
    assert told == gone | {name for name, queue in wanted.items() if known.get(name) != queue}


def _arranged(queue: Queue) -> Queue:
    return replace(queue, quotas=tuple(sorted(queue.quotas)))


@QUICK
@given(documents(), st.data())
def test_any_setting_that_differs_is_told_by_its_name(document: PolicyDocument, data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from(SETTINGS))
    others = data.draw(documents()).policy
    before, after = getattr(document.policy, setting.field), getattr(others, setting.field)
    changed = replace(document, policy=replace(document.policy, **{setting.field: after}))
    told = differences(document, changed)
    if before == after:
        assert told == ()
    else:
        ((thing, what),) = [(change.thing, change.what) for change in told]
        assert (thing, what) == (setting.section, setting.key)


def test_every_field_of_the_policy_can_be_said() -> None:
    said = {setting.field for setting in SETTINGS}
    assert said | OTHERWISE_SAID == {field.name for field in fields(Policy)}
    assert not said & OTHERWISE_SAID


def test_amounts_that_no_float_holds_are_written_exactly() -> None:
    huge = Quota("a100", "cpu", 2**53 - 31, lending_limit=2**53 - 35)
    document = PolicyDocument(Policy(), (Queue("q", quotas=(huge,)),))
    assert read(written(document)).document == document


def test_an_empty_file_says_the_defaults() -> None:
    assert read("version = 1").document == PolicyDocument(Policy())


def test_the_example_is_right_and_survives_being_written() -> None:
    reading = read(EXAMPLE.read_text())
    assert (reading.mistakes, reading.warnings) == ((), ())
    assert reading.document is not None
    assert read(written(reading.document)).document == reading.document
    assert [limit.name for limit in reading.document.policy.side_constraints] == [
        "batch-on-a100", "power-rack-r1", "money", "matlab",
    ]  # fmt: skip
