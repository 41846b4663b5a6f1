"""Why a job is not running, and why it was stopped: enumerations and numbers, never only prose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PendingCause(Enum):
    """Why a job has no place in this round, from "never" over "not now" to "next round"."""

    NO_ELIGIBLE_FLAVOR = "no_eligible_flavor"
    """Never, as the cluster is: no open node has a flavor that the job accepts."""
    NO_MATCHING_NODE = "no_matching_node"
    """Never, as the cluster is: no open node satisfies the job's constraints (labels, taints)."""
    EXCEEDS_NODE = "exceeds_node"
    """Never, as the cluster is: a replica is larger than every node of every flavor it accepts, even when empty."""
    EXCEEDS_CLUSTER = "exceeds_cluster"
    """Never, as the cluster is: the gang is larger than all nodes of any one flavor together, even when empty."""
    INSUFFICIENT_CAPACITY = "insufficient_capacity"
    """Not now: less is free in total than the gang needs, and others are owed it more."""
    FRAGMENTED = "fragmented"
    """Not now: enough is free in total, but not in pieces that fit the replicas."""
    CONSTRAINED = "constrained"
    """Not now: enough nodes have room, but its limits per node or rack, or what it must be near to, leave too few."""
    RESERVED = "reserved"
    """Not now: it would fit, but a larger or non-preemptible job that is owed more has the place reserved."""
    SCHEDULER_STALE = "scheduler_stale"
    """Next round: this one had no trustworthy solution and changed nothing."""
    CHANGED_SINCE_SNAPSHOT = "changed_since_snapshot"
    """Next round: it had a place, but the cluster changed before the commit."""


class PreemptionReason(Enum):
    """Why a running job lost its place."""

    FAIR_SHARE = "fair_share"
    """Others were owed more time than this job, by more than the hysteresis."""
    PRIORITY = "priority"
    """A job of a higher priority class needed the place."""
    NODE_LOST = "node_lost"
    NODE_DRAINING = "node_draining"
    CAPACITY_SHRUNK = "capacity_shrunk"
    """The node came back with less than what runs there needs."""
    RECONFIGURED = "reconfigured"
    """It moved itself: another configuration serves it better, restart cost included."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """How much of a resource is missing on a flavor, in the resource's own integer unit.

    For FRAGMENTED and EXCEEDS_NODE: what one replica misses on the node that comes closest. Otherwise: what the gang
    misses in total.
    """

    flavor: str
    resource: str
    missing: int


@dataclass(frozen=True, slots=True)
class PendingReason:
    """Why a job waits: one entry in `shortages` per flavor and resource it lacks."""

    cause: PendingCause
    shortages: tuple[Shortage, ...] = ()
