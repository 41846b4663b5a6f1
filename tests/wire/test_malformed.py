"""Messages that the domain cannot hold, or holds to be wrong, name the field with its whole path."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from allocator.domain.cluster import EngineCapability
from allocator.domain.errors import InvalidInput
from allocator.domain.job import JobSpec
from allocator.domain.queue import Discipline, Queue
from allocator.intake import commands as c
from allocator.v1 import job_pb2, job_service_pb2, node_pb2, node_service_pb2, queue_service_pb2, reason_pb2, round_pb2
from allocator.wire import commands, jobs, nodes, rounds


def of(kind: Callable[..., Any], **fields: Any) -> Any:
    """A message with fields given as plain values, which the stubs do not know of."""
    return kind(**fields)


def a_job(**fields: Any) -> dict[str, Any]:
    return {"queue": "q", "configurations": [{"flavor": "a100", "demand": {"cpu_millicores": 1000}}]} | fields


def configured(**fields: Any) -> dict[str, Any]:
    """A job whose second configuration has these fields."""
    second = {"flavor": "h100", "demand": {"cpu_millicores": 1000}} | fields
    return a_job(configurations=[{"flavor": "a100", "demand": {"cpu_millicores": 1000}}, second])


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (a_job(queue=""), "queue"),
        (a_job(name="x" * 254), "name"),
        (a_job(weight=0), "weight"),
        (a_job(weight=math.nan), "weight"),
        (a_job(weight=1e-310), "weight"),
        (a_job(name="a\x1b[2Jb"), "name"),
        (a_job(labels={"k": "a\nb"}), "labels['k']"),
        (a_job(labels={"k\x7f": "v"}), "labels['k\\x7f']"),
        (configured(flavor="h 100"), "configurations[1].flavor"),
        (configured(throughput=1e-300), "configurations[1].throughput"),
        (a_job(priority_class="Urgent!"), "priority_class"),
        (a_job(restart_cost_seconds=-1), "restart_cost_seconds"),
        (a_job(expected_duration_seconds=0), "expected_duration_seconds"),
        (a_job(expected_duration_seconds=math.inf), "expected_duration_seconds"),
        (a_job(labels={"": "x"}), "labels['']"),
        (a_job(labels={f"k{i}": "x" for i in range(65)}), "labels"),
        (a_job(configurations=[]), "configurations"),
        (a_job(configurations=[{"flavor": "a", "demand": {"cpu_millicores": 1}}] * 257), "configurations"),
        (configured(flavor="a100"), "configurations[1]"),
        (configured(flavor=""), "configurations[1].flavor"),
        (configured(replicas=0), "configurations[1].replicas"),
        (configured(replicas=-1), "configurations[1].replicas"),
        (configured(replicas=100_001), "configurations[1].replicas"),
        (configured(throughput=-1), "configurations[1].throughput"),
        (configured(throughput=math.nan), "configurations[1].throughput"),
        (configured(demand=None), "configurations[1].demand"),
        (configured(demand={}), "configurations[1].demand"),
        (configured(demand={"cpu_millicores": -1}), "configurations[1].demand.cpu_millicores"),
        (configured(demand={"gpu_millis": 1500}), "configurations[1].demand.gpu_millis"),
        (configured(demand={"memory_bytes": 2**53 + 1}), "configurations[1].demand.memory_bytes"),
        (configured(demand={"extra": {"GPU": 1}}), "configurations[1].demand.extra['GPU']"),
        (configured(demand={"extra": {"cpu": 1}}), "configurations[1].demand.extra['cpu']"),
        (configured(demand={"extra": {"fpga": -1}}), "configurations[1].demand.extra['fpga']"),
        (configured(demand={"extra": {f"x{i}": 1 for i in range(65)}}), "configurations[1].demand.extra"),
        (a_job(constraints={"at_most": [{"replicas": 1}, {"replicas": -1}]}), "constraints.at_most[1].replicas"),
        (a_job(constraints={"at_most": [{}]}), "constraints.at_most[0].replicas"),
        (a_job(constraints={"at_most": [{"replicas": 1}] * 17}), "constraints.at_most"),
        (a_job(constraints={"at_most": [{"of": {f"k{i}": "v" for i in range(17)}}]}), "constraints.at_most[0].of"),
        (a_job(constraints={"nodes": [{"values": ["a"]}]}), "constraints.nodes[0].key"),
        (a_job(constraints={"nodes": [{"key": "a", "values": ["x"] * 65}]}), "constraints.nodes[0].values"),
        (a_job(constraints={"near": [{"per": "rack"}]}), "constraints.near[0].of"),
        (a_job(constraints={"near": [{"of": {"a": "b"}}] * 17}), "constraints.near"),
        (a_job(constraints={"within": "a\nb"}), "constraints.within"),
        (a_job(constraints={"tolerations": [{"value": "x"}]}), "constraints.tolerations['']"),
        (a_job(constraints={"tolerations": [{"key": "x"}] * 17}), "constraints.tolerations"),
        (configured(replicas=2) | {"divisible": True}, "divisible"),
    ],
)
def test_a_bad_job_is_refused_in_its_place_with_the_path_of_its_field(job: dict[str, Any], field: str) -> None:
    good = a_job()
    request = of(job_service_pb2.SubmitJobsRequest, jobs=[good, good, good, job, good])
    specs = commands.submit_jobs_from_proto(request).specs
    refusal = specs[3]
    assert [isinstance(spec, JobSpec) for spec in specs] == [True, True, True, False, True]
    assert isinstance(refusal, InvalidInput)
    assert [violation.field for violation in refusal.violations] == [field]


def test_every_violation_of_a_job_is_reported() -> None:
    request = of(
        job_service_pb2.SubmitJobsRequest, jobs=[configured(replicas=0, demand={"gpu_millis": 1500}) | {"weight": -1}]
    )
    (refusal,) = commands.submit_jobs_from_proto(request).specs
    assert isinstance(refusal, InvalidInput)
    assert {violation.field for violation in refusal.violations} == {
        "configurations[1].replicas",
        "configurations[1].demand.gpu_millis",
        "weight",
    }


def body(*jobs: dict[str, Any], request_id: str = "r") -> str:
    request = of(job_service_pb2.SubmitJobsRequest, jobs=list(jobs), request_id=request_id)
    return commands.submit_jobs_from_proto(request).body


def test_a_body_is_told_from_others_by_all_that_was_sent_but_the_id() -> None:
    good, light, nameless = a_job(), a_job(weight=-1), a_job(queue="")
    bodies = [body(good), body(good, light), body(light, good), body(good, nameless), body(good, good), body()]
    assert len(set(bodies)) == len(bodies)
    assert body(good, light, request_id="another") == body(good, light)
    forth, back = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert body(a_job(labels=forth)) == body(a_job(labels=back))


def test_a_refused_item_has_no_message_to_be_sent_in() -> None:
    with pytest.raises(InvalidInput, match="queue"):
        commands.submit_jobs_to_proto(
            commands.submit_jobs_from_proto(of(job_service_pb2.SubmitJobsRequest, jobs=[a_job(queue="")]))
        )


def test_what_is_absent_gets_the_documented_default() -> None:
    spec = jobs.valid_spec_from_proto(of(job_pb2.JobSpec, **a_job()))
    assert (spec.weight, spec.priority_class, spec.preemptible, spec.expected_duration_seconds) == (
        1.0,
        "normal",
        True,
        None,
    )
    assert (spec.configurations[0].replicas, spec.configurations[0].throughput) == (1, 1.0)
    assert not jobs.valid_spec_from_proto(of(job_pb2.JobSpec, **a_job(preemptible=False))).preemptible


def test_a_queue_of_which_only_the_name_is_said_gets_the_documented_defaults() -> None:
    queue = commands.create_queue_from_proto(of(queue_service_pb2.CreateQueueRequest, queue={"name": "a"})).queue
    assert queue == Queue("a", 1.0, cordoned=False, priority=0, quotas=(), discipline=Discipline.FAIR)
    unchanged = commands.update_queue_from_proto(of(queue_service_pb2.UpdateQueueRequest, name="a"))
    assert unchanged == c.UpdateQueue("a")
    (quota,) = commands.create_queue_from_proto(quotas(GPUS)).queue.quotas
    assert (quota.borrowing_limit, quota.lending_limit) == (None, None)
    (none_lent,) = commands.create_queue_from_proto(quotas(GPUS | {"lending_limit": 0})).queue.quotas
    assert (none_lent.borrowing_limit, none_lent.lending_limit) == (None, 0)


def test_extras_of_zero_are_not_mentioned() -> None:
    spec = jobs.valid_spec_from_proto(
        of(job_pb2.JobSpec, **configured(demand={"cpu_millicores": 1, "extra": {"fpga": 0}}))
    )
    assert spec.configurations[1].demand.extra == ()


GPUS: dict[str, Any] = {"flavor": "a100", "resource": "gpu", "nominal": 8000}


def quotas(*given: dict[str, Any]) -> Any:
    """A request for a queue with these quotas."""
    return of(queue_service_pb2.CreateQueueRequest, queue={"name": "a", "quotas": given})


def whole_requests() -> list[tuple[Callable[[Any], Any], Any, list[str]]]:
    report: dict[str, Any] = {"job_id": "j1", "epoch": {"round": 1}, "state": node_pb2.REPLICA_STATE_RUNNING}
    job: dict[str, Any] = {"submit_time": {"seconds": 1}, "state": job_pb2.JOB_STATE_PENDING}
    return [
        (commands.submit_jobs_from_proto, of(job_service_pb2.SubmitJobsRequest, jobs=[{}] * 10_001), ["jobs"]),
        (commands.submit_jobs_from_proto, of(job_service_pb2.SubmitJobsRequest, request_id="x" * 129), ["request_id"]),
        (commands.cancel_jobs_from_proto, of(job_service_pb2.CancelJobsRequest, job_ids=["j"] * 10_001), ["job_ids"]),
        (commands.cancel_jobs_from_proto, of(job_service_pb2.CancelJobsRequest, message="x" * 1025), ["message"]),
        (commands.cancel_jobs_from_proto, of(job_service_pb2.CancelJobsRequest, message="a\x1b[2J"), ["message"]),
        (commands.update_jobs_from_proto, of(job_service_pb2.UpdateJobsRequest, updates=[{}] * 10_001), ["updates"]),
        (commands.create_queue_from_proto, queue_service_pb2.CreateQueueRequest(), ["queue"]),
        (
            commands.create_queue_from_proto,
            of(queue_service_pb2.CreateQueueRequest, queue={"name": "A", "weight": -1, "max_live_jobs": -1}),
            ["queue.name", "queue.weight", "queue.max_live_jobs"],
        ),
        (
            commands.create_queue_from_proto,
            quotas(GPUS, {"resource": "GPUs", "nominal": -1}, GPUS | {"flavor": "h100", "lending_limit": 9000}, GPUS),
            [
                "queue.quotas[1].flavor",
                "queue.quotas[1].resource",
                "queue.quotas[1].nominal",
                "queue.quotas[2].lending_limit",
                "queue.quotas[3]",
            ],
        ),
        (
            commands.create_queue_from_proto,
            quotas(GPUS | {"nominal": 1500}, GPUS | {"flavor": "b", "borrowing_limit": 500, "lending_limit": 500}),
            ["queue.quotas[0].nominal", "queue.quotas[1].borrowing_limit", "queue.quotas[1].lending_limit"],
        ),
        (commands.create_queue_from_proto, quotas(*[GPUS] * 257), ["queue.quotas"]),
        (
            commands.create_queue_from_proto,
            of(queue_service_pb2.CreateQueueRequest, queue={"name": "a", "discipline": 7}),
            ["queue.discipline"],
        ),
        (
            commands.create_queue_from_proto,
            of(queue_service_pb2.CreateQueueRequest, queue={"name": "a", "priority": 1_000_001}),
            ["queue.priority"],
        ),
        (
            commands.update_queue_from_proto,
            of(queue_service_pb2.UpdateQueueRequest, quotas=[GPUS], clear_quotas=True),
            ["clear_quotas"],
        ),
        (commands.update_queue_from_proto, of(queue_service_pb2.UpdateQueueRequest, quotas=[GPUS] * 257), ["quotas"]),
        (commands.update_queue_from_proto, of(queue_service_pb2.UpdateQueueRequest, discipline=7), ["discipline"]),
        (commands.register_node_from_proto, node_service_pb2.RegisterNodeRequest(), ["node"]),
        (
            commands.register_node_from_proto,
            of(
                node_service_pb2.RegisterNodeRequest,
                node={"name": "n 1", "capacity": {"gpu_millis": 500, "disk_bytes": -1}},
            ),
            ["node.capacity.disk_bytes", "node.name", "node.flavor", "node.capacity.gpu_millis"],
        ),
        (
            commands.register_node_from_proto,
            of(node_service_pb2.RegisterNodeRequest, node={"capacity": {"extra": {f"x{i}": 1 for i in range(65)}}}),
            ["node.capacity.extra"],
        ),
        (
            commands.register_node_from_proto,
            of(node_service_pb2.RegisterNodeRequest, node={"capabilities": {"can": [1, 0]}}),
            ["node.capabilities.can[1]"],
        ),
        (commands.heartbeat_from_proto, of(node_service_pb2.HeartbeatRequest, reports=[{}] * 10_001), ["reports"]),
        (
            commands.heartbeat_from_proto,
            of(
                node_service_pb2.HeartbeatRequest,
                reports=[report, report | {"state": 0}, {"replica": -1}, report | {"state": 99}],
            ),
            ["reports[1].state", "reports[2].job_id", "reports[2].replica", "reports[2].epoch", "reports[3].state"],
        ),
        (commands.result_from_proto, job_service_pb2.JobResult(), ["result"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"state": 0}), ["state"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"state": 77}), ["state"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"submit_time": {"nanos": -1}}), ["submit_time"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"end_time": {"seconds": 10**12}}), ["end_time"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"last_preemption": 77}), ["last_preemption"]),
        (jobs.job_from_proto, of(job_pb2.Job, **job | {"pending_reason": {}}), ["pending_reason.cause"]),
        (nodes.node_from_proto, of(node_pb2.Node, health=node_pb2.NODE_HEALTH_READY), ["availability"]),
        (rounds.round_from_proto, round_pb2.RoundSummary(), ["outcome"]),
        (
            rounds.round_from_proto,
            of(
                round_pb2.RoundSummary,
                outcome=round_pb2.ROUND_OUTCOME_OPTIMAL,
                waiting=[reason_pb2.PendingCount(jobs=1)],
            ),
            ["waiting[0].cause"],
        ),
    ]


@pytest.mark.parametrize(("from_proto", "message", "paths"), whole_requests())
def test_a_bad_message_names_its_fields(from_proto: Callable[[Any], Any], message: Any, paths: list[str]) -> None:
    with pytest.raises(InvalidInput) as raised:
        from_proto(message)
    assert [violation.field for violation in raised.value.violations] == paths
    assert all(violation.description for violation in raised.value.violations)


def test_an_engine_of_a_later_version_may_say_more_than_is_known() -> None:
    """What is absent, what is empty, and what nobody here knows are three things."""
    said: list[dict[str, Any]] = [{}, {"capabilities": {}}, {"capabilities": {"can": [1, 99]}}]
    able = [nodes.registered_node_from_proto(of(node_pb2.Node, **each)).capabilities for each in said]
    assert able == [None, frozenset(), {EngineCapability.RESIZE_CPU}]


def test_an_agent_s_long_message_is_cut_and_its_report_counts() -> None:
    request = of(
        node_service_pb2.HeartbeatRequest,
        node="n1",
        reports=[{"job_id": "j1", "epoch": {}, "state": node_pb2.REPLICA_STATE_FAILED, "message": "x" * 5000}],
    )
    assert len(commands.heartbeat_from_proto(request).reports[0].message) == 1024


def test_an_agent_s_message_reaches_no_terminal_s_controls() -> None:
    report = {"job_id": "j1", "epoch": {}, "state": node_pb2.REPLICA_STATE_FAILED, "message": "line 1\nline 2\x1b[2J"}
    request = of(node_service_pb2.HeartbeatRequest, node="n1", reports=[report])
    assert commands.heartbeat_from_proto(request).reports[0].message == "line 1 line 2 [2J"


def test_ten_thousand_items_are_a_batch() -> None:
    command = commands.cancel_jobs_from_proto(of(job_service_pb2.CancelJobsRequest, job_ids=["j"] * 10_000))
    assert len(command.job_ids) == 10_000
