"""What is read of nodes, pods and Jobs, and what nodes are then worth to us."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from allocator.domain.cluster import NodeAvailability
from allocator.domain.placement import Epoch
from allocator.domain.resources import NOTHING, Resources
from allocator.engine.runs import Run
from allocator.kubernetes.observed import asked_by, job_of, node_of, pod_of
from allocator.kubernetes.quantity import amount, of_millis
from allocator.kubernetes.translation import Kinds, availability_of, foreign_use
from allocator.kubernetes.translation import node_of as ours_of

NODE: dict[str, Any] = {
    "metadata": {"name": "n1",
                 "labels": {"topology.kubernetes.io/zone": "a", "nvidia.com/gpu.product": "NVIDIA-A100 80GB"}},
    "spec": {"taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
                        {"key": "soft", "effect": "PreferNoSchedule"}]},
    "status": {
        "allocatable": {"cpu": "7910m", "memory": "32Gi", "nvidia.com/gpu": "4", "ephemeral-storage": "100G",
                        "pods": "110", "hugepages-2Mi": "0", "example.com/fpga": "2"},
        "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
    },
}  # fmt: skip


def pod(name: str, spec: dict[str, Any], phase: str = "Running", **metadata: Any) -> Any:
    found = {"metadata": {"name": name, "namespace": "x", **metadata}, "spec": spec, "status": {"phase": phase}}
    return pod_of(found, "jobs")


def asks(**requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests}}


@pytest.mark.parametrize(
    ("text", "number"),
    [("100m", "1/10"), ("1.5Gi", str(3 * 2**29)), ("12e3", "12000"), ("5E", str(5 * 10**18)), ("1E2", "100"), (2, "2"),
     (".5", "1/2"), ("3.", "3"), ("100n", "1/10000000"), ("", "0"), ("1 Gi", "0"), ("1e999999", "0"), ("x", "0")],
)  # fmt: skip
def test_quantities(text: object, number: str) -> None:
    assert amount(text) == Fraction(number)


def test_cores_are_written_as_people_do() -> None:
    assert [of_millis(millis) for millis in (1, 1000, 1500)] == ["1m", "1", "1500m"]


def test_a_node_is_what_its_pods_may_have_less_what_others_ask_for() -> None:
    seen = node_of(NODE)
    theirs = pod("a", {"nodeName": "n1", "containers": [asks(cpu="500m", memory="1Gi", **{"nvidia.com/gpu": "1"})]})
    ended = pod("b", {"nodeName": "n1", "containers": [asks(cpu="4")]}, "Succeeded")
    waiting = pod("c", {"containers": [asks(cpu="4")]}, "Pending")
    foreign = foreign_use([theirs, ended, waiting])
    assert foreign == {"n1": Resources(500, 1000, 2**30)}
    node = ours_of(seen, foreign["n1"], Kinds())
    assert node.capacity == Resources(7410, 3000, 31 * 2**30, 0, 100 * 10**9, (("example.com/fpga", 2),))
    assert (node.name, node.flavor) == ("n1", "nvidia-a100-80gb")
    assert node.label("topology.kubernetes.io/zone") == "a"
    assert node.label("engine") == "kubernetes"
    assert node.violations() == ()
    full = ours_of(seen, Resources(9000, 9000, 2**40, 0, 2**50), Kinds())
    assert (full.capacity.cpu_millicores, full.violations()) == (0, ())


def test_what_a_node_may_not_be_called_here_is_left_out() -> None:
    labels = {"x" * 300: "long", "ok": "yes", "engine": "theirs"}
    node = ours_of(node_of({**NODE, "metadata": {"name": "n", "labels": labels}}), NOTHING, Kinds())
    assert node.labels == (("engine", "kubernetes"), ("ok", "yes"))
    assert node.violations() == ()


def test_flavors_without_a_model() -> None:
    bare = node_of(
        {**NODE, "metadata": {"name": "n", "labels": {"allocator/bandwidth": "3G", "nvidia.com/gpu.product": "-"}}}
    )
    assert Kinds().flavor_of(bare) == "gpu"
    assert Kinds(gpu="amd.com/gpu").flavor_of(node_of(NODE, "amd.com/gpu")) == "cpu"
    assert ours_of(bare, NOTHING, Kinds()).capacity.bandwidth_bytes_per_second == 3 * 10**9


def test_ours_by_label_count_only_in_our_namespace() -> None:
    label = {"app.kubernetes.io/managed-by": "allocator"}
    spec = {"nodeName": "n1", "containers": [asks(cpu="1")]}
    assert foreign_use([pod("a", spec, labels=label)]) == {"n1": Resources(1000)}
    assert (
        foreign_use([pod_of({"metadata": {"name": "a", "namespace": "jobs", "labels": label}, "spec": spec}, "jobs")])
        == {}
    )


def test_who_is_closed_is_cordoned_and_who_keeps_ours_out_is_drained() -> None:
    def closed(
        tolerated: tuple[tuple[str, str, str], ...] = (), *, strands: bool = False, **spec: Any
    ) -> NodeAvailability:
        return availability_of(node_of({**NODE, "spec": spec}), tolerated, strands=strands)

    gpu = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    assert closed() is NodeAvailability.OPEN
    assert closed(strands=True) is NodeAvailability.OPEN
    assert closed(unschedulable=True) is NodeAvailability.CORDONED
    assert closed(unschedulable=True, strands=True) is NodeAvailability.DRAINING
    assert closed(taints=gpu) is NodeAvailability.CORDONED
    for tolerated in (("gpu", "", ""), ("", "", ""), ("gpu", "yes", "NoSchedule")):
        assert closed((tolerated,), taints=gpu) is NodeAvailability.OPEN
    assert closed((("gpu", "no", ""),), taints=gpu) is NodeAvailability.CORDONED


def test_what_the_scheduler_counts_for_a_pod() -> None:
    sidecar = {**asks(cpu="200m"), "restartPolicy": "Always"}
    spec = {
        "initContainers": [asks(cpu="2"), sidecar, asks(cpu="3", memory="1Gi")],
        "containers": [asks(cpu="1", memory="100Mi"), {"resources": {"limits": {"cpu": "1"}}}],
        "overhead": {"cpu": "100m"},
    }
    assert asked_by(spec) == Resources(3300, memory_bytes=2**30)
    spec["containers"] = [asks(cpu="1"), asks(cpu="4")]
    assert asked_by(spec).cpu_millicores == 5300
    assert asked_by({**spec, **asks(cpu="6")}).cpu_millicores == 6100
    assert asked_by({"containers": [{}]}) == NOTHING
    assert asked_by({"containers": [asks(cpu="0.0001")]}).cpu_millicores == 1


def test_how_a_container_of_ours_ended_or_why_it_waits() -> None:
    def seen(state: dict[str, Any] | None = None, **status: Any) -> Any:
        label = {"app.kubernetes.io/managed-by": "allocator", "allocator/job-id": "j1"}
        statuses = [{"name": "sidecar", "state": {"running": {}}}, {"name": "main", "state": state or {}}]
        found = {"metadata": {"name": "a", "namespace": "jobs", "labels": label}, "spec": {}}
        return pod_of({**found, "status": {"containerStatuses": statuses, **status}}, "jobs")

    failed = seen({"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "m"}}, phase="Failed")
    assert (failed.exit_code, failed.ended_by, failed.said, failed.has_ended) == (137, "OOMKilled", "m", True)
    evicted = seen(
        {"terminated": {"exitCode": 137, "reason": "Error"}}, phase="Failed", reason="Evicted", message="disk"
    )
    assert (evicted.ended_by, evicted.said, evicted.has_started) == ("Evicted", "disk", True)
    waiting = seen({"waiting": {"reason": "ErrImagePull", "message": "no such image"}})
    assert (waiting.waits_for, waiting.has_started, waiting.job_id) == ("ErrImagePull: no such image", False, "j1")
    refused = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]
    assert seen(conditions=refused).waits_for == "Unschedulable: 0/3"
    assert seen(conditions=[{"type": "DisruptionTarget", "status": "True"}]).is_evicted


def test_a_job_is_ours_by_its_annotations() -> None:
    said = {"job-id": "j1", "start": "3.4", "rank": "1", "epoch": "5.6", "node": "n1"}
    item: dict[str, Any] = {
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "9", "finalizers": ["allocator/reported"],
                     "annotations": {f"allocator/{key}": value for key, value in said.items()}},
        "spec": {"suspend": True},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "R", "message": "m"},
                                  {"type": "Complete", "status": "False"}]},
    }  # fmt: skip
    job = job_of(item)
    assert job is not None
    assert (job.run, job.rank, job.epoch, job.node) == (Run("j1", Epoch(3, 4)), 1, Epoch(5, 6), "n1")
    assert (job.is_suspended, job.is_kept, job.failed, job.succeeded, job.message) == (True, True, True, False, "m")
    for key in said:
        for wrong in ("", "x.y" if key in ("start", "epoch") else ""):
            broken = {**item["metadata"]["annotations"], f"allocator/{key}": wrong}
            assert job_of({**item, "metadata": {**item["metadata"], "annotations": broken}}) is None
    assert job_of({"metadata": {"name": "theirs"}}) is None
