"""Where nodes cannot give what the optimum promises, because of fragments, what there is goes round all the same."""

from __future__ import annotations

from collections import Counter

from allocator.domain.job import JobSpec
from allocator.domain.policy import Policy
from tests.placement.small_worlds import SmallWorld, Stage
from tests.placement.worlds import node, way


def test_nobody_is_starved_once_everybody_is_owed_more_than_credit_can_tell() -> None:
    """Four jobs of three GPUs on three nodes of four: in total there is room for all, on the nodes for three. Credits
    reach their limit, and still the one that waits is owed more than those that run.
    """
    world = SmallWorld(
        1,
        tuple(node(f"n{index}", gpu=4) for index in range(3)),
        tuple(JobSpec("q", (way(gpu=3),)) for _ in range(4)),
        Policy(),
        300.0,
        ((1.0,),) * 4,
    )
    stage, ran = Stage(world), Counter[str]()
    for played in stage.rounds(400):
        if played.report.snapshot.round > 200:  # long after the limit is reached
            ran.update(job.id for job in played.report.snapshot.jobs if job.allocation is not None)
    assert len(ran) == 4
    assert min(ran.values()) > 0.7 * 199
