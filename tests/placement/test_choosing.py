"""Which of the nodes that fit is taken: by what is left there, and by what it is worth to the work that will come."""

from __future__ import annotations

import pytest

from allocator.domain.job import Configuration
from allocator.domain.policy import PLACEMENTS, Policy
from allocator.domain.snapshot import Snapshot, WorkKind
from tests.placement.worlds import decide, node, running, snapshot, told, waiting, way

POLICIES = pytest.mark.parametrize("placement", PLACEMENTS)


def comes(*kinds: tuple[Configuration, int]) -> tuple[WorkKind, ...]:
    """Ways to run and how often they come, worth their GPUs."""
    found = [WorkKind(way.flavor, way.demand, often, way.demand.gpu_millis) for way, often in kinds]
    return tuple(sorted(found, key=lambda kind: tuple(kind.demand.items())))


def place_of(world: Snapshot, job: str, work: tuple[WorkKind, ...], placement: str = "prospects") -> str:
    return told(decide(world, policy=Policy(placement=placement), work=work))[job]


def test_work_that_asks_for_much_processor_goes_where_there_is_more_of_it_per_gpu() -> None:
    world = snapshot([node("n1", cpu=16, gpu=4), node("n2", cpu=64, gpu=4)], [waiting(1, way(cpu=12, gpu=1))])
    work = comes((way(cpu=4, gpu=1), 9), (way(cpu=12, gpu=1), 1))
    assert place_of(world, "j1", work) == "starts on n2:0"
    assert place_of(world, "j1", work, "fragmentation") == "starts on n2:0"
    assert place_of(world, "j1", work, "best-fit") == "starts on n1:0"


def test_work_that_asks_for_little_stays_away_from_there() -> None:
    world = snapshot([node("n1", cpu=48, gpu=4), node("n2", cpu=16, gpu=8)], [waiting(1, way(cpu=4, gpu=1))])
    work = comes((way(cpu=4, gpu=1), 1), (way(cpu=12, gpu=1), 1))
    assert place_of(world, "j1", work) == "starts on n2:0"


def test_a_part_goes_where_what_is_left_over_is_of_no_use_to_others() -> None:
    """The node with 300 milli-GPUs left fits exactly; half a device is what halves need."""
    world = snapshot(
        [node("n1", gpu=1), node("n2", gpu=2)],
        [
            running(waiting(1, way(gpu=0.5)), "n1:0"),
            running(waiting(2, way(gpu=0.7)), "n2:1"),
            waiting(3, way(gpu=0.3)),
        ],
    )
    work = comes((way(gpu=0.5), 10), (way(gpu=0.3), 1), (way(gpu=0.7), 1))
    assert place_of(world, "j3", work) == "starts on n2:1"
    assert place_of(world, "j3", work, "best-fit") == "starts on n1:0"


def test_a_part_takes_the_device_on_which_the_rest_is_of_use() -> None:
    """The tightest device would be left with 100 milli-GPUs that nobody asks for."""
    world = snapshot(
        [node("n1", gpu=2)],
        [
            running(waiting(1, way(gpu=0.6)), "n1:0"),
            running(waiting(2, way(gpu=0.5)), "n1:1"),
            waiting(3, way(gpu=0.3)),
        ],
    )
    work = comes((way(gpu=0.2), 5), (way(gpu=0.3), 1), (way(gpu=0.4), 5))
    assert place_of(world, "j3", work) == "starts on n1:1"
    assert place_of(world, "j3", work, "best-fit") == "starts on n1:0"


def test_a_gang_on_one_node_counts_as_a_whole() -> None:
    world = snapshot(
        [node("n1", cpu=24, gpu=4), node("n2", cpu=64, gpu=4)], [waiting(1, way(replicas=2, cpu=10, gpu=1))]
    )
    work = comes((way(cpu=4, gpu=1), 9), (way(cpu=10, gpu=1), 1))
    assert place_of(world, "j1", work) == "starts on n2:0 n2:1"
    assert place_of(world, "j1", work, "best-fit") == "starts on n1:0 n1:1"


def test_of_nodes_that_take_equally_many_replicas_those_that_cost_less_fill_first() -> None:
    nodes = [node(f"n{index}", cpu=cpu, gpu=gpu, rack="r") for index, cpu, gpu in ((1, 35, 2), (2, 24, 3), (3, 24, 3))]
    world = snapshot(nodes, [waiting(1, way(replicas=4, cpu=12, gpu=1))])
    work = comes((way(cpu=30, gpu=1), 1))  # of no use to it are two of the nodes anyway
    assert place_of(world, "j1", work) == "starts on n2:0 n2:1 n3:0 n3:1"
    assert place_of(world, "j1", work, "best-fit") == "starts on n1:0 n1:1 n2:0 n2:1"


@POLICIES
def test_nobody_moves_for_a_better_place(placement: str) -> None:
    world = snapshot(
        [node("n1", cpu=16, gpu=4), node("n2", cpu=64, gpu=4)],
        [running(waiting(1, way(cpu=12, gpu=1)), "n1:0"), waiting(2, way(cpu=4, gpu=1))],
    )
    assert place_of(world, "j1", comes((way(cpu=4, gpu=1), 9)), placement) == "kept"


@POLICIES
def test_without_knowledge_of_work_the_node_with_the_least_left_is_taken(placement: str) -> None:
    world = snapshot([node("n1", cpu=16, gpu=4), node("n2", cpu=64, gpu=4)], [waiting(1, way(cpu=12, gpu=1))])
    assert place_of(world, "j1", (), placement) == "starts on n1:0"


@POLICIES
def test_work_on_flavors_and_of_resources_that_are_not_there_is_no_matter(placement: str) -> None:
    world = snapshot([node("n1", cpu=16)], [waiting(1, way(cpu=12))])
    work = comes((way(flavor="gone", gpu=1), 9), (way(cpu=1, extra=1), 9))
    assert place_of(world, "j1", work, placement) == "starts on n1"
