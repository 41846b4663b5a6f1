"""Small stores with queues, nodes and jobs, some of them running, and changes that somebody might wonder about."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from allocator.domain.applied_policy import PolicyDocument
from allocator.domain.cluster import Node, NodeAvailability
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import NodeDesired
from allocator.domain.policy import Policy
from allocator.domain.priority_class import PriorityClass
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Memory
from allocator.intake import commands as c
from allocator.rounds.loop import run_round
from allocator.rounds.report import RoundReport
from allocator.solvers import ChainSolver
from allocator.store.memory import MemoryStore
from allocator.whatif.simulator import Simulator

INTERVAL = 60.0
NOW = 60_000.0 * 20
"""The time of a round."""
POLICY = Policy(minimum_run_seconds=0.0, hysteresis_seconds=60.0)


class World:
    """A store in memory, and rounds when told to."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.store = MemoryStore()
        self.policy = policy
        self.time = NOW
        self.remembered = Memory()

    def now(self) -> float:
        return self.time

    def stopwatch(self) -> float:
        return 0.0

    def wait(self, until: float, *, quiet_until: float) -> bool:
        return False

    def push(self, desired: tuple[NodeDesired, ...]) -> None:
        pass

    def do(self, command: c.Command) -> Any:
        return self.store.execute(command, self.time).result()

    def submit(self, *specs: JobSpec) -> list[Job]:
        answers = self.do(c.SubmitJobs(specs))
        assert all(isinstance(answer, Job) for answer in answers), answers
        return list(answers)

    def round(self, policy: Policy | None = None) -> RoundReport:
        """The round at `time`; afterwards it is an interval later."""
        report, self.remembered = run_round(
            store=self.store, pusher=self, clock=self, solver=ChainSolver(), policy=policy or self.policy,
            memory=self.store.memory(),
        )  # fmt: skip
        self.time += INTERVAL
        return report

    @property
    def simulator(self) -> Simulator:
        return Simulator(self.store, ChainSolver(), lambda: self.policy, INTERVAL)

    @property
    def just_before(self) -> float:
        """A moment at which the next round is the one at `time`."""
        return self.time - 1.0


def gpus(count: float, cpu: float = 1) -> Resources:
    return Resources(cpu_millicores=round(cpu * 1000), gpu_millis=round(count * 1000))


def node(name: str, flavor: str = "a", gpu: int = 4, cpu: int = 32, **more: Any) -> Node:
    return Node(name, flavor, gpus(gpu, cpu), **more)


def spec(queue: str = "q", gpu: float = 1, flavor: str = "a", replicas: int = 1, **more: Any) -> JobSpec:
    throughput = more.pop("throughput", 1.0)
    return JobSpec(queue, (Configuration(flavor, replicas, gpus(gpu), throughput),), **more)


def small(queues: tuple[str, ...] = ("q",), nodes: tuple[Node, ...] = ()) -> World:
    world = World()
    for queue in queues:
        world.do(c.CreateQueue(Queue(queue)))
    for each in nodes or (node("n1"),):
        world.do(c.RegisterNode(each))
    return world


_FLAVORS = ("a", "b")
_QUEUES = ("x", "y/one", "y/two")


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    flavors = draw(st.sampled_from([("a",), ("b",), ("a", "b")]))
    demand = gpus(draw(st.sampled_from([0.5, 1, 2, 4])))
    replicas = draw(st.sampled_from([1, 1, 1, 2, 3]))
    return JobSpec(
        draw(st.sampled_from(_QUEUES)),
        tuple(Configuration(flavor, replicas, demand, 1.0 + index) for index, flavor in enumerate(flavors)),
        weight=draw(st.sampled_from([1.0, 2.0])),
        priority_class=draw(st.sampled_from(["normal", "normal", "high"])),
        preemptible=draw(st.sampled_from([True, True, False])),
        restart_cost_seconds=draw(st.sampled_from([0.0, 30.0])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """With a few rounds behind it."""
    world = World(Policy(minimum_run_seconds=0.0, hysteresis_seconds=draw(st.sampled_from([0.0, 60.0]))))
    for name in ("x", "y", "y/one", "y/two"):
        world.do(c.CreateQueue(Queue(name, weight=draw(st.sampled_from([1.0, 3.0])))))
    for number in range(draw(st.integers(1, 4))):
        world.do(c.RegisterNode(node(f"n{number}", draw(st.sampled_from(_FLAVORS)), draw(st.sampled_from([2, 4])))))
    for _ in range(draw(st.integers(0, 3))):
        world.submit(*draw(st.lists(specs(), min_size=1, max_size=5)))
        world.round()
    return world


def _applied(fairness: float, low: int, weight: float) -> c.ApplyPolicy:
    """A policy that turns classes over, and makes a queue."""
    classes = (PriorityClass("normal", 0), PriorityClass("high", low))
    policy = Policy(fairness=fairness, minimum_run_seconds=0.0, priority_classes=classes)
    return c.ApplyPolicy(PolicyDocument(policy, (Queue("x", weight), Queue("y/three"))))


def commands(world: World) -> st.SearchStrategy[c.Command]:
    """What can be done to it, and some of what cannot."""
    jobs = [job.id for job in world.store.snapshot(NOW).jobs]
    nodes = [each.name for each in world.store.nodes()]
    kinds: list[st.SearchStrategy[c.Command]] = [
        st.lists(specs(), min_size=1, max_size=4).map(lambda found: c.SubmitJobs(tuple(found))),
        st.builds(c.UpdateQueue, st.sampled_from(_QUEUES), weight=st.sampled_from([0.5, 4.0])),
        st.builds(lambda name, gpu: c.RegisterNode(node(name, "a", gpu)), st.sampled_from(["m1", "m2"]), st.just(4)),
        st.builds(c.SetNodeAvailability, st.sampled_from(nodes), st.sampled_from(list(NodeAvailability))),
        st.builds(c.LoseNode, st.sampled_from(nodes)),
        st.builds(_applied, st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([-1, 1]), st.sampled_from([0.5, 4.0])),
    ]
    if jobs:
        kinds.append(st.sampled_from(jobs).map(lambda job: c.CancelJobs((job,))))
        kinds.append(st.sampled_from(jobs).map(lambda job: c.UpdateJobs((c.JobUpdate(job, weight=5.0),))))
    return st.one_of(kinds)
