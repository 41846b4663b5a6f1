"""What would help a job: changes that are made in a copy of the facts, decided upon, and told only if they do help.

A claim holds for the facts as they are right after the last round, nobody ending and nobody coming: what a change does
by itself. Starts are checked in every round up to the horizon, without prices to begin from; shares are those of the
first of them. The search looks at fewer rounds, and what it finds is checked in all of them before it is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from allocator.domain.job import Job
from allocator.domain.reason import PendingReason
from allocator.explain.answers import Change, ChangeKind, Counterfactual, Outcome, WhatHelps
from allocator.explain.changes import changed, changed_policy, limit_changes, model, other_flavors, quota_changes
from allocator.explain.finished import Finished
from allocator.explain.limits import paid_limits
from allocator.explain.own_limits import own_bindings
from allocator.explain.replay import World, every_round, replayed, world_after
from allocator.explain.scarcity import BindingKind
from allocator.rounds.ports import Solver

HORIZON_ROUNDS, MOST_ROUNDS = 60, 600
"""How far ahead a claim may lie, and how many rounds may be decided for all of them."""
HEAVIEST, WEIGHT_STEP = 1024.0, 1.05
"""Times its present weight that is tried at most; and how close to the smallest that helps the search gets."""
MOST_NODES = 64
SOONER = 0.5
"""Of the time that it takes anyway."""
LARGER_SHARE = 0.01
"""A share that grows by less is not told."""
_MOST_WEIGHT = 1e6
_MORE, _MORE_TRIES = 1.3, 4
_HYSTERESES = 2
"""That the horizon spans at least: credit has to build up. Quick rounds are not all decided for that."""
_FIRST_LOOKS, _LOOK_GROWTH = 2, 1.6


class _Spent(Exception):
    """The bound on rounds is reached."""


@dataclass(slots=True)
class _Search:
    """The job's case: the world, and what was decided so far."""

    world: World
    job: Job
    solver: Solver
    times: list[float]
    left: int

    def outcome(self, change: Change | None, *, every: bool) -> Outcome:
        """What the change does, None: nothing is changed; looking at every round, or at some of them."""
        facts, policy = self.world.snapshot, self.world.policy
        if change is not None:
            facts, policy = changed(facts, self.job, change), changed_policy(policy, change)
        times = self.times if every else _some(self.times)
        share, waits_for = 0.0, None
        world = replace(self.world, snapshot=facts, policy=policy).cold
        steps = replayed(world, times, self.solver)
        for looked in range(len(times)):
            if self.left <= 0:
                raise _Spent
            self.left -= 1
            step = next(steps)
            if looked == 0:
                share = step.share(self.job.id)
            if step.starts(self.job.id):
                after = step.snapshot.time - self.world.snapshot.time
                return Outcome(share, after)
            reason = step.reason(self.job.id)
            waits_for = None if reason is None else reason.cause
            if step.decision.formulation.never.get(self.job.id) is not None:
                break  # nobody ends, so it will be the same in every round
        return Outcome(share, None, waits_for)


def what_helps(
    finished: Finished,
    job: Job,
    solver: Solver,
    interval: float,
    rounds: int = HORIZON_ROUNDS,
    most_rounds: int = MOST_ROUNDS,
) -> WhatHelps:
    """About a job that waited in the last round; at most `most_rounds` rounds are decided."""
    world, reason = world_after(finished), job.pending_reason
    at = finished.position_of(job.sequence)
    assert at is not None
    job = world.snapshot.jobs[at]
    stride = max(1, math.ceil(_HYSTERESES * finished.policy.hysteresis_seconds / (rounds * interval)))
    times = every_round(world.snapshot.time, interval, rounds * stride)[::stride]
    search = _Search(world, job, solver, times, most_rounds)
    found: list[Counterfactual] = []
    useless: list[Change] = []
    unchanged: Outcome | None = None
    complete = True
    try:
        unchanged = search.outcome(None, every=True)
        for change, quick in _tried(search, unchanged, _lending(finished, at), _limits(finished, at, reason)):
            claim = _checked(search, unchanged, change, quick)
            if _helps(claim.outcome, unchanged):
                found.append(claim)
            else:
                useless.append(claim.change)
    except _Spent:
        complete = False
    return WhatHelps(
        unchanged=unchanged,
        found=tuple(sorted(found, key=_order)),
        useless=tuple(useless),
        horizon_seconds=search.times[-1] - world.snapshot.time if search.times else 0.0,
        rounds=most_rounds - search.left,
        complete=complete,
    )


def _checked(search: _Search, unchanged: Outcome, change: Change, quick: Outcome) -> Counterfactual:
    """The change with what it does in every round; where a quick look was wrong about a start, a larger change of the
    kind that does start the job, if there is one not far away.
    """
    if not _helps(quick, unchanged):
        return Counterfactual(change, quick)
    claim = Counterfactual(change, search.outcome(change, every=True))
    larger = claim
    for _ in range(_MORE_TRIES):
        if _is_sooner(larger.outcome, unchanged) or not _is_sooner(quick, unchanged):
            return larger
        if change.kind is ChangeKind.WEIGHT:
            change = replace(change, weight=_short(change.weight * _MORE))
        elif change.kind is ChangeKind.NODES:
            change = replace(change, nodes=change.nodes + 1)
        else:
            return claim
        larger = Counterfactual(change, search.outcome(change, every=True))
    return larger if _is_sooner(larger.outcome, unchanged) else claim


