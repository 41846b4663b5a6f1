"""Making room where enough is free, but in pieces: running jobs move to other places so that a waiting gang fits.

Runs after the walks. Equivalent to: for each waiting gang to which the optimum gave a share, the most owed first, that
would fit into what is free in total on its flavor: choose jobs, on as few and as cheap nodes as can be found, without
which the gang would fit, and for which there are other places; let them move, and the gang start, in one plan.

- Nobody stops for it: everybody who moves has a new place in the same configuration, or nothing happens (`moving`).
- It must pay: what the gang is worth per second, times the seconds that a placement is expected to last (the horizon,
  or the job's expected duration if that is less), is more than what everybody who moves is worth per second, times its
  restart cost, or the hysteresis if that is more. Worth: the demand at the last prices; where nothing on the flavor
  has a price, each resource relative to the largest node.
- Only those move who may be stopped, have run their minimum, are whole on one node, and are not bound to others.
- Nothing can turn it round at once: whoever moved or started has not run its minimum, so without a minimum run nobody
  moves. And only for the highest class that waits for the flavor, and no lower ones move: those it may stop anyway.

What is promised: if a gang of one replica would fit after one job of one replica had moved to a place that is free on
another node, and that would pay, it does not wait. With several movers, or several replicas, it is a greedy search.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from allocator.domain.placement import WHOLE
from allocator.domain.policy import Policy
from allocator.domain.resources import GPU_MILLIS, display_unit
from allocator.formulation.live import Live
from allocator.placement.clearing import Movers, Option, ways_to_clear
from allocator.placement.compiled import Kernels
from allocator.placement.moving import DONE
from allocator.placement.space import Booleans, Floats, Integers, Pool
from allocator.placement.world import World

MOST_KINDS = 8
"""Kinds of gangs that are looked at, until one of them starts."""
MOST_STARTS = 16
"""Gangs that start this way in a round."""
MOST_NODES = 16
"""Nodes that are looked at closely, or twice as many as replicas are missing."""
MOST_TRIES = 8
"""Sets of jobs that are really lifted for one gang."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Who may move, and at what price. J jobs, K kinds."""

    movable: Booleans
    """(J,) as far as that does not change on the way."""
    worth: Floats
    """(K,) of a whole gang per second; only those of one flavor compare."""
    loss: Floats
    """(J,) seconds that a job loses by moving."""
    gain: Floats
    """(J,) seconds that a job would have from starting now."""


def terms(live: Live, world: World, now: float, prices: Mapping[tuple[str, str], float], policy: Policy) -> Terms:
    """As the round begins."""
    jobs = world.jobs
    restart = live.profiles.restart_cost[live.jobs.profile]
    with np.errstate(invalid="ignore"):
        mature = np.asarray(now - live.jobs.since >= policy.minimum_run_seconds)
    movable: Booleans = mature & (world.places.millis == WHOLE) & ~jobs.particular & (jobs.wish < 0)
    return Terms(
        movable=movable & jobs.stoppable if policy.minimum_run_seconds > 0 else np.zeros_like(movable),
        worth=_worth(live, world, prices),
        loss=np.maximum(policy.hysteresis_seconds, restart),
        gain=np.minimum(policy.horizon_seconds, jobs.duration),
    )


def _worth(live: Live, world: World, prices: Mapping[tuple[str, str], float]) -> Floats:
    """(K,)"""
    space, kinds, nodes = world.space, world.kinds, live.nodes
    names = (*nodes.resources, "gpu")
    if not nodes.flavors:
        return np.zeros(len(kinds.flavor))
    price = np.array(
        [[prices.get((flavor, name), 0.0) / display_unit(name)[1] for name in names] for flavor in nodes.flavors]
    ).reshape(len(nodes.flavors), len(names))
    valued: Booleans = np.any(price > 0, axis=1)
    first = space.flavor_starts[:-1]
    relative = np.concatenate([space.worth, space.device_worth[:, None]], axis=1)[first]
    price = np.where(valued[:, None], np.maximum(price, 0.0), relative)
    amounts = np.concatenate([kinds.amount, (kinds.devices * GPU_MILLIS + kinds.part)[:, None]], axis=1)
    found: Floats = kinds.replicas * (amounts * price[kinds.flavor]).sum(axis=1)
    return np.where(kinds.flavor >= 0, found, 0.0)


def consolidate(kernels: Kernels, world: World, pool: Pool, waiting: Integers, fixed: Terms) -> tuple[Pool, int]:
    """(the pool, how many gangs started). `waiting`: jobs without a place."""
    started = 0
    if not fixed.movable.any():
        return pool, started
    search = _Search(kernels, world, fixed)
    while started < MOST_STARTS:
        before = started
        for kind, job, column in search.candidates(waiting[world.places.kind[waiting] < 0]):
            pool, more = search.make_room(pool, kind, job, column, MOST_STARTS - started)
            started += more
            if started == MOST_STARTS or len(search.failed) == MOST_KINDS:
                return pool, started
        if started == before:
            break
        search.failed.clear()  # another kind may fit between those that have moved
    return pool, started


