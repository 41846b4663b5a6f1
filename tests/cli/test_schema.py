"""`--json` promises the API's field names: checked against the API's own descriptors."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor

import allocator.cli
from allocator.cli import documents, schema
from allocator.cli.exits import MEANINGS
from allocator.cli.jobfile import FIELDS, read_drafts
from allocator.client import ClusterStatus, EndOfSnapshot, JobChange, NodeCounts, QueueStatus
from allocator.domain.cluster import EngineCapability
from allocator.domain.errors import InvalidInput, NotFound, Violation
from allocator.domain.job import Job, JobState
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.process import Dependency, Process
from allocator.domain.queue import Queue
from allocator.domain.quota import Quota
from allocator.domain.reason import Examined, PendingCause, PendingReason, PreemptionReason, Refusal, Shortage
from allocator.rounds.report import FlavorUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.v1 import job_pb2, job_service_pb2, node_pb2, queue_pb2, round_pb2, scheduler_service_pb2
from tests.builders import node, spec

JOB = Job(
    "j1",
    1,
    spec(
        "q",
        labels=(("k", "v"),),
        process=Process(("true",)),
        after=(Dependency("j0"),),
        array_index=3,
    ),
    1.5,
    JobState.RUNNING,
    7,
    Allocation(Placement("j1", 0, (ReplicaPlacement("n1", (0, 1)),)), Epoch(3, 4), 2.0, frozenset({0})),
    PendingReason(
        PendingCause.FRAGMENTED,
        (Shortage("a100", "gpu", 500),),
        (Examined("a100", 2, ((Refusal.FULL, 1),), (("gpu", 1),), 2, 1, 0),),
        ("j2",),
        5.0,
    ),
    last_preemption=PreemptionReason.NODE_LOST,
    measured_throughput=(("a100", 2.0),),
)
ROUND = RoundSummary(
    round=1, revision=2, time=3.0, outcome=RoundOutcome.OPTIMAL, solver="conic", iterations=9, fairness=1.0,
    objective=float("-inf"), bound=0.5, gap=0.1, rounding_loss=0.0, started=1, moved=0, kept=2, rejected=0,
    preempted=(("fair_share", 1),), waiting=(("fragmented", 2),), lost=(("a100", "gpu", 5.0),),
    flavors=(FlavorUsage("a100", "gpu", 4000, 8000, 2000, 0.25),),
    queues=(QueueUsage("q", 1.0, 1, 2, 0.5, 0.4),), stages=(("solve", 0.01),),
)  # fmt: skip
STATUS = ClusterStatus(5, NodeCounts(1, 2, 3, 4, 5), 6, 7, ROUND.flavors, ROUND.queues, ROUND)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (schema.job(JOB), job_pb2.Job.DESCRIPTOR),
        (schema.node(replace(node(), capabilities=frozenset(EngineCapability))), node_pb2.Node.DESCRIPTOR),
        (
            schema.queue_status(QueueStatus(Queue("q", quotas=(Quota("a100", "gpu", 1000),)), 1, 2)),
            queue_pb2.Queue.DESCRIPTOR,
        ),
        (schema.round_summary(ROUND), round_pb2.RoundSummary.DESCRIPTOR),
        (schema.cluster_status(STATUS), scheduler_service_pb2.GetClusterStatusResponse.DESCRIPTOR),
    ],
)
def test_every_field_of_the_api_is_there_and_no_other(encoded: dict[str, Any], message: Descriptor) -> None:
    _same_fields(encoded, message)


def _same_fields(encoded: dict[str, Any], message: Descriptor) -> None:
    assert set(encoded) == {field.name for field in message.fields}, message.full_name
    for field in message.fields:
        value = encoded[field.name]
        nested = field.message_type
        if nested is None or nested.GetOptions().map_entry or nested.full_name == "google.protobuf.Timestamp":
            continue
        for item in value if isinstance(value, list) else [value]:
            assert isinstance(item, dict), field.full_name
            _same_fields(item, nested)


def test_enumerations_are_short_names_and_numbers_are_finite() -> None:
    job = schema.job(JOB)
    assert (job["state"], job["pending_reason"]["cause"], job["last_preemption"]) == (
        "running",
        "fragmented",
        "node_lost",
    )
    assert job["submit_time"] == "1970-01-01T00:00:01.500000Z"
    assert schema.round_summary(ROUND)["objective"] is None


def test_events_and_refusals() -> None:
    events = job_service_pb2.WatchJobsResponse.DESCRIPTOR.oneofs_by_name["event"].fields
    keys = {key for event in (JobChange(JOB, "c"), EndOfSnapshot("c")) for key in schema.job_event(event)}
    assert keys == {field.name for field in events}
    assert schema.item(NotFound("job", "j9")) == {
        "job": None,
        "error": {"kind": "NotFound", "message": "job 'j9' does not exist"},
    }
    refusal = schema.error(InvalidInput(Violation("a", "b")))
    assert refusal["violations"] == [{"field": "a", "description": "b"}]


def test_the_readme_tells_the_exit_codes_and_the_fields_of_a_job_file() -> None:
    text = (Path(allocator.cli.__file__).parent / "README.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in text
    table = text[text.index("| field | value | default |") :].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == set(FIELDS)
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert [draft.copies for draft in read_drafts(documents.parse(example[1], "README.md"))] == [3, 1, 1]
