"""What happens in a random world: nodes get lost, drained, cordoned, come back smaller, larger, as another flavor or
with another engine; jobs come, end, fail and change; the clock jumps, also back.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from allocator.domain.cluster import EngineCapability, Node, NodeAvailability, NodeHealth
from allocator.domain.errors import AllocatorError
from allocator.domain.job import Job, JobSpec
from allocator.domain.policy import WEIGHTINGS, Policy
from allocator.domain.queue import Queue
from allocator.intake import commands as c
from allocator.store.memory import MemoryStore
from tests.placement.small_worlds import drawn_nodes, drawn_spec
from tests.rounds.limit_judge import LICENCE, RACKS, drawn_constraints, with_licences
from tests.rounds.quota_judge import drawn_quotas

FLAVORS = "ab"
MOST_LIVE = 14
"""Live jobs; a world is small, so that thousands of them can be lived through."""
_DRAWN: tuple[EngineCapability, ...] = tuple(
    each for each in EngineCapability if each is not EngineCapability.PLACE_REPLICAS
)


def drawn_weightings(dice: random.Random) -> dict[str, Any]:
    """Of a policy; nothing in half of all worlds."""
    if dice.random() < 0.5:
        return {}
    return {
        "usage_strength": dice.choice((0.0, 1.0, 8.0)),
        "usage_half_life_seconds": dice.choice((60.0, 7200.0)),
        "weighting": dice.choice(WEIGHTINGS),
        "service_seconds": dice.choice((10.0, 600.0)),
        "aging_seconds": dice.choice((math.inf, 100.0)),
        "weight_factor_limit": dice.choice((2.0, 1024.0)),
        "crowd_strength": dice.choice((0.0, 0.5, 1.0)),
    }


@dataclass
class Happenings:
    """A world of one seed; `something` is one event."""

    seed: int
    time: float = 1_000_000.0
    happened: list[str] = field(default_factory=list)
    """Every event in order, for whoever has to understand a finding."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.store = MemoryStore()
        limit = self.dice.choice((200.0, 7200.0))
        self.policy = Policy(
            minimum_run_seconds=self.dice.choice((0.0, 60.0)),
            hysteresis_seconds=self.dice.choice((0.0, 60.0, 150.0)),
            lag_tolerance=self.dice.choice((0.0, 0.1)),
            credit_limit_seconds=limit,
            **drawn_weightings(random.Random(f"weightings {self.seed}")),
        )
        self.rules = random.Random(-1 - self.seed)
        """Draws what is about side constraints."""
        self.engines = random.Random(f"engines {self.seed}")
        """Draws what engines can do, and who may be resized."""
        self.layouts = random.Random(f"layouts {self.seed}")
        """Draws which engines can be told how many of a gang's replicas each node takes."""
        self.unable = self.engines.random() < 0.5
        self.constrained = self.rules.random() < 0.6
        self.change_constraints()
        self.submitted = 0
        for name in ("q", "r"):
            self.do(c.CreateQueue(Queue(name, quotas=drawn_quotas(self.dice))))
        for node in drawn_nodes(self.dice, FLAVORS, self.dice.randint(2, 6)):
            self.do(c.RegisterNode(self.in_rack(self.driven(node))))
        for _ in range(self.dice.randint(3, 8)):
            self.submit()

    def do(self, command: c.Command) -> None:
        """Give the command; refusals are answers, too."""
        try:
            self.store.execute(command, self.time).result()
        except AllocatorError as refusal:
            self.happened.append(f"refused {type(refusal).__name__}: {command}")
        else:
            self.happened.append(f"{self.time:g}: {command}")

    def something(self) -> None:
        """One event."""
        events: tuple[Callable[[], None], ...] = (
            *[self.submit] * 4,
            *[self.lose] * 3,
            *[self.come_back] * 3,
            *[self.close] * 2,
            self.open,
            self.change_size,
            self.change_flavor,
            self.remove,
            self.add,
            self.cancel,
            self.update,
            *[self.report_replicas] * 3,
            self.report_throughput,
            self.jump,
        )
        self.dice.choice(events)()

    def some_node(self) -> Node | None:
        nodes = self.store.nodes()
        return self.dice.choice(nodes) if nodes else None

    def some_job(self, *, running: bool = False) -> Job | None:
        jobs = [job for job in self.live() if job.allocation is not None or not running]
        return self.dice.choice(jobs) if jobs else None

    def live(self) -> tuple[Job, ...]:
        return self.store.snapshot(self.time).jobs

    def submit(self) -> None:
        if len(self.live()) < MOST_LIVE:
            self.submitted += 1
            spec = drawn_spec(self.dice, FLAVORS, self.submitted)
            weight = self.dice.choice((1.0, 1.0, 3.0))
            spec = replace(spec, queue=self.dice.choice("qr"), weight=weight)
            if self.constrained:
                labels = (("kind", self.rules.choice("xy")),)
                spec = replace(spec, labels=labels, divisible=self.rules.random() < 0.2 and _is_divisible(spec))
                spec = with_licences(self.rules, spec)
            if self.unable and not spec.divisible:
                spec = self.flexible(spec)
            self.do(c.SubmitJobs((spec,)))

    def change_constraints(self) -> None:
        """The operator does: some are lowered below what runs."""
        constraints = drawn_constraints(self.rules, FLAVORS) if self.constrained else ()
        floating = (LICENCE,) if self.constrained else ()
        self.policy = replace(self.policy, side_constraints=constraints, floating_resources=floating)

    def flexible(self, spec: JobSpec) -> JobSpec:
        """The same, but perhaps divisible, or resizable with sizes to choose from."""
        if _is_divisible(spec):
            return replace(spec, divisible=self.engines.random() < 0.7)
        first = spec.configurations[0]
        sizes = tuple(replace(first, replicas=count, throughput=float(count) ** 0.8) for count in (1, 2, 3))
        return replace(spec, configurations=sizes, resizable=True) if self.engines.random() < 0.5 else spec

    def driven(self, node: Node) -> Node:
        """The same with an engine that can do this and that; without one that says so in half of all worlds."""
        if not self.unable or self.engines.random() < 0.3:
            return node
        able = {each for each in _DRAWN if self.engines.random() < 0.6}
        if self.layouts.random() < 0.5:
            able.add(EngineCapability.PLACE_REPLICAS)
        if self.engines.random() < 0.8:
            able |= {EngineCapability.SPLIT_CORES, EngineCapability.SPLIT_GPUS}
        return replace(node, capabilities=frozenset(able))

    def in_rack(self, node: Node) -> Node:
        """The same with a label, most of them."""
        rack = self.rules.choice(("", *RACKS))
        return replace(node, labels=(("rack", rack),)) if rack and self.constrained else node

    def lose(self) -> None:
        node = self.some_node()
        if node is not None:
            self.do(c.LoseNode(node.name))

    def come_back(self) -> None:
        lost = [node for node in self.store.nodes() if node.health is NodeHealth.LOST]
        if lost:
            self.do(c.Heartbeat(self.dice.choice(lost).name))

    def close(self) -> None:
        node = self.some_node()
        if node is not None:
            how = self.dice.choice((NodeAvailability.CORDONED, NodeAvailability.DRAINING))
            self.do(c.SetNodeAvailability(node.name, how))

    def open(self) -> None:
        for node in self.store.nodes():
            if not node.takes_new_work and self.dice.random() < 0.7:
                self.do(c.SetNodeAvailability(node.name, NodeAvailability.OPEN))

    def change_size(self) -> None:
        node = self.some_node()
        if node is not None:
            other = drawn_nodes(self.dice, node.flavor, 1)[0]
            self.do(c.RegisterNode(replace(self.in_rack(self.driven(other)), name=node.name)))

    def change_flavor(self) -> None:
        node = self.some_node()
        if node is not None:
            self.do(c.RegisterNode(replace(node, flavor=self.dice.choice("abc"))))

    def remove(self) -> None:
        node = self.some_node()
        if node is not None:
            self.do(c.RemoveNode(node.name))

    def add(self) -> None:
        if len(self.store.nodes()) < 8:
            node = drawn_nodes(self.dice, FLAVORS, 1)[0]
            self.do(c.RegisterNode(replace(self.in_rack(self.driven(node)), name=f"n{self.dice.randint(0, 20)}")))

    def cancel(self) -> None:
        job = self.some_job()
        if job is not None:
            self.do(c.CancelJobs((job.id,)))

    def update(self) -> None:
        job = self.some_job()
        if job is not None:
            weight, kind = self.dice.choice((0.5, 1.0, 20.0)), self.dice.choice(("low", "normal", "high"))
            self.do(c.UpdateJobs((c.JobUpdate(job.id, weight, kind),)))

    def report_replicas(self) -> None:
        """Some replicas of a running job end well; rarely one fails."""
        job = self.some_job(running=True)
        if job is None or job.allocation is None:
            return
        state = c.ReplicaState.FAILED if self.dice.random() < 0.15 else c.ReplicaState.SUCCEEDED
        for index, replica in enumerate(job.allocation.placement.replicas):
            if self.dice.random() < 0.6:
                self.do(c.Heartbeat(replica.node, (c.ReplicaReport(job.id, index, job.allocation.epoch, state),)))

    def report_throughput(self) -> None:
        job = self.some_job(running=True)
        if job is not None:
            self.do(c.ReportProgress(job.id, self.dice.choice((0.2, 1.0, 5.0))))

    def jump(self) -> None:
        """The clock is set, forward or back."""
        self.time += self.dice.choice((1.0, 500.0, 50_000.0, -1.0, -45.0, -500.0, -50_000.0))


def _is_divisible(spec: JobSpec) -> bool:
    """Whether the job could hold a part of its demand: replicas that are alone, and no GPUs."""
    return all(way.replicas == 1 and not way.demand.gpu_millis for way in spec.configurations)
