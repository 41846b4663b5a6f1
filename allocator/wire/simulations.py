"""What-ifs: questions with changes to the facts, answers with rounds before and after, and plans for buying nodes."""

from __future__ import annotations

from allocator.domain.cluster import NodeAvailability
from allocator.domain.errors import InvalidInput, Violation
from allocator.domain.placement import Allocation, Epoch
from allocator.domain.plan import Change as JobChange
from allocator.domain.plan import Move, Preempt, Resize, Start
from allocator.domain.resources import Resources
from allocator.intake import commands as c
from allocator.v1 import job_service_pb2, node_service_pb2, reason_pb2, resources_pb2
from allocator.v1 import simulate_service_pb2 as pb
from allocator.whatif import answers as a
from allocator.wire import commands
from allocator.wire.fields import MAX_LABELS, labels_from_proto, within
from allocator.wire.jobs import allocation_from_proto, allocation_to_proto, job_from_proto, job_to_proto
from allocator.wire.policies import apply_policy_from_proto, apply_policy_to_proto
from allocator.wire.promises import promise_from_proto, promise_to_proto
from allocator.wire.reasons import PREEMPTION_REASONS, pending_reason_from_proto, pending_reason_to_proto
from allocator.wire.resources import resources_from_proto, resources_to_proto
from allocator.wire.rounds import (
    limit_usage_from_proto,
    limit_usage_to_proto,
    round_from_proto,
    round_to_proto,
)

# --- questions ----------------------------------------------------------------------------------------------------


def question_to_proto(question: a.Question) -> pb.SimulateRequest:
    """Raises InvalidInput for a command that is no change to be asked about."""
    return pb.SimulateRequest(
        changes=[_change_to_proto(index, change) for index, change in enumerate(question.changes)],
        job_ids=question.job_ids,
        rounds=question.rounds,
    )


def question_from_proto(message: pb.SimulateRequest) -> a.Question:
    """Values of changes are judged when they are made; what cannot be read raises InvalidInput."""
    if len(message.changes) > a.MOST_CHANGES:
        raise InvalidInput.of("changes", f"must be at most {a.MOST_CHANGES}, got {len(message.changes)}")
    changes = []
    for index, change in enumerate(message.changes):
        try:
            changes.append(_change_from_proto(change))
        except InvalidInput as error:
            raise within(error, f"changes[{index}]") from None
    return a.Question(tuple(changes), tuple(message.job_ids), message.rounds)


def _change_to_proto(index: int, change: a.Change) -> pb.SimulatedChange:
    match change:
        case a.AddNodes():
            return pb.SimulatedChange(
                add_nodes=pb.AddNodes(
                    flavor=change.flavor,
                    count=change.count,
                    capacity=_capacity_to_proto(change.capacity),
                    labels=dict(change.labels),
                )
            )
        case a.RemoveNode():
            return pb.SimulatedChange(remove_node=node_service_pb2.RemoveNodeRequest(name=change.node))
        case a.SetPolicy():
            return pb.SimulatedChange(change_policy=pb.ChangePolicy(values=dict(change.values)))
        case a.SetLimit():
            limit = pb.ChangeLimit(name=change.name, most=change.most, most_part=change.most_part)
            return pb.SimulatedChange(change_limit=limit)
        case c.SetNodeAvailability(node, NodeAvailability.DRAINING):
            return pb.SimulatedChange(drain_node=node_service_pb2.DrainNodeRequest(name=node))
        case c.SetNodeAvailability(node, availability):
            cordoned = availability is NodeAvailability.CORDONED
            return pb.SimulatedChange(cordon_node=node_service_pb2.CordonNodeRequest(name=node, cordoned=cordoned))
        case c.TaintNode():
            return pb.SimulatedChange(taint_node=commands.taint_node_to_proto(change))
        case c.SubmitJobs():
            return pb.SimulatedChange(submit_jobs=commands.submit_jobs_to_proto(change))
        case c.CancelJobs():
            return pb.SimulatedChange(cancel_jobs=commands.cancel_jobs_to_proto(change))
        case c.UpdateJobs():
            return pb.SimulatedChange(update_jobs=commands.update_jobs_to_proto(change))
        case c.CreateQueue():
            return pb.SimulatedChange(create_queue=commands.create_queue_to_proto(change))
        case c.UpdateQueue():
            return pb.SimulatedChange(update_queue=commands.update_queue_to_proto(change))
        case c.ApplyPolicy():
            return pb.SimulatedChange(apply_policy=apply_policy_to_proto(change))
    raise InvalidInput.of(f"changes[{index}]", f"{type(change).__name__} is no change that can be asked about")


