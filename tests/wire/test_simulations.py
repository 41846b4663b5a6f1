"""What-ifs survive the wire: what is asked is read as it was meant, and what is answered is read as it was found."""

from __future__ import annotations

import pytest

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.cluster import NodeAvailability
from allocator.domain.errors import InvalidInput
from allocator.domain.policy import Policy
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.intake import commands as c
from allocator.v1 import simulate_service_pb2 as pb
from allocator.whatif.answers import AddNodes, Change, Offer, Question, RemoveNode, SetLimit, SetPolicy
from allocator.wire import simulations as wire
from tests.whatif.worlds import World, gpus, node, small, spec

CHANGES: tuple[Change, ...] = (
    AddNodes("a"),
    AddNodes("b", 3, gpus(4), (("rack", "r1"),)),
    RemoveNode("n1"),
    SetPolicy((("fairness", "inf"), ("gap", "0.01"))),
    SetLimit("matlab", 40.0),
    SetLimit("half", None, 0.5),
    SetLimit("gone"),
    c.SetNodeAvailability("n1", NodeAvailability.OPEN),
    c.SetNodeAvailability("n1", NodeAvailability.CORDONED),
    c.SetNodeAvailability("n1", NodeAvailability.DRAINING),
    c.TaintNode("n1", (("k", "v"),), ("gone",)),
    c.SubmitJobs((spec(name="x"), spec(gpu=2)), feasible_only=True),
    c.CancelJobs(("j1",), "why not"),
    c.UpdateJobs((c.JobUpdate("j1", 2.0, "high"),)),
    c.CreateQueue(Queue("new", 2.0)),
    c.UpdateQueue("q", weight=3.0, quotas=(Quota("a", "gpu", 1000, 0, 1000),), discipline=Discipline.FIFO),
    c.ApplyPolicy(PolicyDocument(Policy(gap=0.1)), "version = 1\n[solver]\ngap = 0.1", 3, prune=True, author="me"),
)


def test_questions_are_read_as_they_were_meant() -> None:
    question = Question(CHANGES, ("j1", "j2"), 7)
    assert wire.question_from_proto(wire.question_to_proto(question)) == question


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"changes\[1\]"):
        wire.question_to_proto(Question((AddNodes("a"), c.Heartbeat("n1"))))
    with pytest.raises(InvalidInput, match=r"changes\[0\]"):
        wire.question_from_proto(pb.SimulateRequest(changes=[pb.SimulatedChange()]))


def busy() -> World:
    """Starts, a move or a stop, waiting, refusals: something of everything."""
    world = small(("p", "q"), (node("n1"), node("n2")))
    world.submit(spec("p", gpu=4), spec("q", gpu=4))
    world.round()
    world.submit(spec("q", gpu=4), spec("p", gpu=9), spec("p", gpu=4, priority_class="high"))
    return world


def test_answers_are_read_as_they_were_found() -> None:
    world = busy()
    changes = (c.SubmitJobs((spec("p"), spec("nowhere"))), c.SetNodeAvailability("n2", NodeAvailability.DRAINING))
    outcome = world.simulator.ask(Question(changes, ("j1", "j3", "j4"), 5), world.just_before)
    assert outcome.after.summary.preempted
    read = wire.outcome_from_proto(wire.outcome_to_proto(outcome))
    assert read.submitted[0] == outcome.submitted[0]
    assert str(read.submitted[1]) == str(outcome.submitted[1])
    for name in ("before", "after", "jobs", "rounds", "interval"):
        assert getattr(read, name) == getattr(outcome, name)


def test_plans_are_read_as_they_were_found() -> None:
    world = busy()
    offers = (Offer("a", 10.0), Offer("new", 5.0, gpus(16)))
    assert wire.plan_question_from_proto(wire.plan_question_to_proto(25.0, offers)) == (25.0, offers)
    plan = world.simulator.plan(25.0, offers, world.just_before)
    assert wire.plan_from_proto(wire.plan_to_proto(plan)) == plan
