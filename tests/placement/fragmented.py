"""Worlds in which enough is free, but in pieces: small jobs filled the nodes, and some of them have gone."""

from __future__ import annotations

import random
from dataclasses import replace

from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from allocator.intake import commands as c
from allocator.rounds.ports import Solver
from tests.placement.small_worlds import SmallWorld, Stage, affordable, patient
from tests.placement.worlds import node, way

LARGE = 2
"""GPUs of a replica from which on a job stays until somebody stops it."""


def fragmented(seed: int) -> SmallWorld:
    """As many small jobs as there are GPUs, then one to four large ones."""
    dice = random.Random(seed)
    nodes = tuple(node(f"n{i}", cpu=16, gpu=dice.choice((2, 4, 4))) for i in range(dice.randint(2, 5)))
    small = sum(member.gpu_count for member in nodes)
    specs = tuple(
        _spec(dice, index, (0.5, 1, 1, 1) if index < small else (2, 2, 3, 4))
        for index in range(small + dice.randint(1, 4))
    )
    policy = Policy(minimum_run_seconds=dice.choice((30.0, 100.0)), hysteresis_seconds=dice.choice((0.0, 60.0, 150.0)))
    world = SmallWorld(seed, nodes, specs, policy, dice.choice((20.0, 30.0, 60.0)))
    wished = tuple((dice.choice((0.5, 0.9, 1.0, 1.0)),) for _ in specs)
    return patient(dice, replace(world, shares=affordable(world, wished)))


def _spec(dice: random.Random, index: int, sizes: tuple[float, ...]) -> JobSpec:
    replicas = dice.choice((1, 1, 1, 2)) if sizes[0] >= LARGE else 1
    return JobSpec(
        "q",
        (way(replicas=replicas, gpu=dice.choice(sizes), cpu=dice.choice((0, 1, 3))),),
        weight=1.0 + index / 97,
        preemptible=dice.random() < 0.9,
        priority_class=dice.choice(("low", *["normal"] * 8, "high")),
        restart_cost_seconds=dice.choice((0.0, 30.0, 1000.0, 4000.0)),
    )


def thinned(world: SmallWorld, solver: Solver | None = None) -> Stage:
    """The world after its first round, when more than half of the small jobs have been cancelled."""
    stage = Stage(world, solver)
    stage.play()
    dice = random.Random(world.seed)
    small = [job for job in stage.jobs if job.spec.configurations[0].demand.gpu_millis < LARGE * 1000]
    stage.do(c.CancelJobs(tuple(job.id for job in small if dice.random() < 0.6)))
    return stage
