"""Nodes, and the flavors (kinds of node) they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from allocator.domain.bounds import MOST_GPUS, MOST_NAME, name_violations, text_violations
from allocator.domain.errors import Violation
from allocator.domain.resources import GPU_MILLIS, Resources

Labels = tuple[tuple[str, str], ...]
"""Sorted (key, value) pairs with unique keys."""

RACK_LABEL = "rack"
"""Key of the node label that names the rack."""
NODE_DOMAIN = "node"
"""As the name of a kind of domain: every node is one. Any other name is the key of a node label."""

MOST_LABEL_VALUE = 1024
MOST_TAINTS = 16


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
    taints: Labels = ()
    """Only jobs that tolerate every one of them are placed here; whoever runs here already stays. The operator's, once
    the node is known: registering again does not change them.
    """

    @property
    def gpu_count(self) -> int:
        return self.capacity.gpu_millis // GPU_MILLIS

    @property
    def takes_new_work(self) -> bool:
        return self.availability is NodeAvailability.OPEN and self.health is NodeHealth.READY

    def label(self, key: str) -> str | None:
        """The value of a label; None if the node does not have it."""
        return next((value for known, value in self.labels if known == key), None)

    def domain(self, per: str) -> tuple[str, str]:
        """The domain of `per` that the node is in: equal for two nodes exactly if they are in the same one."""
        value = None if per == NODE_DOMAIN else self.label(per)
        return (NODE_DOMAIN, self.name) if value is None else ("label", value)

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
        if len(self.taints) > MOST_TAINTS:
            found.append(Violation("taints", f"must hold at most {MOST_TAINTS} entries, got {len(self.taints)}"))
        found += label_violations(self.taints, "taints")
        return tuple(found)


def label_violations(labels: Labels, field: str = "labels") -> list[Violation]:
    """Keys must be there, both sides short, and neither with control characters."""
    found: list[Violation] = []
    for key, value in labels:
        where = f"{field}[{key!r}]"
        if not 1 <= len(key) <= MOST_NAME or len(value) > MOST_LABEL_VALUE:
            found.append(
                Violation(where, f"key must have 1 to {MOST_NAME} characters and value at most {MOST_LABEL_VALUE}")
            )
            continue
        found += [*text_violations(where, key, MOST_NAME), *text_violations(where, value, MOST_LABEL_VALUE)][:1]
    return found
