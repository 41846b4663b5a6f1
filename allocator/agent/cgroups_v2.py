"""Control groups, version 2: one hierarchy for all controllers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from allocator.agent.confinement import (
    LEAST_PERIOD_MICROSECONDS,
    PRECEDENCE,
    Capability,
    Enclosure,
    Limits,
    Usage,
    read_field,
    read_number,
    remove_group,
)

_WEIGHT_PER_CORE = 100
_MOST_WEIGHT = 10_000


class VersionTwo:
    """`root`: the group below which runs get theirs; `controllers`: those that it hands down to them."""

    def __init__(self, root: Path, controllers: frozenset[str], why_not: Mapping[str, str]) -> None:
        self._root = root
        self._controllers = controllers
        if "cpu" in controllers:
            weight = PRECEDENCE * _WEIGHT_PER_CORE * (os.cpu_count() or 1)
            (root / "cpu.weight").write_text(str(min(_MOST_WEIGHT, weight)))
        self.capabilities = tuple(
            Capability(f"{name}-limits", controller in controllers, why_not.get(controller, ""))
            for name, controller in (("cpu", "cpu"), ("memory", "memory"), ("process", "pids"))
        )

    def enclose(self, run_id: str) -> Enclosure:
        group = self._root / run_id
        group.mkdir(parents=True, exist_ok=True)
        return Enclosure(
            join=(group / "cgroup.procs",),
            quench=((group / "cgroup.kill", "1"),),
            members=group / "cgroup.procs",
            unified=group,
        )

    def limit(self, run_id: str, limits: Limits) -> None:
        group = self._root / run_id
        if "cpu" in self._controllers:
            quota = limits.quota()
            weight = max(1, min(_MOST_WEIGHT, limits.cpu_millicores * _WEIGHT_PER_CORE // 1000))
            (group / "cpu.weight").write_text(str(weight))
            (group / "cpu.max").write_text(
                f"max {LEAST_PERIOD_MICROSECONDS}" if quota is None else f"{quota[0]} {quota[1]}"
            )
        if "pids" in self._controllers:
            (group / "pids.max").write_text("max" if limits.processes is None else str(limits.processes))
        if "memory" in self._controllers:
            self._limit_memory(group, limits.memory_bytes)

    def usage(self, run_id: str) -> Usage:
        group = self._root / run_id
        return Usage(
            cpu_seconds=read_field(group / "cpu.stat", "usage_usec") / 1e6,
            peak_memory_bytes=read_number(group / "memory.peak") or read_number(group / "memory.current"),
            memory_kills=read_field(group / "memory.events", "oom_kill"),
        )

    def remove(self, run_id: str) -> bool:
        return remove_group(self._root / run_id)

    def known(self) -> frozenset[str]:
        if not self._root.is_dir():
            return frozenset()
        return frozenset(entry.name for entry in self._root.iterdir() if entry.is_dir())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._root.rmdir()

    def _limit_memory(self, group: Path, amount: int | None) -> None:
        """What is in use is not taken back by force: version 2 would kill for it."""
        if amount is not None and read_number(group / "memory.current") > amount:
            (group / "memory.high").write_text(str(amount))
            raise BlockingIOError(0, "more memory is in use than it shall have; it is being taken back", str(group))
        (group / "memory.high").write_text("max")
        (group / "memory.max").write_text("max" if amount is None else str(amount))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("max" if amount is None else "0")
        (group / "memory.oom.group").write_text("1")
