"""What is translated to a message, sent as bytes and translated back is what it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Job, JobSpec
from allocator.domain.placement import NodeDesired
from allocator.domain.queue import Discipline, Queue
from allocator.intake import commands as c
from allocator.rounds.report import FlavorUsage, RoundSummary
from allocator.wire import commands, jobs, nodes, queues, rounds
from allocator.wire.fields import time_from_proto, time_to_proto
from tests.wire import strategies as some

M = TypeVar("M", bound=Message)
quick = settings(deadline=None, max_examples=60, derandomize=True)


def sent(message: M) -> M:
    """The message as its receiver reads it."""
    return type(message).FromString(message.SerializeToString())


@quick
@given(some.specs)
def test_a_job_spec(spec: JobSpec) -> None:
    assert jobs.valid_spec_from_proto(sent(jobs.spec_to_proto(spec))) == spec


@quick
@given(some.jobs())
def test_a_job(job: Job) -> None:
    assert jobs.job_from_proto(sent(jobs.job_to_proto(job))) == job


@quick
@given(some.queues, st.integers(0, 9), st.integers(0, 9))
def test_a_queue_and_its_counts(queue: Queue, pending: int, running: int) -> None:
    message = sent(queues.queue_to_proto(queue, queues.QueueCounts(pending, running)))
    assert queues.queue_from_proto(message) == queue
    assert queues.queue_counts_from_proto(message) == queues.QueueCounts(pending, running)


@quick
@given(some.nodes)
def test_a_node(node: Node) -> None:
    assert nodes.node_from_proto(sent(nodes.node_to_proto(node))) == node


@quick
@given(some.desired)
def test_a_desired_state(desired: NodeDesired) -> None:
    assert nodes.desired_from_proto(sent(nodes.desired_to_proto(desired))) == desired


@quick
@given(some.rounds)
def test_a_round(summary: RoundSummary) -> None:
    assert rounds.round_from_proto(sent(rounds.round_to_proto(summary))) == summary


@quick
@given(st.none() | some.rounds, st.lists(some.usages, max_size=2).map(tuple))
def test_a_cluster_status(last: RoundSummary | None, flavors: tuple[FlavorUsage, ...]) -> None:
    status = rounds.ClusterStatus(7, rounds.NodeCounts(1, 2, 3, 4, 5), 5, 6, flavors, last.queues if last else (), last)
    message = sent(rounds.cluster_status_to_proto(status))
    assert rounds.cluster_status_from_proto(message) == status
    assert message.HasField("gap") == (last is not None)


weights = st.none() | some.positive
arranged: dict[str, st.SearchStrategy[Any]] = {
    "priority": st.none() | some.priorities,
    "quotas": st.none() | some.some_quotas,
    "discipline": st.none() | st.sampled_from(Discipline),
}
COMMANDS: dict[type, tuple[st.SearchStrategy[Any], Callable[[Any], Message], Callable[[Any], Any]]] = {
    c.CancelJobs: (
        st.builds(c.CancelJobs, st.lists(some.names).map(tuple), some.written),
        commands.cancel_jobs_to_proto,
        commands.cancel_jobs_from_proto,
    ),
    c.UpdateJobs: (
        st.builds(
            c.UpdateJobs,
            st.lists(st.builds(c.JobUpdate, some.names, weights, st.none() | some.texts), max_size=3).map(tuple),
        ),
        commands.update_jobs_to_proto,
        commands.update_jobs_from_proto,
    ),
    c.ReportProgress: (
        st.builds(c.ReportProgress, some.names, some.positive, st.none() | some.epochs),
        commands.report_progress_to_proto,
        commands.report_progress_from_proto,
    ),
    c.CreateQueue: (
        st.builds(c.CreateQueue, some.queues),
        commands.create_queue_to_proto,
        commands.create_queue_from_proto,
    ),
    c.UpdateQueue: (
        st.builds(c.UpdateQueue, some.names, weights, st.none() | some.counts, **arranged)
        | st.builds(c.UpdateQueue, some.names, weights, clear_max_live_jobs=st.just(value=True), **arranged),
        commands.update_queue_to_proto,
        commands.update_queue_from_proto,
    ),
    c.CordonQueue: (
        st.builds(c.CordonQueue, some.names, st.booleans()),
        commands.cordon_queue_to_proto,
        commands.cordon_queue_from_proto,
    ),
    c.Heartbeat: (
        st.builds(
            c.Heartbeat,
            some.names,
            st.lists(some.reports, max_size=3).map(tuple),
            st.none() | some.epochs,
            st.lists(some.job_starts, max_size=3).map(tuple),
        ),
        commands.heartbeat_to_proto,
        commands.heartbeat_from_proto,
    ),
}


@quick
@given(st.sampled_from(sorted(COMMANDS, key=str)).flatmap(lambda kind: COMMANDS[kind][0]))
def test_a_command(command: Any) -> None:
    _, to_proto, from_proto = COMMANDS[type(command)]
    assert from_proto(sent(to_proto(command))) == command


@quick
@given(st.lists(some.specs, max_size=3).map(tuple), some.names)
def test_a_submission(specs: tuple[JobSpec, ...], request_id: str) -> None:
    read = commands.submit_jobs_from_proto(sent(commands.submit_jobs_to_proto(c.SubmitJobs(specs, request_id))))
    assert (read.specs, read.request_id, bool(read.body)) == (specs, request_id, True)


@quick
@given(some.nodes)
def test_a_registration_is_of_an_open_and_ready_node_whatever_it_says(node: Node) -> None:
    read = commands.register_node_from_proto(sent(commands.register_node_to_proto(c.RegisterNode(node)))).node
    expected = Node(
        node.name,
        node.flavor,
        node.capacity,
        node.labels,
        NodeAvailability.OPEN,
        NodeHealth.READY,
        node.simulated,
        node.taints,
        node.capabilities,
        node.trouble,
    )
    assert read == expected


@quick
@given(some.jobs() | some.errors)
def test_a_result(result: Any) -> None:
    read = commands.result_from_proto(sent(commands.result_to_proto(result)))
    if isinstance(result, Job):
        assert read == result
    else:
        assert (type(read), vars(read), str(read)) == (type(result), vars(result), str(result))


@quick
@given(st.floats(-6e10, 2e11))
def test_times_are_exact_to_the_nanosecond(seconds: float) -> None:
    assert math.isclose(time_from_proto(sent(time_to_proto(seconds)), "t"), seconds, rel_tol=1e-16, abs_tol=0.6e-9)


@quick
@given(some.times)
def test_times_of_this_century_are_exact(seconds: float) -> None:
    assert time_from_proto(time_to_proto(seconds), "t") == seconds


def test_amounts_that_no_message_holds_are_clamped() -> None:
    usage = FlavorUsage("a100", "memory", 1, 2**80, 1, 0.0)
    assert rounds.flavor_usage_from_proto(sent(rounds.flavor_usage_to_proto(usage))).requested == 2**63 - 1
