"""Agents without processes, whose every message may be late: what they do follows from the agent's own plan."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field, replace

from allocator.agent.plan import Adjust, Begin, Forget, Phase, Run, Stop, leaving, plan
from allocator.domain.cluster import NodeAvailability
from allocator.domain.job import Job
from allocator.domain.placement import Epoch, NodeDesired, Placement, ReplicaPlacement
from allocator.domain.plan import Change, Move, Plan, Preempt, Resize, Start
from allocator.domain.process import Retries
from allocator.domain.queue import Queue
from allocator.domain.reason import PendingCause, PendingReason, PreemptionReason
from allocator.intake import commands as c
from allocator.rpc.departures import Departures
from allocator.store.memory import MemoryStore
from tests.builders import configuration, node, resources, spec
from tests.rpc.serving import round_summary

NOTHING_SEEN = Epoch(0, 0)
WHY = PendingReason(PendingCause.INSUFFICIENT_CAPACITY)
ROOM = resources(cpu=1e6)
LEASE = 45.0


@dataclass
class Watch:
    """The daemon's end of a stream: what it was given last, and what it showed last."""

    newest: NodeDesired
    shown: NodeDesired | None = None
    woken: bool = True


@dataclass
class ModelAgent:
    """What an agent is when nothing of it is real. `tells`: whether it says what is leaving."""

    name: str
    tells: bool = True
    desired: NodeDesired | None = None
    runs: list[Run] = field(default_factory=list)
    watch: Watch | None = None
    coming: deque[NodeDesired] = field(default_factory=deque)
    heartbeat: c.Heartbeat | None = None
    """On its way."""
    number: int = 0
    has_lease: bool = True

    def step(self) -> bool:
        """Do what is to be done; whether there was anything."""
        actions = () if self.desired is None else plan(self.desired, self.runs, ROOM)
        actions = tuple(action for action in actions if self.has_lease or not isinstance(action, Begin))
        for action in actions:
            match action:
                case Begin(replica):
                    self.number += 1
                    self.runs.append(Run(f"{self.name}.{self.number}", replica, Phase.RUNNING))
                case Adjust(run_id, replica):
                    self.runs = [replace(run, replica=replica) if run.id == run_id else run for run in self.runs]
                case Stop(run_id):
                    self.runs = [replace(run, phase=Phase.STOPPING) if run.id == run_id else run for run in self.runs]
                case Forget(run_id):
                    self.runs = [run for run in self.runs if run.id != run_id]
        return bool(actions)

    def become(self, before: Phase, after: Phase) -> bool:
        """The first run in one phase comes to another; whether there was any."""
        for index, run in enumerate(self.runs):
            if run.phase is before:
                self.runs[index] = replace(run, phase=after)
                return True
        return False

    def fence(self) -> None:
        """The lease is over: nothing runs."""
        self.runs = [replace(run, phase=Phase.LOST) if run.alive else run for run in self.runs]
        self.heartbeat, self.has_lease = None, False

    def answered(self) -> None:
        """The lease is renewed. If it had been over, what was wanted before counts no more."""
        if not self.has_lease:
            self.desired, self.watch, self.has_lease = None, None, True
            self.coming.clear()

    def say(self) -> c.Heartbeat:
        reports = tuple(
            c.ReplicaReport(
                run.replica.job_id,
                run.replica.replica,
                run.replica.epoch,
                c.ReplicaState.RUNNING if run.phase is Phase.RUNNING else c.ReplicaState.FAILED,
            )
            for run in self.runs
            if run.phase in {Phase.RUNNING, Phase.ENDED}
        )
        if not self.tells:
            return c.Heartbeat(self.name, reports)
        if self.desired is None:
            return c.Heartbeat(self.name, reports, NOTHING_SEEN)
        return c.Heartbeat(self.name, reports, self.desired.epoch, leaving(self.desired, self.runs))


