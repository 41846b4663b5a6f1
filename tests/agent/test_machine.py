"""What a machine says of itself, from the kernel's own accounts as files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from allocator.agent import cgroups, gpus, machine
from allocator.agent.cgroups_v2 import VersionTwo
from allocator.agent.confinement import Capability, Unconfined
from allocator.agent.environment import expand
from allocator.agent.machine import Given, observe
from allocator.domain.cluster import EngineCapability
from tests.agent.wanted import replica


def test_this_machine() -> None:
    node = observe(
        Given(labels=(("rack", "r1"),)), [Capability("cpu-limits", on=True), Capability("x", on=False, why="y")]
    )
    assert node.violations() == ()
    assert 0 < node.capacity.cpu_millicores <= 1000 * (os.cpu_count() or 1)
    assert node.capacity.memory_bytes > 2**28
    assert {("agent/cpu-limits", "on"), ("agent/x", "off"), ("rack", "r1")} <= set(node.labels)


def test_what_the_operator_says_wins() -> None:
    given = Given("n", "f", (), 1500, 2**30, 2, 10**9, 2**40)
    node = observe(given, ())
    assert (node.name, node.flavor, node.gpu_count) == ("n", "f", 2)
    assert list(node.capacity.items()) == [
        ("cpu", 1500), ("gpu", 2000), ("memory", 2**30), ("bandwidth", 10**9), ("disk", 2**40),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("enforced", "able"),
    [
        ((), set()),
        (("cpu-limits",), {EngineCapability.RESIZE_CPU}),
        (("memory-limits", "bandwidth-limits"), {EngineCapability.LIMIT_BANDWIDTH}),
    ],
)
def test_what_is_not_enforced_cannot_be_changed(enforced: tuple[str, ...], able: set[EngineCapability]) -> None:
    names = ("cpu-limits", "memory-limits", "process-limits", "bandwidth-limits")
    node = observe(Given(), [Capability(name, on=name in enforced) for name in names])
    always = {
        EngineCapability.CHANGE_REPLICAS,
        EngineCapability.SPLIT_CORES,
        EngineCapability.SPLIT_GPUS,
        EngineCapability.PLACE_REPLICAS,
    }
    assert node.capabilities == frozenset(always | able)


class _Broken(Exception):
    pass


def library(count: int = 0, broken: bool = False) -> SimpleNamespace:
    def start() -> None:
        if broken:
            raise _Broken("Driver Not Loaded")

    return SimpleNamespace(
        NVMLError=_Broken,
        nvmlInit=start,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: b"NVIDIA H100 80GB HBM3",
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=80 * 2**30),
    )


def test_gpus_are_counted_and_name_the_flavor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(8))
    node = observe(Given(), ())
    assert (node.gpu_count, node.flavor) == (8, "h100-80gb-hbm3")
    assert ("gpu", "NVIDIA H100 80GB HBM3") in node.labels


@pytest.mark.parametrize(
    ("found", "why"),
    [(library(broken=True), "Driver Not Loaded"), (library(), "knows no GPU"), (None, "is not installed")],
)
def test_a_machine_without_gpus_says_why(monkeypatch: pytest.MonkeyPatch, found: object, why: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", found)
    seen = gpus.find()
    assert seen.count == 0
    assert why in seen.why_none


def test_speed_and_route(tmp_path: Path) -> None:
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0/speed").write_text("25000\n")
    (tmp_path / "virt").mkdir()
    (tmp_path / "virt/speed").write_text("-1\n")
    assert machine.bandwidth_bytes_per_second("eth0", tmp_path) == 3_125_000_000
    assert machine.bandwidth_bytes_per_second("virt", tmp_path) == 0
    assert machine.bandwidth_bytes_per_second("none", tmp_path) == 0
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\tGateway\neth1\t0001A8C0\t0\neth0\t00000000\t0101A8C0\n")
    assert machine.default_device(routes) == "eth0"


# --- control groups as they are mounted

HYBRID = """\
30 23 0:26 / {root}/cpu rw - cgroup cgroup rw,cpu,cpuacct
31 23 0:27 / {root}/memory rw - cgroup cgroup rw,memory
32 23 0:28 / {root}/unified rw - cgroup2 cgroup2 rw
"""


def mounted(tmp_path: Path, mounts: str, own: str) -> cgroups.Hierarchies:
    (tmp_path / "mountinfo").write_text(mounts.format(root=tmp_path))
    (tmp_path / "cgroup").write_text(own)
    return cgroups.hierarchies(tmp_path)


def test_a_hybrid_machine_is_used_as_version_one(tmp_path: Path) -> None:
    for name in ("cpu", "memory", "unified"):
        (tmp_path / name).mkdir()
    found = mounted(tmp_path, HYBRID, "4:memory:/a\n3:cpu,cpuacct:/\n0::/a/b\n")
    groups = cgroups.find("jobs", found)
    assert [(each.name, each.on) for each in groups.capabilities] == [
        ("cpu-limits", True),
        ("memory-limits", True),
        ("process-limits", False),
    ]
    enclosure = groups.enclose("r")
    assert enclosure.unified == tmp_path / "unified/a/b/jobs/r"
    assert tmp_path / "memory/a/jobs/r/cgroup.procs" in enclosure.join


def test_a_machine_with_version_two(tmp_path: Path) -> None:
    """The agent moves into a group of its own, so that controllers can be handed down beside it."""
    own = tmp_path / "v2/system.slice/agent.service"
    (own / "jobs").mkdir(parents=True)
    (tmp_path / "v2/cgroup.controllers").write_text("cpu memory pids io")
    found = mounted(tmp_path, "32 23 0:28 / {root}/v2 rw - cgroup2 cgroup2 rw\n", "0::/system.slice/agent.service\n")
    (own / "jobs/cgroup.subtree_control").write_text("")
    groups = cgroups.find("jobs", found)
    assert isinstance(groups, VersionTwo)
    assert (own / "agent/cgroup.procs").read_text() == "0"
    assert (own / "jobs/cgroup.subtree_control").read_text() == "+pids"  # plain files keep the last word only
    again = mounted(
        tmp_path, "32 23 0:28 / {root}/v2 rw - cgroup2 cgroup2 rw\n", "0::/system.slice/agent.service/agent\n"
    )
    cgroups.find("jobs", again)
    assert not (own / "agent/jobs").exists()


def test_a_machine_without_control_groups() -> None:
    groups = cgroups.find("jobs", cgroups.Hierarchies(None, {}, {}))
    assert isinstance(groups, Unconfined)
    assert groups.capabilities[0].why == "no control groups with the controller cpu are mounted"


def test_limits_of_the_groups_around_count(tmp_path: Path) -> None:
    inner = tmp_path / "v2/a/b"
    inner.mkdir(parents=True)
    (tmp_path / "v2/a/cpu.max").write_text("150000 100000\n")
    (inner / "cpu.max").write_text("max 100000\n")
    (inner / "memory.max").write_text("1073741824\n")
    (tmp_path / "v2/a/memory.max").write_text("max\n")
    found = mounted(tmp_path, "32 23 0:28 / {root}/v2 rw - cgroup2 cgroup2 rw\n", "0::/a/b\n")
    assert cgroups.limits_above(found) == (1.5, 2**30)


# --- names of files


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("%j-%r.out", "j1-2.out"),
        ("a%%b", "a%b"),
        ("%%j", "%j"),
        ("%a", ""),
        ("logs/%n", "logs/rack_7"),
        ("%%%r", "%2"),
    ],
)
def test_placeholders(path: str, expanded: str) -> None:
    assert expand(path, replica(number=2, replicas=3), "rack/7") == expanded
