"""What-ifs about limits: another amount of one, prices before and after, and promises to who would be submitted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import InvalidInput
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.intake import commands as c
from allocator.rounds.promise import PromiseState
from allocator.whatif.answers import Question, SetLimit, View
from tests.whatif.worlds import POLICY, World, node, small, spec

MATLAB = SideConstraint("matlab", (Term("matlab"),), most=2.0)
HALF = SideConstraint("half", (Term("gpu", queues=("q",)),), most_part=0.5)
LIMITED = replace(POLICY, side_constraints=(MATLAB, HALF), floating_resources=("matlab",))


def licensed(licences: int = 1) -> JobSpec:
    demand = Resources(cpu_millicores=1000, gpu_millis=1000, extra=(("matlab", licences),))
    return JobSpec("p", (Configuration("a", 1, demand, 1.0),))


def limited() -> World:
    world = small(("p", "q"), (node("n1"), node("n2")))
    world.do(c.ApplyPolicy(PolicyDocument(LIMITED), "version = 1"))
    world.submit(*[licensed()] * 4, *[spec("q")] * 6)
    return world


def of(view: View, name: str) -> tuple[float | None, float | None, float]:
    (found,) = [each for each in view.limits if each.name == name]
    return found.used, found.most, round(found.price, 3)


def test_prices_and_use_of_limits_before_and_after() -> None:
    outcome = limited().simulator.ask(Question((SetLimit("matlab", 4.0),)), limited().just_before)
    used, most, price = of(outcome.before, "matlab")
    assert (used, most) == (2.0, 2.0)
    assert price > 0.1, "four jobs want two licences"
    assert of(outcome.after, "matlab") == (4.0, 4.0, 0.0)
    assert (outcome.before.summary.started, outcome.after.summary.started) == (6, 8)


@pytest.mark.parametrize(
    ("change", "policy"),
    [
        (SetLimit("matlab", 3.0), replace(LIMITED, side_constraints=(replace(MATLAB, most=3.0), HALF))),
        (SetLimit("half", 1.0), replace(LIMITED, side_constraints=(MATLAB, replace(HALF, most=1.0, most_part=None)))),
        (SetLimit("half", None, 0.25), replace(LIMITED, side_constraints=(MATLAB, replace(HALF, most_part=0.25)))),
        (SetLimit("half"), replace(LIMITED, side_constraints=(MATLAB,))),
        (SetLimit("matlab"), replace(LIMITED, side_constraints=(HALF,))),
    ],
)
def test_it_is_what_a_policy_with_that_limit_would_do(change: SetLimit, policy: Policy) -> None:
    world = limited()
    asked = world.simulator.ask(Question((change,)), world.just_before).after
    world.do(c.ApplyPolicy(PolicyDocument(policy), "version = 1"))
    report = world.round()
    assert asked.changes == report.plan.changes
    assert {each.name for each in asked.limits} == {each.name for each in policy.side_constraints} | {"matlab"}


def test_what_a_larger_limit_makes_possible_is_not_refused() -> None:
    world = limited()
    submit = c.SubmitJobs((licensed(3),), feasible_only=True)
    refused = world.simulator.ask(Question((submit,)), world.just_before).submitted[0]
    assert "matlab" in str(refused)
    outcome = world.simulator.ask(Question((SetLimit("matlab", 9.0), submit)), world.just_before)
    assert outcome.jobs[0].after is not None
    assert outcome.jobs[0].never == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (SetLimit("matlap", 1.0), r"changes\[0\]\.name: is no limit .* known: matlab, half"),
        (SetLimit("matlab", -1.0), r"changes\[0\]\.most: must be a finite number from 0"),
        (SetLimit("half", 1.0, 0.5), r"changes\[0\]\.most: exactly one of"),
        (SetLimit("matlab", None, 0.5), r"changes\[0\]\.most_part: matlab floats"),
    ],
)
def test_what_is_no_limit_is_refused(change: SetLimit, says: str) -> None:
    world = limited()
    with pytest.raises(InvalidInput, match=says):
        world.simulator.ask(Question((change,)), world.just_before)


def test_what_floats_is_told_once_and_of_no_flavor() -> None:
    world = limited()
    world.do(c.RegisterNode(node("n3", "b")))
    view = world.simulator.ask(Question(), world.just_before).before
    (queue,) = [each for each in view.queues if each.queue == "p"]
    licences = [each for each in queue.amounts if each.resource == "matlab"]
    assert [(each.flavor, each.demand, each.held) for each in licences] == [("", 4.0, 2.0)]
    assert all(usage.resource != "matlab" for usage in view.summary.flavors)


def test_whether_a_deadline_would_be_met() -> None:
    """Eight GPUs, half of which are wanted by others of the same weight: one of two jobs has time enough."""
    world = small(("p", "q"), (node("n1", gpu=1),))
    world.submit(*[spec("q")] * 3)
    wanted = [
        spec("p", expected_duration_seconds=3600.0, deadline=world.time + hours * 3600.0) for hours in (1.2, 20.0)
    ]
    fates = []
    for each in wanted:
        (job,) = world.simulator.ask(Question((c.SubmitJobs((each,)),)), world.just_before).jobs
        assert job.before is None
        assert job.after is not None
        fates.append(job.after.promise)
    short, long = fates
    assert short is not None
    assert long is not None
    assert (short.state, long.state) == (PromiseState.AT_RISK, PromiseState.KEPT)
    assert short.given_share < 0.8 < short.needed_share
    assert short.expected_end is not None
    assert short.expected_end > world.time + 1.2 * 3600
