"""Round summaries, and the state of the whole cluster."""

from __future__ import annotations

from dataclasses import dataclass

from allocator.rounds.report import FlavorUsage, LimitKind, LimitUsage, QueueUsage, RoundOutcome, RoundSummary
from allocator.v1 import round_pb2, scheduler_service_pb2
from allocator.wire import reasons
from allocator.wire.fields import Enumeration, clamped, time_from_proto, time_to_proto

ROUND_OUTCOMES = Enumeration(RoundOutcome, round_pb2.RoundOutcome, "ROUND_OUTCOME")
LIMIT_KINDS = Enumeration(LimitKind, round_pb2.LimitKind, "LIMIT_KIND")


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """Nodes by what can be expected of them; each is counted once. All but the lost ones are ready."""

    open: int = 0
    cordoned: int = 0
    draining: int = 0
    lost: int = 0
    in_trouble: int = 0
    """The operator wants them open, but their engines can begin nothing."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How the cluster is: `revision`, `nodes` and the job counts now, the rest as of `last_round`.

    Before the first round `last_round` is None, `flavors` tell what the ready nodes have, and `queues` is empty.
    """

    revision: int
    nodes: NodeCounts
    pending_jobs: int
    running_jobs: int
    flavors: tuple[FlavorUsage, ...]
    queues: tuple[QueueUsage, ...]
    last_round: RoundSummary | None

    @property
    def gap(self) -> float | None:
        """Certified gap of the last round; None before the first."""
        return None if self.last_round is None else self.last_round.gap


def flavor_usage_to_proto(usage: FlavorUsage) -> round_pb2.FlavorUsage:
    return round_pb2.FlavorUsage(
        flavor=usage.flavor,
        resource=usage.resource,
        capacity=clamped(usage.capacity),
        requested=clamped(usage.requested),
        allocated=clamped(usage.allocated),
        price=usage.price,
    )


def flavor_usage_from_proto(message: round_pb2.FlavorUsage) -> FlavorUsage:
    return FlavorUsage(
        message.flavor, message.resource, message.capacity, message.requested, message.allocated, message.price
    )


def limit_usage_to_proto(usage: LimitUsage) -> round_pb2.LimitUsage:
    return round_pb2.LimitUsage(
        kind=LIMIT_KINDS.number(usage.kind),
        name=usage.name,
        queue=usage.queue,
        flavor=usage.flavor,
        resource=usage.resource,
        unit=usage.unit,
        used=usage.used,
        least=usage.least,
        most=usage.most,
        price=usage.price,
    )


def limit_usage_from_proto(message: round_pb2.LimitUsage, field: str) -> LimitUsage:
    """`field` is named where its kind is one of another version of the API."""
    return LimitUsage(
        LIMIT_KINDS.member(message.kind, f"{field}.kind"),
        message.name,
        message.queue,
        message.flavor,
        message.resource,
        message.unit,
        message.used if message.HasField("used") else None,
        message.least if message.HasField("least") else None,
        message.most if message.HasField("most") else None,
        message.price,
    )


def queue_usage_to_proto(usage: QueueUsage) -> round_pb2.QueueUsage:
    return round_pb2.QueueUsage(
        queue=usage.queue,
        weight=usage.weight,
        pending_jobs=usage.pending,
        running_jobs=usage.running,
        fair_share=usage.fair_share,
        actual_share=usage.actual_share,
    )


def queue_usage_from_proto(message: round_pb2.QueueUsage) -> QueueUsage:
    return QueueUsage(
        message.queue,
        message.weight,
        message.pending_jobs,
        message.running_jobs,
        message.fair_share,
        message.actual_share,
    )


