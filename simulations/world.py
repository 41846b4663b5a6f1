"""Everything outside the scheduler in a replay: who submits what when, and which nodes fail.

The world speaks to the store only in commands, as clients and agents do over the wire. A lost node is known to be lost
at once; a real daemon learns it when heartbeats stay away.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job
from allocator.intake.commands import ApplyPolicy, Command, CreateQueue, LoseNode, RegisterNode, SubmitJobs
from allocator.intake.ports import Ledger
from simulations.agenda import Agenda
from simulations.cluster import SimulatedCluster
from simulations.faults import Faults, Outage
from simulations.workload import Arrival, Workload

BATCH = 1000
"""Most jobs in one SubmitJobs."""


class World:
    """Plans the workload's arrivals and the nodes' outages on the agenda, and counts what became of them."""

    def __init__(
        self,
        workload: Workload,
        agenda: Agenda,
        ledger: Ledger,
        cluster: SimulatedCluster,
        faults: Faults,
        policy: PolicyDocument | None = None,
    ) -> None:
        self.submitted: dict[str, Arrival] = {}
        """Admitted jobs by id, in order of admission."""
        self.refused: list[tuple[Arrival, AllocatorError]] = []
        self._workload = workload
        self._agenda = agenda
        self._ledger = ledger
        self._cluster = cluster
        self._faults = faults
        self._policy = policy
        self._nodes = {node.name: node for node in workload.nodes}
        self._batches: Iterator[tuple[float, tuple[Arrival, ...]]] = workload.batches()
        self._more_to_come = True

    def open(self) -> None:
        """Create queues and nodes, apply the policy, and plan the first events; what is due at the start happens."""
        for queue in sorted(self._workload.queues, key=lambda queue: queue.name):
            self._tell(CreateQueue(queue))
        if self._policy is not None:
            self._tell(ApplyPolicy(self._policy))
        for node in self._workload.nodes:
            self._tell(RegisterNode(node))
            self._plan_outage(node.name)
        self._plan_arrivals()
        self._agenda.run_until(self._agenda.now)

    @property
    def finished(self) -> bool:
        """No job is live and none is to come."""
        return not self._more_to_come and not self._cluster.live

    @property
    def exhausted(self) -> bool:
        """Nothing runs, nothing is to arrive, and every node is up."""
        return not self._more_to_come and self._cluster.idle

    def _tell(self, command: Command) -> object:
        """The command's answer; an AllocatorError if it was refused."""
        return self._ledger.execute(command, self._agenda.now).result()

    def _plan_arrivals(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self._more_to_come = False
        else:
            self._agenda.plan(batch[0], partial(self._submit, batch[1]))

    def _submit(self, arrivals: tuple[Arrival, ...]) -> None:
        for first in range(0, len(arrivals), BATCH):
            part = arrivals[first : first + BATCH]
            answers = self._ledger.execute(
                SubmitJobs(tuple(arrival.spec for arrival in part)), self._agenda.now
            ).result()
            for arrival, answer in zip(part, answers, strict=True):
                self._admitted(arrival, answer)
        self._plan_arrivals()

    def _admitted(self, arrival: Arrival, answer: Job | AllocatorError) -> None:
        if isinstance(answer, AllocatorError):
            self.refused.append((arrival, answer))
        else:
            self.submitted[answer.id] = arrival
            self._cluster.expect(answer.id, arrival, answer.sequence)

    def _plan_outage(self, node: str) -> None:
        outage = self._faults.next_outage(node, self._agenda.now)
        if outage is not None:
            self._agenda.plan(outage.start, partial(self._lose, outage))

    def _lose(self, outage: Outage) -> None:
        self._cluster.node_down(outage.node)
        self._tell(LoseNode(outage.node))
        self._agenda.plan(outage.end, partial(self._return, outage))

    def _return(self, outage: Outage) -> None:
        self._tell(RegisterNode(self._nodes[outage.node]))
        self._cluster.node_up(outage.node)
        self._plan_outage(outage.node)
