"""Who has to leave before anything is decided: jobs on lost and draining nodes, and on nodes that shrank.

Equivalent to: put every running job in its place; remove those with an unfinished replica on a node that is lost or
gone (NODE_LOST), the preemptible ones with one on a draining node (NODE_DRAINING), and those whose node changed its
flavor or lost a GPU of theirs (CAPACITY_SHRUNK). Then, on each node that is still overfull, remove preemptible before
non-preemptible jobs, the least owed first, until it is not, and put back whoever did not have to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.placement import Allocation
from allocator.domain.reason import PreemptionReason
from allocator.placement.contenders import Contender
from allocator.placement.packing import Gang, NodeSpace, Shape, Spaces


def put_in_place(running: Sequence[Contender], nodes: Sequence[Node], spaces: Spaces, *, emptying: bool = True) -> None:
    """Load every running job that can stay into `spaces`, and mark the others as evicted.

    Without `emptying`, draining nodes keep what they hold.
    """
    by_name = {node.name: node for node in nodes}
    staying: dict[str, list[Contender]] = {}
    for contender in running:
        allocation = contender.job.allocation
        assert allocation is not None
        configuration = contender.job.spec.configurations[allocation.placement.configuration]
        shape = spaces.shapes.of(configuration.flavor, configuration.replicas, configuration.demand)
        reason = _reason_to_leave(contender, allocation, shape, by_name)
        if reason is not None and (emptying or reason is not PreemptionReason.NODE_DRAINING):
            contender.evict(reason)
            continue
        contender.gang = _gang(allocation, shape, spaces.by_flavor[shape.flavor], by_name)
        contender.configuration = allocation.placement.configuration
        staying.setdefault(shape.flavor, []).append(contender)
    for flavor, inhabitants in staying.items():
        space = spaces.by_flavor[flavor]
        space.load(contender.gang for contender in inhabitants if contender.gang is not None)
        _relieve(space, inhabitants)


def _reason_to_leave(
    contender: Contender, allocation: Allocation, shape: Shape, nodes: Mapping[str, Node]
) -> PreemptionReason | None:
    """Why the job cannot stay, judged by its nodes alone."""
    draining = shrunk = False
    for replica in allocation.standing:
        node = nodes.get(replica.node)
        if node is None or node.health is NodeHealth.LOST:
            return PreemptionReason.NODE_LOST
        if node.availability is NodeAvailability.DRAINING:
            draining = True
        if node.flavor != shape.flavor or any(device >= node.gpu_count for device in replica.gpus):
            shrunk = True
    if draining and contender.job.spec.preemptible:
        return PreemptionReason.NODE_DRAINING
    return PreemptionReason.CAPACITY_SHRUNK if shrunk or shape.absent else None


def _gang(allocation: Allocation, shape: Shape, space: NodeSpace, nodes: Mapping[str, Node]) -> Gang:
    """The place as placement sees it; a finished replica has none."""
    pieces: dict[int, list[tuple[int, ...]]] = {}
    for replica in allocation.standing:
        position = space.index.get(replica.node)
        if position is None or any(device >= nodes[replica.node].gpu_count for device in replica.gpus):
            continue
        pieces.setdefault(position, []).append(replica.gpus)
    return Gang(shape, tuple((position, tuple(gpus)) for position, gpus in pieces.items()))


def _relieve(space: NodeSpace, inhabitants: Sequence[Contender]) -> None:
    """Evict until no node is overfull."""
    overfull = space.overfull()
    if not overfull:
        return
    for node in overfull:
        leaving: list[tuple[Contender, Gang]] = []
        for contender in sorted(
            (c for c in inhabitants if c.gang is not None and any(node == n for n, _ in c.gang.pieces)),
            key=lambda c: (c.job.spec.preemptible, c.rank),
            reverse=True,
        ):
            if not space.is_overfull(node):
                break
            assert contender.gang is not None
            leaving.append((contender, contender.gang))
            space.release(contender.gang)
        for contender, gang in reversed(leaving):
            if space.holds(gang):
                space.take(gang)
            else:
                contender.evict(PreemptionReason.CAPACITY_SHRUNK)
