"""What a node shall run, told in parts: whatever it is, it is put together as it was, and no part is large."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.domain.errors import InvalidInput
from allocator.domain.placement import DesiredReplica, Epoch, NodeDesired
from allocator.domain.process import Process
from allocator.v1 import node_service_pb2 as pb
from allocator.wire import desired_parts
from allocator.wire.desired_parts import Parts, parts_of
from tests.builders import resources
from tests.wire import strategies as some

LARGE = Process(("run",), (("LARGE", "x" * 1000),))


def gang(job_id: str, count: int, process: Process | None = LARGE) -> tuple[DesiredReplica, ...]:
    """All of them on one node, as a store tells it: they share what they run."""
    epoch, peers = Epoch(3, 4), tuple(f"node-{number}" for number in range(100))
    return tuple(
        DesiredReplica(job_id, number, count, epoch, "a", resources(cpu=1), (), epoch, process=process, peers=peers)
        for number in range(count)
    )


def together(messages: list[pb.WatchAllocationsResponse]) -> list[NodeDesired]:
    """As they arrive, message by message."""
    parts = Parts()
    sent = [pb.WatchAllocationsResponse.FromString(each.SerializeToString()) for each in messages]
    return [whole for whole in map(parts.add, sent) if whole is not None]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(some.desired, st.lists(st.integers(1, 5), max_size=4), st.sampled_from([1, 3000, 2**22]))
def test_what_is_told_in_parts_is_what_it_was(drawn: NodeDesired, gangs: list[int], part_bytes: int) -> None:
    replicas = [each for number, count in enumerate(gangs) for each in gang(f"gang-{number}", count)]
    desired = replace(drawn, replicas=(*drawn.replicas[:1], *replicas, *drawn.replicas[1:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desired_parts, "PART_BYTES", part_bytes)
        parts = list(parts_of(desired))
    assert together(parts) == [desired]
    assert all(part.ByteSize() < part_bytes + 400 for part in parts if len(part.desired.replicas) > 1)


def test_what_a_gang_shares_is_told_once() -> None:
    desired = NodeDesired("n", Epoch(3, 4), (*gang("j1", 200), *gang("j2", 200)))
    (part,) = parts_of(desired)
    assert part.ByteSize() < 400 * 150
    (whole,) = together([part])
    assert whole == desired
    assert whole.replicas[199].peers is whole.replicas[0].peers


def test_a_state_of_which_a_part_was_lost_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desired_parts, "PART_BYTES", 1)
    old = NodeDesired("n", Epoch(3, 4), gang("j1", 4))
    new = NodeDesired("n", Epoch(5, 6), gang("j2", 3))
    assert together([*list(parts_of(old))[:2], *parts_of(new)]) == [new]


def test_parts_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desired_parts, "PART_BYTES", 1)
    first, second = list(parts_of(NodeDesired("n", Epoch(3, 4), gang("j1", 2))))
    with pytest.raises(InvalidInput, match="continues: must not be set of the first part"):
        together([second])
    with pytest.raises(InvalidInput, match="continues"):
        together([first, second, second])
    first.shared.append(0)
    with pytest.raises(InvalidInput, match="shared: must not name the first replica"):
        together([first])
