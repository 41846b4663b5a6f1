"""Nodes of a capture, and when each of them could not be used."""

from __future__ import annotations

from allocator.domain.cluster import Node, NodeAvailability, NodeHealth
from allocator.domain.job import Job
from allocator.domain.snapshot import Snapshot
from simulations.faults import Outage


class NodeHistory:
    """Nodes as first seen, and when each of them could not be used: lost, gone, not there yet, or closed and empty."""

    def __init__(self) -> None:
        self._first: dict[str, Node] = {}
        self._down: dict[str, float] = {}
        """Since when; until now."""
        self._outages: list[Outage] = []
        self._changed: set[str] = set()
        self._closed: set[str] = set()
        self._known: tuple[Node, ...] | None = None
        self._start = 0.0

    def see(self, now: Snapshot) -> None:
        """A round looked."""
        if self._known is None:
            self._start = now.time
        if now.nodes is self._known and not self._closed:
            return
        self._known = now.nodes
        self._closed = {n.name for n in now.nodes if n.availability is not NodeAvailability.OPEN or n.trouble}
        busy = _busy(now.jobs) if self._closed else set()
        for node in now.nodes:
            known = self._first.get(node.name)
            if known is None:
                self._first[node.name] = node
                if now.time > self._start:
                    self._down[node.name] = self._start
            elif (known.flavor, known.capacity, known.labels) != (node.flavor, node.capacity, node.labels):
                self._changed.add(node.name)
            usable = node.health is NodeHealth.READY and (node.name not in self._closed or node.name in busy)
            self._set(node.name, now.time, up=usable)
        for name in self._first.keys() - {node.name for node in now.nodes}:
            self._set(name, now.time, up=False)

    def _set(self, name: str, now: float, *, up: bool) -> None:
        if not up:
            self._down.setdefault(name, now)
        elif name in self._down:
            since = self._down.pop(name)
            if now > since:
                self._outages.append(Outage(name, since, now - since))

    def nodes(self) -> tuple[Node, ...]:
        """Open and ready: what they were not stands in the outages."""
        return tuple(node.as_if_open() for _, node in sorted(self._first.items()))

    def outages(self, end: float) -> tuple[Outage, ...]:
        """Those that had not ended are over when the capture is."""
        lasting = [Outage(name, since, end - since) for name, since in self._down.items() if end > since]
        return tuple(sorted((*self._outages, *lasting), key=lambda outage: (outage.start, outage.node)))

    def notes(self) -> tuple[str, ...]:
        notes = []
        if self._outages or self._down:
            notes.append(
                "Nodes are out while they are lost, gone, not there yet, or closed and empty, as rounds saw it; those "
                "that are out when the capture ends are back then."
            )
        if self._changed:
            notes.append(f"{len(self._changed)} nodes changed what they have; they are as they were first.")
        return tuple(notes)


def _busy(jobs: tuple[Job, ...]) -> set[str]:
    """Names of the nodes on which anything runs."""
    return {replica.node for job in jobs if job.allocation is not None for replica in job.allocation.standing}
