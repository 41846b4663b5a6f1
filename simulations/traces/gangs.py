"""How a job of so many processors becomes a gang on nodes of several processors each, and back: machines in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from allocator.domain.cluster import Node
from allocator.domain.job import MAX_REPLICAS, Configuration
from allocator.domain.resources import GPU_MILLIS, Resources
from simulations.traces.errors import TraceError
from simulations.traces.rows import MOST_NODES

CORE = 1000
"""Millicores."""
MOST_CORES = 100_000
"""Of one node."""
_SIZE = re.compile(r"([0-9]{1,7})x([0-9]{1,6})\Z")


def machines_of(text: str, source: Path) -> tuple[int, int]:
    """(nodes, cores of each) from words such as 1024x8. Raises TraceError about `source`."""
    size = _SIZE.match(text)
    if size is None or not (1 <= int(size[1]) <= MOST_NODES and 1 <= int(size[2]) <= MOST_CORES):
        raise TraceError(
            source,
            f"needs machines in words as NODESxCORES, such as 1024x8, at most {MOST_NODES:,}x{MOST_CORES:,}; "
            f"got {text!r}",
        )
    return int(size[1]), int(size[2])


def alike(flavor: str, count: int, capacity: Resources) -> list[Node]:
    """So many nodes of one size, named by the flavor and a number, in the order of these numbers."""
    digits = len(str(count - 1))
    return [Node(f"{flavor}-{index:0{digits}}", flavor, capacity) for index in range(count)]


class Gangs:
    """The ways to run jobs of so many processors; equal jobs share them."""

    def __init__(self, nodes: Iterable[Node], speeds: dict[str, float] | None = None) -> None:
        """`speeds`: throughput per processor by flavor, 1 where there is none."""
        self._sizes: dict[str, Counter[Resources]] = {}
        for node in nodes:
            self._sizes.setdefault(node.flavor, Counter())[node.capacity] += 1
        self._speeds = speeds or {}
        self._known: dict[tuple[int, int], tuple[Configuration, ...]] = {}

    def ways(self, processors: int, memory_per_processor: int = 0) -> tuple[Configuration, ...]:
        """One configuration for each flavor whose empty nodes have room, with as few replicas as divide the processors
        evenly: 48 on nodes of 8 cores are 6x8, 7 are 1x7, 31 are 31x1. Empty if none has room.
        """
        key = (processors, memory_per_processor)
        known = self._known.get(key)
        if known is None:
            known = tuple(
                Configuration(flavor, processors // size, demand, self._speeds.get(flavor, 1.0))
                for flavor, nodes in sorted(self._sizes.items())
                for size, demand in _largest(processors, memory_per_processor, nodes)
            )
            self._known[key] = known
        return known


def _largest(processors: int, memory: int, nodes: Counter[Resources]) -> list[tuple[int, Resources]]:
    """The largest replica (processors, demand) with room for the whole gang; nothing if there is none."""
    most = max(capacity.cpu_millicores for capacity in nodes) // CORE
    for size in range(min(processors, most), 0, -1):
        if processors % size or processors // size > MAX_REPLICAS:
            continue
        demand = Resources(cpu_millicores=size * CORE, memory_bytes=size * memory)
        if sum(count * room(capacity, demand) for capacity, count in nodes.items()) >= processors // size:
            return [(size, demand)]
    return []


def room(capacity: Resources, demand: Resources) -> int:
    """How many replicas an empty node takes."""
    most = [capacity.get(name) // amount for name, amount in demand.items() if name != "gpu"]
    devices = capacity.gpu_millis // GPU_MILLIS
    if demand.gpu_millis > GPU_MILLIS:
        most.append(devices // (demand.gpu_millis // GPU_MILLIS))
    elif demand.gpu_millis:
        most.append(devices * (GPU_MILLIS // demand.gpu_millis))
    return min(most, default=0)