def _change_from_proto(message: pb.SimulatedChange) -> a.Change:
    kind = message.WhichOneof("change")
    match kind:
        case "add_nodes":
            return _add_nodes_from_proto(message.add_nodes)
        case "remove_node":
            return a.RemoveNode(message.remove_node.name)
        case "cordon_node":
            cordon = message.cordon_node
            wanted = NodeAvailability.CORDONED if cordon.cordoned else NodeAvailability.OPEN
            return c.SetNodeAvailability(cordon.name, wanted)
        case "drain_node":
            return c.SetNodeAvailability(message.drain_node.name, NodeAvailability.DRAINING)
        case "taint_node":
            return commands.taint_node_from_proto(message.taint_node)
        case "submit_jobs":
            return commands.submit_jobs_from_proto(message.submit_jobs)
        case "cancel_jobs":
            return commands.cancel_jobs_from_proto(message.cancel_jobs)
        case "update_jobs":
            return commands.update_jobs_from_proto(message.update_jobs)
        case "create_queue":
            return commands.create_queue_from_proto(message.create_queue)
        case "update_queue":
            return commands.update_queue_from_proto(message.update_queue)
        case "apply_policy":
            return apply_policy_from_proto(message.apply_policy)
        case "change_policy":
            return a.SetPolicy(labels_from_proto(message.change_policy.values, "policy", MAX_LABELS))
        case "change_limit":
            limit = message.change_limit
            return a.SetLimit(
                limit.name,
                limit.most if limit.HasField("most") else None,
                limit.most_part if limit.HasField("most_part") else None,
            )
        case _:
            raise InvalidInput(Violation("", "must hold one of the changes that this version of the API knows"))


def _add_nodes_from_proto(message: pb.AddNodes) -> a.AddNodes:
    return a.AddNodes(
        message.flavor,
        message.count if message.HasField("count") else 1,
        _capacity_from_proto(message.capacity) if message.HasField("capacity") else None,
        labels_from_proto(message.labels),
    )


def _capacity_to_proto(capacity: Resources | None) -> resources_pb2.Resources | None:
    return None if capacity is None else resources_to_proto(capacity)


def _capacity_from_proto(message: resources_pb2.Resources) -> Resources:
    try:
        return resources_from_proto(message)
    except InvalidInput as error:
        raise within(error, "capacity") from None


# --- rounds that could be -----------------------------------------------------------------------------------------

_KINDS: tuple[tuple[type[JobChange], pb.SimulatedJobChangeKind.ValueType], ...] = (
    (Start, pb.SIMULATED_JOB_CHANGE_KIND_START),
    (Preempt, pb.SIMULATED_JOB_CHANGE_KIND_PREEMPT),
    (Move, pb.SIMULATED_JOB_CHANGE_KIND_MOVE),
    (Resize, pb.SIMULATED_JOB_CHANGE_KIND_RESIZE),
)
_NOT_YET = Epoch(0, 0)


