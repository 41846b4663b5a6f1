"""Turns silence into a fact: a node that has not been heard of for too long is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from allocator.domain.cluster import Node, NodeHealth
from allocator.intake.commands import Command, Heartbeat, LoseNode, RegisterNode

_HICCUP_SECONDS = 0.5
"""A sleep this much too long is the machine's ordinary noise."""


class Liveness:
    """When each node was last heard of, by a monotonic clock: a jump of the wall clock loses no node.

    Nodes known from before a restart get a full timeout from `begin`. Methods may be called from any thread.
    """

    def __init__(self, timeout_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._heard: dict[str, float] = {}

    def begin(self, nodes: Iterable[Node]) -> None:
        """Start the clock for nodes that registered with an earlier process."""
        now = self._monotonic()
        self._heard = {node.name: now for node in nodes}

    def hear(self, command: Command) -> None:
        """Take note of a command that only a living agent sends, whatever becomes of the command."""
        match command:
            case Heartbeat():
                self._heard[command.node] = self._monotonic()
            case RegisterNode():
                self._heard[command.node.name] = self._monotonic()
            case _:
                pass

    def forgive(self, seconds: float) -> None:
        """Do not count `seconds` in which this process itself was not able to hear anybody."""
        if seconds > _HICCUP_SECONDS:
            self._heard = {name: heard + seconds for name, heard in self._heard.items()}

    def silent(self, nodes: Iterable[Node]) -> list[LoseNode]:
        """A command for each ready node that has been silent for longer than the timeout. Forgets nodes not given."""
        now = self._monotonic()
        known = tuple(nodes)
        self._heard = {node.name: self._heard.get(node.name, now) for node in known}
        return [LoseNode(n.name) for n in known if n.health is NodeHealth.READY and self.is_silent(n.name)]

    def is_silent(self, node: str) -> bool:
        """Whether the last word of the node is longer ago than the timeout."""
        now = self._monotonic()
        return now - self._heard.get(node, now) > self.timeout_seconds

    def longest_silence(self, nodes: Iterable[Node]) -> float | None:
        """Seconds since the last heartbeat of the ready node that has been silent longest; None without ready nodes."""
        now = self._monotonic()
        ages = [now - self._heard.get(node.name, now) for node in nodes if node.health is NodeHealth.READY]
        return max(ages, default=None)
