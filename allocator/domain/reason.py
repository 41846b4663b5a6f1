"""Why a job is not running, and why it was stopped: enumerations and numbers, never only prose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PendingCause(Enum):
    """Why a job has no place in this round, from "never" over "not now" to "next round"."""

    NO_ELIGIBLE_FLAVOR = "no_eligible_flavor"
    """Never, as the cluster is: no open node has a flavor that the job accepts."""
    NO_MATCHING_NODE = "no_matching_node"
    """Never, as the cluster is: no open node satisfies the job's constraints (labels, taints), or none of those that do
    has an engine that can give parts of cores or GPUs, which it asks for.
    """
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
    EXCEEDS_QUOTA = "exceeds_quota"
    """Never, as quotas are: by itself it is more than its queue, or one above it, may use."""
    OVER_QUOTA = "over_quota"
    """Not now: it would bring its queue, or one above it, beyond its quota, or take what others do not lend."""
    EXCEEDS_LIMIT = "exceeds_limit"
    """Never, as the policy is: by itself it takes more of a side constraint than there may be in all."""
    OVER_LIMIT = "over_limit"
    """Not now: it would bring all that runs beyond a side constraint (power, licences, money, part of a flavor)."""
    SCHEDULER_STALE = "scheduler_stale"
    """Next round: this one had no trustworthy solution and changed nothing."""
    CHANGED_SINCE_SNAPSHOT = "changed_since_snapshot"
    """Next round: it had a place, but the cluster changed before the commit, or before it began there."""
    DEPENDENCY = "dependency"
    """Not now: it comes after jobs that have not ended yet (`Job.waits_for`). Rounds do not see it."""
    BACKOFF = "backoff"
    """Not now: it has failed, and is tried again at `Job.not_before`. Rounds do not see it until then."""


NEVER = frozenset(
    (
        PendingCause.NO_ELIGIBLE_FLAVOR,
        PendingCause.NO_MATCHING_NODE,
        PendingCause.EXCEEDS_NODE,
        PendingCause.EXCEEDS_CLUSTER,
        PendingCause.EXCEEDS_QUOTA,
        PendingCause.EXCEEDS_LIMIT,
    )
)
"""Causes that do not pass by themselves, as the cluster, its quotas and its policy are."""


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
    QUOTA = "quota"
    """A job that is owed more started within a quota that both share, or within what its own queue does not lend."""
    LIMIT = "limit"
    """A job that is owed more started within a side constraint of which both take."""
    CONSOLIDATED = "consolidated"
    """It moved to another place, so that a gang fits that found enough free, but in pieces."""


class Refusal(Enum):
    """What keeps a replica off a node. A node counts once, for the first that applies, in this order."""

    CLOSED = "closed"
    """It is cordoned, draining or lost."""
    TROUBLE = "trouble"
    """Its engine can begin nothing for now (a full disk): `Node.trouble` says why."""
    TAINT = "taint"
    """It has a taint that the job does not tolerate."""
    ENGINE = "engine"
    """Its engine cannot give a part of a core or of a GPU, which the job asks for."""
    LABEL = "label"
    """Its labels are not those that the job's node rules ask for."""
    FULL = "full"
    """It has too little left of something for even one replica; where a job can never run: too little altogether."""
    AT_MOST = "at_most"
    """As many replicas with certain labels are there, or in the same domain, as the job or one of them allows."""
    NEAR = "near"
    """Nobody whom the job must be near to runs there, or in the same domain."""
    LIMIT = "limit"
    """A side constraint that is about it (the power of its rack) leaves too little for one replica."""
    RESERVED = "reserved"
    """It is kept for a job that is owed more."""
    WITHIN = "within"
    """The gang must be in one domain, and the node's has no place for all of it."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """How much of a resource is missing on a flavor, in the resource's own integer unit, on nodes that the job may use.

    For FRAGMENTED and EXCEEDS_NODE: what one replica misses on the node that comes closest. Otherwise: what the gang
    misses in total; of that, `held` would be missing even if every job that may be stopped were: others hold it.
    """

    flavor: str
    resource: str
    missing: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Examined:
    """What the nodes of one flavor said to a gang, in its configuration there that comes closest.

    Every node is refused, for one reason each, or has room for at least one replica. Where a job can never run, they
    are asked as if they were empty.
    """

    flavor: str
    nodes: int
    """All nodes of the flavor."""
    refused: tuple[tuple[Refusal, int], ...]
    """Nodes by what refuses them, in the order of `Refusal`, without zeros."""
    lacking: tuple[tuple[str, int], ...]
    """Of those that are FULL, how many lack a resource; a node may lack several."""
    replicas: int
    """Of the gang."""
    room: int
    """Of these, how many fit on nodes without a refusal (but for WITHIN), whatever its limits per node and domain."""
    places: int
    """Of these, how many its limits leave a place for: in one domain, if it must be within one. Where domains of
    several limits overlap without one being a part of the other, it may be fewer."""


@dataclass(frozen=True, slots=True)
class QuotaExcess:
    """What quotas leave too little of for a gang, in the resource's own integer unit.

    `queue` may use `most` and uses `used`; the gang would bring it `missing` beyond that. Without a queue: of all there
    is, `most`, `used` is in use or kept by queues that do not lend it.
    """

    queue: str
    flavor: str
    resource: str
    used: int
    most: int
    missing: int


@dataclass(frozen=True, slots=True)
class LimitExcess:
    """A side constraint that leaves too little for a gang, in millionths of its unit.

    Of `most`, `used` is taken by what runs; the gang would take `takes`: where that depends on the node, on the one
    where it would take least.
    """

    name: str
    used: int
    most: int
    takes: int
    unit: str = ""


@dataclass(frozen=True, slots=True)
class PendingReason:
    """Why a job waits: one entry in `shortages` per flavor and resource it lacks, one in `examined` per flavor, one in
    `excesses` per quota that it would be beyond, one in `limits` per side constraint.
    """

    cause: PendingCause
    shortages: tuple[Shortage, ...] = ()
    examined: tuple[Examined, ...] = ()
    reserved_for: tuple[str, ...] = ()
    """Of RESERVED: the jobs for which nodes of its flavors are kept."""
    reserved_until: float | None = None
    """When the first of them is expected to start: a job that ends before may go there. None: nobody knows."""
    excesses: tuple[QuotaExcess, ...] = ()
    limits: tuple[LimitExcess, ...] = ()
