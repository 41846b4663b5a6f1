"""Nodes that only pretend to run: they take desired state as real agents do, and report when a gang is done.

The Pusher of a replay. A gang makes progress while all its replicas are asked for and all their nodes are up. It needs
the true run time of its job, in its fastest configuration, times (fastest throughput / throughput here); what it has
done it keeps when it is stopped, and each start after its first costs the job's restart cost, or one that is drawn for
it, before it goes on. A gang that is resized goes on at once, at its new speed. With interference it is the slower the
more other jobs are beside it.

Where nodes may learn late what they shall run, a gang runs while all its nodes know of it and none of anything newer.
It ends only if the scheduler still means it to run, otherwise it is done as soon as it is started again.

Whatever breaks a promise of the push (an old epoch, half a gang, a job in two places, one that was done already) is
noted in `broken_promises`; the invariants look there after every round.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from allocator.domain.cluster import Node
from allocator.domain.placement import WHOLE, DesiredReplica, Epoch, NodeDesired, held
from allocator.intake.commands import Command, Heartbeat, ReplicaReport, ReplicaState, ReportProgress
from allocator.intake.ports import Ledger
from simulations.agenda import Agenda
from simulations.conditions import IDEAL, Conditions
from simulations.gangs import Agent, Gang, Work
from simulations.judging.runs import RunLog
from simulations.usage import Usage
from simulations.workload import Arrival

TOLD_AFTER = 60.0
"""Seconds of making progress after which a job reports how fast it is."""


class BatchLedger(Ledger, Protocol):
    """A ledger that takes several commands together, as a store's writer does with those that wait for it."""

    def execute_all(self, commands: Iterable[Command], now: float) -> list[Future[Any]]:
        """`execute` of each, in their order."""
        ...


class Messages(Protocol):
    """What is on its way to nodes."""

    @property
    def settled(self) -> bool:
        """Whether every node knows the newest state meant for it."""
        ...

    def mean(self, node: str, job_id: str, replica: int, epoch: Epoch) -> bool:
        """Whether the newest state meant for the node has this replica, decided then."""
        ...


