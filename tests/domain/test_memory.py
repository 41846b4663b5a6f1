"""Memories: looked up by sequence, equal by content, and refused when their arrays do not belong together."""

from __future__ import annotations

from array import array

import pytest

from allocator.domain.snapshot import Memory


def test_credit_grows_at_its_pace_and_is_zero_for_the_unknown() -> None:
    memory = Memory.of(10.0, {3: 5.0, 9: -2.0}, {9: 0.5, 12: -1.0})
    assert [memory.credit(sequence, 14.0) for sequence in (1, 3, 4, 9, 12, 13)] == [0.0, 5.0, 0.0, 0.0, -4.0, 0.0]
    assert memory.credit(9, 9.0) == -2.0, "time does not run backwards"
    assert Memory().credit(1, 5.0) == 0.0


def test_memories_with_the_same_content_are_equal() -> None:
    first, second = (Memory.of(1.0, {2: 0.5, 1: 0.25}, {1: 1.0}, {("a100", "gpu"): 0.5}) for _ in range(2))
    assert first == second
    assert first == Memory(
        1.0, array("q", [1, 2]), array("d", [0.25, 0.5]), array("d", [1.0, 0.0]), {("a100", "gpu"): 0.5}
    )
    assert first != Memory.of(1.0, {2: 0.5, 1: 0.75}, {1: 1.0}, {("a100", "gpu"): 0.5})


@pytest.mark.parametrize(
    "arrays",
    [
        (array("q", [1]), array("d"), array("d", [1.0])),
        (array("q", [1]), array("d", [1.0]), array("d")),
        (array("i", [1]), array("d", [1.0]), array("d", [1.0])),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(arrays: tuple[array[int], array[float], array[float]]) -> None:
    with pytest.raises(AssertionError):
        Memory(0.0, *arrays)
