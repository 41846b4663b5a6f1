"""What a node shall run, as a sequence of messages none of which is large, and back.

A node may hold a thousand replicas, each with 64 KiB of environment and the names of all nodes of its gang. That may be
more than one message may have. So they are told in parts, and what a replica shares with the one before it, as those
of a gang do, is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from allocator.domain.errors import InvalidInput
from allocator.domain.placement import DesiredReplica, NodeDesired
from allocator.v1 import node_service_pb2 as pb
from allocator.wire.nodes import desired_from_proto, desired_to_proto

PART_BYTES = 4 * 2**20
"""Of a message, unless a single replica is larger."""


def parts_of(desired: NodeDesired) -> Iterator[pb.WatchAllocationsResponse]:
    """At least one message; each is made when it is asked for."""
    part, size = _begun(desired), 0
    before: DesiredReplica | None = None
    for replica in desired.replicas:
        shares = before is not None and _share(before, replica)
        told = replace(replica, process=None, peers=()) if shares else replica
        (message,) = desired_to_proto(NodeDesired(desired.node, desired.epoch, (told,))).replicas
        size += message.ByteSize()
        if size > PART_BYTES and part.desired.replicas:
            part.more = True
            yield part
            part, size = _begun(desired), message.ByteSize()
            part.continues = True
        if shares:
            part.shared.append(len(part.desired.replicas))
        part.desired.replicas.append(message)
        before = replica
    yield part


def _begun(desired: NodeDesired) -> pb.WatchAllocationsResponse:
    return pb.WatchAllocationsResponse(desired=desired_to_proto(replace(desired, replicas=())))


def _share(one: DesiredReplica, other: DesiredReplica) -> bool:
    """Whether they are of one start of one gang. By identity: to compare a hundred thousand names costs more."""
    return other.process is not None and one.process is other.process and one.peers is other.peers


class Parts:
    """Puts together what `parts_of` took apart."""

    def __init__(self) -> None:
        self._replicas: list[DesiredReplica] = []
        self._goes_on = False

    def add(self, part: pb.WatchAllocationsResponse) -> NodeDesired | None:
        """The whole, with its last part. Raises InvalidInput for one that goes on with nothing. A stream that broke off
        is forgotten as soon as another one begins.
        """
        if not part.continues:
            self._replicas = []
        elif not self._goes_on:
            raise InvalidInput.of("continues", "must not be set of the first part of all")
        found = desired_from_proto(part.desired)
        shared = frozenset(part.shared)
        for index, replica in enumerate(found.replicas):
            if index in shared:
                if not self._replicas:
                    raise InvalidInput.of("shared", "must not name the first replica of all")
                before = self._replicas[-1]
                self._replicas.append(replace(replica, process=before.process, peers=before.peers))
            else:
                self._replicas.append(replica)
        self._goes_on = part.more
        return None if part.more else replace(found, replicas=tuple(self._replicas))