class Cluster:
    """A store, the register in front of watches, and agents. Time passes only where a test says so."""

    def __init__(self, *names: str, silent: tuple[str, ...] = ()) -> None:
        self.store = MemoryStore()
        self.now = 1000.0
        self.do(c.CreateQueue(Queue("q")))
        self.agents = {name: ModelAgent(name, tells=name not in silent) for name in (*names, *silent)}
        for name in self.agents:
            self.do(c.RegisterNode(node(name, cpu=1000)))
        self.unpushed: list[tuple[NodeDesired, ...]] = []
        self.removed: dict[str, float] = {}
        """Nodes of which the daemon knows nothing any more, and their agents not yet that it does not; since when."""
        self.restart()

    # --- the daemon

    def restart(self) -> None:
        """The daemon dies with all it had in memory, and comes again."""
        self.unpushed.clear()
        self.departures = Departures(self.store, self, lambda: self.now)
        self.departures.begin(LEASE)
        for agent in self.agents.values():
            agent.watch, agent.heartbeat = None, None  # what was sent may still arrive

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        """As the hub does."""
        for state in desired:
            watch = self.agents[state.node].watch if state.node in self.agents else None
            if watch is not None:
                watch.newest = state if state.epoch >= watch.newest.epoch else watch.newest
                watch.woken = True

    def do(self, command: c.Command) -> object:
        answer = self.store.execute(command, self.now).result(timeout=60)
        if hasattr(self, "departures"):
            self.departures.hear(command)
        return answer

    def submit(self, most: int = 1) -> Job:
        """A gang of 1 to `most`, which can be resized and is tried again for ever."""
        ways = [configuration(cpu=1, gpu=0, replicas=n, throughput=n) for n in range(1, most + 1)]
        made = spec("q", *ways, resizable=most > 1, retries=Retries(1000))
        (job,) = self.store.execute(c.SubmitJobs((made,)), self.now).result(timeout=60)
        assert isinstance(job, Job), job
        return job

    def commit(self, *changes: Change, pushed: bool = True) -> None:
        snapshot = self.store.snapshot(self.now)
        commit = self.store.commit(Plan(snapshot.revision, snapshot.round, changes, (), ()), self.now)
        assert not commit.rejected, commit.rejected
        self.store.record(round_summary(snapshot.round, snapshot.revision), self.store.memory())
        self.unpushed.append(commit.desired)
        if pushed:
            self.push_all()

    def push_all(self) -> None:
        for desired in self.unpushed:
            self.departures.push(desired)
        self.unpushed.clear()

    def place(self, job: Job, *nodes: str, pushed: bool = True) -> None:
        """Start the job on these nodes, or move it there."""
        placement = Placement(job.id, len(nodes) - 1, tuple(map(ReplicaPlacement, nodes)))
        runs = self.now_of(job).allocation is not None
        change = Move(placement, PreemptionReason.FAIR_SHARE) if runs else Start(placement)
        self.commit(change, pushed=pushed)

    def resize(self, job: Job, *nodes: str) -> None:
        self.commit(Resize(Placement(job.id, len(nodes) - 1, tuple(map(ReplicaPlacement, nodes)))))

    def preempt(self, job: Job) -> None:
        self.commit(Preempt(job.id, PreemptionReason.FAIR_SHARE, WHY))

    def now_of(self, job: Job) -> Job:
        return self.store.get_job(job.id)

    # --- what happens between daemon and agents, one message at a time

    def connect(self, name: str) -> bool:
        agent = self.agents[name]
        if agent.watch is not None or name in self.removed:
            return False
        agent.watch = Watch(self.store.desired(name))
        agent.coming.clear()
        return True

    def show(self, name: str) -> bool:
        """As `WatchAllocations` does when its slot has been filled."""
        agent = self.agents[name]
        if agent.watch is None or not agent.watch.woken:
            return False
        agent.watch.woken = False
        shown = self.departures.shown(agent.watch.newest)
        if shown == agent.watch.shown:
            return False
        agent.watch.shown = shown
        agent.coming.append(shown)
        return True

    def take(self, name: str) -> bool:
        agent = self.agents[name]
        if not agent.coming:
            return False
        desired = agent.coming.popleft()
        if agent.desired is None or desired.epoch >= agent.desired.epoch:
            agent.desired = desired
        return True

    def step(self, name: str) -> bool:
        return self.agents[name].step()

    def end(self, name: str) -> bool:
        """What was told to stop has written its checkpoint."""
        return self.agents[name].become(Phase.STOPPING, Phase.LOST)

    def send(self, name: str) -> bool:
        agent = self.agents[name]
        sends = agent.heartbeat is None
        if sends:
            agent.heartbeat = agent.say()
        return sends

    def arrive(self, name: str) -> bool:
        agent = self.agents[name]
        heartbeat, agent.heartbeat = agent.heartbeat, None
        if heartbeat is not None and name in self.removed:
            self.register_again(name)
        elif heartbeat is not None:
            self.do(heartbeat)
            agent.answered()
        return heartbeat is not None

    def register_again(self, name: str) -> None:
        """Its agent has heard that nobody knows the node: what it was told counts no more."""
        agent = self.agents[name]
        agent.desired, agent.watch, agent.has_lease = None, None, True
        agent.coming.clear()
        del self.removed[name]
        self.do(c.RegisterNode(node(name, cpu=1000)))

    def lose(self, name: str) -> None:
        self.agents[name].fence()
        self.do(c.LoseNode(name))

    def remove(self, name: str) -> None:
        self.do(c.SetNodeAvailability(name, NodeAvailability.DRAINING))
        self.do(c.RemoveNode(name))
        self.removed[name] = self.now

    def let_pass(self, seconds: float) -> None:
        """Leases that nobody renews come to their end."""
        self.now += seconds
        for name, since in self.removed.items():
            if self.now > since + LEASE:
                self.agents[name].fence()
        self.departures.expire()

    def calm_down(self) -> None:
        """Nothing new happens, and all that is on its way arrives, until nothing is left to do."""
        self.push_all()
        for _ in range(100):
            moved = False
            self.commit()  # what failed meanwhile leaves its other nodes
            for name in self.agents:
                for act in (self.connect, self.show, self.take, self.step, self.end):
                    while act(name):
                        moved = True
                self.send(name)
                self.arrive(name)
            if not moved and all(agent.watch and not agent.watch.woken for agent in self.agents.values()):
                return
        raise AssertionError("it does not come to rest")

    # --- what must be

    def starts_alive(self) -> dict[str, set[Epoch]]:
        """By job, the starts of which something is alive anywhere."""
        found = defaultdict(set)
        for agent in self.agents.values():
            for run in agent.runs:
                if run.alive:
                    found[run.replica.job_id].add(run.replica.start_epoch)
        return found

    def running_on(self, job: Job) -> list[str]:
        """Names of the agents on which it runs, once for each replica."""
        return sorted(
            agent.name
            for agent in self.agents.values()
            for run in agent.runs
            if run.replica.job_id == job.id and run.phase is Phase.RUNNING
        )

    def is_as_wanted(self, job: Job) -> bool:
        """Whether what runs of it is just what was decided."""
        now = self.now_of(job)
        wanted = [] if now.allocation is None else [replica.node for replica in now.allocation.standing]
        return self.running_on(job) == sorted(wanted)
