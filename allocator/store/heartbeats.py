"""Heartbeats that change nothing are answered from memory: they neither wait for the disk nor trouble the writer.

Most do: the node is known and ready, and what runs there runs. A thousand agents send hundreds of them per second.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from allocator.domain.cluster import NodeHealth
from allocator.intake import commands as c
from allocator.intake.ending import ends_nothing
from allocator.store.image import Image

_OF_NODES = (c.RegisterNode, c.SetNodeAvailability, c.TaintNode, c.LoseNode, c.RemoveNode)


class QuietHeartbeats:
    """Knows whether commands about nodes are on their way: heartbeats must not overtake those. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on_their_way = 0

    def answer(self, command: c.Command, image: Image) -> Future[Any] | None:
        """What the writer would answer, or None: then the writer has to be asked."""
        if self._on_their_way or not (isinstance(command, c.Heartbeat) and ends_nothing(command)):
            return None
        node = image.find_node(command.node)
        if node is None or node.health is not NodeHealth.READY:
            return None
        future: Future[Any] = Future()
        future.set_result(node)
        return future

    def sets_out(self, command: c.Command) -> bool:
        """To be called before the writer gets a command; whether `arrived` must be called once it is answered."""
        if not isinstance(command, _OF_NODES):
            return False
        with self._lock:
            self._on_their_way += 1
        return True

    def arrived(self, _: Future[Any]) -> None:
        """A command about a node took effect, or was refused."""
        with self._lock:
            self._on_their_way -= 1
