"""What is in a workload, in numbers: who asks for how much, when, for how long, and how much of the nodes that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from allocator.domain.resources import DISPLAY_UNITS, total
from simulations.workload import Workload

_PERCENTILES = (50, 95, 100)


def contents(workload: Workload) -> dict[str, Any]:
    """Counts, times in seconds, amounts in display units. `offered_load` is, by resource, what the jobs ask for times
    their run times (on the first flavor that they accept) over what the nodes have from the first arrival to the last.
    """
    arrivals = workload.arrivals
    found: dict[str, Any] = {
        "name": workload.name,
        "nodes": len(workload.nodes),
        "nodes_by_flavor": dict(sorted(Counter(node.flavor for node in workload.nodes).items())),
        "capacity": _displayed(dict(total([node.capacity for node in workload.nodes]).items())),
        "jobs": len(arrivals),
        "jobs_by_queue": dict(sorted(Counter(arrival.spec.queue for arrival in arrivals).items())),
    }
    if arrivals:
        found |= {
            "gangs": sum(arrival.fastest.replicas > 1 for arrival in arrivals),
            "preemptible": sum(arrival.spec.preemptible for arrival in arrivals),
            "duration_known": sum(arrival.spec.expected_duration_seconds is not None for arrival in arrivals),
            "first_arrival_s": arrivals[0].time - workload.start,
            "last_arrival_s": arrivals[-1].time - workload.start,
            "run_s": _percentiles(workload),
            "offered_load": _load(workload),
        }
    return found | {
        "dropped": dict(workload.dropped),
        "assumptions": list(workload.notes),
    }


def _percentiles(workload: Workload) -> dict[str, float]:
    durations = np.array([arrival.duration for arrival in workload.arrivals])
    values = np.percentile(durations, _PERCENTILES)
    return {("max" if p == 100 else f"p{p}"): float(value) for p, value in zip(_PERCENTILES, values, strict=True)}


def _load(workload: Workload) -> dict[str, float]:
    span = workload.arrivals[-1].time - workload.arrivals[0].time
    if span <= 0:
        return {}
    asked: Counter[str] = Counter()
    amounts: dict[int, dict[str, int]] = {}
    for arrival in workload.arrivals:
        configuration = arrival.spec.configurations[0]
        of_job = amounts.get(id(configuration))  # jobs share them, and the workload keeps them alive
        if of_job is None:
            of_job = amounts[id(configuration)] = dict(configuration.total_demand.items())
        for name, amount in of_job.items():
            asked[name] += amount * arrival.duration  # type: ignore[assignment]  # a count of fractions
    capacity = dict(total([node.capacity for node in workload.nodes]).items())
    return {name: asked[name] / (span * amount) for name, amount in capacity.items() if asked[name]}


def _displayed(amounts: Mapping[str, int]) -> dict[str, float]:
    """With the unit in the name: "memory GiB"."""
    found = {}
    for name, amount in amounts.items():
        unit, size = DISPLAY_UNITS.get(name, ("units", 1))
        found[f"{name} {unit}"] = amount / size
    return found