def view_to_proto(view: a.View) -> pb.SimulatedRound:
    return pb.SimulatedRound(
        summary=round_to_proto(view.summary),
        queues=[
            pb.SimulatedQueue(
                queue=queue.queue,
                money=queue.money,
                amounts=[
                    pb.SimulatedAmount(
                        flavor=amount.flavor,
                        resource=amount.resource,
                        demand=amount.demand,
                        optimum=amount.optimum,
                        held=amount.held,
                    )
                    for amount in queue.amounts
                ],
            )
            for queue in view.queues
        ],
        changes=[_job_change_to_proto(change) for change in view.changes],
        limits=[limit_usage_to_proto(limit) for limit in view.limits],
    )


def view_from_proto(message: pb.SimulatedRound) -> a.View:
    return a.View(
        round_from_proto(message.summary),
        tuple(
            a.QueueView(
                queue.queue,
                queue.money,
                tuple(
                    a.Amount(amount.flavor, amount.resource, amount.demand, amount.optimum, amount.held)
                    for amount in queue.amounts
                ),
            )
            for queue in message.queues
        ),
        tuple(_job_change_from_proto(change, f"changes[{index}]") for index, change in enumerate(message.changes)),
        tuple(limit_usage_from_proto(limit, f"limits[{index}]") for index, limit in enumerate(message.limits)),
    )


def _job_change_to_proto(change: JobChange) -> pb.SimulatedJobChange:
    kind = next(number for known, number in _KINDS if isinstance(change, known))
    message = pb.SimulatedJobChange(job_id=change.job_id, kind=kind)
    if isinstance(change, Preempt | Move):
        message.reason = PREEMPTION_REASONS.number(change.reason)
    if isinstance(change, Preempt):
        message.pending_reason.CopyFrom(pending_reason_to_proto(change.pending))
    else:
        message.allocation.CopyFrom(allocation_to_proto(Allocation(change.placement, _NOT_YET, 0.0)))
    return message


def _job_change_from_proto(message: pb.SimulatedJobChange, where: str) -> JobChange:
    kind = next((known for known, number in _KINDS if number == message.kind), None)
    if kind is Preempt:
        return Preempt(
            message.job_id,
            PREEMPTION_REASONS.member(message.reason, f"{where}.reason"),
            pending_reason_from_proto(message.pending_reason, f"{where}.pending_reason"),
        )
    placement = allocation_from_proto(message.job_id, message.allocation).placement
    if kind is Move:
        return Move(placement, PREEMPTION_REASONS.member(message.reason, f"{where}.reason"))
    if kind is Resize:
        return Resize(placement)
    if kind is Start:
        return Start(placement)
    raise InvalidInput.of(f"{where}.kind", f"is not known to this version of the API: {message.kind}")


# --- answers ------------------------------------------------------------------------------------------------------


def outcome_to_proto(outcome: a.Outcome) -> pb.SimulateResponse:
    return pb.SimulateResponse(
        before=view_to_proto(outcome.before),
        after=view_to_proto(outcome.after),
        submitted=[commands.result_to_proto(item) for item in outcome.submitted],
        jobs=[_job_to_proto(job) for job in outcome.jobs],
        rounds=outcome.rounds,
        interval_seconds=outcome.interval,
    )


def outcome_from_proto(message: pb.SimulateResponse) -> a.Outcome:
    """Raises InvalidInput for what another version of the API says."""
    return a.Outcome(
        before=view_from_proto(message.before),
        after=view_from_proto(message.after),
        submitted=tuple(_item(item, index) for index, item in enumerate(message.submitted)),
        jobs=tuple(_job_from_proto(job, f"jobs[{index}]") for index, job in enumerate(message.jobs)),
        rounds=message.rounds,
        interval=message.interval_seconds,
    )


def _item(message: job_service_pb2.JobResult, index: int) -> c.ItemResult:
    return commands.result_from_proto(message, f"submitted[{index}]")


