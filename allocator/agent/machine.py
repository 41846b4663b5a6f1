"""What this machine has to give: its node as it registers, from the kernel's own accounts."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from allocator.agent import bandwidth, cgroups, gpus
from allocator.agent.confinement import Capability
from allocator.domain.cluster import EngineCapability, Node
from allocator.domain.resources import GPU_MILLIS, Resources

BITS_PER_BYTE = 8
LABEL_PREFIX = "agent/"
"""Of the labels that say what the node can enforce."""
_CHANGEABLE = {
    "cpu-limits": EngineCapability.RESIZE_CPU,
    bandwidth.NAME: EngineCapability.LIMIT_BANDWIDTH,
}
"""What is enforced is changed while a command runs, too: `Runner` writes the new limits to its control group."""
_ALWAYS = frozenset(
    {
        EngineCapability.CHANGE_REPLICAS,
        EngineCapability.SPLIT_CORES,
        EngineCapability.SPLIT_GPUS,
        EngineCapability.PLACE_REPLICAS,
    },
)
DEFAULT_FLAVOR = "cpu"
RESERVED_MEMORY_SHARE = 0.02
"""Of the memory, for the system and the agent, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator says instead of what is found; None: what is found."""

    name: str | None = None
    flavor: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    cpu_millicores: int | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    bandwidth_bytes_per_second: int | None = None
    disk_bytes: int | None = None


def can_do(enforced: Iterable[Capability]) -> frozenset[EngineCapability]:
    """What the agent can do to what runs here, given what the machine enforces. Runs of a gang begin and end one by
    one, so its size can always change; the kernel shares cores, and two runs may be told the same GPU. What nobody is
    held to cannot be changed either; a command is told its GPUs when it begins, and is never halted.
    """
    on = {each.name for each in enforced if each.on}
    changeable = {capability for name, capability in _CHANGEABLE.items() if name in on}
    return _ALWAYS | changeable


def observe(given: Given, capabilities: Iterable[Capability], device: str = "") -> Node:
    """The node to register. `device`: whose speed counts as bandwidth; empty: that of the default route."""
    enforced = tuple(capabilities)
    seen = gpus.find() if given.gpus is None else gpus.Gpus(given.gpus)
    labels = {f"{LABEL_PREFIX}{each.name}": "on" if each.on else "off" for each in enforced}
    if seen.model and "gpu" not in dict(given.labels):
        labels["gpu"] = seen.model
    flavor = given.flavor or (gpus.flavor_of(seen.model) if seen.model else DEFAULT_FLAVOR)
    return Node(
        given.name or socket.gethostname(),
        flavor,
        Resources(
            cpu_millicores=cpu_millicores() if given.cpu_millicores is None else given.cpu_millicores,
            gpu_millis=seen.count * GPU_MILLIS,
            memory_bytes=memory_bytes() if given.memory_bytes is None else given.memory_bytes,
            bandwidth_bytes_per_second=(
                _speed(device) if given.bandwidth_bytes_per_second is None else given.bandwidth_bytes_per_second
            ),
            disk_bytes=given.disk_bytes or 0,
        ),
        labels=tuple(sorted((dict(given.labels) | labels).items())),  # what is enforced is not a matter of opinion
        capabilities=can_do(enforced),
    )


def cpu_millicores() -> int:
    """Of the cores that this process may use, as far as control groups around it leave them."""
    cores = len(os.sched_getaffinity(0))
    limit = _limits()[0]
    return round(1000 * (cores if limit is None else min(cores, limit)))


def memory_bytes() -> int:
    """The machine's, or what control groups leave of it; less what is kept for the system."""
    limit = _limits()[1]
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return round((whole if limit is None else min(whole, limit)) * (1 - RESERVED_MEMORY_SHARE))


def default_device(routes: Path = Path("/proc/net/route")) -> str:
    """The network device of the default route; empty if there is none."""
    with contextlib.suppress(OSError):
        for line in routes.read_text().splitlines()[1:]:
            device, destination, *_ = line.split()
            if destination == "00000000":
                return device
    return ""


def bandwidth_bytes_per_second(device: str, devices: Path = Path("/sys/class/net")) -> int:
    """What the device can send; 0 where it does not say (virtual devices do not)."""
    with contextlib.suppress(OSError, ValueError):
        megabits = int((devices / device / "speed").read_text())
        return max(0, megabits) * 1_000_000 // BITS_PER_BYTE
    return 0


def _speed(device: str) -> int:
    chosen = device or default_device()
    return bandwidth_bytes_per_second(chosen) if chosen else 0


def _limits() -> tuple[float | None, int | None]:
    try:
        return cgroups.limits_above(cgroups.hierarchies())
    except (OSError, ValueError):
        return None, None
