"""The API's files: the vendored import is the published one, and what the server derives from options is there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import MethodOptions

from allocator.v1 import (
    capture_service_pb2,
    explain_service_pb2,
    job_service_pb2,
    node_service_pb2,
    queue_service_pb2,
    scheduler_service_pb2,
    simulate_service_pb2,
)

PROTOS = Path(__file__).parents[2] / "protos"


def test_the_vendored_status_is_the_published_one() -> None:
    assert (PROTOS / "google/rpc/status.proto").read_text() == files("google.rpc").joinpath("status.proto").read_text()


def test_every_method_says_whether_it_may_be_repeated() -> None:
    levels = {
        method.name: method.GetOptions().idempotency_level
        for module in (
            capture_service_pb2,
            explain_service_pb2,
            job_service_pb2,
            node_service_pb2,
            queue_service_pb2,
            scheduler_service_pb2,
            simulate_service_pb2,
        )
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    reading = {name for name, level in levels.items() if level == MethodOptions.NO_SIDE_EFFECTS}
    unsafe = {name for name, level in levels.items() if level == MethodOptions.IDEMPOTENCY_UNKNOWN}
    reads = ("Get", "List", "Watch", "Read", "Explain", "Simulate", "Plan", "Capture")
    assert reading == {name for name in levels if name.startswith(reads)}
    assert unsafe == {"SubmitJobs", "CreateQueue"}
