"""What a site that only looks on is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from allocator.cli import app
from allocator.cli.exits import ExitCode
from allocator.domain.reason import PendingCause
from allocator.kubernetes.observing import advise, waiting_of
from allocator.kubernetes.translation import Kinds
from tests.kubernetes_cluster import Cluster


def node(name: str, cpu: str = "4", ready: str = "True", taints: tuple[dict[str, str], ...] = (), **labels: str) -> Any:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi"}, "conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(name: str, cpu: str = "1", namespace: str = "vision", phase: str = "Pending", **spec: Any) -> Any:
    containers = [{"resources": {"requests": {"cpu": cpu}}}]
    return {
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": f"2026-01-01T00:00:{len(name):02}Z"},
        "spec": {"containers": containers, **spec},
        "status": {"phase": phase},
    }


def job(name: str, parallelism: int, **spec: Any) -> Any:
    template = {"spec": pod("x")["spec"]}
    return {
        "metadata": {"name": name, "namespace": "vision"},
        "spec": {"suspend": True, "parallelism": parallelism, "template": template, **spec},
    }


def told(nodes: list[Any], pods: list[Any], jobs: tuple[Any, ...] = (), **changes: Any) -> Any:
    return advise(nodes, pods, jobs, 1000.0, Kinds(), **changes)


def test_what_waits_is_what_nothing_but_a_place_is_missing_for() -> None:
    pods = [
        pod("waits"),
        pod("bound", nodeName="n1"),
        pod("gated", schedulingGates=[{"name": "g"}]),
        pod("over", phase="Failed"),
        {**pod("leaving"), "metadata": {"name": "leaving", "deletionTimestamp": "now"}},
    ]
    ended = {**job("ended", 2), "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    found = waiting_of(pods, [job("gang", 4, completions=3), job("runs", 2, suspend=False), ended], "namespace")
    assert [(each.name, each.queue, each.replicas) for each in found] == [
        ("vision/gang", "vision", 3),
        ("vision/waits", "vision", 1),
    ]
    labelled = {**pod("a"), "metadata": {"name": "a", "namespace": "n", "labels": {"team": "x/y"}}}
    assert [each.queue for each in waiting_of([labelled], [], "team")] == ["x-y"]
    assert [each.queue for each in waiting_of([pod("a", priorityClassName="high")], [], "priority-class")] == ["high"]
    assert [each.queue for each in waiting_of([pod("a")], [], "team")] == ["none"]


def test_who_starts_where_and_why_others_wait() -> None:
    pods = [pod("runs", "3", nodeName="n1", phase="Running"), pod("a"), pod("bb")]
    found = told([node("n1"), node("n2", ready="False")], pods)
    assert [(name, nodes) for name, _, nodes in found.starts] == [("vision/a", ("n1",))]
    ((name, queue, reason),) = found.waits
    assert (name, queue, reason.cause) == ("vision/bb", "vision", PendingCause.INSUFFICIENT_CAPACITY)
    assert (found.running, found.passed_over) == (1, ())
    assert found.gap <= 1e-4


def test_a_suspended_job_starts_whole_or_not_at_all() -> None:
    nodes = [node("n1", "2"), node("n2", "2")]
    assert [len(each) for _, _, each in told(nodes, [], (job("gang", 4),)).starts] == [2]
    assert told(nodes, [], (job("gang", 5),)).starts == ()


def test_pods_go_where_their_rules_and_taints_let_them() -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    nodes = [node("n1", zone="a"), node("n2", zone="b"), node("n3", taints=(taint,))]
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    pods = [
        pod("a", "3", nodeSelector={"zone": "a"}),
        pod("bb", "3", affinity=affinity),
        pod("ccc", "3", tolerations=[{"operator": "Exists"}]),
        pod("dddd", "3", nodeSelector={"zone": "c"}),
    ]
    found = told(nodes, pods)
    assert {name: nodes for name, _, nodes in found.starts} == {
        "vision/a": ("n1",), "vision/bb": ("n2",), "vision/ccc": ("n3",),
    }  # fmt: skip
    cordoned = {**node("n1"), "spec": {"unschedulable": True}}
    assert told([cordoned], [pod("a")]).starts == ()


@pytest.mark.parametrize(
    ("affinity", "why"),
    [
        ({"nodeAffinity": {"nodeSelectorTerms": [{}, {}]}}, "alternatives"),
        ({"nodeAffinity": {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name"}]}]}}, "names its node"),
        ({"nodeAffinity": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Gt"}]}]}}, "by Gt"),
        ({"podAffinity": [{}]}, "near to"),
    ],
)
def test_what_is_not_understood_is_passed_over_and_spoils_nothing(affinity: dict[str, Any], why: str) -> None:
    required = {kind: {"requiredDuringSchedulingIgnoredDuringExecution": rules} for kind, rules in affinity.items()}
    found = told([node("n1")], [pod("strange", affinity=required), pod("huge", "64"), pod("plain")])
    ((name, words),) = [each for each in found.passed_over if "strange" in each[0]]
    assert name == "vision/strange"
    assert why in words
    assert [name for name, _, _ in found.starts] == ["vision/plain"]
    assert told([], [pod("a")]).passed_over == (("vision/a", "no node is ready"),)


def test_weights_of_queues_decide_who_is_first() -> None:
    pods = [pod("x", "4", "mine"), pod("y", "4", "yours")]
    for weights, first in (({"mine": 5.0}, "mine/x"), ({"yours": 5.0}, "yours/y")):
        assert [name for name, _, _ in told([node("n1")], pods, weights=weights).starts] == [first]


def _allocator(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["kubernetes", *arguments])


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for command in ("observe", "drive"):
        done = _allocator(command)
        assert done.exit_code == ExitCode.CONFLICT
        assert "pip install 'allocator[kubernetes]'" in done.stderr


def test_from_the_command_line_and_nothing_is_written(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster") as cluster:
        cluster.add_node("n1", cpu="4")
        cluster.change_node("n1", unschedulable=True)  # so that the scheduler leaves them to be looked at
        cluster.add_node("n2", cpu="2")
        cluster.add_pod("big", "64")
        for number in range(600):  # more than a page
            cluster.add_pod(f"small-{number:03}", "1m", "n2")
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        flag = f"--kubeconfig={tmp_path / 'kubeconfig'}"
        done = _allocator("observe", flag, "--json")
        assert done.exit_code == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["starts"], found["running"]) == ([], 600)
        assert [(each["job"], each["cause"]) for each in found["waits"]] == [("theirs/big", "exceeds_node")]
        assert cluster.writes == []
        cluster.stop()
        gone = _allocator("observe", flag)
    assert gone.exit_code == ExitCode.CONFLICT
    assert "does not answer" in gone.stderr
    nowhere = _allocator("observe", f"--kubeconfig={tmp_path / 'none'}")
    assert "no way to reach a cluster" in nowhere.stderr
    wrong = _allocator("drive", flag, "--namespace=Not A Name")
    assert "--namespace: must be" in wrong.stderr
    (tmp_path / "pod.yaml").write_text("spec: {nodeName: x}")
    wrong = _allocator("drive", flag, f"--pod-template={tmp_path / 'pod.yaml'}")
    assert "spec.nodeName" in wrong.stderr