def _tried(
    search: _Search, unchanged: Outcome, lending: list[tuple[str, str]], limits: set[str]
) -> Iterator[tuple[Change, Outcome]]:
    """Changes one after the other, with what a quick look says of them."""
    snapshot, job = search.world.snapshot, search.job
    for flavor in other_flavors(snapshot, job):
        change = Change(ChangeKind.FLAVOR, flavor=flavor)
        yield change, search.outcome(change, every=False)
    helping: set[str] = set()
    for change in quota_changes(snapshot, job, lending):
        if change.also and change.flavor in helping:
            continue  # one of them does it alone
        quick = search.outcome(change, every=False)
        if _helps(quick, unchanged):
            helping.add(change.flavor)
        yield change, quick
    alone = False
    for change in limit_changes(snapshot, search.world.policy, job, limits):
        if not (change.also and alone):  # one of them does it
            quick = search.outcome(change, every=False)
            alone |= _helps(quick, unchanged)
            yield change, quick
    for flavor in dict.fromkeys(each.flavor for each in job.spec.configurations if each.throughput > 0):
        if model(snapshot, flavor) is not None:
            yield _fewest_nodes(search, unchanged, flavor)
    heavier = _smallest_weight(search, unchanged)
    if heavier is not None:
        yield heavier


def _fewest_nodes(search: _Search, unchanged: Outcome, flavor: str) -> tuple[Change, Outcome]:
    """The fewest nodes of the flavor that start the job sooner; MOST_NODES if they do not."""

    def tried(count: int) -> tuple[Change, Outcome]:
        change = Change(ChangeKind.NODES, flavor=flavor, nodes=count)
        return change, search.outcome(change, every=False)

    few, found = 0, tried(1)
    while not _is_sooner(found[1], unchanged) and found[0].nodes < MOST_NODES:
        few = found[0].nodes
        found = tried(2 * few)
    if not _is_sooner(found[1], unchanged):
        return found
    while found[0].nodes - few > 1:
        middle = tried((few + found[0].nodes) // 2)
        if _is_sooner(middle[1], unchanged):
            found = middle
        else:
            few = middle[0].nodes
    return found


def _smallest_weight(search: _Search, unchanged: Outcome) -> tuple[Change, Outcome] | None:
    """The smallest weight that starts the job sooner, to WEIGHT_STEP; twice its own where none does, None where
    weights cannot be larger. Integers may make a smaller one start it, too, where one between does not: then this is
    the end of a range.
    """
    own = search.job.spec.weight
    most = min(own * HEAVIEST, _MOST_WEIGHT)
    if most <= own:
        return None

    def tried(weight: float) -> tuple[Change, Outcome]:
        change = Change(ChangeKind.WEIGHT, weight=_short(weight))
        return change, search.outcome(change, every=False)

    found = tried(most)
    if not _is_sooner(found[1], unchanged):
        return tried(min(most, 2 * own))  # for the share
    light = own
    while found[0].weight / light > WEIGHT_STEP:
        middle = tried(math.sqrt(light * found[0].weight))
        if not light < middle[0].weight < found[0].weight:
            break
        if _is_sooner(middle[1], unchanged):
            found = middle
        else:
            light = middle[0].weight
    return found


def _short(weight: float) -> float:
    """To three digits: a weight that people can type."""
    return float(f"{weight:.3g}")


def _some(times: list[float]) -> list[float]:
    """The first of the times, some of the others, and the last."""
    kept, number = [], 0.0
    while round(number) < len(times):
        kept.append(times[round(number)])
        number = number + 1 if number < _FIRST_LOOKS else number * _LOOK_GROWTH
    return [*kept, *(times[-1:] if kept[-1:] != times[-1:] else [])]


def _lending(finished: Finished, at: int) -> list[tuple[str, str]]:
    """(queue, flavor) of whoever keeps to itself what the job would use."""
    row = int(finished.report.formulation.row[at])
    stage = finished.stage_of(row) if row >= 0 else None
    if stage is None:
        return []
    paid = paid_limits(finished, stage, int(finished.leaf_of_row[row]))
    return [
        (owner, flavor)
        for kind, (owners, flavor, _), _ in paid
        if kind is BindingKind.LENDING
        for owner in owners.split("+")
    ]


def _limits(finished: Finished, at: int, reason: PendingReason | None) -> set[str]:
    """Names of the side constraints for which it waits, or that it pays for."""
    row = int(finished.report.formulation.row[at])
    stage = finished.stage_of(row) if row >= 0 else None
    waits_for = () if reason is None else tuple(excess.name for excess in reason.limits)
    names = {each for name in waits_for for each in finished.report.formulation.constraints_of(name)}
    if stage is not None:
        paid = [each.limit.name for each in own_bindings(finished, row, stage) if each.limit is not None]
        names |= {each for name in paid if name for each in name.split("+")}
    return names


def _is_sooner(found: Outcome, unchanged: Outcome) -> bool:
    if found.starts_after_seconds is None:
        return False
    anyway = unchanged.starts_after_seconds
    return anyway is None or found.starts_after_seconds <= SOONER * anyway


def _helps(found: Outcome, unchanged: Outcome) -> bool:
    return _is_sooner(found, unchanged) or found.share > unchanged.share + LARGER_SHARE


def _order(found: Counterfactual) -> tuple[float, float, str]:
    after = found.outcome.starts_after_seconds
    return math.inf if after is None else after, -found.outcome.share, found.change.kind.value
