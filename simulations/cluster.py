"""Nodes that only pretend to run: they take desired state as real agents do, and report when a gang is done.

The Pusher of a replay. A gang makes progress while all its replicas are asked for and all their nodes are up. It needs
the true run time of its job, in its fastest configuration, times (fastest throughput / throughput here); what it has
done it keeps when it is stopped, and each start after its first costs the job's restart cost before it goes on. A gang
that is resized goes on at once, at its new speed.

Whatever breaks a promise of the push (an old epoch, half a gang, a job in two places, one that was done already) is
noted in `broken_promises`; the invariants look there after every round.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from allocator.domain.cluster import Node
from allocator.domain.placement import WHOLE, DesiredReplica, Epoch, NodeDesired, held
from allocator.domain.resources import Resources
from allocator.intake.commands import Heartbeat, ReplicaReport, ReplicaState, ReportProgress
from allocator.intake.ports import Ledger
from simulations.agenda import Agenda
from simulations.usage import Usage
from simulations.workload import Arrival

BEFORE_ANY = Epoch(-1, -1)
TOLD_AFTER = 60.0
"""Seconds of making progress after which a job reports how fast it is."""


@dataclass(slots=True)
class Work:
    """What is left to do for one job. Seconds are of running in the fastest configuration unless said otherwise."""

    arrival: Arrival
    remaining: float
    starts: int = 0
    epoch: Epoch = BEFORE_ANY
    """That of the newest gang there was."""
    flavor: str = ""
    """Where it ran last."""
    restart_seconds: float = 0.0
    """Time spent on restarts so far, in virtual seconds."""
    end: float | None = None


@dataclass(slots=True)
class _Gang:
    """A job's replicas where they are now. `since` is when it last began to make progress, None while it is halted."""

    job_id: str
    epoch: Epoch
    start_epoch: Epoch
    places: dict[int, str]
    demand: Resources
    """Of the whole gang."""
    rate: float
    """Work done per second, 1 in the fastest configuration."""
    speed: float
    """The same in the unit of the job's throughputs."""
    since: float | None = None
    restarting: float = 0.0
    """Seconds after `since` before work goes on."""
    generation: int = 0
    """Counts starts and halts, so that a planned completion knows whether it is still meant."""


@dataclass(slots=True)
class _Agent:
    """One node: its newest desired state, and whether it is up to act on it."""

    node: Node
    up: bool = True
    epoch: Epoch = BEFORE_ANY
    replicas: dict[tuple[str, int], DesiredReplica] = field(default_factory=dict)


