"""Nodes, and the flavors (kinds of node) they belong to."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

CORE_MILLIS = 1000
MOST_LABEL_VALUE = 1024
MOST_TAINTS = 16
MOST_TROUBLE = 1024
"""Characters."""


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


class EngineCapability(Enum):
    """What an engine can do to what runs on a node of its. What it cannot do is not planned."""

    RESIZE_CPU = "resize_cpu"
    """The CPU that a replica may use can change while it runs."""
    RESIZE_GPU = "resize_gpu"
    """So can its GPUs. Nothing is planned that needs this yet."""
    CHANGE_REPLICAS = "change_replicas"
    """A gang can grow and shrink while those of its replicas that stay go on."""
    SUSPEND = "suspend"
    """What runs can be halted and go on later. Nothing is planned that needs this yet: who is stopped starts anew."""
    LIMIT_BANDWIDTH = "limit_bandwidth"
    """A replica is held to its bandwidth, which can change while it runs."""
    SPLIT_CORES = "split_cores"
    """A replica may be given a part of a core."""
    SPLIT_GPUS = "split_gpus"
    """A replica may be given a part of a GPU."""
    PLACE_REPLICAS = "place_replicas"
    """Each node of a gang is given as many of its replicas as decided. An engine that cannot gives each one, and then,
    one node after the other in the natural order of their names, as many of the others as there is room for.
    """


NEEDED_TO_DIVIDE = (
    (EngineCapability.RESIZE_CPU, "cpu"),
    (EngineCapability.SPLIT_CORES, "cpu"),
    (EngineCapability.LIMIT_BANDWIDTH, "bandwidth"),
)
"""What it takes to change the part that a running job holds of a resource."""


def needed_to_start(demand: Resources) -> tuple[EngineCapability, ...]:
    """What an engine must be able to do to run a replica that asks for this."""
    if not demand.cpu_millicores % CORE_MILLIS and not demand.gpu_millis % GPU_MILLIS:
        return ()
    parts = (
        (EngineCapability.SPLIT_CORES, demand.cpu_millicores % CORE_MILLIS),
        (EngineCapability.SPLIT_GPUS, demand.gpu_millis % GPU_MILLIS),
    )
    return tuple(capability for capability, part in parts if part)


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
    capabilities: frozenset[EngineCapability] | None = None
    """What its engine can do; None: it does not say, and is taken to be able to do everything."""
    trouble: str = ""
    """Why its engine can begin nothing for now (a full disk), in words; empty: it can. The engine's to say, as often as
    that changes. Nothing new is placed there, and what runs goes on, whatever the operator wants.
    """

    @property
    def gpu_count(self) -> int:
        return self.capacity.gpu_millis // GPU_MILLIS

    @property
    def takes_new_work(self) -> bool:
        return self.availability is NodeAvailability.OPEN and self.health is NodeHealth.READY and not self.trouble

    def as_if_open(self) -> Node:
        """The node as it is when nothing keeps it from taking new work."""
        if self.takes_new_work:
            return self
        return replace(self, availability=NodeAvailability.OPEN, health=NodeHealth.READY, trouble="")

    def can(self, capability: EngineCapability) -> bool:
        """Whether its engine can do that."""
        return self.capabilities is None or capability in self.capabilities

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
        found += text_violations("trouble", self.trouble, MOST_TROUBLE)
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
