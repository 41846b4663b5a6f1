"""Nodes, and the flavors (kinds of node) they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.domain.bounds import MOST_GPUS, MOST_NAME, name_violations, text_violations
from allocator.domain.errors import Violation
from allocator.domain.resources import GPU_MILLIS, Resources

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs with unique keys."""

_MOST_LABEL_VALUE = 1024


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
        if not any(amount for _, amount in self.capacity.items()):
            found.append(Violation("capacity", "must have something: every amount is zero"))
        found += [*name_violations("name", self.name), *name_violations("flavor", self.flavor)]
        if self.capacity.gpu_millis % GPU_MILLIS:
            found.append(
                Violation(
                    "capacity.gpu_millis",
                    f"must be whole GPUs (a multiple of {GPU_MILLIS}), got {self.capacity.gpu_millis}",
                )
            )
        if self.capacity.gpu_millis > MOST_GPUS * GPU_MILLIS:
            found.append(
                Violation(
                    "capacity.gpu_millis",
                    f"must be at most {MOST_GPUS * GPU_MILLIS} ({MOST_GPUS} GPUs), got {self.capacity.gpu_millis}",
                )
            )
        found += label_violations(self.labels)
        return tuple(found)


def label_violations(labels: Labels) -> list[Violation]:
    """Keys must be there, both sides short, and neither with control characters."""
    found: list[Violation] = []
    for key, value in labels:
        where = f"labels[{key!r}]"
        if not 1 <= len(key) <= MOST_NAME or len(value) > _MOST_LABEL_VALUE:
            found.append(
                Violation(where, f"key must have 1 to {MOST_NAME} characters and value at most {_MOST_LABEL_VALUE}")
            )
            continue
        found += [*text_violations(where, key, MOST_NAME), *text_violations(where, value, _MOST_LABEL_VALUE)][:1]
    return found
