"""Turns silence into a fact: a node that has not been heard of for too long is lost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

from allocator.domain.cluster import Node, NodeHealth
from allocator.intake.commands import Command, Heartbeat, LoseNode, RegisterNode

LISTENING_SECONDS = 0.5
"""How often `listening` is to be called."""
_HICCUP_SECONDS = 0.5
"""So much later is the machine's ordinary noise."""


class Liveness:
    """When each node was last heard of, by a monotonic clock: a jump of the wall clock loses no node.

    Nodes known from before a restart get a full timeout from `begin`, and whatever longer lease was promised to agents
    before: they hold on to it for as long as they hear nothing else. A process that does not run hears nobody: for as
    long as `listening` was not called, from `begin` on, no node counts as silent, whichever method notices it first.
    Methods may be called from any thread.
    """

    def __init__(self, timeout_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._heard: dict[str, float] = {}
        self._listened: float | None = None
        self._leases_over = -math.inf
        self._lock = threading.Lock()

    def begin(self, nodes: Iterable[Node], longest_lease: float = 0.0) -> None:
        """Start the clock for nodes that registered with an earlier process, which promised no longer leases."""
        with self._lock:
            self._listened = now = self._monotonic()
            self._leases_over = now + longest_lease
            self._heard = {node.name: now for node in nodes}

    @property
    def earlier_leases_are_over(self) -> bool:
        """Whether no agent holds a lease of an earlier process any more."""
        return self._monotonic() > self._leases_over

    def listening(self) -> None:
        """Nothing keeps this process from hearing, so far. To be called every LISTENING_SECONDS by whoever hears."""
        with self._lock:
            self._listen()

    def _listen(self) -> float:
        """The time, after the process's own pause, if there was one, was taken off everybody's silence."""
        now = self._monotonic()
        if self._listened is not None:
            pause = now - self._listened - LISTENING_SECONDS
            if pause > _HICCUP_SECONDS:
                self._heard = {name: min(now, heard + pause) for name, heard in self._heard.items()}
            self._listened = now
        return now

    def hear(self, command: Command) -> None:
        """Take note of a command that only a living agent sends, whatever becomes of the command."""
        match command:
            case Heartbeat():
                name = command.node
            case RegisterNode():
                name = command.node.name
            case _:
                return
        with self._lock:
            self._heard[name] = self._monotonic()

    def silent(self, nodes: Iterable[Node]) -> list[LoseNode]:
        """A command for each ready node that has been silent for longer than the timeout. Forgets nodes not given."""
        known = tuple(nodes)
        with self._lock:
            now = self._listen()
            self._heard = {node.name: self._heard.get(node.name, now) for node in known}
        return [LoseNode(n.name) for n in known if n.health is NodeHealth.READY and self.is_silent(n.name)]

    def is_silent(self, node: str) -> bool:
        """Whether the last word of the node is longer ago than the timeout."""
        with self._lock:
            now = self._listen()
            return now - self._heard.get(node, now) > self.timeout_seconds and now > self._leases_over

    def longest_silence(self, nodes: Iterable[Node]) -> float | None:
        """Seconds since the last heartbeat of the ready node that has been silent longest; None without ready nodes."""
        with self._lock:
            now, heard = self._monotonic(), self._heard
            ages = [now - heard.get(node.name, now) for node in nodes if node.health is NodeHealth.READY]
        return max(ages, default=None)
