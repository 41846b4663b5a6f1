"""Finds the control groups that this machine lets us make, and says what is missing where they are not there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from allocator.agent.cgroups_v1 import VersionOne
from allocator.agent.cgroups_v2 import VersionTwo
from allocator.agent.confinement import Confinement, Unconfined

_WANTED = ("cpu", "memory", "pids")
_AGENT_GROUP = "agent"
"""Where the agent itself and its supervisors are in version 2: a group with controllers for its children has no
processes of its own."""


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where control groups are mounted, and which ones this process is in."""

    unified: Path | None
    """Mount point of version 2."""
    mounts: dict[str, Path]
    """By controller of version 1, its mount point."""
    own: dict[str, str]
    """By controller, "" for version 2, the path of our own group below the mount point."""


def hierarchies(proc: Path = Path("/proc/self")) -> Hierarchies:
    """As this process sees them."""
    unified: Path | None = None
    mounts: dict[str, Path] = {}
    for line in (proc / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        point = Path(before.split()[4])
        if kind == "cgroup2":
            unified = point
        elif kind == "cgroup":
            mounts |= dict.fromkeys(options.split(","), point)
    own: dict[str, str] = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    return Hierarchies(unified, mounts, own)


def find(name: str, found: Hierarchies | None = None) -> Confinement:
    """The control groups to use, below a group `name` (made if it is not there) of our own group.

    `name` beginning with a slash: below the mount points instead. Version 2 where it has any of the controllers that
    we want, else version 1, else none.
    """
    if found is None:
        try:
            found = hierarchies()
        except (OSError, ValueError):
            return Unconfined("this machine has no control groups")
    if found.unified is not None and _controllers(found.unified) & set(_WANTED):
        return _version_two(found.unified, found.own.get("", "/"), name)
    return _version_one(found, name)


def _version_two(mount: Path, own: str, name: str) -> Confinement:
    within = mount if name.startswith("/") else mount / own.lstrip("/")
    if within.name == _AGENT_GROUP:
        within = within.parent  # we were put there, by the service manager or by ourselves
    root = within / name.lstrip("/")
    why: dict[str, str] = {}
    try:
        root.mkdir(parents=True, exist_ok=True)
        if within != mount and not name.startswith("/"):
            (within / _AGENT_GROUP).mkdir(exist_ok=True)
            (within / _AGENT_GROUP / "cgroup.procs").write_text("0")
    except OSError as error:
        return Unconfined(f"no control group can be made: {error.strerror} ({error.filename})")
    for controller in _WANTED:
        for folder in _from_to(mount if name.startswith("/") else within, root):
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError as error:
                why[controller] = f"{folder} does not hand down {controller}: {error.strerror}"
    handed = frozenset(_WANTED) & frozenset((root / "cgroup.subtree_control").read_text().split())
    return VersionTwo(root, handed, why)


def _version_one(found: Hierarchies, name: str) -> Confinement:
    roots: dict[str, Path] = {}
    why: dict[str, str] = {}
    for controller in (*_WANTED, "cpuacct", "unified"):
        mount = found.unified if controller == "unified" else found.mounts.get(controller)
        if mount is None:
            why[controller] = f"no control groups with the controller {controller} are mounted"
            continue
        own = found.own.get("" if controller == "unified" else controller, "/")
        within = mount if name.startswith("/") else mount / own.lstrip("/")
        root = within / name.lstrip("/")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why[controller] = f"no control group can be made: {error.strerror} ({error.filename})"
        else:
            roots[controller] = root
    if not set(roots) & set(_WANTED):
        return Unconfined(next(iter(why.values())))
    return VersionOne(roots, why)


def _controllers(group: Path) -> set[str]:
    try:
        return set((group / "cgroup.controllers").read_text().split())
    except OSError:
        return set()


def _from_to(top: Path, bottom: Path) -> list[Path]:
    """Every folder from `top` down to `bottom`, both included."""
    below = [bottom, *bottom.parents]
    return list(reversed(below[: below.index(top) + 1]))


def limits_above(found: Hierarchies) -> tuple[float | None, int | None]:
    """(cores, memory in bytes) that groups around this process leave it; None where they do not limit it."""
    cores: list[float] = []
    amounts: list[str] = []
    if found.unified is not None:
        for group in _upwards(found.unified, found.own.get("", "/")):
            cores += _cores(*_text(group / "cpu.max").partition(" ")[::2])
            amounts.append(_text(group / "memory.max"))
    if "cpu" in found.mounts:
        for group in _upwards(found.mounts["cpu"], found.own.get("cpu", "/")):
            cores += _cores(_text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us"))
    if "memory" in found.mounts:
        for group in _upwards(found.mounts["memory"], found.own.get("memory", "/")):
            amounts.append(_text(group / "memory.limit_in_bytes"))  # noqa: PERF401 - as above
    return min(cores, default=None), min((int(amount) for amount in amounts if amount.isdigit()), default=None)


def _cores(quota: str, period: str) -> list[float]:
    return [int(quota) / int(period)] if quota.isdigit() and period.isdigit() else []


def _upwards(mount: Path, own: str) -> list[Path]:
    group = mount / own.lstrip("/")
    if os.pardir in group.parts:  # in a container we may see ourselves outside of what is mounted
        return [mount]
    return [group, *(parent for parent in group.parents if parent == mount or mount in parent.parents)]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