@dataclass(slots=True, eq=False)
class _Search:
    kernels: Kernels
    world: World
    fixed: Terms
    failed: dict[int, float] = field(default_factory=dict)
    """By kind, for how many seconds it would not have paid."""
    _movers: dict[int, Movers] = field(default_factory=dict)

    def candidates(self, waiting: Integers) -> Iterator[tuple[int, Integers, Integers]]:
        """(kind, jobs, columns of their options) worth a try, kind by kind, and of a kind job by job, the most owed
        first.
        """
        world, options = self.world, self.world.options
        waiting = waiting[self._allowed_any(waiting)]
        able = waiting[~world.jobs.particular[waiting]]
        if world.reservations.nodes[-1] > 0:
            able = able[world.jobs.preemptible[able]]
        kinds = self._in_pieces()
        if not len(able) or not kinds.any():
            return
        row = world.jobs.option_row[able]
        kind = options.kind[row]
        position, column = np.nonzero(options.owed[row] & kinds[kind])
        if not len(position):
            return
        job, kind = able[position], kind[position, column]
        top = self._highest_class(waiting)
        right = world.jobs.priority[job] == top[world.kinds.flavor[kind]]
        job, kind, column, jobs = job[right], kind[right], column[right], world.jobs
        order = np.lexsort((job, -jobs.share_steps[job], -jobs.credit[job], -jobs.priority[job]))
        job, kind, column = job[order], kind[order], column[order]
        distinct, first = np.unique(kind, return_index=True)
        for number in distinct[np.argsort(first, kind="stable")].tolist():
            same = (kind == number) & (world.places.kind[job] < 0)
            yield number, job[same], column[same]

    def _allowed_any(self, waiting: Integers) -> Booleans:
        """(n,) who may start as something, as far as quotas and side constraints go: the others lack no room."""
        world, options = self.world, self.world.options
        found = world.jobs.account[waiting] < 0
        bound = np.flatnonzero(~found)
        row = world.jobs.option_row[waiting[bound]]
        for kind in np.unique(options.kind[row]).tolist() if len(bound) else ():
            there = np.arange(options.kind.shape[1]) < options.choices[row][:, None]
            asking = bound[((options.kind[row] == kind) & there).any(axis=1)]
            if world.kinds.flavor[kind] >= 0 and len(asking):
                found[asking] |= self.kernels.which_may_start(world, waiting[asking], kind) > 0
        return found

    def _in_pieces(self) -> Booleans:
        """(K,) kinds whose demand is free in total, and which somebody could make room for."""
        space, kinds = self.world.space, self.world.kinds
        first = space.flavor_starts[:-1]
        if not len(first):
            return np.zeros(len(kinds.flavor), dtype=np.bool_)
        free = np.add.reduceat(np.where(space.open[:, None], space.free, 0), first, axis=0)
        gpus = np.add.reduceat(np.where(space.open, space.devices.sum(axis=1), 0), first)
        flavor = np.maximum(kinds.flavor, 0)
        there = (kinds.flavor >= 0) & ~kinds.absent & (kinds.within < 0) & (kinds.spread < 0).all(axis=1)
        enough = (kinds.replicas[:, None] * kinds.amount <= free[flavor]).all(axis=1)
        enough &= kinds.replicas * (kinds.devices * GPU_MILLIS + kinds.part) <= gpus[flavor]
        found: Booleans = there & enough & (self.fixed.worth > 0)
        return found

    def _highest_class(self, waiting: Integers) -> Integers:
        """(F,) of those who wait for each flavor."""
        world = self.world
        top = np.full(len(world.space.flavor_starts) - 1, np.iinfo(np.int64).min)
        priority = world.jobs.priority[waiting]
        for value in np.unique(priority).tolist():
            rows = np.unique(world.jobs.option_row[waiting[priority == value]])
            there = np.arange(world.options.kind.shape[1]) < world.options.choices[rows][:, None]
            flavor = world.kinds.flavor[world.options.kind[rows][there]]
            top[flavor[flavor >= 0]] = value
        return top

    def make_room(self, pool: Pool, kind: int, job: Integers, column: Integers, most: int) -> tuple[Pool, int]:
        """Let up to `most` jobs of one kind start while others move, as far as that can be found and pays: how many."""
        allowed = self.kernels.which_may_start(self.world, job, kind) > 0
        job, column = job[allowed], column[allowed]
        started, longest = 0, self.fixed.gain[job].max(initial=0.0)
        if longest <= self.failed.get(kind, 0.0):
            return pool, started
        self.failed[kind] = longest
        missing, options = self._options(pool, kind, self.world.jobs.priority[job[0]], longest)
        for number, as_what in zip(job.tolist(), column.tolist(), strict=True):
            worth = float(self.fixed.worth[kind] * self.fixed.gain[number])
            if not options or options[0].cost >= worth or not self._may_start(number, kind):
                continue
            pool, used = self._start(pool, number, as_what, missing, options, worth)
            if used is None:
                break
            started += 1
            if started == most or missing > 1:
                break
            options = [option for option in options if not used.intersection(option.movers)]
        return pool, started

    def _may_start(self, job: int, kind: int) -> bool:
        """Whether those who started just now have left it enough of its quotas and side constraints."""
        return bool(self.kernels.which_may_start(self.world, np.array([job]), kind)[0])

    def _start(
        self, pool: Pool, job: int, column: int, missing: int, options: list[Option], worth: float
    ) -> tuple[Pool, set[int] | None]:
        """Who moved so that the job started; None: nobody, and it did not. Hopeless `options` are removed."""
        for chosen in _sets(options, missing, worth):
            movers = np.array([mover for option in chosen for mover in option.movers], dtype=np.int64)
            pool, answer = self.kernels.move_aside(self.world, pool, job, column, movers)
            if answer == DONE:
                return pool, set(movers.tolist())
            stuck = set(movers.tolist()) if missing == 1 else {int(movers[answer])} if answer >= 0 else set()
            options[:] = [option for option in options if not stuck.intersection(option.movers)]
        return pool, None

    def _able_movers(self, pool: Pool, kind: int, lowest: int, gain: float) -> Movers:
        """Those on the kind's flavor who may move, find a place as things are, and do not cost too much."""
        world, space = self.world, self.world.space
        flavor = int(world.kinds.flavor[kind])
        every = self._movers.get(flavor)
        if every is None:
            every = self._movers[flavor] = self._movers_on(pool, flavor)
        able = world.jobs.in_place[every.job] & world.jobs.stoppable[every.job] & (every.cost < gain)
        able &= world.jobs.priority[every.job] >= lowest
        able &= space.open[every.node]
        counts = world.scratch.counts
        for other in np.unique(every.kind[able]).tolist():
            total = self.kernels.count_all(space, world.kinds, other, WHOLE, counts)
            mine = np.flatnonzero(able & (every.kind == other))
            here = counts[every.node[mine]]
            beside = (here > 0) & (world.kinds.part[other] > 0)  # on another device of its own node
            able[mine] = (total - here >= world.kinds.replicas[other]) | beside
        return Movers(every.job[able], every.node[able], every.kind[able], every.cost[able])

    def _movers_on(self, pool: Pool, flavor: int) -> Movers:
        """By node, the cheapest first, then the last admitted."""
        places, kinds = self.world.places, self.world.kinds
        job = np.flatnonzero(self.fixed.movable & (places.pieces == 1) & (places.kind >= 0))
        job = job[(kinds.flavor[places.kind[job]] == flavor) & self.world.jobs.in_place[job]]
        job = job[pool.replicas[places.first[job]] == kinds.replicas[places.kind[job]]]
        node, kind = pool.node[places.first[job]], places.kind[job]
        cost = self.fixed.worth[kind] * self.fixed.loss[job]
        order = np.lexsort((-job, cost, node))
        return Movers(job[order], node[order], kind[order], cost[order])

    def _options(self, pool: Pool, kind: int, lowest: int, seconds: float) -> tuple[int, list[Option]]:
        """How many replicas find no place, and what would make room for one more each, the cheapest first. Movers are
        of the `lowest` class at least, and cost less than so many seconds of the gang are worth.
        """
        world, counts = self.world, self.world.scratch.counts
        movers = self._able_movers(pool, kind, lowest, float(self.fixed.worth[kind]) * seconds)
        missing = int(world.kinds.replicas[kind])
        missing -= int(self.kernels.count_all(world.space, world.kinds, kind, WHOLE, counts))
        if missing <= 0 or not len(movers.job):
            return missing, []
        return missing, ways_to_clear(world, pool, kind, movers, max(MOST_NODES, 2 * missing))


def _sets(options: list[Option], missing: int, worth: float) -> Iterator[Sequence[Option]]:
    """What to try: for one missing replica the options one after the other, then the first of a single job; for several
    the cheapest together, for as long as `options` get fewer between.
    """
    if missing == 1:
        paying = [option for option in options if option.cost < worth]
        yield from ([option] for option in paying[:MOST_TRIES])
        yield from ([option] for option in [late for late in paying[MOST_TRIES:] if len(late.movers) == 1][:1])
        return
    for _ in range(MOST_TRIES):
        before = len(options)
        chosen: list[Option] = []
        taken: set[int] = set()
        for option in options:
            if not taken.intersection(option.movers):
                chosen.append(option)
                taken.update(option.movers)
            if len(chosen) == missing:
                break
        if len(chosen) < missing or sum(option.cost for option in chosen) >= worth:
            return
        yield chosen
        if len(options) == before:
            return