class SimulatedCluster:
    """Implements `allocator.rounds.ports.Pusher`; tells `ledger` of completions as the nodes' heartbeats."""

    def __init__(self, nodes: Iterable[Node], agenda: Agenda, ledger: Ledger, *, tells: bool = True) -> None:
        """`tells`: jobs whose throughputs are declared wrongly report the true ones."""
        self._tells = tells
        self.work: dict[str, Work] = {}
        self.usage = Usage(agenda.now)
        self.broken_promises: list[str] = []
        self.finished = 0
        self._agenda = agenda
        self._ledger = ledger
        self._agents = {node.name: _Agent(node) for node in nodes}
        self._gangs: dict[str, _Gang] = {}
        self._asked: dict[str, dict[tuple[str, int], DesiredReplica]] = {}
        self._down = 0
        for agent in self._agents.values():
            self.usage.offer(agent.node.capacity, 1, agenda.now)

    # --- what the world does to it ---

    def expect(self, job_id: str, arrival: Arrival) -> None:
        """A job was admitted: this is the work that comes with it."""
        self.work[job_id] = Work(arrival, arrival.duration)

    def node_down(self, name: str) -> None:
        """The node stops, and with it every gang that has a replica there."""
        agent = self._agents[name]
        assert agent.up, f"node {name} is down already"
        agent.up = False
        self._down += 1
        self.usage.offer(agent.node.capacity, -1, self._agenda.now)
        for job_id in sorted({job_id for job_id, _ in agent.replicas}):
            gang = self._gangs.get(job_id)
            if gang is not None:
                self._halt(gang)

    def node_up(self, name: str) -> None:
        """The node is back, and what it is still asked to run starts again if the rest of its gang is there."""
        agent = self._agents[name]
        assert not agent.up, f"node {name} is up already"
        agent.up = True
        self._down -= 1
        self.usage.offer(agent.node.capacity, 1, self._agenda.now)
        for job_id in sorted({job_id for job_id, _ in agent.replicas}):
            gang = self._gangs.get(job_id)
            if gang is not None:
                self._go(gang)

    # --- what can be seen of it ---

    @property
    def idle(self) -> bool:
        """No gang is anywhere, and every node is up."""
        return not self._gangs and not self._down

    @property
    def live(self) -> int:
        """Jobs that were admitted and are not done."""
        return len(self.work) - self.finished

    def running(self) -> dict[str, tuple[Epoch, dict[int, str]]]:
        """(epoch, node by replica) of every gang, by job id."""
        return {job_id: (gang.epoch, gang.places) for job_id, gang in self._gangs.items()}

    # --- what the scheduler does to it ---

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """Take the desired state of some nodes. The same state a second time changes nothing."""
        touched: dict[str, None] = {}
        for state in desired:
            self._receive(state, touched)
        for job_id in touched:
            self._regroup(job_id)

    def _receive(self, state: NodeDesired, touched: dict[str, None]) -> None:
        agent = self._agents[state.node]
        if state.epoch < agent.epoch:
            self._note(f"node {state.node} was sent epoch {state.epoch} after {agent.epoch}")
            return
        agent.epoch = state.epoch
        wanted = {(replica.job_id, replica.replica): replica for replica in state.replicas}
        if len(wanted) != len(state.replicas):
            self._note(f"node {state.node} was asked to run a replica twice")
        for key, replica in agent.replicas.items():
            if wanted.get(key) != replica:
                del self._asked[key[0]][state.node, key[1]]
                touched[key[0]] = None
        for key, replica in wanted.items():
            if agent.replicas.get(key) != replica:
                self._asked.setdefault(key[0], {})[state.node, key[1]] = replica
                touched[key[0]] = None
        agent.replicas = wanted

    def _regroup(self, job_id: str) -> None:
        """Start, stop or replace the gang of a job after what is asked for has changed."""
        asked = self._asked.get(job_id)
        gang = self._gangs.get(job_id)
        if not asked:
            self._asked.pop(job_id, None)
            if gang is not None:
                self._stop(gang)
            return
        sample = next(iter(asked.values()))
        places = {index: node for node, index in asked}
        if gang is not None and gang.epoch == sample.epoch and gang.places == places:
            return
        going_on = None
        if gang is not None:
            if gang.start_epoch == sample.start_epoch and gang.since is not None:
                going_on = max(0.0, gang.restarting - (self._agenda.now - gang.since))
            self._stop(gang)
        if not self._is_whole(job_id, asked):
            return
        self._start(job_id, sample, places, going_on)

    def _is_whole(self, job_id: str, asked: dict[tuple[str, int], DesiredReplica]) -> bool:
        """Whether these replicas are one gang that may start now; notes what forbids it."""
        work = self.work.get(job_id)
        if work is None:
            self._note(f"job {job_id} was never admitted, but started")
            return False
        epochs = {replica.epoch for replica in asked.values()}
        expected = next(iter(asked.values())).replicas
        if len(epochs) > 1:
            self._note(f"job {job_id} runs twice: in epochs {', '.join(sorted(map(str, epochs)))}")
        elif {index for _, index in asked} != set(range(expected)) or len(asked) != expected:
            self._note(f"job {job_id} is asked for with {len(asked)} of {expected} replicas: half a gang")
        elif len({replica.start_epoch for replica in asked.values()}) > 1:
            self._note(f"job {job_id} is asked to go on from different starts")
        elif work.end is not None:
            self._note(f"job {job_id} was done, and started again")
        elif min(epochs) <= work.epoch:
            self._note(f"job {job_id} started in epoch {min(epochs)} after {work.epoch}")
        else:
            return True
        return False

    def _start(self, job_id: str, sample: DesiredReplica, places: dict[int, str], going_on: float | None) -> None:
        """`going_on`: seconds of its restart that a resized gang had yet to go; None for one that starts."""
        work = self.work[job_id]
        work.epoch = sample.epoch
        arrival = work.arrival
        for configuration in arrival.spec.configurations:
            if (configuration.flavor, configuration.replicas) == (sample.flavor, sample.replicas):
                break
        else:
            self._note(f"job {job_id} has no configuration of {sample.replicas} replicas on {sample.flavor}")
            return
        if configuration.throughput <= 0 or sample.demand != held(configuration.demand, sample.millis):
            self._note(f"job {job_id} started with {sample.demand} on {sample.flavor}, where it cannot run like that")
            return
        gang = _Gang(
            job_id=job_id,
            epoch=sample.epoch,
            start_epoch=sample.start_epoch,
            places=places,
            demand=sample.demand * sample.replicas,
            rate=arrival.throughput(configuration) * sample.millis / (WHOLE * arrival.throughput(arrival.fastest)),
            speed=arrival.throughput(configuration) * sample.millis / WHOLE,
        )
        self._gangs[job_id] = gang
        work.flavor = configuration.flavor
        self._go(gang, going_on)

    # --- the life of a gang ---

    def _go(self, gang: _Gang, going_on: float | None = None) -> None:
        """Begin to make progress, unless a node is down; what goes on (`_start`) does not begin anew."""
        if not all(self._agents[node].up for node in gang.places.values()):
            return
        work = self.work[gang.job_id]
        now = self._agenda.now
        gang.since = now
        gang.restarting = work.arrival.spec.restart_cost_seconds if work.starts else 0.0
        gang.generation += 1
        if going_on is None:
            work.starts += 1
        else:
            gang.restarting = going_on
        self.usage.hold(gang.demand, 1, now)
        end = now + gang.restarting + work.remaining / gang.rate
        self._agenda.plan(end, partial(self._complete, gang, gang.generation))
        if self._tells and work.arrival.true_speed:
            told = now + gang.restarting + TOLD_AFTER
            if told < end:
                self._agenda.plan(told, partial(self._tell, gang, gang.generation))

    def _tell(self, gang: _Gang, generation: int) -> None:
        """The job reports how fast it runs, unless it was halted since this was planned."""
        if gang.generation == generation:
            self._ledger.execute(ReportProgress(gang.job_id, gang.speed, gang.epoch), self._agenda.now).result()

    def _halt(self, gang: _Gang) -> None:
        """Stop making progress, and keep what was done."""
        if gang.since is None:
            return
        work = self.work[gang.job_id]
        elapsed = self._agenda.now - gang.since
        spent = min(elapsed, gang.restarting)
        work.restart_seconds += spent
        work.remaining = max(0.0, work.remaining - (elapsed - spent) * gang.rate)
        gang.since = None
        gang.generation += 1
        self.usage.hold(gang.demand, -1, self._agenda.now)

    def _stop(self, gang: _Gang) -> None:
        self._halt(gang)
        del self._gangs[gang.job_id]

    def _complete(self, gang: _Gang, generation: int) -> None:
        """Every replica ends at the same instant, unless the gang was halted since this was planned."""
        if gang.generation != generation:
            return
        self._stop(gang)
        work = self.work[gang.job_id]
        work.remaining = 0.0
        work.end = self._agenda.now
        self.finished += 1
        by_node: dict[str, list[int]] = {}
        for index, node in gang.places.items():
            by_node.setdefault(node, []).append(index)
        for node, indices in sorted(by_node.items()):
            self._report(gang, node, indices)
        del self._asked[gang.job_id]

    def _report(self, gang: _Gang, node: str, indices: list[int]) -> None:
        replicas = self._agents[node].replicas
        for index in indices:
            del replicas[gang.job_id, index]
        reports = tuple(
            ReplicaReport(gang.job_id, index, gang.epoch, ReplicaState.SUCCEEDED) for index in sorted(indices)
        )
        self._ledger.execute(Heartbeat(node, reports), self._agenda.now).result()

    def _note(self, what: str) -> None:
        self.broken_promises.append(what)
