"""PolicyService: reads files with the reader that everybody uses, and says what would be in force."""
# ruff: noqa: N802, ARG002 - gRPC names the methods and gives each of them a context

from __future__ import annotations

from collections.abc import Callable

from allocator.domain.applied_policy import AppliedPolicy, PolicyDocument
from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.intake.apply import apply
from allocator.intake.commands import ApplyPolicy
from allocator.policyfile import read, remarks_against, written
from allocator.rounds.limit_usage import Taken, limits_in_use
from allocator.rpc.backend import Backend, Context
from allocator.v1 import policy_service_pb2 as pb
from allocator.v1 import policy_service_pb2_grpc as pb_grpc
from allocator.whatif.facts import ForkedFacts
from allocator.wire import policies
from allocator.wire.policies import PolicyCheck, PolicyRecord

MOST_LISTED, USUALLY_LISTED = 1000, 100
_NEARLY = 1 + 1e-9


class PolicyService(pb_grpc.PolicyServiceServicer):
    """See protos/allocator/v1/policy_service.proto. `policy` is the daemon's own: in force while none was applied."""

    def __init__(self, backend: Backend, policy: Callable[[], Policy]) -> None:
        self._backend = backend
        self._policy = policy

    async def CheckPolicy(self, request: pb.CheckPolicyRequest, context: Context) -> pb.CheckPolicyResponse:
        return policies.check_to_proto(await self._backend.ask(self._checked, request.text, prune=request.prune))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        version = request.version if request.HasField("version") else None
        record = await self._backend.ask(self._record, version)
        return pb.GetPolicyResponse(policy=policies.policy_to_proto(record))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        if request.page_size < 0:
            raise InvalidInput.of("page_size", f"must be at least 0, got {request.page_size}")
        limit = min(request.page_size or USUALLY_LISTED, MOST_LISTED)
        found = await self._backend.ask(self._backend.reads.list_policies, limit)
        records = (PolicyRecord(each.version, each.time, each.author, each.comment) for each in found)
        return pb.ListPoliciesResponse(policies=map(policies.policy_to_proto, records))

    async def ApplyPolicy(self, request: pb.ApplyPolicyRequest, context: Context) -> pb.ApplyPolicyResponse:
        command = await self._backend.ask(policies.apply_policy_from_proto, request)
        await self._backend.write(command, context)
        record = await self._backend.ask(self._record, None)
        return pb.ApplyPolicyResponse(policy=policies.policy_to_proto(record))

    def _checked(self, text: str, *, prune: bool) -> PolicyCheck:
        reading = read(text)
        if reading.document is None:
            return PolicyCheck(reading.mistakes, reading.warnings)
        reads, now = self._backend.reads, self._backend.now()
        snapshot = reads.snapshot(now)
        refusal = ""
        try:
            apply(ApplyPolicy(reading.document, text, prune=prune), ForkedFacts(snapshot, reads.memory()), now)
        except AllocatorError as error:
            refusal = str(error)
        remarks = remarks_against(
            reading, snapshot.nodes, snapshot.queues, prune=prune, exceeded=self._exceeded(reading.document)
        )
        return PolicyCheck((), remarks, refusal)

    def _exceeded(self, document: PolicyDocument) -> dict[str, str]:
        """What is to be said of limits that would allow less than jobs hold since the last round, by name."""
        report = self._backend.hub.newest
        if report is None:
            return {}
        usages = limits_in_use(Taken(report.formulation, report.commit), document.policy, document.queues, None)
        return {
            each.name: f"{each.used:.6g} of it {'is' if each.used == 1 else 'are'} in use, {each.used - each.most:.6g} "
            "more than it would allow: nobody is stopped for it, and nobody that it counts starts before so much ended"
            for each in usages
            if each.used is not None and each.most is not None and each.used > each.most * _NEARLY
        }

    def _record(self, version: int | None) -> PolicyRecord:
        snapshot = self._backend.reads.snapshot(self._backend.now())
        applied = snapshot.applied
        if version is not None and version != (0 if applied is None else applied.version):
            applied = self._backend.reads.get_policy(version)
            return _record_of(applied, applied.text)
        text = written(_as_it_is(snapshot.policy(self._policy()), snapshot.queues))
        return PolicyRecord(0, None, "", "", text) if applied is None else _record_of(applied, text)


def _record_of(applied: AppliedPolicy, text: str) -> PolicyRecord:
    return PolicyRecord(applied.version, applied.time, applied.author, applied.comment, text, applied.text)


def _as_it_is(policy: Policy, queues: tuple[Queue, ...]) -> PolicyDocument:
    """Open queues do not say so: a file that is kept from it does not open what is closed meanwhile."""
    return PolicyDocument(policy, queues, frozenset(queue.name for queue in queues if not queue.cordoned))


__all__ = ["PolicyService"]
