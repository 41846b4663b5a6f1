"""Jobs: what is asked for, where it runs, what has become of it."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from allocator.domain.constraints import UNCONSTRAINED
from allocator.domain.errors import InvalidInput
from allocator.domain.job import DEFAULT_PRIORITY_CLASS, Configuration, Job, JobSpec, JobState
from allocator.domain.placement import WHOLE, Allocation, Placement, ReplicaPlacement
from allocator.domain.process import NO_RETRIES
from allocator.domain.resources import NOTHING
from allocator.v1 import job_pb2, reason_pb2
from allocator.wire.constraints import constraints_from_proto, constraints_to_proto
from allocator.wire.fields import (
    MAX_CONFIGURATIONS,
    Enumeration,
    labels_from_proto,
    time_from_proto,
    time_to_proto,
    within,
)
from allocator.wire.processes import (
    dependencies_from_proto,
    dependency_to_proto,
    process_from_proto,
    process_to_proto,
    retries_from_proto,
    retries_to_proto,
)
from allocator.wire.reasons import PREEMPTION_REASONS, pending_reason_from_proto, pending_reason_to_proto
from allocator.wire.resources import epoch_from_proto, epoch_to_proto, resources_from_proto, resources_to_proto

JOB_STATES = Enumeration(JobState, job_pb2.JobState, "JOB_STATE")


def configuration_to_proto(configuration: Configuration) -> job_pb2.Configuration:
    return job_pb2.Configuration(
        flavor=configuration.flavor,
        replicas=configuration.replicas,
        demand=resources_to_proto(configuration.demand),
        throughput=configuration.throughput if configuration.declared else None,
    )


def configuration_from_proto(message: job_pb2.Configuration) -> Configuration:
    """Absent replicas are 1; an absent throughput is not declared, and 1 stands for it. Its values are not judged:
    `valid_spec_from_proto` does that.
    """
    try:
        demand = resources_from_proto(message.demand) if message.HasField("demand") else NOTHING
    except InvalidInput as error:
        raise within(error, "demand") from None
    return Configuration(
        message.flavor,
        message.replicas if message.HasField("replicas") else 1,
        demand,
        message.throughput if message.HasField("throughput") else 1.0,
        declared=message.HasField("throughput"),
    )


def spec_to_proto(spec: JobSpec) -> job_pb2.JobSpec:
    return job_pb2.JobSpec(
        queue=spec.queue,
        configurations=[configuration_to_proto(configuration) for configuration in spec.configurations],
        name=spec.name,
        weight=spec.weight,
        priority_class=spec.priority_class,
        preemptible=spec.preemptible,
        restart_cost_seconds=spec.restart_cost_seconds,
        expected_duration_seconds=spec.expected_duration_seconds,
        labels=dict(spec.labels),
        constraints=constraints_to_proto(spec.constraints),
        resizable=spec.resizable,
        divisible=spec.divisible,
        job_class=spec.job_class,
        deadline=_optional_time_to_proto(spec.deadline),
        minimum_throughput=spec.minimum_throughput,
        process=None if spec.process is None else process_to_proto(spec.process),
        retries=retries_to_proto(spec.retries),
        after=[dependency_to_proto(dependency) for dependency in spec.after],
        array_index=spec.array_index,
    )


def spec_from_proto(message: job_pb2.JobSpec) -> JobSpec:
    """The spec with its defaults filled in. Raises InvalidInput where there is too much of something."""
    if len(message.configurations) > MAX_CONFIGURATIONS:
        raise InvalidInput.of(
            "configurations", f"must be at most {MAX_CONFIGURATIONS}, got {len(message.configurations)}"
        )
    configurations = []
    for index, configuration in enumerate(message.configurations):
        try:
            configurations.append(configuration_from_proto(configuration))
        except InvalidInput as error:
            raise within(error, f"configurations[{index}]") from None
    constraints = UNCONSTRAINED
    if message.HasField("constraints"):
        try:
            constraints = constraints_from_proto(message.constraints)
        except InvalidInput as error:
            raise within(error, "constraints") from None
    process = None
    if message.HasField("process"):
        try:
            process = process_from_proto(message.process)
        except InvalidInput as error:
            raise within(error, "process") from None
    return JobSpec(
        message.queue,
        tuple(configurations),
        message.name,
        message.weight if message.HasField("weight") else 1.0,
        message.priority_class or DEFAULT_PRIORITY_CLASS,
        message.preemptible if message.HasField("preemptible") else True,
        message.restart_cost_seconds,
        message.expected_duration_seconds if message.HasField("expected_duration_seconds") else None,
        labels_from_proto(message.labels) if message.labels else (),
        constraints,
        message.resizable,
        message.divisible,
        message.job_class,
        time_from_proto(message.deadline, "deadline") if message.HasField("deadline") else None,
        message.minimum_throughput if message.HasField("minimum_throughput") else None,
        process,
        retries_from_proto(message.retries) if message.HasField("retries") else NO_RETRIES,
        dependencies_from_proto(message.after) if message.after else (),
        message.array_index if message.HasField("array_index") else None,
    )


def valid_spec_from_proto(message: job_pb2.JobSpec) -> JobSpec:
    """A spec with which nothing is wrong by itself. Raises InvalidInput with every violation found."""
    spec = spec_from_proto(message)
    violations = spec.violations()
    if violations:
        raise InvalidInput(*violations)
    return spec


def allocation_to_proto(allocation: Allocation) -> job_pb2.Allocation:
    return job_pb2.Allocation(
        configuration=allocation.placement.configuration,
        replicas=[job_pb2.ReplicaPlacement(node=r.node, gpus=r.gpus) for r in allocation.placement.replicas],
        epoch=epoch_to_proto(allocation.epoch),
        start_time=time_to_proto(allocation.start_time),
        finished_replicas=sorted(allocation.finished),
        millis=allocation.placement.millis,
        start_epoch=epoch_to_proto(allocation.start_epoch),
    )


def allocation_from_proto(job_id: str, message: job_pb2.Allocation) -> Allocation:
    """A start epoch that is absent, or the epoch itself, says that there was no resize since the start."""
    replicas = tuple(ReplicaPlacement(r.node, tuple(r.gpus)) for r in message.replicas)
    epoch = epoch_from_proto(message.epoch)
    started = epoch_from_proto(message.start_epoch) if message.HasField("start_epoch") else epoch
    return Allocation(
        Placement(job_id, message.configuration, replicas, message.millis or WHOLE),
        epoch,
        time_from_proto(message.start_time, "allocation.start_time"),
        frozenset(message.finished_replicas),
        None if started == epoch else started,
    )


def job_to_proto(job: Job) -> job_pb2.Job:
    return job_pb2.Job(
        id=job.id,
        sequence=job.sequence,
        spec=spec_to_proto(job.spec),
        submit_time=time_to_proto(job.submit_time),
        state=JOB_STATES.number(job.state),
        revision=job.revision,
        allocation=None if job.allocation is None else allocation_to_proto(job.allocation),
        pending_reason=None if job.pending_reason is None else pending_reason_to_proto(job.pending_reason),
        first_start_time=_optional_time_to_proto(job.first_start_time),
        last_start_time=_optional_time_to_proto(job.last_start_time),
        end_time=_optional_time_to_proto(job.end_time),
        preemption_count=job.preemption_count,
        last_preemption=(
            reason_pb2.PREEMPTION_REASON_UNSPECIFIED
            if job.last_preemption is None
            else PREEMPTION_REASONS.number(job.last_preemption)
        ),
        measured_throughput=dict(job.measured_throughput),
        message=job.message,
        work_done_seconds=job.work_done_seconds,
        work_counted_time=_optional_time_to_proto(job.work_counted_time),
        failures=job.failures,
        not_before=_optional_time_to_proto(job.not_before),
        waits_for=job.waits_for,
    )


def job_from_proto(message: job_pb2.Job) -> Job:
    """Raises InvalidInput for an unknown state, cause or reason: the server speaks another version of the API."""
    return Job(
        id=message.id,
        sequence=message.sequence,
        spec=spec_from_proto(message.spec),
        submit_time=time_from_proto(message.submit_time, "submit_time"),
        state=JOB_STATES.member(message.state, "state"),
        revision=message.revision,
        allocation=allocation_from_proto(message.id, message.allocation) if message.HasField("allocation") else None,
        pending_reason=(
            pending_reason_from_proto(message.pending_reason, "pending_reason")
            if message.HasField("pending_reason")
            else None
        ),
        first_start_time=_optional_time_from_proto(message, "first_start_time"),
        last_start_time=_optional_time_from_proto(message, "last_start_time"),
        end_time=_optional_time_from_proto(message, "end_time"),
        preemption_count=message.preemption_count,
        last_preemption=(
            PREEMPTION_REASONS.member(message.last_preemption, "last_preemption") if message.last_preemption else None
        ),
        measured_throughput=tuple(sorted(message.measured_throughput.items())),
        message=message.message,
        work_done_seconds=message.work_done_seconds,
        work_counted_time=_optional_time_from_proto(message, "work_counted_time"),
        failures=message.failures,
        not_before=_optional_time_from_proto(message, "not_before"),
        waits_for=tuple(message.waits_for),
    )


def _optional_time_to_proto(seconds: float | None) -> Timestamp | None:
    return None if seconds is None else time_to_proto(seconds)


def _optional_time_from_proto(message: job_pb2.Job, field: str) -> float | None:
    return time_from_proto(getattr(message, field), field) if message.HasField(field) else None  # type: ignore[arg-type]
