"""What ran when and where: one entry per stretch of time in which a gang held its nodes, as it really happened.

The simulated cluster tells it of every start and halt, so it holds for any scheduler, with late or lost pushes, and
with nodes that fail. Amounts are in the integer units of `domain.resources`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from allocator.domain.placement import DesiredReplica
from allocator.domain.resources import Resources
from simulations.columns import Column, Kind, Table

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHOWN_NODES = 4
RUN_COLUMNS = (
    Column("job", Kind.TEXT, "", "id in the replay"),
    Column("queue", Kind.TEXT, "", "that of the job"),
    Column("start_s", Kind.FLOAT, "s", "virtual time from which the gang held its nodes"),
    Column("end_s", Kind.FLOAT, "s", "virtual time until which it did; empty if it still ran when the replay ended"),
    Column("flavor", Kind.TEXT, "", "where"),
    Column("replicas", Kind.INTEGER, "1", "that ran"),
    Column("node_count", Kind.INTEGER, "nodes", "that they ran on"),
    Column("first_nodes", Kind.TEXT, "", f"names of up to {SHOWN_NODES} of them, in order of replicas"),
    Column("share", Kind.FLOAT, "1", "dominant share of all nodes that it held"),
)
_MASK = (1 << 64) - 1


class RunLog:
    """Grows by one entry per start. `begin` costs a few microseconds and a fraction of one per replica."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.flavors: list[str] = []
        self.start = array("d")
        self.end = array("d")
        """NaN while it runs."""
        self.demands: dict[Resources, int] = {}
        """Of one replica; by number."""
        self.demand = array("i")
        self.first_piece = array("q")
        """Where the entry's replicas begin in `piece_node`, and `first_piece[i + 1]` where they end."""
        self.piece_node = array("i")
        self.piece_gpus = array("Q")
        """One bit per GPU device of the node; those from the 65th on are left out."""
        self.node_numbers: dict[str, int] = {}
        self.node_events: list[tuple[float, str, bool]] = []
        """(time, node, whether it is up from then on)"""
        self._replicas = array("i")

    def __len__(self) -> int:
        return len(self.jobs)

    def begin(self, job_id: str, asked: Mapping[tuple[str, int], DesiredReplica], now: float) -> int:
        """A gang holds the nodes of `asked` (by node and replica) from `now` on; its entry, for `finish`."""
        entry = len(self.jobs)
        sample = next(iter(asked.values()))
        self.jobs.append(job_id)
        self.flavors.append(sample.flavor)
        self.start.append(now)
        self.end.append(math.nan)
        self.demand.append(self.demands.setdefault(sample.demand, len(self.demands)))
        self.first_piece.append(len(self.piece_node))
        self._replicas.append(len(asked))
        numbers = self.node_numbers
        for (node, _), replica in asked.items():
            self.piece_node.append(numbers.setdefault(node, len(numbers)))
            mask = 0
            for device in replica.gpus:
                mask |= 1 << device
            self.piece_gpus.append(mask & _MASK)
        return entry

    def finish(self, entry: int, now: float) -> None:
        """It holds them no longer."""
        self.end[entry] = now

    def node_is(self, node: str, *, up: bool, now: float) -> None:
        """A node comes back or is lost."""
        self.node_events.append((now, node, up))

    def ends(self) -> Floats:
        """(n,) infinite where the gang still runs."""
        ends = np.array(self.end, dtype=np.float64)
        return np.where(np.isnan(ends), np.inf, ends)

    def amounts(self, resources: Iterable[str]) -> Floats:
        """(n, R) what each entry held, all replicas together."""
        each = amounts_of(self.demands, tuple(resources))
        taken: Floats = (
            each[np.array(self.demand, dtype=np.int64)] * np.array(self._replicas, dtype=np.float64)[:, None]
        )
        return taken

    def table(self, queue_of: Mapping[str, str], shares: Floats) -> Table:
        """RUN_COLUMNS; `shares` (n,) as its last one."""
        names = list(self.node_numbers)
        bounds = [*self.first_piece, len(self.piece_node)]
        counts, shown = [], []
        for first, last in pairwise(bounds):
            if last - first == 1:
                counts.append(1)
                shown.append(names[self.piece_node[first]])
                continue
            nodes = list(dict.fromkeys(self.piece_node[first:last]))
            counts.append(len(nodes))
            shown.append(", ".join(names[node] for node in nodes[:SHOWN_NODES]))
        return Table.of(
            "runs",
            RUN_COLUMNS,
            (
                self.jobs,
                [queue_of[job_id] for job_id in self.jobs],
                np.array(self.start),
                np.array(self.end),
                self.flavors,
                np.array(self._replicas),
                np.array(counts, dtype=np.int64),
                shown,
                shares,
            ),
        )


def amounts_of(demands: Iterable[Resources], resources: tuple[str, ...]) -> Floats:
    """(n, R) by name of the resource, in their integer units."""
    found = np.array([[demand.get(name) for name in resources] for demand in demands], dtype=np.float64)
    return found.reshape(-1, len(resources))
