"""What work comes is told from the live jobs, and goes on as the same object while it is about right."""

from __future__ import annotations

from allocator.domain.job import Configuration
from allocator.domain.policy import Policy
from allocator.domain.snapshot import WorkKind
from allocator.formulation.build import build
from allocator.rounds.coming import LARGEST_VALUE, coming_work
from tests.placement.worlds import node, snapshot, waiting, way

NODES = [node("n1", cpu=64, gpu=8), node("n2", flavor="c", cpu=64)]


def coming(
    *counts: tuple[int, Configuration],
    prices: dict[tuple[str, str], float] | None = None,
    before: tuple[WorkKind, ...] = (),
) -> tuple[WorkKind, ...]:
    ways = [each for count, each in counts for _ in range(count)]
    jobs = [waiting(sequence, each) for sequence, each in enumerate(ways)]
    return coming_work(build(snapshot(NODES, jobs), Policy()).live, prices or {}, before)


def told(work: tuple[WorkKind, ...]) -> dict[tuple[str, tuple[tuple[str, int], ...]], tuple[int, float]]:
    return {
        (kind.flavor, tuple(kind.demand.items())): (kind.popularity, round(kind.value / LARGEST_VALUE, 4))
        for kind in work
    }


def test_replicas_are_counted_over_all_gangs_of_their_size() -> None:
    work = coming((2, way(cpu=4, gpu=1)), (1, way(cpu=4, gpu=1, replicas=5)))
    assert told(work) == {("a", (("cpu", 4000), ("gpu", 1000))): (7, 1.0)}


def test_without_prices_gpus_count_and_where_there_are_none_cores() -> None:
    work = coming((1, way(cpu=4, gpu=2)), (1, way(cpu=9, gpu=0.5)), (1, way(cpu=9)), (1, way(flavor="c", cpu=9)))
    assert told(work) == {
        ("a", (("cpu", 4000), ("gpu", 2000))): (1, 1.0),
        ("a", (("cpu", 9000), ("gpu", 500))): (1, 0.25),
        ("c", (("cpu", 9000),)): (1, 1.0),
    }


def test_prices_say_what_a_replica_is_worth() -> None:
    prices = {("a", "cpu"): 0.5, ("a", "gpu"): 2.0}
    work = coming((1, way(cpu=4, gpu=1)), (1, way(cpu=16)), prices=prices)
    assert told(work) == {
        ("a", (("cpu", 4000), ("gpu", 1000))): (1, 0.5),
        ("a", (("cpu", 16000),)): (1, 1.0),
    }


def test_what_fits_nowhere_does_not_come_and_what_hardly_comes_is_left_out() -> None:
    work = coming((300, way(gpu=1)), (1, way(gpu=2)), (1, way(gpu=16)))
    assert told(work) == {("a", (("gpu", 1000),)): (300, 0.5)}


def test_it_is_the_same_object_until_it_differs_by_more_than_a_tenth() -> None:
    first = coming((50, way(gpu=1)), (25, way(gpu=2)))
    assert coming((55, way(gpu=1)), (25, way(gpu=2)), before=first) is first
    assert coming((100, way(gpu=1)), (50, way(gpu=2)), before=first) is first
    assert coming(before=first) is first
    other = coming((80, way(gpu=1)), (25, way(gpu=2)), before=first)
    assert other is not first
    assert told(other) == told(coming((80, way(gpu=1)), (25, way(gpu=2))))


def test_a_new_kind_that_makes_up_more_than_a_tenth_changes_it() -> None:
    first = coming((100, way(gpu=1)))
    assert coming((100, way(gpu=1)), (4, way(gpu=2)), before=first) is first
    assert len(coming((100, way(gpu=1)), (8, way(gpu=2)), before=first)) == 2