def _job_to_proto(view: a.JobView) -> pb.SimulatedJob:
    return pb.SimulatedJob(
        job=job_to_proto(view.job),
        before=None if view.before is None else _fate_to_proto(view.before),
        after=None if view.after is None else _fate_to_proto(view.after),
        starts_before_seconds=view.starts_before,
        starts_after_seconds=view.starts_after,
        never=view.never,
    )


def _job_from_proto(message: pb.SimulatedJob, where: str) -> a.JobView:
    return a.JobView(
        job_from_proto(message.job),
        _fate_from_proto(message.before, f"{where}.before") if message.HasField("before") else None,
        _fate_from_proto(message.after, f"{where}.after") if message.HasField("after") else None,
        message.starts_before_seconds if message.HasField("starts_before_seconds") else None,
        message.starts_after_seconds if message.HasField("starts_after_seconds") else None,
        message.never,
    )


def _fate_to_proto(fate: a.Fate) -> pb.SimulatedFate:
    return pb.SimulatedFate(
        share=fate.share,
        ran=fate.runs_before,
        configuration=fate.configuration,
        pending_reason=None if fate.reason is None else pending_reason_to_proto(fate.reason),
        promise=None if fate.promise is None else promise_to_proto(fate.promise),
    )


def _fate_from_proto(message: pb.SimulatedFate, where: str) -> a.Fate:
    reason: reason_pb2.PendingReason | None = message.pending_reason if message.HasField("pending_reason") else None
    return a.Fate(
        message.share if message.HasField("share") else None,
        message.ran,
        message.configuration if message.HasField("configuration") else None,
        None if reason is None else pending_reason_from_proto(reason, f"{where}.pending_reason"),
        promise_from_proto(message.promise) if message.HasField("promise") else None,
    )


# --- capacity -----------------------------------------------------------------------------------------------------


def plan_question_to_proto(budget: float, offers: tuple[a.Offer, ...]) -> pb.PlanCapacityRequest:
    return pb.PlanCapacityRequest(
        budget=budget,
        offers=[
            pb.NodeOffer(flavor=offer.flavor, cost=offer.cost, capacity=_capacity_to_proto(offer.capacity))
            for offer in offers
        ],
    )


def plan_question_from_proto(message: pb.PlanCapacityRequest) -> tuple[float, tuple[a.Offer, ...]]:
    """Budget and offers, not judged."""
    offers = []
    for index, offer in enumerate(message.offers[: a.MOST_OFFERS + 1]):
        try:
            capacity = _capacity_from_proto(offer.capacity) if offer.HasField("capacity") else None
        except InvalidInput as error:
            raise within(error, f"offers[{index}]") from None
        offers.append(a.Offer(offer.flavor, offer.cost, capacity))
    return message.budget, tuple(offers)


def plan_to_proto(plan: a.CapacityPlan) -> pb.PlanCapacityResponse:
    return pb.PlanCapacityResponse(
        purchases=[
            pb.NodePurchase(flavor=each.flavor, count=each.count, cost=each.cost, worth=each.worth)
            for each in plan.purchases
        ],
        spent=plan.spent,
        left=plan.left,
        welfare_before=plan.welfare_before,
        welfare_after=plan.welfare_after,
        gains=[pb.QueueGain(queue=queue, gain=gain) for queue, gain in plan.gains],
        before=view_to_proto(plan.before),
        after=view_to_proto(plan.after),
        solves=plan.solves,
        complete=plan.complete,
    )


def plan_from_proto(message: pb.PlanCapacityResponse) -> a.CapacityPlan:
    return a.CapacityPlan(
        purchases=tuple(a.Purchase(each.flavor, each.count, each.cost, each.worth) for each in message.purchases),
        spent=message.spent,
        left=message.left,
        welfare_before=message.welfare_before,
        welfare_after=message.welfare_after,
        gains=tuple((each.queue, each.gain) for each in message.gains),
        before=view_from_proto(message.before),
        after=view_from_proto(message.after),
        solves=message.solves,
        complete=message.complete,
    )
