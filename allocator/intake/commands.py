"""Everything that may happen to the facts from outside a round: commands as values, for `intake.apply`.

A command is a request, not a fact: applying it may refuse it, whole or item by item.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.cluster import Labels, Node, NodeAvailability
from allocator.domain.errors import AllocatorError, InvalidInput
from allocator.domain.job import Job, JobSpec
from allocator.domain.placement import Epoch, JobStart
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota

ItemResult = Job | AllocatorError
"""The answer to one item of a batch: the job as it is now, or why it was refused. One bad item spoils no other."""


@dataclass(frozen=True, slots=True)
class SubmitJobs:
    """Answer: tuple[ItemResult, ...], one per spec, in order; an item that could not be read as a spec is its refusal.

    `request_id` makes it idempotent when not empty: the same id with the same body gets the same jobs, as they are now,
    and the same refusals; with another body AlreadyExists. A request of which nothing was admitted, something of it
    because a limit was reached (ResourceExhausted), is not remembered: repeated, it is tried again.

    In `JobSpec.after`, `#0`, `#1` and so on name earlier jobs of the same request by their position; the admitted job
    has their ids. One that comes after a job which has already ended otherwise is admitted, and has failed.
    """

    specs: tuple[JobSpec | InvalidInput, ...]
    request_id: str = ""
    body: str = ""
    """Identifies the request as it was received, its id aside; empty: the specs are all there is to it."""
    feasible_only: bool = False
    """Refuse (FailedPrecondition) what can never run on the nodes that are known; see `intake.feasibility`."""


@dataclass(frozen=True, slots=True)
class CancelJobs:
    """Answer: tuple[ItemResult, ...]. A job that has ended is refused (FailedPrecondition) unless it was cancelled."""

    job_ids: tuple[str, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """New weight or priority class of one live job; None leaves it as it is."""

    job_id: str
    weight: float | None = None
    priority_class: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateJobs:
    """Answer: tuple[ItemResult, ...]."""

    updates: tuple[JobUpdate, ...]


@dataclass(frozen=True, slots=True)
class ReportProgress:
    """A running job's measured throughput, in the unit of its declared ones. Answer: Job.

    `epoch` must be the current allocation's; a report about an earlier placement is refused (FailedPrecondition).
    None means "the current one, whichever that is".
    """

    job_id: str
    throughput: float
    epoch: Epoch | None = None


@dataclass(frozen=True, slots=True)
class CreateQueue:
    """Answer: Queue, its quotas sorted. The parent must exist and hold no live jobs of its own."""

    queue: Queue


@dataclass(frozen=True, slots=True)
class UpdateQueue:
    """Answer: Queue. None leaves a field; `clear_max_live_jobs` removes that bound.

    `quotas` replace all that the queue has: () removes them.
    """

    name: str
    weight: float | None = None
    max_live_jobs: int | None = None
    clear_max_live_jobs: bool = False
    priority: int | None = None
    quotas: tuple[Quota, ...] | None = None
    discipline: Discipline | None = None


@dataclass(frozen=True, slots=True)
class CordonQueue:
    """Answer: Queue. `cordoned=False` opens it again."""

    name: str
    cordoned: bool


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Answer: None. Only when it has no children and no live jobs."""

    name: str


@dataclass(frozen=True, slots=True)
class ApplyPolicy:
    """Policy and queues at once, in one revision. Answer: AppliedPolicy.

    Queues of the document are made, or are what it says from now on; others stay, unless `prune`: then they are
    removed. Refused whole (FailedPrecondition) where a queue to be removed holds live jobs, where live jobs are in a
    priority class that would be gone, and unless `expected_version`, if it is given, is the one in force (0: none was
    applied yet). What is in force already is not applied once more: the answer is what is there.
    """

    document: PolicyDocument
    text: str = ""
    """The file that the document was read from."""
    expected_version: int | None = None
    prune: bool = False
    author: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """Answer: Node. Again: updates flavor, capacity, labels and trouble, makes the node READY, keeps availability."""

    node: Node


class ReplicaState(Enum):
    """How one replica is doing, as its agent says."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_BEGUN = "not_begun"
    """It has not begun, and will not: its node is in trouble (`Node.trouble`)."""


@dataclass(frozen=True, slots=True)
class ReplicaReport:
    """One replica on the reporting node. Ignored unless `epoch` is the job's current one."""

    job_id: str
    replica: int
    epoch: Epoch
    state: ReplicaState
    message: str = ""
    exit_code: int | None = None
    """Of one that has ended; 128 and the number of the signal that ended it."""
    cpu_seconds: float = 0.0
    """Processor time of all its processes so far."""
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node lives, and says how its replicas are. Answer: Node. A LOST node becomes READY again.

    A job succeeds when its last replica did, and fails with its first failed one. While it has retries left
    (`JobSpec.retries`), it is pending again instead, and held until `Job.not_before`. A job of which a replica has not
    begun on a node in trouble is pending again at once, and has not failed.
    """

    node: str
    reports: tuple[ReplicaReport, ...] = ()
    seen: Epoch | None = None
    """Epoch of the desired state that the agent goes by; 0.0 if it knows of none, None if it does not say. No fact
    depends on this and on `leaving`: they are for whoever carries desired state to nodes."""
    leaving: tuple[JobStart, ...] = ()
    """Of what something runs there although that state does not name it."""


@dataclass(frozen=True, slots=True)
class SetNodeAvailability:
    """Cordon, drain or reopen. Answer: Node."""

    node: str
    availability: NodeAvailability


@dataclass(frozen=True, slots=True)
class TaintNode:
    """Remove the taints with `removed` keys, then add or replace `taints`. What runs there stays. Answer: Node."""

    node: str
    taints: Labels = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoseNode:
    """The node is gone (no heartbeat in time). Answer: Node. What ran there is preempted by the next round."""

    node: str


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """Forget a node that is LOST or DRAINING and holds no replica. Answer: None."""

    node: str


Command = (
    SubmitJobs
    | CancelJobs
    | UpdateJobs
    | ReportProgress
    | CreateQueue
    | UpdateQueue
    | CordonQueue
    | DeleteQueue
    | ApplyPolicy
    | RegisterNode
    | Heartbeat
    | SetNodeAvailability
    | TaintNode
    | LoseNode
    | RemoveNode
)
