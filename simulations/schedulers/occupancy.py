"""Who is where, kept from round to round: the part that all schedulers by rules have in common.

A round is: `look` at the snapshot, give and take places (`start`, `lift`, or a kernel over `scene`), and `decision`.
All facts are taken from the snapshot: only what is another object than last time is read, and what was decided but did
not happen is undone. So a round costs what changed, and is right when nodes are lost and when commits were refused.

Places follow one rule: one of `PLACEMENTS`. Jobs are whole gangs, in the fastest configuration that fits when they
start. Nodes' labels and taints, and a gang's limits on itself, are kept. Quotas, weights, priority classes, deadlines
and minimum throughputs are not known here, divisible jobs get all of their demand, and nobody is resized.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from allocator.domain.errors import InvalidInput
from allocator.domain.placement import Placement, ReplicaPlacement
from allocator.domain.plan import Change, Move, Plan, Preempt, Start
from allocator.domain.policy import PLACEMENTS as PLACEMENTS_BY_COST
from allocator.domain.policy import Policy
from allocator.domain.reason import PendingReason, PreemptionReason
from allocator.domain.snapshot import Snapshot, WorkKind
from allocator.formulation.eligibility import open_nodes_of
from allocator.formulation.nodes import DRAINING, LOST, ORDINARY, node_arrays
from allocator.placement.compiled import Kernels
from allocator.placement.space import Integers, empty_space
from allocator.rounds.coming import work_of
from allocator.rounds.ruled import Ruled, Tally
from simulations.schedulers.arrays import empty_pool, in_natural_order
from simulations.schedulers.compiled import kernels_for
from simulations.schedulers.preempting import LIFTED
from simulations.schedulers.roll import Roll
from simulations.schedulers.scene import AT_RANDOM, BY_COST, FIRST, PLACED, STARTED, SURVEYED, Scene

LOWEST, BY_LOT = "lowest", "random"
PLACEMENTS = (*PLACEMENTS_BY_COST, LOWEST, BY_LOT)
"""How nodes are chosen: as by the policy's placements, the lowest in order of names, or drawn by lot."""
_STALE_WORK = 0.05
"""Part of the live jobs that may come and go before what comes is counted anew."""
_SEED = 2**31 - 2


@dataclass(slots=True)
class _Before:
    """Where a job was when the round began. `reason`: why it is to leave."""

    placement: Placement | None
    reason: PreemptionReason = PreemptionReason.FAIR_SHARE


