"""A snapshot plus changes, and what rounds make of it: decided by the same `decide`, with nothing committed.

Changes are commands, applied by the same `intake.apply` that a store uses: what could not be done is refused here with
the same words. Rounds are the real ones: decide, check, settle, and the next one an interval later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from allocator.domain.cluster import EngineCapability, Node
from allocator.domain.cyclic_garbage import cyclic_garbage_waits
from allocator.domain.errors import AllocatorError, InvalidInput, Violation
from allocator.domain.giving_way import checkpoint
from allocator.domain.job import Job, JobState
from allocator.domain.objectives import objective_of
from allocator.domain.placement import Epoch
from allocator.domain.plan import Applied, Commit
from allocator.domain.policy import Policy
from allocator.domain.resources import Resources
from allocator.domain.side_constraint import SideConstraint, Term
from allocator.domain.snapshot import Memory, Snapshot
from allocator.intake.apply import apply
from allocator.intake.commands import ApplyPolicy, CancelJobs, Command, ItemResult, LoseNode, SubmitJobs, UpdateJobs
from allocator.intake.dependencies import with_those_that_wait
from allocator.intake.ports import ChangeSet
from allocator.rounds.commit import apply_change, check
from allocator.rounds.decide import Decision, decide
from allocator.rounds.ports import Solver
from allocator.rounds.settle import settle
from allocator.whatif.answers import MOST_ADDED_NODES, MOST_CHANGES, AddNodes, Change, RemoveNode, SetLimit, SetPolicy
from allocator.whatif.facts import ForkedFacts


@dataclass(frozen=True, slots=True)
class Live:
    """What rounds start from: the facts, what the last round handed on, and the policy."""

    snapshot: Snapshot
    memory: Memory
    policy: Policy
    find: Callable[[str], Job | None] = field(default=lambda _job_id: None, compare=False)
    """Gives jobs that have ended, for those that come after them."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Facts with changes. `submitted` are answered as a submit is: per item of all `SubmitJobs` together, in order."""

    live: Live
    facts: ForkedFacts
    submitted: tuple[ItemResult, ...]
    added: tuple[str, ...]
    """Names of the nodes that were added."""


def fork(live: Live, changes: Sequence[Change]) -> Fork:
    """The changes take effect in order. What is refused raises its AllocatorError, the field paths of an InvalidInput
    seen from `changes`; only items of a submit are refused one by one.
    """
    if len(changes) > MOST_CHANGES:
        raise InvalidInput.of("changes", f"must be at most {MOST_CHANGES}, got {len(changes)}")
    facts = ForkedFacts(live.snapshot, live.memory, live.find)
    policy, submitted = live.policy, list[ItemResult]()
    added: list[str] = []
    for index, change in enumerate(changes):
        where = f"changes[{index}]"
        try:
            match change:
                case SetPolicy():
                    policy = _with_policy(policy, change)
                case SetLimit():
                    policy = _with_limit(policy, change)
                    facts.decide_by(policy)
                case AddNodes():
                    nodes = _new_nodes(change, facts, MOST_ADDED_NODES - len(added))
                    facts.absorb(ChangeSet(nodes=tuple(nodes)))
                    added += [node.name for node in nodes]
                case RemoveNode():
                    facts.absorb(apply(LoseNode(change.node), facts, live.snapshot.time).changes)
                case ApplyPolicy():
                    facts.absorb(apply(change, facts, live.snapshot.time).changes)
                    policy = change.document.policy
                case _:
                    submitted += _applied(change, facts, live.snapshot.time)
        except InvalidInput as error:
            raise InvalidInput(*(violation.under(where) for violation in error.violations)) from None
    snapshot = facts.snapshot(live.snapshot.round, live.snapshot.time)
    return Fork(Live(snapshot, live.memory, policy), facts, tuple(submitted), tuple(added))


def _applied(command: Command, facts: ForkedFacts, now: float) -> list[ItemResult]:
    """The answers to the items of a submit; any other command is done whole or refused."""
    if isinstance(command, SubmitJobs):
        command = replace(command, request_id="")
    outcome = apply(command, facts, now)
    facts.absorb(outcome.changes)
    if isinstance(command, SubmitJobs):
        return list(outcome.answer)
    if isinstance(command, CancelJobs | UpdateJobs):
        for index, item in enumerate(outcome.answer):
            if isinstance(item, InvalidInput):
                raise InvalidInput(*(violation.under(f"updates[{index}]") for violation in item.violations))
            if isinstance(item, AllocatorError):
                raise item
    return []


def _with_policy(policy: Policy, change: SetPolicy) -> Policy:
    known = {field.name: getattr(policy, field.name) for field in fields(Policy)}
    values: dict[str, Any] = {}
    wrong = []
    for name, text in change.values:
        if name not in known:
            settable = [field for field, value in known.items() if isinstance(value, int | float | str)]
            wrong.append(Violation(f"policy.{name}", f"is not a field of the policy; it has {', '.join(settable)}"))
            continue
        if name == "fairness":
            try:
                values["fairness"], values["utility"] = objective_of(text)
            except ValueError as error:
                wrong.append(Violation("policy.fairness", str(error)))
            continue
        kind = type(known[name])
        try:
            values[name] = kind(text) if kind in (int, float, str) else None
        except ValueError:
            values[name] = None
        if values[name] is None:
            wrong.append(Violation(f"policy.{name}", f"must be a number, got {text!r}"))
    if wrong:
        raise InvalidInput(*wrong)
    changed = replace(policy, **values)
    violations = changed.violations()
    if violations:
        raise InvalidInput(*(violation.under("policy") for violation in violations))
    return changed


