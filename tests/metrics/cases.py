"""Rounds made by hand: only the numbers that a test speaks about, everything else plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, Job, JobSpec
from allocator.domain.placement import Allocation, Epoch, Placement, ReplicaPlacement
from allocator.domain.plan import Applied, Change, Commit, Plan, Start
from allocator.domain.policy import Policy
from allocator.domain.queue import Queue
from allocator.domain.resources import Resources
from allocator.domain.snapshot import Snapshot
from allocator.formulation.build import Formulation, build
from allocator.formulation.problem import Problem
from allocator.metrics import Metrics
from allocator.rounds.report import STAGES, FlavorUsage, QueueUsage, RoundOutcome, RoundReport, RoundSummary
from allocator.solvers.solution import Solution, Status

NOW = 1_700_000_000.0

SUMMARY = RoundSummary(
    round=1,
    revision=1,
    time=NOW,
    outcome=RoundOutcome.OPTIMAL,
    solver="conic",
    iterations=12,
    fairness=1.0,
    objective=1.5,
    bound=1.6,
    gap=0.05,
    rounding_loss=0.25,
    started=0,
    moved=0,
    kept=0,
    rejected=0,
    preempted=(),
    waiting=(),
    lost=(),
    flavors=(),
    queues=(),
    stages=tuple((stage, 0.01) for stage in STAGES),
)


def usage(queue: str, pending: int = 0, running: int = 0, fair: float = 0.0, actual: float = 0.0) -> QueueUsage:
    return QueueUsage(queue, weight=1.0, pending=pending, running=running, fair_share=fair, actual_share=actual)


def job(job_id: str, sequence: int, *, queue: str = "research", submitted: float = NOW - 30.0) -> Job:
    configuration = Configuration("a100", 1, Resources(gpu_millis=1000))
    return Job(job_id, sequence, JobSpec(queue, (configuration,)), submitted)


def started(of: Job, *, at: float = NOW) -> Applied:
    placement = Placement(of.id, 0, (ReplicaPlacement("n1", (0,)),))
    return Applied(Start(placement), Allocation(placement, Epoch(1, 1), at))


def formulation(budget: float) -> Formulation:
    """One row with the whole budget; only its total weight is looked at."""
    problem = Problem.from_arrays(
        throughput=np.ones((1, 1)),
        flavor=np.zeros((1, 1), dtype=np.int64),
        demand=np.ones((1, 1, 1)),
        capacity=np.ones((1, 1)),
        weight=np.array([budget]),
    )
    nobody = Snapshot(revision=1, round=1, time=NOW, queues=(), nodes=(), jobs=())
    return replace(build(nobody, Policy()), problem=problem)


def report(
    summary: RoundSummary = SUMMARY,
    *,
    flavors: Sequence[FlavorUsage] = (),
    queues: Sequence[QueueUsage] = (),
    nodes: Sequence[Node] = (),
    jobs: Sequence[Job] = (),
    applied: Sequence[Applied] = (),
    budget: float = 1.0,
    **changes: object,
) -> RoundReport:
    """`summary` with `flavors`, `queues` and `changes`, in a report of which the metrics read the rest."""
    summary = replace(summary, flavors=tuple(flavors), queues=tuple(queues), **changes)  # type: ignore[arg-type]
    done: tuple[Change, ...] = tuple(one.change for one in applied)
    shares = np.ones((1, 1))
    status = Status.FAILED if summary.outcome is RoundOutcome.STALE else Status.OPTIMAL
    return RoundReport(
        Snapshot(
            revision=summary.revision,
            round=summary.round,
            time=summary.time,
            queues=tuple(Queue(one.queue) for one in sorted(queues, key=lambda one: one.queue)),
            nodes=tuple(sorted(nodes, key=lambda node: node.name)),
            jobs=tuple(jobs),
        ),
        formulation(budget),
        Solution(
            shares, np.ones((1, 1)), np.zeros(0), summary.objective, summary.bound, summary.gap, status, "conic", 12
        ),
        Plan(summary.revision, summary.round, done, (), ()),
        Commit(summary.revision, summary.round, tuple(applied), (), ()),
        summary,
    )


Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by sample name and sorted labels."""


def scrape(metrics: Metrics) -> Samples:
    """What Prometheus would get, without the process_* of the library."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """One sample; None if there is none with exactly these labels."""
    return samples.get((name, tuple(sorted(labels.items()))))


def total(samples: Samples, name: str) -> float:
    """Sum over all labels."""
    return sum(found for (sample, _), found in samples.items() if sample == name)