def round_to_proto(summary: RoundSummary) -> round_pb2.RoundSummary:
    return round_pb2.RoundSummary(
        round=summary.round,
        revision=summary.revision,
        time=time_to_proto(summary.time),
        outcome=ROUND_OUTCOMES.number(summary.outcome),
        solver=summary.solver,
        iterations=summary.iterations,
        fairness=summary.fairness,
        objective=summary.objective,
        bound=summary.bound,
        gap=summary.gap,
        rounding_loss=summary.rounding_loss,
        started_jobs=summary.started,
        moved_jobs=summary.moved,
        resized_jobs=summary.resized,
        policy_version=summary.policy_version,
        kept_jobs=summary.kept,
        rejected_changes=summary.rejected,
        preempted=reasons.preemption_counts_to_proto(summary.preempted),
        waiting=reasons.pending_counts_to_proto(summary.waiting),
        lost=[
            round_pb2.LostWork(flavor=flavor, resource=resource, amount_seconds=amount)
            for flavor, resource, amount in summary.lost
        ],
        flavors=[flavor_usage_to_proto(usage) for usage in summary.flavors],
        queues=[queue_usage_to_proto(usage) for usage in summary.queues],
        stages=[round_pb2.StageTime(stage=stage, seconds=seconds) for stage, seconds in summary.stages],
    )


def round_from_proto(message: round_pb2.RoundSummary) -> RoundSummary:
    """Raises InvalidInput for an unknown outcome, cause or reason: the server speaks another version of the API."""
    return RoundSummary(
        round=message.round,
        revision=message.revision,
        time=time_from_proto(message.time, "time"),
        outcome=ROUND_OUTCOMES.member(message.outcome, "outcome"),
        solver=message.solver,
        iterations=message.iterations,
        fairness=message.fairness,
        objective=message.objective,
        bound=message.bound,
        gap=message.gap,
        rounding_loss=message.rounding_loss,
        started=message.started_jobs,
        moved=message.moved_jobs,
        kept=message.kept_jobs,
        rejected=message.rejected_changes,
        preempted=tuple(
            reasons.preemption_count_from_proto(count, f"preempted[{index}]")
            for index, count in enumerate(message.preempted)
        ),
        waiting=tuple(
            reasons.pending_count_from_proto(count, f"waiting[{index}]") for index, count in enumerate(message.waiting)
        ),
        lost=tuple((lost.flavor, lost.resource, lost.amount_seconds) for lost in message.lost),
        flavors=tuple(flavor_usage_from_proto(usage) for usage in message.flavors),
        queues=tuple(queue_usage_from_proto(usage) for usage in message.queues),
        stages=tuple((stage.stage, stage.seconds) for stage in message.stages),
        resized=message.resized_jobs,
        policy_version=message.policy_version,
    )


def cluster_status_to_proto(status: ClusterStatus) -> scheduler_service_pb2.GetClusterStatusResponse:
    return scheduler_service_pb2.GetClusterStatusResponse(
        revision=status.revision,
        nodes=scheduler_service_pb2.NodeCounts(
            open=status.nodes.open,
            cordoned=status.nodes.cordoned,
            draining=status.nodes.draining,
            lost=status.nodes.lost,
            in_trouble=status.nodes.in_trouble,
        ),
        pending_jobs=status.pending_jobs,
        running_jobs=status.running_jobs,
        flavors=[flavor_usage_to_proto(usage) for usage in status.flavors],
        queues=[queue_usage_to_proto(usage) for usage in status.queues],
        gap=status.gap,
        last_round=None if status.last_round is None else round_to_proto(status.last_round),
    )


def cluster_status_from_proto(message: scheduler_service_pb2.GetClusterStatusResponse) -> ClusterStatus:
    nodes = message.nodes
    return ClusterStatus(
        message.revision,
        NodeCounts(nodes.open, nodes.cordoned, nodes.draining, nodes.lost, nodes.in_trouble),
        message.pending_jobs,
        message.running_jobs,
        tuple(flavor_usage_from_proto(usage) for usage in message.flavors),
        tuple(queue_usage_from_proto(usage) for usage in message.queues),
        round_from_proto(message.last_round) if message.HasField("last_round") else None,
    )
