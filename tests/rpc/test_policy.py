"""PolicyService over the wire: what is checked is what is applied, and what is answered can be applied again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import grpc
import pytest
from grpc import aio

from allocator.domain.policy import Policy
from allocator.intake import commands as c
from allocator.policyfile import read
from allocator.v1 import policy_service_pb2 as pb
from allocator.v1 import simulate_service_pb2 as simulate_pb
from allocator.v1.policy_service_pb2_grpc import PolicyServiceStub
from allocator.v1.simulate_service_pb2_grpc import SimulateServiceStub
from tests.builders import configuration, spec
from tests.rpc.serving import START, Served, fields_of, serving, status_of

FILE = 'version = 1\n[objective]\nname = "min-delay"\n[[queue]]\nname = "q"\nweight = 2\n[[queue]]\nname = "r"\n'


def stub(served: Served):  # type: ignore[no-untyped-def] # the stubs name it in stubs only
    return PolicyServiceStub(served.channel)


async def refusal(call: Awaitable[object]) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as error:
        await call
    return error.value


async def test_the_daemons_own_is_in_force_until_one_is_applied(served: Served) -> None:
    found = (await stub(served).GetPolicy(pb.GetPolicyRequest())).policy
    assert (found.version, found.HasField("time"), found.sent_text) == (0, False, "")
    document = read(found.text).document
    assert document is not None
    assert (document.policy, [queue.name for queue in document.queues]) == (Policy(), ["q"])


async def test_what_is_applied_is_in_force_with_its_queues(served: Served) -> None:
    answer = await stub(served).ApplyPolicy(
        pb.ApplyPolicyRequest(text=FILE, author="me", comment="why", expected_version=0)
    )
    made = answer.policy
    assert (made.version, made.author, made.comment, made.sent_text) == (1, "me", "why", FILE)
    assert made.time.seconds == START
    assert (await stub(served).GetPolicy(pb.GetPolicyRequest())).policy == made
    assert [(queue.name, queue.weight) for queue in served.store.queues()] == [("q", 2.0), ("r", 1.0)]
    applied = served.store.snapshot(0.0).applied
    assert applied is not None
    assert applied.policy.fairness == 2.0


async def test_the_text_in_force_follows_the_queues_and_applying_it_changes_nothing(served: Served) -> None:
    await stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text=FILE))
    served.do(c.UpdateQueue("q", weight=7.0))
    served.do(c.CordonQueue("r", cordoned=True))
    text = (await stub(served).GetPolicy(pb.GetPolicyRequest())).policy.text
    assert "weight = 7" in text
    assert "cordoned = true" in text
    before = served.store.snapshot(0.0)
    again = (await stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text=text))).policy
    assert again.version == 1
    assert served.store.snapshot(0.0) == before


async def test_earlier_policies_are_answered_as_they_were_sent(served: Served) -> None:
    await stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text=FILE, comment="one"))
    await stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text="version = 1", comment="two"))
    assert (await stub(served).GetPolicy(pb.GetPolicyRequest(version=1))).policy.text == FILE
    listed = await stub(served).ListPolicies(pb.ListPoliciesRequest())
    assert [(each.version, each.comment, each.text) for each in listed.policies] == [(2, "two", ""), (1, "one", "")]
    assert [
        each.version for each in (await stub(served).ListPolicies(pb.ListPoliciesRequest(page_size=1))).policies
    ] == [2]
    error = await refusal(stub(served).GetPolicy(pb.GetPolicyRequest(version=9)))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    error = await refusal(stub(served).ListPolicies(pb.ListPoliciesRequest(page_size=-1)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_mistakes_are_told_with_their_places(served: Served) -> None:
    text = 'version = 1\n[objective]\ngap = 3\n[[queue]]\nname = "Q"\n'
    checked = await stub(served).CheckPolicy(pb.CheckPolicyRequest(text=text))
    places = [(each.line, each.column, each.field) for each in checked.mistakes]
    assert places == [(3, 1, "objective.gap"), (5, 1, "queue[0].name")]
    error = await refusal(stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text=text)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(status_of(error)) == ["text:3:1: objective.gap", "text:5:1: queue[0].name"]
    assert served.store.applied_policy() is None


async def test_a_check_tells_what_may_surprise_and_what_would_be_refused(served: Served) -> None:
    served.do(c.SubmitJobs((spec("q"),)))
    text = 'version = 1\n[[queue]]\nname = "r"\nquota = [{ flavor = "a10", resource = "gpu", nominal = 1 }]\n'
    checked = await stub(served).CheckPolicy(pb.CheckPolicyRequest(text=text, prune=True))
    assert not checked.mistakes
    told = [each.description for each in checked.warnings]
    assert any("queue q is not in the file and is removed" in each for each in told)
    assert any("did you mean a100" in each for each in told)
    assert "queue q cannot be removed: it holds 1 live job" in checked.refusal
    assert served.store.applied_policy() is None
    checked = await stub(served).CheckPolicy(pb.CheckPolicyRequest(text=text))
    assert checked.refusal == ""


async def test_of_two_that_expect_the_same_version_one_wins(served: Served) -> None:
    requests = [
        pb.ApplyPolicyRequest(text=f"version = 1\n[solver]\ngap = 0.{digit}", expected_version=0) for digit in (1, 2, 3)
    ]
    answers = await asyncio.gather(*map(stub(served).ApplyPolicy, requests), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, aio.AioRpcError)]
    assert len(refused) == 2
    assert {error.code() for error in refused} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert [each.version for each in served.store.list_policies()] == [1]


async def test_too_long_texts_are_refused() -> None:
    async with serving() as served:
        error = await refusal(stub(served).ApplyPolicy(pb.ApplyPolicyRequest(text="#" * (2**20 + 1))))
        assert fields_of(status_of(error)) == ["text"]
        checked = await stub(served).CheckPolicy(pb.CheckPolicyRequest(text="#" * (2**20 + 1)))
        assert "must be at most" in checked.mistakes[0].description


async def test_what_if_it_were_applied(served: Served) -> None:
    """Jobs of r wait behind one of q; a weight makes the next round give it more."""
    served.do(c.SubmitJobs((spec("q", configuration(gpu=4)),)))
    change = simulate_pb.SimulatedChange(apply_policy=pb.ApplyPolicyRequest(text=FILE))
    simulate = SimulateServiceStub(served.channel).Simulate
    answer = await simulate(simulate_pb.SimulateRequest(changes=[change]))
    assert (answer.before.summary.fairness, answer.after.summary.fairness) == (1.0, 2.0)
    assert [queue.queue for queue in answer.after.queues] == ["q", "r"]
    assert served.store.applied_policy() is None
    bad = simulate_pb.SimulatedChange(apply_policy=pb.ApplyPolicyRequest(text="x"))
    error = await refusal(simulate(simulate_pb.SimulateRequest(changes=[change, bad])))
    assert fields_of(status_of(error)) == ["changes[1].text:1:2"]
