"""Nodes, what they are asked to run, and what they report."""

from __future__ import annotations

from allocator.domain.bounds import printable
from allocator.domain.cluster import MOST_TAINTS, EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.placement import WHOLE, DesiredReplica, JobStart, NodeDesired
from allocator.intake.commands import ReplicaReport, ReplicaState
from allocator.v1 import node_pb2
from allocator.wire.fields import MAX_TEXT, Enumeration, labels_from_proto, within
from allocator.wire.processes import process_from_proto, process_to_proto
from allocator.wire.resources import epoch_from_proto, epoch_to_proto, resources_from_proto, resources_to_proto

NODE_HEALTHS = Enumeration(NodeHealth, node_pb2.NodeHealth, "NODE_HEALTH")
NODE_AVAILABILITIES = Enumeration(NodeAvailability, node_pb2.NodeAvailability, "NODE_AVAILABILITY")
CAPABILITIES = Enumeration(EngineCapability, node_pb2.EngineCapability, "ENGINE_CAPABILITY")
REPLICA_STATES = Enumeration(ReplicaState, node_pb2.ReplicaState, "REPLICA_STATE")


def node_to_proto(node: Node) -> node_pb2.Node:
    return node_pb2.Node(
        name=node.name,
        flavor=node.flavor,
        capacity=resources_to_proto(node.capacity),
        labels=dict(node.labels),
        availability=NODE_AVAILABILITIES.number(node.availability),
        health=NODE_HEALTHS.number(node.health),
        simulated=node.simulated,
        taints=dict(node.taints),
        capabilities=_capabilities_to_proto(node.capabilities),
        trouble=node.trouble,
    )


def node_from_proto(message: node_pb2.Node) -> Node:
    """A node as the server answers it: availability and health must be there."""
    registered = registered_node_from_proto(message)
    return Node(
        registered.name,
        registered.flavor,
        registered.capacity,
        registered.labels,
        NODE_AVAILABILITIES.member(message.availability, "availability"),
        NODE_HEALTHS.member(message.health, "health"),
        registered.simulated,
        registered.taints,
        registered.capabilities,
        registered.trouble,
    )


def registered_node_from_proto(message: node_pb2.Node) -> Node:
    """A node as an agent registers it: open and ready, whatever output-only fields say. Its values are not judged."""
    try:
        capacity = resources_from_proto(message.capacity)
    except InvalidInput as error:
        raise within(error, "capacity") from None
    return Node(
        message.name,
        message.flavor,
        capacity,
        labels_from_proto(message.labels),
        simulated=message.simulated,
        taints=labels_from_proto(message.taints, "taints", MOST_TAINTS),
        capabilities=_capabilities_from_proto(message.capabilities) if message.HasField("capabilities") else None,
        trouble=printable(message.trouble[:MAX_TEXT]),
    )


def _capabilities_to_proto(able: frozenset[EngineCapability] | None) -> node_pb2.EngineCapabilities | None:
    if able is None:
        return None
    return node_pb2.EngineCapabilities(can=sorted(CAPABILITIES.number(each) for each in able))


def _capabilities_from_proto(message: node_pb2.EngineCapabilities) -> frozenset[EngineCapability]:
    """Those of a later version of the API are left out: nothing is planned here that needs them."""
    known = [number for number in message.can if number in CAPABILITIES or not number]
    return frozenset(CAPABILITIES.member(number, f"capabilities.can[{index}]") for index, number in enumerate(known))


def desired_to_proto(desired: NodeDesired) -> node_pb2.NodeDesired:
    return node_pb2.NodeDesired(
        node=desired.node,
        epoch=epoch_to_proto(desired.epoch),
        replicas=[
            node_pb2.DesiredReplica(
                job_id=replica.job_id,
                replica=replica.replica,
                replicas=replica.replicas,
                epoch=epoch_to_proto(replica.epoch),
                flavor=replica.flavor,
                demand=resources_to_proto(replica.demand),
                gpus=replica.gpus,
                start_epoch=epoch_to_proto(replica.start_epoch),
                millis=replica.millis,
                process=None if replica.process is None else process_to_proto(replica.process),
                peers=replica.peers,
                array_index=replica.array_index,
                failures=replica.failures,
                queue=replica.queue,
            )
            for replica in desired.replicas
        ],
        waiting=sorted(desired.waiting),
        awaited=desired.is_awaited,
    )


def desired_from_proto(message: node_pb2.NodeDesired) -> NodeDesired:
    return NodeDesired(
        message.node,
        epoch_from_proto(message.epoch),
        tuple(
            DesiredReplica(
                replica.job_id,
                replica.replica,
                replica.replicas,
                epoch_from_proto(replica.epoch),
                replica.flavor,
                resources_from_proto(replica.demand),
                tuple(replica.gpus),
                epoch_from_proto(replica.start_epoch if replica.HasField("start_epoch") else replica.epoch),
                replica.millis or WHOLE,
                process_from_proto(replica.process) if replica.HasField("process") else None,
                tuple(replica.peers),
                replica.array_index if replica.HasField("array_index") else None,
                replica.failures,
                replica.queue,
            )
            for replica in message.replicas
        ),
        frozenset(message.waiting),
        message.awaited,
    )


def job_start_to_proto(start: JobStart) -> node_pb2.JobStart:
    return node_pb2.JobStart(job_id=start.job_id, start_epoch=epoch_to_proto(start.start_epoch))


def job_start_from_proto(message: node_pb2.JobStart) -> JobStart:
    """Raises InvalidInput without a job or an epoch."""
    found = []
    if not message.job_id:
        found.append(Violation("job_id", "must name a job"))
    if not message.HasField("start_epoch"):
        found.append(Violation("start_epoch", "must be the epoch at which the job started"))
    if found:
        raise InvalidInput(*found)
    return JobStart(message.job_id, epoch_from_proto(message.start_epoch))


def report_to_proto(report: ReplicaReport) -> node_pb2.ReplicaReport:
    return node_pb2.ReplicaReport(
        job_id=report.job_id,
        replica=report.replica,
        epoch=epoch_to_proto(report.epoch),
        state=REPLICA_STATES.number(report.state),
        message=report.message,
        exit_code=report.exit_code,
        cpu_seconds=report.cpu_seconds,
        peak_memory_bytes=report.peak_memory_bytes,
    )


def report_from_proto(message: node_pb2.ReplicaReport) -> ReplicaReport:
    """Raises InvalidInput without a job, an epoch or a state.

    A long message is cut, and its control characters become spaces: the report matters more than its words.
    """
    found = []
    if not message.job_id:
        found.append(Violation("job_id", "must name a job"))
    if message.replica < 0:
        found.append(Violation("replica", f"must be at least 0, got {message.replica}"))
    if not message.HasField("epoch"):
        found.append(Violation("epoch", "must be the epoch of the allocation that the replica ran for"))
    if found:
        raise InvalidInput(*found)
    return ReplicaReport(
        message.job_id,
        message.replica,
        epoch_from_proto(message.epoch),
        REPLICA_STATES.member(message.state, "state"),
        printable(message.message[:MAX_TEXT]),
        message.exit_code if message.HasField("exit_code") else None,
        message.cpu_seconds,
        message.peak_memory_bytes,
    )
