"""Nodes, and the flavors (kinds of node) they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from allocator.domain.errors import Violation
from allocator.domain.resources import GPU_MILLIS, Resources

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs with unique keys."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._\-]{0,251}[A-Za-z0-9])?\Z")


class NodeHealth(Enum):
    """Whether the daemon hears from the node."""

    READY = "ready"
    LOST = "lost"


class NodeAvailability(Enum):
    """What the operator wants of the node."""

    OPEN = "open"
    CORDONED = "cordoned"
    """Closed for new work; what runs there goes on."""
    DRAINING = "draining"
    """Closed, and emptied: preemptible jobs leave at the next round, the others when they end."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: `capacity` is for the whole node; its GPUs are devices 0 .. gpu_count - 1."""

    name: str
    flavor: str
    capacity: Resources
    labels: Labels = ()
    availability: NodeAvailability = NodeAvailability.OPEN
    health: NodeHealth = NodeHealth.READY
    simulated: bool = False
    """The agent only pretends to run what it is given."""

    @property
    def gpu_count(self) -> int:
        return self.capacity.gpu_millis // GPU_MILLIS

    @property
    def takes_new_work(self) -> bool:
        return self.availability is NodeAvailability.OPEN and self.health is NodeHealth.READY

    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with this node, whatever else exists."""
        found = [violation.under("capacity") for violation in self.capacity.violations()]
        found += [
            Violation(field, f"must hold only letters, digits, '.', '_' or '-', at most 253 of them; got {value!r}")
            for field, value in (("name", self.name), ("flavor", self.flavor))
            if not _NAME.match(value)
        ]
        if self.capacity.gpu_millis % GPU_MILLIS:
            found.append(
                Violation(
                    "capacity.gpu_millis",
                    f"must be whole GPUs (a multiple of {GPU_MILLIS}), got {self.capacity.gpu_millis}",
                )
            )
        found += label_violations(self.labels)
        return tuple(found)


def label_violations(labels: Labels) -> list[Violation]:
    """Keys must be there and both sides short."""
    return [
        Violation(f"labels[{key!r}]", "key must have 1 to 253 characters and value at most 1024")
        for key, value in labels
        if not 1 <= len(key) <= 253 or len(value) > 1024
    ]