class SimulatedCluster:
    """Implements `allocator.rounds.ports.Pusher`; tells `ledger` of completions as the nodes' heartbeats."""

    def __init__(
        self,
        nodes: Iterable[Node],
        agenda: Agenda,
        ledger: BatchLedger,
        *,
        tells: bool = True,
        conditions: Conditions = IDEAL,
        seed: int = 0,
    ) -> None:
        """`tells`: jobs whose throughputs are declared wrongly report the true ones. `seed`: for restart costs."""
        self.messages: Messages | None = None
        """Of a replay in which nodes may learn late what they shall run."""
        self._tells = tells
        self._conditions = conditions
        self._seed = seed
        self._beside: dict[str, dict[str, None]] = {}
        """With interference: by node, the jobs that make progress there."""
        self.work: dict[str, Work] = {}
        self.usage = Usage(agenda.now)
        self.runs = RunLog()
        self.broken_promises: list[str] = []
        self.finished = 0
        self._agenda = agenda
        self._ledger = ledger
        self._agents = {node.name: Agent(node) for node in nodes}
        self._gangs: dict[str, Gang] = {}
        self._asked: dict[str, dict[tuple[str, int], DesiredReplica]] = {}
        self._down = 0
        self._ending: dict[float, list[tuple[Gang, int]]] = {}
        """By instant, the gangs that will be done then unless something happens to them: (gang, its `planned`)."""
        for agent in self._agents.values():
            self.usage.offer(agent.node.capacity, 1, agenda.now)

    # --- what the world does to it ---

    def expect(self, job_id: str, arrival: Arrival, sequence: int = 0) -> None:
        """A job was admitted, as number `sequence`: this is the work that comes with it."""
        self.work[job_id] = Work(arrival, arrival.duration, sequence)

    def node_down(self, name: str) -> None:
        """The node stops, and with it every gang that has a replica there."""
        agent = self._agents[name]
        assert agent.up, f"node {name} is down already"
        agent.up = False
        self._down += 1
        self.usage.offer(agent.node.capacity, -1, self._agenda.now)
        self.runs.node_is(name, up=False, now=self._agenda.now)
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
        self.runs.node_is(name, up=True, now=self._agenda.now)
        for job_id in sorted({job_id for job_id, _ in agent.replicas}):
            gang = self._gangs.get(job_id)
            if gang is not None:
                self._go(gang)

    # --- what can be seen of it ---

    @property
    def idle(self) -> bool:
        """No gang is anywhere or about to be, and every node is up."""
        return not self._gangs and not self._down and (self.messages is None or self.messages.settled)

    @property
    def live(self) -> int:
        """Jobs that were admitted and are not done."""
        return len(self.work) - self.finished

    def has_ended(self, job_id: str) -> bool:
        """Whether the job was admitted and is done."""
        work = self.work.get(job_id)
        return work is not None and work.end is not None

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
        if self._conditions.pushes_late:  # an agent does not start again what has ended there
            wanted = {key: replica for key, replica in wanted.items() if not self._has_ended(replica)}
        for key, replica in agent.replicas.items():
            if wanted.get(key) != replica:
                del self._asked[key[0]][state.node, key[1]]
                touched[key[0]] = None
        for key, replica in wanted.items():
            if agent.replicas.get(key) != replica:
                self._asked.setdefault(key[0], {})[state.node, key[1]] = replica
                touched[key[0]] = None
        agent.replicas = wanted

    def _has_ended(self, replica: DesiredReplica) -> bool:
        work = self.work.get(replica.job_id)
        return work is not None and work.end is not None and replica.epoch <= work.epoch

    def _regroup(self, job_id: str) -> None:
        """Start, stop or replace the gang of a job after what is asked for has changed."""
        asked = self._asked.get(job_id)
        if asked and self._conditions.pushes_late:
            newest = max(replica.epoch for replica in asked.values())
            asked = {key: replica for key, replica in asked.items() if replica.epoch == newest}
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
        if self._conditions.pushes_late and (len(asked) != expected or min(epochs) == work.epoch):
            return len(asked) == expected  # the others do not know yet; or one that was to be replaced goes on
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
        gang = Gang(
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

    def _go(self, gang: Gang, going_on: float | None = None) -> None:
        """Begin to make progress, unless a node is down; what goes on (`_start`) does not begin anew."""
        if not all(self._agents[node].up for node in gang.places.values()):
            return
        work = self.work[gang.job_id]
        now = self._agenda.now
        gang.since = now
        gang.restarting = self._restart_seconds(work)
        gang.generation += 1
        if going_on is None:
            work.starts += 1
        else:
            gang.restarting = going_on
        self.usage.hold(gang.demand, 1, now)
        asked = self._asked[gang.job_id]
        if self._conditions.pushes_late:
            asked = {key: replica for key, replica in asked.items() if replica.epoch == gang.epoch}
        gang.run = self.runs.begin(gang.job_id, asked, now)
        if self._conditions.interference:
            self._come(gang)
        end = self._plan_end(gang)
        if self._tells and work.arrival.true_speed:
            told = now + gang.restarting + TOLD_AFTER
            if told < end:
                self._agenda.plan(told, partial(self._tell, gang, gang.generation))

    def _restart_seconds(self, work: Work) -> float:
        """What the next start costs."""
        if not work.starts:
            return 0.0
        measured = self._conditions.restart_costs
        if measured is None:
            return work.arrival.spec.restart_cost_seconds
        return measured.drawn(self._seed, work.sequence, work.starts)

    def _plan_end(self, gang: Gang) -> float:
        """When it will be done, if nothing happens to it before."""
        end = self._agenda.now + gang.restarting + self.work[gang.job_id].remaining / (gang.rate * gang.factor)
        together = self._ending.get(end)
        if together is None:
            self._ending[end] = together = []
            self._agenda.plan(end, partial(self._complete, end))
        gang.planned += 1
        together.append((gang, gang.planned))
        return end

    def _tell(self, gang: Gang, generation: int) -> None:
        """The job reports how fast it runs, unless it was halted since this was planned."""
        if gang.generation == generation:
            self._ledger.execute(ReportProgress(gang.job_id, gang.speed, gang.epoch), self._agenda.now).result()

    def _halt(self, gang: Gang) -> None:
        """Stop making progress, and keep what was done."""
        if gang.since is None:
            return
        self._settle(gang)
        gang.since = None
        gang.generation += 1
        self.usage.hold(gang.demand, -1, self._agenda.now)
        self.runs.finish(gang.run, self._agenda.now)
        if self._conditions.interference:
            self._leave(gang)

    def _settle(self, gang: Gang) -> None:
        """Count what was done until now."""
        assert gang.since is not None
        work = self.work[gang.job_id]
        elapsed = self._agenda.now - gang.since
        spent = min(elapsed, gang.restarting)
        work.restart_seconds += spent
        work.remaining = max(0.0, work.remaining - (elapsed - spent) * gang.rate * gang.factor)
        gang.since = self._agenda.now
        gang.restarting -= spent

    # --- interference ---

    def _come(self, gang: Gang) -> None:
        """The gang makes progress beside others from now on."""
        nodes = dict.fromkeys(gang.places.values())
        for node in nodes:
            self._beside.setdefault(node, {})[gang.job_id] = None
        gang.factor = self._factor(gang)
        self._repace(nodes, gang.job_id)

    def _leave(self, gang: Gang) -> None:
        """And no more."""
        nodes = dict.fromkeys(gang.places.values())
        for node in nodes:
            del self._beside[node][gang.job_id]
        self._repace(nodes, gang.job_id)

    def _repace(self, nodes: Iterable[str], but: str) -> None:
        """Whoever else is on these nodes goes on at the speed that is left."""
        for job_id in sorted({job_id for node in nodes for job_id in self._beside[node]} - {but}):
            gang = self._gangs[job_id]
            factor = self._factor(gang)
            if factor != gang.factor:
                self._settle(gang)
                gang.factor = factor
                self._plan_end(gang)

    def _factor(self, gang: Gang) -> float:
        others = max(len(self._beside[node]) for node in gang.places.values()) - 1
        return 1.0 / (1.0 + self._conditions.interference * others)

    # --- ends ---

    def _stop(self, gang: Gang) -> None:
        self._halt(gang)
        del self._gangs[gang.job_id]

    def _complete(self, end: float) -> None:
        """Gangs end that were to end now and were not halted since, every replica at the same instant. Each node says
        so in one heartbeat.
        """
        done: dict[str, list[ReplicaReport]] = {}
        for gang, planned in self._ending.pop(end):
            if gang.planned != planned or gang.since is None:
                continue
            if not self._is_meant(gang):
                self._halt(gang)
                self.work[gang.job_id].remaining = 0.0
                continue
            self._stop(gang)
            work = self.work[gang.job_id]
            work.remaining = 0.0
            work.end = end
            self.finished += 1
            for node, index in self._asked.pop(gang.job_id):
                del self._agents[node].replicas[gang.job_id, index]
            for index, node in sorted(gang.places.items()):
                done.setdefault(node, []).append(ReplicaReport(gang.job_id, index, gang.epoch, ReplicaState.SUCCEEDED))
        heartbeats = [Heartbeat(node, tuple(reports)) for node, reports in sorted(done.items())]
        for told in self._ledger.execute_all(heartbeats, end):
            told.result()

    def _is_meant(self, gang: Gang) -> bool:
        """Whether the scheduler wants all of the gang to run, so that it will hear of its end."""
        messages = self.messages
        return messages is None or all(
            messages.mean(node, gang.job_id, index, gang.epoch) for index, node in gang.places.items()
        )

    def _note(self, what: str) -> None:
        self.broken_promises.append(what)
