"""The Python SDK: `Client` and `AsyncClient`, the values they speak, and the errors they raise."""

from allocator.client.aio import AsyncClient
from allocator.client.errors import DeadlineExceeded, UnexpectedAnswer, Unreachable
from allocator.client.retry import RetryPolicy
from allocator.client.sync import Client
from allocator.client.views import EndOfSnapshot, JobChange, JobEvent, Lease, QueueStatus, Registration
from allocator.domain.constraints import AtMost, Constraints, Near, NodeRule
from allocator.domain.job import Configuration, Job, JobSpec, JobState
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.intake.commands import ItemResult, JobUpdate, ReplicaReport, ReplicaState
from allocator.wire.rounds import ClusterStatus, NodeCounts

__all__ = [
    "AsyncClient",
    "AtMost",
    "Client",
    "ClusterStatus",
    "Configuration",
    "Constraints",
    "DeadlineExceeded",
    "EndOfSnapshot",
    "ItemResult",
    "Job",
    "JobChange",
    "JobEvent",
    "JobSpec",
    "JobState",
    "JobUpdate",
    "Lease",
    "Near",
    "NodeCounts",
    "NodeRule",
    "Queue",
    "QueueStatus",
    "Registration",
    "ReplicaReport",
    "ReplicaState",
    "Resources",
    "RetryPolicy",
    "UnexpectedAnswer",
    "Unreachable",
]
