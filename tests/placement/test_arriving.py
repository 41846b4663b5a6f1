"""Work arrives round by round and nobody leaves: how full the cluster gets, and that the same is decided again."""

from __future__ import annotations

import random

import pytest

from allocator.domain.plan import Plan
from allocator.domain.policy import PLACEMENTS, Policy
from allocator.domain.snapshot import Snapshot, WorkKind
from allocator.formulation.build import build
from allocator.placement import violations
from allocator.rounds.coming import coming_work
from tests.placement.worlds import applied, decide, node, snapshot, waiting, way

NODES = tuple(node(f"n{index:02}", cpu=(24, 24, 48)[index % 3], gpu=4) for index in range(18))
KINDS = (
    (way(cpu=2, gpu=0.25), 3),
    (way(cpu=3, gpu=0.5), 4),
    (way(cpu=4, gpu=0.8), 4),
    (way(cpu=4, gpu=1), 6),
    (way(cpu=14, gpu=1), 2),
    (way(cpu=16, gpu=2), 1),
    (way(cpu=6), 2),
)
AT_ONCE = 8


def expected_work() -> tuple[WorkKind, ...]:
    """What a scheduler knows that has seen each kind as often as it comes."""
    seen = [kind for kind, often in KINDS for _ in range(often)]
    jobs = [waiting(index, kind) for index, kind in enumerate(seen)]
    return coming_work(build(snapshot(NODES, jobs), Policy()).live, {}, ())


def arrived(placement: str, seed: int) -> tuple[Snapshot, list[Plan]]:
    """After 130 jobs; those that fit nowhere when they come are dropped."""
    dice = random.Random(seed)
    ways = dice.choices([kind for kind, _ in KINDS], [often for _, often in KINDS], k=130)
    world, work, plans = snapshot(NODES, []), expected_work(), []
    for first in range(0, len(ways), AT_ONCE):
        fresh = [
            waiting(first + index, kind, weight=1.0, preemptible=False)
            for index, kind in enumerate(ways[first : first + AT_ONCE])
        ]
        there = [job for job in world.jobs if job.allocation is not None]
        plans.append(decide(snapshot(NODES, [*there, *fresh]), policy=Policy(placement=placement), work=work))
        world = applied(snapshot(NODES, [*there, *fresh]), plans[-1])
    return world, plans


def gpus_held(world: Snapshot) -> float:
    assert violations(world.nodes, world.jobs) == []
    held = [job.spec.configurations[0].demand.gpu_millis for job in world.jobs if job.allocation is not None]
    return sum(held) / 1000


def test_prospects_fill_the_cluster_better_than_best_fit() -> None:
    better = [gpus_held(arrived("prospects", seed)[0]) - gpus_held(arrived("best-fit", seed)[0]) for seed in range(4)]
    assert sum(better) > 0
    assert min(better) >= -0.5


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_same_memory_gives_the_same_plans(placement: str) -> None:
    assert arrived(placement, 7)[1] == arrived(placement, 7)[1]