def _with_limit(policy: Policy, change: SetLimit) -> Policy:
    known = {each.name: each for each in policy.side_constraints}
    floats = change.name in policy.floating_resources
    if change.name not in known and not floats:
        told = ", ".join(dict.fromkeys([*known, *policy.floating_resources])) or "it has none"
        raise InvalidInput.of("name", f"is no limit of the policy in force: {change.name!r}; known: {told}")
    if change.most is None and change.most_part is None:
        constraints = [each for each in policy.side_constraints if each.name != change.name]
    else:
        before = known.get(change.name, SideConstraint(change.name, (Term(change.name),)))
        after = replace(before, most=change.most, most_part=change.most_part)
        constraints = [after if each is before else each for each in policy.side_constraints]
        constraints += [] if change.name in known else [after]
    changed = replace(policy, side_constraints=tuple(constraints))
    violations = changed.violations()
    if violations:
        raise InvalidInput(*(Violation(fault.field.rpartition(".")[2], fault.description) for fault in violations))
    return changed


def _new_nodes(change: AddNodes, facts: ForkedFacts, most: int) -> list[Node]:
    if not 1 <= change.count <= most:
        raise InvalidInput.of(
            "count", f"must be at least 1, and at most {MOST_ADDED_NODES} with all that are added; got {change.count}"
        )
    capacity = change.capacity
    if capacity is None:
        capacity = usual_capacity(facts.all_nodes(), change.flavor)
    names = (f"new-{change.flavor}-{number}" for number in range(1, MOST_ADDED_NODES * 2))
    free = (name for name in names if facts.node(name) is None)
    engine = _usual_engine(facts.all_nodes(), change.flavor)
    nodes = [Node(next(free), change.flavor, capacity, change.labels, capabilities=engine) for _ in range(change.count)]
    violations = nodes[0].violations()  # they are alike
    if violations:
        raise InvalidInput(*violations)
    return nodes


def usual_capacity(nodes: Sequence[Node], flavor: str) -> Resources:
    """What most nodes of the flavor have; of equally many, the first's. InvalidInput of a flavor without nodes."""
    found = Counter(node.capacity for node in nodes if node.flavor == flavor)
    if not found:
        known = ", ".join(sorted({node.flavor for node in nodes})) or "none"
        raise InvalidInput.of(
            "capacity", f"must be given: no node has flavor {flavor!r} to be like; flavors with nodes: {known}"
        )
    return found.most_common(1)[0][0]


def _usual_engine(nodes: Sequence[Node], flavor: str) -> frozenset[EngineCapability] | None:
    """What the engines of most nodes of the flavor can do; of equally many, the first's. New flavors: everything."""
    found = Counter(node.capabilities for node in nodes if node.flavor == flavor)
    return found.most_common(1)[0][0] if found else None


# --- rounds -------------------------------------------------------------------------------------------------------


def whole(snapshot: Snapshot, decision: Decision) -> Commit:
    """What a store makes of the plan when nothing changes between snapshot and commit: all of it."""
    plan, live = decision.plan, decision.formulation.live
    epoch = Epoch(plan.round, plan.revision + 1)
    position = live.positions(change.job_id for change in plan.changes)
    applied = tuple(
        Applied(change, apply_change(change, live.jobs.jobs[index], epoch, snapshot.time).allocation)
        for change, index in zip(plan.changes, position.tolist(), strict=True)
    )
    return Commit(plan.revision + 1, plan.round, applied, (), ())


def first_round(live: Live, solver: Solver) -> Decision:
    """What the next round would decide."""
    checkpoint()
    with cyclic_garbage_waits():
        return decide(live.snapshot, live.memory, live.policy, solver)


@dataclass(frozen=True, slots=True)
class Passed:
    """One round of a fork: what it saw, decided, and what came of it."""

    snapshot: Snapshot
    decision: Decision
    commit: Commit


def rounds(
    fork: Fork,
    first: Decision,
    count: int,
    interval: float,
    solver: Solver,
    keep_going: Callable[[], bool] = lambda: True,
) -> Iterator[Passed]:
    """`first`, the fork's own decision, and `count` more rounds, each an interval after the last, on its facts, which
    this changes. Nothing else happens in the meantime but that jobs end whose expected duration is known: once they ran
    for it without a break, at their speed. Ends early when `keep_going` says so.
    """
    facts, live, decision = fork.facts, fork.live, first
    snapshot, memory = live.snapshot, live.memory
    for number in range(count + 1):
        if number:
            if not keep_going():
                return
            now = snapshot.time + interval
            facts.absorb(ChangeSet(jobs=with_those_that_wait(_ended_by(now, snapshot), facts, now)))
            snapshot = facts.snapshot(snapshot.round + 1, now)
            decision = first_round(Live(snapshot, memory, live.policy), solver)
        checked = check(decision.plan, facts, revision=facts.revision + 1, now=snapshot.time)
        commit = Commit(facts.revision + 1, snapshot.round, checked.applied, checked.rejected, ())
        facts.absorb(ChangeSet(jobs=checked.jobs))
        memory = settle(memory, snapshot, decision, commit, live.policy)
        yield Passed(snapshot, decision, commit)
        snapshot = facts.snapshot(snapshot.round, snapshot.time)


def _ended_by(now: float, snapshot: Snapshot) -> Iterator[Job]:
    """Jobs that will have run for as long as expected."""
    for job in snapshot.jobs:
        expected = job.spec.expected_duration_seconds
        if expected is None or job.allocation is None or job.last_start_time is None:
            continue
        placement = job.allocation.placement
        speed = job.throughput(job.spec.configurations[placement.configuration]) * placement.millis / 1000
        best = max(job.throughput(configuration) for configuration in job.spec.configurations)
        if speed > 0 and now - job.last_start_time >= expected * best / speed:
            yield replace(job, state=JobState.SUCCEEDED, allocation=None, pending_reason=None, end_time=now)
