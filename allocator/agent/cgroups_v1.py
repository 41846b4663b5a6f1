"""Control groups, version 1: a hierarchy for each controller. Hybrid machines have the unified one beside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from allocator.agent.confinement import (
    PRECEDENCE,
    Capability,
    Enclosure,
    Limits,
    Usage,
    read_field,
    read_number,
    remove_group,
)

_UNLIMITED = "-1"
_SHARES_PER_CORE = 1024
_LEAST_SHARES, _MOST_SHARES = 2, 262_144


class VersionOne:
    """`roots`: by controller (cpu, cpuacct, memory, pids, unified), the group below which runs get theirs."""

    def __init__(self, roots: Mapping[str, Path], why_not: Mapping[str, str]) -> None:
        self._roots = dict(roots)
        if "cpu" in roots:
            # Beside everything else on the machine all jobs together weigh as much as they may use, and some more.
            shares = PRECEDENCE * _SHARES_PER_CORE * (os.cpu_count() or 1)
            _write(roots["cpu"] / "cpu.shares", min(shares, _MOST_SHARES))
        self.capabilities = tuple(
            Capability(f"{name}-limits", controller in roots, why_not.get(controller, ""))
            for name, controller in (("cpu", "cpu"), ("memory", "memory"), ("process", "pids"))
        )

    def enclose(self, run_id: str) -> Enclosure:
        for root in self._roots.values():
            (root / run_id).mkdir(parents=True, exist_ok=True)
        groups = {controller: root / run_id for controller, root in self._roots.items()}
        members = next((groups[name] for name in ("pids", "memory", "cpu", "unified") if name in groups), None)
        return Enclosure(
            join=tuple(group / "cgroup.procs" for group in groups.values()),
            quench=((groups["pids"] / "pids.max", "0"),) if "pids" in groups else (),
            members=None if members is None else members / "cgroup.procs",
            unified=groups.get("unified"),
        )

    def limit(self, run_id: str, limits: Limits) -> None:
        if "cpu" in self._roots:
            _limit_cpu(self._roots["cpu"] / run_id, limits)
        if "pids" in self._roots:
            _write(self._roots["pids"] / run_id / "pids.max", "max" if limits.processes is None else limits.processes)
        if "memory" in self._roots:
            _limit_memory(self._roots["memory"] / run_id, limits.memory_bytes)

    def usage(self, run_id: str) -> Usage:
        memory = self._roots.get("memory", Path("/nonexistent")) / run_id
        return Usage(
            cpu_seconds=read_number(self._roots.get("cpuacct", Path("/nonexistent")) / run_id / "cpuacct.usage") / 1e9,
            peak_memory_bytes=read_number(memory / "memory.max_usage_in_bytes"),
            memory_kills=read_field(memory / "memory.oom_control", "oom_kill"),
        )

    def remove(self, run_id: str) -> bool:
        gone = [remove_group(root / run_id) for root in self._roots.values()]
        return all(gone)

    def known(self) -> frozenset[str]:
        return frozenset(
            entry.name for root in self._roots.values() if root.is_dir() for entry in root.iterdir() if entry.is_dir()
        )

    def close(self) -> None:
        for root in self._roots.values():
            with contextlib.suppress(OSError):
                root.rmdir()


def _limit_cpu(group: Path, limits: Limits) -> None:
    quota = limits.quota()
    shares = max(_LEAST_SHARES, limits.cpu_millicores * _SHARES_PER_CORE // 1000)
    _write(group / "cpu.shares", min(shares, _MOST_SHARES))
    if quota is None:
        _write(group / "cpu.cfs_quota_us", _UNLIMITED)
        return
    _write(group / "cpu.cfs_quota_us", _UNLIMITED)  # whatever the period was, the next one is accepted
    _write(group / "cpu.cfs_period_us", quota[1])
    _write(group / "cpu.cfs_quota_us", quota[0])


def _limit_memory(group: Path, amount: int | None) -> None:
    """With swap together it may never be less than without: the order depends on the direction."""
    wanted = _UNLIMITED if amount is None else str(amount)
    memory, with_swap = group / "memory.limit_in_bytes", group / "memory.memsw.limit_in_bytes"
    files = [with_swap, memory] if amount is None or amount > read_number(memory) else [memory, with_swap]
    for file in files:
        if file is memory or file.exists():  # without swap accounting there is one file only
            _write(file, wanted)


def _write(path: Path, value: int | str) -> None:
    path.write_text(str(value))
