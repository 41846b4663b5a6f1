"""A remembered result belongs to the very object it was made from."""

from __future__ import annotations

import threading

from allocator.domain.remembered import remembered


def test_same_object_is_evaluated_once_and_an_equal_one_again() -> None:
    calls: list[tuple[int, ...]] = []

    @remembered
    def total(numbers: tuple[int, ...]) -> int:
        calls.append(numbers)
        return sum(numbers)

    one, equal = tuple(range(1, 4)), tuple(range(1, 4))
    assert one is not equal
    assert [total(one), total(one), total(equal), total(one)] == [6, 6, 6, 6]
    assert len(calls) == 3


def test_what_other_threads_ask_is_not_forgotten_here() -> None:
    calls: list[tuple[int, ...]] = []

    @remembered
    def total(numbers: tuple[int, ...]) -> int:
        calls.append(numbers)
        return sum(numbers)

    mine, theirs = tuple(range(1, 4)), tuple(range(5, 9))
    total(mine)
    other = threading.Thread(target=total, args=(theirs,))
    other.start()
    other.join()
    assert total(mine) == 6
    assert calls == [mine, theirs]


def test_every_argument_has_to_be_the_same_object() -> None:
    calls = 0

    @remembered
    def both(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        nonlocal calls
        calls += 1
        return one + other

    one, other, equal = tuple(range(1, 3)), tuple(range(3, 5)), tuple(range(3, 5))
    for second in (other, other, equal, other):
        assert both(one, second) == (1, 2, 3, 4)
    assert calls == 3
