"""Resources and epochs."""

from __future__ import annotations

from allocator.domain.errors import InvalidInput
from allocator.domain.placement import Epoch
from allocator.domain.resources import Resources
from allocator.v1 import epoch_pb2, resources_pb2
from allocator.wire.fields import MAX_EXTRAS


def resources_to_proto(resources: Resources) -> resources_pb2.Resources:
    return resources_pb2.Resources(
        cpu_millicores=resources.cpu_millicores,
        gpu_millis=resources.gpu_millis,
        memory_bytes=resources.memory_bytes,
        bandwidth_bytes_per_second=resources.bandwidth_bytes_per_second,
        disk_bytes=resources.disk_bytes,
        extra=dict(resources.extra),
    )


def resources_from_proto(message: resources_pb2.Resources) -> Resources:
    """Zero extras are dropped: not mentioned and none are the same. Raises InvalidInput for too many of them."""
    extra: tuple[tuple[str, int], ...] = ()
    if message.extra:
        if len(message.extra) > MAX_EXTRAS:
            raise InvalidInput.of("extra", f"must name at most {MAX_EXTRAS} resources, got {len(message.extra)}")
        extra = tuple(sorted((name, amount) for name, amount in message.extra.items() if amount))
    return Resources(
        message.cpu_millicores,
        message.gpu_millis,
        message.memory_bytes,
        message.bandwidth_bytes_per_second,
        message.disk_bytes,
        extra,
    )


def epoch_to_proto(epoch: Epoch) -> epoch_pb2.Epoch:
    return epoch_pb2.Epoch(round=epoch.round, revision=epoch.revision)


def epoch_from_proto(message: epoch_pb2.Epoch) -> Epoch:
    return Epoch(message.round, message.revision)
