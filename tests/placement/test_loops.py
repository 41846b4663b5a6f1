"""Preemption loops: searched for in random small worlds in which nothing happens but rounds; none may be found.

Three claims. Where everybody fits, or shares are 0 and 1 and everybody with a share runs, nothing changes any more, for
a thousand rounds. Where time is shared, every preemption is paid for (see `tests.placement.loops`). And deciding again
at the same moment with the same memory changes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from allocator.domain.job import Job, JobSpec
from allocator.domain.policy import Policy
from allocator.domain.reason import PreemptionReason
from allocator.rounds.decide import decide
from allocator.solvers.chain import ChainSolver
from tests.placement.exhaustive import FreeByNode, empty, fill, fits
from tests.placement.fragmented import fragmented, thinned
from tests.placement.loops import findings, stops
from tests.placement.small_worlds import (
    SHARDS,
    Played,
    Shares,
    SmallWorld,
    Stage,
    drawn,
    drawn_nodes,
    drawn_spec,
    shard,
    worlds_to_try,
)

ROUNDS = 24
"""Per world of the search: several times the hysteresis, the minimum run and the dearest restart but one."""

LONG = 1000
"""Rounds in which nothing may change."""


@dataclass
class Stops:
    """When each job was last stopped for another one's share."""

    policy: Policy
    last: dict[str, float] = field(default_factory=dict)

    def too_soon(self, played: Played) -> Iterator[str]:
        now = played.report.snapshot.time
        for job_id in stops(played):
            before = self.last.get(job_id)
            if before is not None and now - before < max(self.policy.minimum_run_seconds, 1e-9):
                yield f"{job_id}: stopped at {before:g} s and again at {now:g} s"
            self.last[job_id] = now


def search(seeds: Iterable[int], *, solved: bool) -> tuple[list[str], int]:
    """Everything found in the worlds of these seeds, and how many preemptions for fairness were looked at."""
    found: list[str] = []
    looked_at = 0
    for seed in seeds:
        stage = Stage(drawn(seed, given_shares=not solved), ChainSolver() if solved else None)
        looked_at += watch(stage, PreemptionReason.FAIR_SHARE, found)
    return found, looked_at


def watch(stage: Stage, reason: PreemptionReason, found: list[str]) -> int:
    """Play rounds; everything found is added to `found`. How many preemptions for this reason were looked at."""
    policy, looked_at = stage.world.policy, 0
    history = Stops(policy)
    for played in stage.rounds(ROUNDS):
        looked_at += len(stops(played, reason))
        wrong = [*findings(played, policy), *history.too_soon(played), *again(stage, played)]
        found += [f"seed {stage.world.seed}, round {played.report.snapshot.round}: {what}" for what in wrong]
    return looked_at


def again(stage: Stage, played: Played) -> list[str]:
    """What deciding once more would change, with the memory that the round had, at its moment."""
    if played.quiet:
        return []
    now = played.report.snapshot.time
    decision = decide(stage.store.snapshot(now), played.memory, stage.world.policy, stage.solver)
    if decision.formulation.pinned != played.report.formulation.pinned:
        return []  # who started for good has left the problem, with its capacity: it is another problem
    return [f"{change.job_id}: decided again at once, it would change: {change}" for change in decision.plan.changes]


@pytest.mark.parametrize("number", range(SHARDS))
def test_every_preemption_is_paid_for_when_shares_are_given(number: int) -> None:
    seeds = shard(number, 100)
    found, looked_at = search(seeds, solved=False)
    assert found == []
    assert looked_at >= len(seeds) // 10, "there was nothing to find"


@pytest.mark.parametrize("number", range(SHARDS))
def test_every_preemption_is_paid_for_when_shares_are_solved(number: int) -> None:
    """With the real solver shares may change with what runs, because a restart costs throughput."""
    seeds = shard(number, 40)
    found, looked_at = search(seeds, solved=True)
    assert found == []
    assert looked_at >= len(seeds) // 10, "there was nothing to find"


def test_solved_shares_give_something_to_look_at() -> None:
    """The parts of an ordinary search are too small to say so each."""
    assert search((3, 8), solved=True)[1] >= 10


def test_shares_that_differ_by_little_stop_nobody_at_once() -> None:
    """Two jobs are to run nearly all the time and do not fit together: after the first round, the optimum has 0.98 for
    the one that started, and 1 for the other.
    """
    assert search([989], solved=True)[0] == []


def test_who_is_stopped_does_not_change_what_others_can_be_stopped_for() -> None:
    """A dear restart once counted less as soon as an older job was among those who wait."""
    assert search([1592], solved=True)[0] == []


