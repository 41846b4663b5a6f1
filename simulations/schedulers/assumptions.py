"""What a scheduler that decides by rules does not know of a workload and a policy: a replay has to say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from allocator.domain.policy import Policy
from allocator.domain.priority_class import DEFAULT_CLASS
from allocator.domain.queue import Queue
from simulations.schedulers.roll import UNKNOWN_SECONDS
from simulations.schedulers.scheduler import Scheduler
from simulations.workload import Workload


def assumptions(scheduler: Scheduler, workload: Workload, queues: Sequence[Queue], policy: Policy) -> tuple[str, ...]:
    """In sentences, for the summary; only what makes a difference to this workload under these queues."""
    return tuple(_ignored(scheduler, workload, queues, policy)) if scheduler.by_rules else ()


def _ignored(scheduler: Scheduler, workload: Workload, queues: Sequence[Queue], policy: Policy) -> Iterator[str]:
    name = scheduler.name
    specs = [arrival.spec for arrival in workload.arrivals]
    if any(queue.quotas for queue in queues):
        yield f"The scheduler {name} does not know quotas: none is kept."
    if len({queue.priority for queue in queues}) > 1 or any(spec.priority_class != DEFAULT_CLASS for spec in specs):
        yield f"The scheduler {name} does not know priorities of queues and classes of jobs: all are alike."
    if not scheduler.weighs and (
        len({queue.weight for queue in queues}) > 1 or len({spec.weight for spec in specs}) > 1
    ):
        yield f"The scheduler {name} does not know weights: all are alike."
    if any(spec.wants_promise for spec in specs):
        yield f"The scheduler {name} does not know deadlines and minimum throughputs: none is kept."
    if any(spec.divisible for spec in specs):
        yield f"The scheduler {name} gives divisible jobs all of their demand, or nothing."
    if scheduler.knows_durations:
        unknown = sum(spec.expected_duration_seconds is None for spec in specs)
        if unknown:
            yield (
                f"{unknown} of {len(specs)} jobs do not say how long they will run: the scheduler {name} takes them to "
                f"run {UNKNOWN_SECONDS:g} s."
            )
        yield f"A job that outlives what it said stays; the scheduler {name} then takes it to end at any moment."
    if scheduler.stops_jobs and policy.minimum_run_seconds > 0:
        yield f"The scheduler {name} knows no minimum run time and no hysteresis: it stops jobs when its rule says so."