class Occupancy(Roll):
    """`scheduler` is the name under which it decides; `placement` one of `PLACEMENTS`."""

    def __init__(self, scheduler: str, placement: str, seed: int = 0) -> None:
        if placement not in PLACEMENTS:
            raise InvalidInput.of("placement", f"must be one of {', '.join(PLACEMENTS)}; got {placement!r}")
        super().__init__()
        self.scheduler = scheduler
        self.placement = placement
        self.nodes_changed = False
        """Whether this look found other nodes, or some in another condition."""
        self._rule = {LOWEST: FIRST, BY_LOT: AT_RANDOM}.get(placement, BY_COST)
        self._seed = seed % _SEED
        self._work: tuple[WorkKind, ...] = ()
        self._before: dict[int, _Before] = {}

    def look(self, snapshot: Snapshot, policy: Policy) -> None:
        """Take over the facts. InvalidInput for a policy whose limits no rule here knows."""
        if policy.side_constraints or policy.floating_resources:
            raise InvalidInput.of(
                "policy",
                f"has side constraints or floating resources, which the scheduler {self.scheduler} cannot keep",
            )
        self.now = float(snapshot.time)  # kernels are compiled for that
        self.arrived, self.began, self.released, self.early, self.nodes_changed = [], [], False, False, False
        self._before = {}
        if self._nodes is None or not self._renode(snapshot):
            self._begin_anew(snapshot)
        else:
            self._take_over(snapshot)
        self._snapshot = snapshot
        self._tabulate(snapshot)
        self._hold()
        self.scene.out[SURVEYED] = 0
        assert self._nodes is not None
        if self._homeless or self._narrow or (self._nodes.condition != ORDINARY).any():
            self._evict()

    @property
    def scene(self) -> Scene:
        """For kernels. Whoever calls some that start or stop jobs calls `note` afterwards."""
        assert self._scene is not None
        return self._scene

    @property
    def kernels(self) -> Kernels:
        assert self._kernels is not None
        return self._kernels

    def may_fit(self, order: Integers) -> Integers:
        """Those of `order` for whom there may be room now, if all who fitted were started in the last round: everybody
        if something was given back, or else those who have just come.
        """
        if self.released or not len(order):
            return order
        return order[np.isin(order, np.array(self.arrived, dtype=np.int64))]

    def start(self, number: int, configuration: int | None = None) -> bool:
        """Give a waiting job a place, if there is one: in the fastest configuration that fits, or in that of this index
        and no other.
        """
        if configuration is None:
            self.pool = self.kernels.start_one(self.scene, self.pool, number, self.now)
        else:
            options = self.ways.options(int(self._crowd.shape[number]))
            column = next((c for c, (_, index, _) in enumerate(options) if index == configuration), None)
            if column is None:
                return False
            self.pool = self.kernels.start_as(self.scene, self.pool, number, column, self.now)
        self.note()
        return bool(self.scene.out[PLACED])

    def start_each(self, numbers: Integers, configurations: Integers) -> None:
        """Give each of these waiting jobs a place in the configuration of this index, as far as they fit, in order."""
        if not len(numbers):
            return
        shapes = self.scene.shapes
        shape = self._crowd.shape[numbers]
        wanted = shapes.configuration[shape] == configurations[:, None]
        wanted &= np.arange(wanted.shape[1]) < shapes.choices[shape][:, None]
        able = wanted.any(axis=1)
        columns = wanted.argmax(axis=1)
        self.pool = self.kernels.start_each(self.scene, self.pool, numbers[able], columns[able], self.now)
        self.note()

    def lift_each(self, numbers: Integers, reason: PreemptionReason = PreemptionReason.FAIR_SHARE) -> None:
        """`lift` of each."""
        for number in numbers.tolist():
            self._will_change(number, reason)
            self._count(number, -1)
        if len(numbers):
            self.kernels.lift_all(self.scene, self.pool, numbers)

    def serve(self, order: Integers, *, overtaking: bool) -> list[int]:
        """Start the jobs of `order`, one after another, for as long as they fit; or, `overtaking`, all that fit. Who
        was started.
        """
        self.pool = self.kernels.serve(self.scene, self.pool, order, self.now, overtaking)
        return self.note()

    def backfill(self, order: Integers, ending: Integers, *, pinned: bool) -> list[int]:
        """EASY backfilling: see `schedulers.backfilling`. Who was started."""
        self.pool = self.kernels.backfill(self.scene, self.pool, order, ending, self.now, pinned)
        return self.note()

    def keep_promises(self, order: Integers, ending: Integers, *, compress: bool) -> list[int]:
        """Conservative backfilling: see `schedulers.promising`. Who was started."""
        self.pool = self.kernels.keep_promises(self.scene, self.pool, order, ending, self.now, compress)
        return self.note()

    def lift(self, number: int, reason: PreemptionReason = PreemptionReason.FAIR_SHARE) -> None:
        """Take a running job's place away: it waits, unless it gets one again in this round."""
        self._will_change(number, reason)
        self._count(number, -1)
        self.kernels.lift_all(self.scene, self.pool, np.array([number]))

    def put_back(self, number: int) -> bool:
        """Give a job that was lifted in this round its old place, if that is still free."""
        before = self._before.get(number)
        if before is None or before.placement is None or not self._crowd.waits[number]:
            return False
        kind = self._kind(number, before.placement.configuration)
        self._places.kind[number] = kind
        fits = bool(self.kernels.holds(self.scene.space, self.scene.kinds, self.pool, self._places, number))
        self._places.kind[number] = -1
        if not fits:
            return False
        ends = self._ends(number, before.placement.configuration)
        self.kernels.return_home(self.scene, self.pool, number, kind, before.placement.configuration, ends)
        self._count(number, 1)
        return True

    def note(self) -> list[int]:
        """Take note of who was started by kernels, in order."""
        count = int(self.scene.out[STARTED])
        started: list[int] = self.scene.started[:count].tolist()
        for number in started:
            self._will_change(number)
            self._count(number, 1)
        self.scene.out[STARTED] = 0
        return started

    def serve_stopping(self, order: Integers, victims: Integers) -> None:
        """See the kernel `preempting.serve_stopping`."""
        scene = self.scene
        self.pool = self.kernels.serve_stopping(scene, self.pool, order, victims, self.now)
        for number in scene.lifted[: int(scene.out[LIFTED])].tolist():
            self._will_change(number)
            placement = self._before[number].placement
            assert placement is not None
            self._count(number, -1, placement.configuration)
        scene.out[LIFTED] = 0
        self.note()

    def decision(self, again: float = math.inf) -> Ruled:
        """What is different now from when the round began, as a plan."""
        snapshot = self._snapshot
        assert snapshot is not None
        preemptions: list[Change] = []
        moves: list[Change] = []
        starts: list[Change] = []
        self._decided = set()
        for number, before in self._before.items():
            job = self.jobs[number]
            assert job is not None
            self._decided.add(number)
            if self._crowd.waits[number]:
                self._placement[number] = None
                if before.placement is not None:
                    reason = self.ways.reason(int(self._crowd.shape[number]))
                    preemptions.append(Preempt(job.id, before.reason, reason))
                continue
            placement = self._words(number, job.id)
            if before.placement is None:
                starts.append(Start(placement))
            elif _is_same(before.placement, placement):
                self._placement[number] = before.placement
                self._decided.discard(number)
                continue
            else:
                moves.append(Move(placement, before.reason))
            self._placement[number] = placement
        waiting = self._tell()
        changes = (*preemptions, *moves, *starts)
        plan = Plan(snapshot.revision, snapshot.round, changes, (), waiting, others_stay=True)
        return Ruled(plan, self.scheduler, self.tally, again)

    def _tell(self) -> tuple[tuple[str, PendingReason], ...]:
        """Waiting jobs that have not been told why, with the reason."""
        told = []
        for number in self._untold:
            job = self.jobs[number]
            if job is None or not self._crowd.waits[number] or self._told[number] is not None:
                continue
            reason = self._told[number] = self.ways.reason(int(self._crowd.shape[number]))
            self.tally.causes[reason.cause] += 1
            before = self._before.get(number)
            if before is None or before.placement is None:
                told.append((job.id, reason))
        self._untold = {}
        return tuple(told)

    def _will_change(self, number: int, reason: PreemptionReason = PreemptionReason.FAIR_SHARE) -> None:
        if number not in self._before:
            self._before[number] = _Before(self._placement[number], reason)

    def _count(self, number: int, sign: int, configuration: int | None = None) -> None:
        """The job got a place (1) or lost it (-1), in this configuration or that of `crowd`."""
        job = self.jobs[number]
        assert job is not None
        which = int(self._crowd.configuration[number]) if configuration is None else configuration
        self.tally.run(job, which, sign)
        reason = self._told[number]
        if sign > 0 and reason is not None:
            self.tally.causes[reason.cause] -= 1
            self._told[number] = None
        if sign < 0:
            self._untold[number] = None

    def _renode(self, snapshot: Snapshot) -> bool:
        """Take over the nodes; False if they are others than before, so that all has to begin anew."""
        assert self._nodes is not None
        nodes = node_arrays(snapshot.nodes)
        if nodes is self._nodes:
            return True
        same = (
            nodes.resources == self._nodes.resources
            and nodes.flavors == self._nodes.flavors
            and np.array_equal(nodes.names, self._nodes.names)
            and np.array_equal(nodes.flavor, self._nodes.flavor)
            and np.array_equal(nodes.capacity, self._nodes.capacity)
            and np.array_equal(nodes.devices, self._nodes.devices)
        )
        if not same or self._spaces is None:
            return False
        self._nodes = nodes
        for space in self._spaces:
            space.open[:] = nodes.takes_new_work
            space.changes[-1] += len(space.changes)
        self.released = self.nodes_changed = True
        self._scene = None
        return True

    def _begin_anew(self, snapshot: Snapshot) -> None:
        """Read everything."""
        self._nodes = node_arrays(snapshot.nodes)
        self._spaces = (empty_space(self._nodes), empty_space(self._nodes), empty_space(self._nodes))
        self.pool = empty_pool()
        for job_id in list(self.numbers):
            number = self.numbers[job_id]
            job = self.jobs[number]
            assert job is not None
            self._forget(number, job)
        self.tally, self._popularity = Tally(), Counter()
        self._decided, self.released, self.nodes_changed, self._scene = set(), True, True, None
        self._holding, self._homeless = [], {}
        self.ways.update(self._nodes, open_nodes_of(snapshot.nodes), (), "", by_cost=False)
        for job in snapshot.jobs:
            self._update(job)

    def _tabulate(self, snapshot: Snapshot) -> None:
        """Arrays for kernels, as far as they are not those of the last round."""
        assert self._nodes is not None
        assert self._spaces is not None
        scored = self._rule == BY_COST and self.placement != "best-fit"
        if scored and self._passed >= max(1, _STALE_WORK * len(self.numbers)):
            self._passed = 0
            work = work_of(self._popularity, {}, self._work) if self._popularity else self._work
            if work is not self._work:
                self._work = work
                self.ways.forget_costs()
        fresh = self.ways.update(self._nodes, open_nodes_of(snapshot.nodes), self._work, self.placement, by_cost=scored)
        self._compact()
        if not fresh and self._scene is not None:
            self._scene.rule[1] = self._lot(snapshot.round)
            return
        self._kernels = kernels_for(len(self._nodes.nodes), len(self.jobs))
        assert self.ways.kinds is not None
        assert self.ways.plain is not None
        space, later, common = self._spaces
        count = len(self._nodes.nodes)
        self._scene = Scene(
            space=space,
            later=later,
            common=common,
            kinds=self.ways.kinds,
            plain=self.ways.plain,
            shapes=self.ways.shapes,
            crowd=self._crowd,
            places=self._places,
            order=in_natural_order(self._nodes),
            rule=np.array([self._rule, self._lot(snapshot.round)], dtype=np.int64),
            counts=np.zeros(count, dtype=np.int64),
            fill=np.zeros((count, 2), dtype=np.int64),
            total=np.zeros((len(self._nodes.flavors), len(self._nodes.resources) + 1), dtype=np.int64),
            most=np.zeros((len(self._nodes.flavors), len(self._nodes.resources) + 1), dtype=np.int64),
            room=np.zeros(self.ways.shapes.kind.shape[1], dtype=np.int64),
            hopeless=np.zeros(len(self.ways.shapes.choices), dtype=np.int64),
            lifted=np.zeros(len(self.jobs), dtype=np.int64),
            home=np.zeros((len(self.jobs), 2), dtype=np.int64),
            home_ends=np.zeros(len(self.jobs)),
            started=np.zeros(len(self.jobs), dtype=np.int64),
            out=np.zeros(8, dtype=np.int64),
        )

    def _lot(self, round_number: int) -> int:
        return (self._seed * 31 + round_number) % _SEED

    def _evict(self) -> None:
        """Lift who is where it cannot stay: on nodes that are lost, drained, or smaller than they were."""
        assert self._nodes is not None
        leaving: dict[int, PreemptionReason] = dict.fromkeys(self._homeless, PreemptionReason.NODE_LOST)
        self._homeless = {}
        condition = self._nodes.condition
        if self._narrow or (condition == LOST).any() or (condition == DRAINING).any():
            numbers = self.running()
            places, pool = self._places, self.pool
            for number in numbers.tolist():
                first = int(places.first[number])
                nodes = pool.node[first : first + int(places.pieces[number])]
                if (condition[nodes] == LOST).any():
                    leaving[number] = PreemptionReason.NODE_LOST
                elif self._crowd.stoppable[number] and (condition[nodes] == DRAINING).any():
                    leaving[number] = PreemptionReason.NODE_DRAINING
        for number, reason in leaving.items():
            if not self._crowd.waits[number]:
                self.lift(number, reason)
                self.arrived.append(number)
                self.released = True
        if self._narrow:
            self._relieve()

    def _relieve(self) -> None:
        """Lift those who came last from nodes that have become too small for all who are there."""
        assert self._spaces is not None
        space = self._spaces[0]
        for number in self.running()[::-1].tolist():
            first = int(self._places.first[number])
            nodes = self.pool.node[first : first + int(self._places.pieces[number])]
            if (space.free[nodes] < 0).any() or (space.devices[nodes] < 0).any():
                self.lift(number, PreemptionReason.CAPACITY_SHRUNK)
                self.arrived.append(number)
                self.released = True
        self._narrow = False

    def _words(self, number: int, job_id: str) -> Placement:
        """Where a job is, in words; replicas node by node."""
        assert self._nodes is not None
        names, pool, kinds = self._nodes.names, self.pool, self.ways.plain
        assert kinds is not None
        kind = int(self._places.kind[number])
        per_replica = 1 if kinds.part[kind] else int(kinds.devices[kind])
        replicas: list[ReplicaPlacement] = []
        first = int(self._places.first[number])
        for piece in range(first, first + int(self._places.pieces[number])):
            name, at = names[pool.node[piece]], int(pool.device_start[piece])
            if not per_replica:
                replicas += [ReplicaPlacement(name)] * int(pool.replicas[piece])
                continue
            for _ in range(int(pool.replicas[piece])):
                replicas.append(ReplicaPlacement(name, tuple(pool.device[at : at + per_replica].tolist())))
                at += per_replica
        return Placement(job_id, int(self._crowd.configuration[number]), tuple(replicas))


def _is_same(one: Placement, other: Placement) -> bool:
    """Whether a job is exactly where it was."""
    if (one.configuration, one.millis) != (other.configuration, other.millis):
        return False
    return sorted((r.node, r.gpus) for r in one.replicas) == sorted((r.node, r.gpus) for r in other.replicas)