def test_what_a_higher_class_takes_in_place_of_its_share_is_known_in_the_same_round() -> None:
    """A high job finds no place for its share and takes another configuration, from one that was moved for it as one
    that is to run all the time; beside what was really taken, it is not, and would have been stopped next.
    """
    assert search([2827], solved=True)[0] == []


@pytest.mark.parametrize("solved", [False, True])
def test_moves_that_make_room_are_paid_for_and_nothing_turns_them_round(solved: bool) -> None:
    found: list[str] = []
    moved = 0
    for seed in range(max(30, worlds_to_try(0) // 10)):
        stage = thinned(fragmented(seed), ChainSolver() if solved else None)
        moved += watch(stage, PreemptionReason.CONSOLIDATED, found)
    assert found == []
    assert moved >= 1


def test_the_search_finds_preemptions_that_are_not_paid_for() -> None:
    """Rounds that ask for a hysteresis of 20 s, judged as if 100 s had been asked for."""
    found = []
    for seed in range(30):
        world = drawn(seed, alone=True)
        lax = replace(world, policy=replace(world.policy, hysteresis_seconds=20.0))
        strict = replace(world.policy, hysteresis_seconds=100.0)
        found += [what for played in Stage(lax).rounds(ROUNDS) for what in findings(played, strict)]
    assert len(found) > 5
    assert all("with margin 100" in what for what in found)


# --- nothing changes where nothing has to -------------------------------------------------------------------------


def planted(seed: int) -> SmallWorld:
    """Shares of 0 and 1 that fit: jobs are put on nodes one after the other, and those that found a place get 1."""
    dice = random.Random(seed)
    world = drawn(seed)
    flavors = "".join(sorted({member.flavor for member in world.nodes}))
    nodes = drawn_nodes(dice, flavors, dice.randint(3, 8))
    specs = tuple(drawn_spec(dice, flavors, index) for index in range(dice.randint(3, 12)))
    return replace(world, nodes=nodes, specs=specs, shares=_planted_shares(specs, empty(nodes)), ages=())


def _planted_shares(specs: tuple[JobSpec, ...], free: FreeByNode) -> Shares:
    shares = []
    for spec in specs:
        place = next((index for index, way in enumerate(spec.configurations) if fits(free, way)), None)
        if place is not None:
            fill(free, spec.configurations[place])
        shares.append(tuple(float(index == place) for index in range(len(spec.configurations))))
    return tuple(shares)


def served(jobs: Iterable[Job], shares: dict[str, tuple[float, ...]]) -> bool:
    """Whether everybody with a share runs where it has it."""
    for job in jobs:
        wanted = [index for index, share in enumerate(shares[job.id]) if share]
        if wanted and (job.allocation is None or job.allocation.placement.configuration not in wanted):
            return False
    return True


def long_worlds(usual: int) -> range:
    """A thousand rounds cost as much as forty worlds of the search."""
    return range(max(usual, worlds_to_try(0) // 50))


def test_shares_of_none_or_all_change_nothing_for_a_thousand_rounds() -> None:
    still = 0
    for seed in long_worlds(4):
        world = planted(seed)
        stage = Stage(world)
        first = list(stage.rounds(2))
        assert world.shares is not None
        if not served(first[-1].after, dict(zip((job.id for job in stage.jobs), world.shares, strict=True))):
            continue  # packing in another order did not find the place that was planted
        still += 1
        restless = [p.report.snapshot.round for p in stage.rounds(LONG) if not p.quiet]
        assert restless == [], f"seed {seed}"
    assert still >= len(long_worlds(4)) * 0.25


def test_where_everybody_fits_nothing_changes_for_a_thousand_rounds() -> None:
    """With the real solver, and jobs of which some have only one way to run: those start where they stay."""
    still = 0
    for seed in long_worlds(2):
        world = roomy(seed)
        stage = Stage(world, ChainSolver())
        first = list(stage.rounds(2))
        if any(job.allocation is None for job in first[-1].after):
            continue
        still += 1
        restless = [p.report.snapshot.round for p in stage.rounds(LONG) if not p.quiet]
        assert restless == [], f"seed {seed}"
    assert still >= len(long_worlds(2)) * 0.5


def roomy(seed: int) -> SmallWorld:
    """Few jobs for many nodes, each of them accepting one configuration that fits."""
    dice = random.Random(seed)
    world = drawn(seed, given_shares=False)
    flavors = "".join(sorted({member.flavor for member in world.nodes}))
    free = empty(world.nodes)
    specs = []
    for index in range(dice.randint(3, 9)):
        spec = drawn_spec(dice, flavors, index)
        spec = replace(spec, configurations=spec.configurations[:1])
        if fits(free, spec.configurations[0]):
            fill(free, spec.configurations[0])
            specs.append(spec)
    return replace(world, specs=tuple(specs), ages=())
