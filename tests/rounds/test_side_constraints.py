"""Side constraints and floating resources in whole rounds: in the optimum's shares, and in what runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from allocator.domain.job import Configuration, Job, JobState
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.intake import commands as c
from tests.builders import configuration, node, resources, spec
from tests.rounds.test_loop import QUICK, World

POWER = SideConstraint(
    "power", (Term("gpu", 0.7, flavors=("a100",)), Term("gpu", 0.3, flavors=("t4",))), 6.0, unit="kW"
)


def world(policy: Policy, *queues: str, racks: bool = False) -> World:
    """Two nodes of 8 a100 and one of 8 t4."""
    made = World(policy)
    for queue in queues or ("q",):
        made.do(c.CreateQueue(Queue(queue)))
    for number, flavor in enumerate(("a100", "a100", "t4")):
        labels = (("rack", f"r{number}"),) if racks else ()
        made.do(c.RegisterNode(replace(node(f"n{number}", flavor, gpu=8, cpu=64), labels=labels)))
    return made


def running(made: World) -> list[Job]:
    return [job for job in made.store.snapshot(made.time).jobs if job.state is JobState.RUNNING]


def used(made: World, resource: str) -> Counter[str]:
    """By flavor, by what runs, in integer units."""
    found: Counter[str] = Counter()
    for job in running(made):
        assert job.allocation is not None
        chosen = job.spec.configurations[job.allocation.placement.configuration]
        found[chosen.flavor] += chosen.total_demand.get(resource)
    return found


def kilowatts(made: World) -> float:
    gpus = used(made, "gpu")
    return (0.7 * gpus["a100"] + 0.3 * gpus["t4"]) / 1000


def test_power_holds_in_shares_and_in_whole_jobs_for_thirty_rounds() -> None:
    """Three queues want all 24 GPUs; 16 a100 alone would take 11.2 kW of 6."""
    made = world(replace(QUICK, side_constraints=(POWER,)), "a", "b", "c")
    both = (configuration("a100", gpu=1), configuration("t4", gpu=1, throughput=0.5))
    for queue, ways in (("a", both), ("b", both[:1]), ("c", tuple(replace(way, replicas=2) for way in both))):
        made.submit(*[spec(queue, *ways) for _ in range(12)])
    worst: list[float] = []
    for time in range(15, 300, 10):
        made.at(float(time), lambda: worst.append(kilowatts(made)))
    made.run(300.0)
    assert len(made.reports) >= 30
    for report in made.reports:
        assert report.formulation.side_constraints == ("power",)
        problem = report.formulation.problem
        assert problem.limit_usage(report.solution.shares)[0] <= 6.0
        assert report.solution.gap <= 1e-3
        assert problem.limit_usage(report.solution.shares)[0] == pytest.approx(6.0, rel=1e-3)
    assert max(worst) <= 6.0 + 1e-9
    assert np.mean(worst) > 5.0, "what there is is used"


def test_licences_belong_to_no_node_and_are_shared() -> None:
    """Eight jobs of two queues want one of three licences each: as many run, by turns."""
    licences = SideConstraint("licences", (Term("matlab"),), 3.0)
    policy = replace(QUICK, side_constraints=(licences,), floating_resources=("matlab",))
    made = world(policy, "a", "b")
    licensed = Configuration("a100", 1, resources(cpu=1, matlab=1))
    made.submit(*[spec(queue, licensed) for queue in ("a", "b") for _ in range(4)])
    made.submit(spec("a", configuration("a100")))
    ran: Counter[str] = Counter()

    def look() -> None:
        assert used(made, "matlab") == {"a100": 3}
        ran.update(job.id for job in running(made))

    for time in range(15, 400, 10):
        made.at(float(time), look)
    made.run(400.0)
    assert len(ran) == 9, "everybody had a turn"
    assert not any(report.commit.rejected for report in made.reports)
    waiting = {reason.cause for _, reason in made.reports[-1].plan.waiting}
    assert waiting == {PendingCause.OVER_LIMIT}


def test_a_demand_of_nothing_but_licences_runs() -> None:
    policy = replace(QUICK, floating_resources=("matlab",))
    made = world(policy)
    only = made.submit(spec("q", Configuration("t4", 3, resources(matlab=1))))
    made.run(10.0)
    assert [job.id for job in running(made)] == [only[0].id]


def test_a_job_that_never_can_says_so_and_holds_nobody_up() -> None:
    """9 GPUs of 700 W are more than 6 kW; the other runs."""
    made = world(replace(QUICK, side_constraints=(POWER,)))
    large, small = made.submit(
        spec("q", configuration("a100", replicas=9, gpu=1)), spec("q", configuration("a100", replicas=8, gpu=1))
    )
    made.run(10.0)
    assert [job.id for job in running(made)] == [small.id]
    reason = made.job(large).pending_reason
    assert reason is not None
    assert reason.cause is PendingCause.EXCEEDS_LIMIT
    assert [(each.name, each.takes, each.most) for each in reason.limits] == [("power", 6_300_000, 6_000_000)]


def test_who_takes_more_than_a_lowered_constraint_allows_makes_room_and_never_comes_back() -> None:
    """The gang takes 5.6 kW; then 5 are all there may be, and the job that comes and nobody may stop takes 4.9."""
    made = world(replace(QUICK, side_constraints=(POWER,)))
    (gang,) = made.submit(spec("q", configuration("a100", replicas=8, gpu=1)))
    made.run(10.0)
    made.policy = replace(QUICK, side_constraints=(replace(POWER, most=5.0),))
    made.run(90.0)
    assert [job.id for job in running(made)] == [gang.id], "lowering a limit stops nobody"
    (small,) = made.submit(spec("q", configuration("a100", replicas=7, gpu=1), preemptible=False))
    made.run(90.0)
    assert [job.id for job in running(made)] == [small.id]
    reason = made.job(gang).pending_reason
    assert reason is not None
    assert reason.cause is PendingCause.EXCEEDS_LIMIT
    made.policy = replace(QUICK, side_constraints=(replace(POWER, most=4.9),))
    (other,) = made.submit(spec("q", configuration("t4")))
    made.run(10.0)
    reason = made.job(other).pending_reason
    assert reason is not None
    assert (reason.cause, reason.limits[0].used, reason.limits[0].takes) == (
        PendingCause.OVER_LIMIT,
        4_900_000,
        300_000,
    )
