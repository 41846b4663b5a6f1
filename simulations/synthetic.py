"""Workloads for those who have no trace: everything random is drawn from one seed, in a fixed order.

Some jobs may be there at the start; the others arrive as a Poisson stream (exponential gaps, rounded down to whole
seconds, as logs have them). Each belongs to a queue and to a class, drawn independently by their parts of the arrivals,
and runs for a log-normal time with the class's median. Draws come from numpy's PCG64, column by column.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from allocator.domain.cluster import Node
from allocator.domain.job import Configuration, JobSpec
from allocator.domain.resources import DISPLAY_UNITS, Resources
from simulations.faults import Faults, NoFaults, RandomFaults
from simulations.scenario import JobClassPart, Scenario
from simulations.workload import Arrival, Workload

HOUR = 3600.0
SPREAD_LIMIT = 1000.0
"""No job has more than so many times the weight or the throughput that its class has, or less than one part of it."""


def generate(scenario: Scenario, seed: int) -> Workload:
    """The workload that `seed` gives. Raises InvalidInput if the scenario makes jobs or nodes that cannot be."""
    draws = np.random.Generator(np.random.PCG64(seed))
    arriving = _arrival_times(draws, scenario.arrivals.per_hour, scenario.arrivals.hours)
    times = np.concatenate([np.zeros(scenario.arrivals.at_start), arriving])
    count = len(times)
    queues = _choices(draws, count, [queue.arrivals for queue in scenario.queues])
    classes = _choices(draws, count, [job_class.arrivals for job_class in scenario.classes])
    sizes = draws.random(count)
    lengths = draws.standard_normal(count)
    spreads = _Spreads(draws, scenario, count)
    ways: dict[tuple[int, int], tuple[Configuration, ...]] = {}
    arrivals = []
    for index in range(count):
        job_class = scenario.classes[classes[index]]
        size = int(sizes[index] * len(job_class.replicas))
        key = (int(classes[index]), size)
        if key not in ways:
            ways[key] = _configurations(job_class, job_class.replicas[size])
        duration = max(1.0, round(job_class.median_seconds * float(np.exp(job_class.sigma * lengths[index])), 3))
        spec = JobSpec(
            queue=scenario.queues[queues[index]].name,
            configurations=spreads.configurations(index, job_class, ways[key]),
            weight=spreads.weight(index, job_class),
            name=f"{job_class.name}-{index}",
            priority_class=job_class.priority_class,
            preemptible=job_class.preemptible,
            restart_cost_seconds=job_class.restart_cost_seconds,
            expected_duration_seconds=duration if job_class.duration_known or job_class.deadline_factor else None,
            job_class=job_class.name if job_class.true_speed else "",
            deadline=_deadline(float(times[index]), job_class, duration),
        )
        speeds = tuple(sorted(job_class.true_speed.items()))
        arrivals.append(Arrival(float(times[index]), spec, duration, speeds))
    workload = Workload(
        name=f"synthetic {scenario.name}",
        start=0.0,
        nodes=_nodes(scenario),
        queues=tuple(sorted((part.make_queue() for part in scenario.queues), key=lambda queue: queue.name)),
        arrivals=tuple(arrivals),
        notes=("Everything is made up: no site has reported these jobs.",),
    )
    workload.require_valid()
    return workload


def _deadline(time: float, job_class: JobClassPart, duration: float) -> float | None:
    return None if job_class.deadline_factor is None else time + job_class.deadline_factor * duration


def make_faults(scenario: Scenario, workload: Workload, seed: int) -> Faults:
    """The scenario's node failures. They have a stream of their own, so that more faults change no arrival."""
    if scenario.faults is None:
        return NoFaults()
    return RandomFaults(
        (node.name for node in workload.nodes),
        seed=(seed, 1),
        mean_up_seconds=scenario.faults.mean_up_hours * HOUR,
        mean_down_seconds=scenario.faults.mean_down_hours * HOUR,
    )


class _Spreads:
    """How single jobs differ from their class. Nothing is drawn where no class asks for it, so that adding a spread to
    one scenario changes no other one's draws.
    """

    def __init__(self, draws: np.random.Generator, scenario: Scenario, count: int) -> None:
        self._flavors = {flavor.name: index for index, flavor in enumerate(scenario.flavors)}
        spread_weights = any(job_class.weight_sigma for job_class in scenario.classes)
        spread_speeds = any(job_class.throughput_sigma for job_class in scenario.classes)
        self._weights = draws.standard_normal(count if spread_weights else 0)
        self._speeds = draws.standard_normal((count if spread_speeds else 0, len(scenario.flavors)))

    def weight(self, index: int, job_class: JobClassPart) -> float:
        """That of job `index`, six significant digits."""
        return _factor(job_class.weight_sigma * float(self._weights[index])) if job_class.weight_sigma else 1.0

    def configurations(
        self, index: int, job_class: JobClassPart, alike: tuple[Configuration, ...]
    ) -> tuple[Configuration, ...]:
        """Those of job `index`: `alike`, its class's, each with the job's own throughput."""
        if not job_class.throughput_sigma:
            return alike
        drawn = self._speeds[index]
        return tuple(
            replace(c, throughput=c.throughput * _factor(job_class.throughput_sigma * drawn[self._flavors[c.flavor]]))
            for c in alike
        )


def _factor(exponent: float) -> float:
    """exp(exponent) to six significant digits, within SPREAD_LIMIT: short in a table, and safe to divide by."""
    most = math.log(SPREAD_LIMIT)
    return float(f"{math.exp(min(most, max(-most, exponent))):.6g}")


def _arrival_times(draws: np.random.Generator, per_hour: float, hours: float) -> NDArray[np.float64]:
    """(n,) whole seconds, sorted: a Poisson number of arrivals, uniform in time, which is the same process."""
    count = int(draws.poisson(per_hour * hours))
    times: NDArray[np.float64] = np.floor(np.sort(draws.random(count)) * hours * HOUR)
    return times


def _choices(draws: np.random.Generator, count: int, parts: list[float]) -> NDArray[np.int64]:
    """(n,) indices into `parts`, each as likely as its part of their sum."""
    bounds = np.cumsum(parts) / np.sum(parts)
    chosen: NDArray[np.int64] = np.minimum(np.searchsorted(bounds, draws.random(count), side="right"), len(parts) - 1)
    return chosen


def _nodes(scenario: Scenario) -> tuple[Node, ...]:
    nodes = [
        Node(
            name=f"{flavor.name}-{index:04d}",
            flavor=flavor.name,
            capacity=_amounts(flavor.cores, flavor.memory_gib, flavor.gpus, flavor.bandwidth_gb_per_second),
        )
        for flavor in scenario.flavors
        for index in range(flavor.nodes)
    ]
    return tuple(sorted(nodes, key=lambda node: node.name))


def _configurations(job_class: JobClassPart, replicas: int) -> tuple[Configuration, ...]:
    demand = _amounts(job_class.cores, job_class.memory_gib, job_class.gpus, job_class.bandwidth_gb_per_second)
    return tuple(
        Configuration(flavor, replicas, demand, throughput * replicas)
        for flavor, throughput in job_class.throughput.items()
    )


def _amounts(cores: float, memory_gib: float, gpus: float, bandwidth_gb_per_second: float) -> Resources:
    display = {"cpu": cores, "gpu": gpus, "memory": memory_gib, "bandwidth": bandwidth_gb_per_second}
    return Resources.of({name: round(amount * DISPLAY_UNITS[name][1]) for name, amount in display.items()})
