"""The Python SDK: `Client` and `AsyncClient`, the values they speak, and the errors they raise."""

from allocator.client.aio import AsyncClient
from allocator.client.errors import DeadlineExceeded, UnexpectedAnswer, Unreachable
from allocator.client.retry import RetryPolicy
from allocator.client.sync import Client
from allocator.client.views import EndOfSnapshot, JobChange, JobEvent, Lease, QueueStatus, Registration
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.output import OutputEvent, OutputPiece, OutputPosition, OutputRun, OutputWait
from allocator.domain.process import Condition, Dependency, Process, Retries
from allocator.domain.queue import Discipline, Queue
from allocator.domain.quota import Quota
from allocator.domain.resources import Resources
from allocator.explain.answers import JobExplanation, QueueExplanation
from allocator.explain.scarcity import LimitExplanation, LimitPrices, PriceExplanation
from allocator.intake.commands import ItemResult, JobUpdate, ReplicaReport, ReplicaState
from allocator.whatif.answers import AddNodes, CapacityPlan, Offer, Outcome, RemoveNode, SetLimit, SetPolicy
from allocator.wire.explanations import PastPrice
from allocator.wire.policies import PolicyCheck, PolicyRecord
from allocator.wire.recording import CapturedRecord
from allocator.wire.rounds import ClusterStatus, NodeCounts

__all__ = [
    "AddNodes",
    "AsyncClient",
    "AtMost",
    "CapacityPlan",
    "CapturedRecord",
    "Client",
    "ClusterStatus",
    "Condition",
    "Configuration",
    "Constraints",
    "DeadlineExceeded",
    "Dependency",
    "Discipline",
    "EndOfSnapshot",
    "ItemResult",
    "Job",
    "JobChange",
    "JobEvent",
    "JobExplanation",
    "JobSpec",
    "JobState",
    "JobUpdate",
    "Lease",
    "LimitExplanation",
    "LimitPrices",
    "Near",
    "NodeCounts",
    "NodeRule",
    "Offer",
    "Outcome",
    "OutputEvent",
    "OutputPiece",
    "OutputPosition",
    "OutputRun",
    "OutputWait",
    "PastPrice",
    "PolicyCheck",
    "PolicyRecord",
    "PriceExplanation",
    "Process",
    "Queue",
    "QueueExplanation",
    "QueueStatus",
    "Quota",
    "Registration",
    "RemoveNode",
    "ReplicaReport",
    "ReplicaState",
    "Resources",
    "Retries",
    "RetryPolicy",
    "SetLimit",
    "SetPolicy",
    "UnexpectedAnswer",
    "Unreachable",
]
