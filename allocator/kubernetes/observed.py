"""Nodes, pods and Jobs as the API server tells them, cut down to what matters here. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from allocator.domain.placement import Epoch
from allocator.domain.resources import NOTHING, Resources, is_resource_name
from allocator.engine.runs import Run
from allocator.kubernetes.quantity import amount

Object = Mapping[str, Any]
"""As JSON has it."""

JOB_ID, START, RANK, EPOCH, NODE = (f"allocator/{what}" for what in ("job-id", "start", "rank", "epoch", "node"))
"""Annotations of our Jobs, by which they are known again."""
MANAGED_BY, OURS = "app.kubernetes.io/managed-by", "allocator"
FINALIZER = "allocator/reported"
"""Keeps a Job until the daemon knows how it ended."""
CONTAINER = "main"
GPU = "nvidia.com/gpu"
_EPOCH = re.compile(r"(\d{1,18})\.(\d{1,18})\Z", re.ASCII)
_NO_ADMISSION = frozenset(("NoSchedule", "NoExecute"))


@dataclass(frozen=True, slots=True)
class KubeNode:
    """`allocatable`: what its pods may have together, whoever's they are. `taints`: (key, value, effect) of those that
    keep pods away.
    """

    name: str
    allocatable: Resources
    labels: tuple[tuple[str, str], ...]
    taints: tuple[tuple[str, str, str], ...]
    is_ready: bool
    is_cordoned: bool


@dataclass(frozen=True, slots=True)
class KubePod:
    """One pod of anybody's. `asks`: what the scheduler counts for it. `owner`: uid of what controls it.

    `exit_code`, `ended_by`, `said` are of its job's container; `waits_for`: why that has not started.
    """

    namespace: str
    name: str
    uid: str
    node: str
    phase: str
    asks: Resources
    owner: str
    is_ours: bool
    is_leaving: bool
    is_evicted: bool
    created: str
    has_started: bool = False
    exit_code: int | None = None
    ended_by: str = ""
    said: str = ""
    waits_for: str = ""
    size: Resources = NOTHING
    """What its job's container asks for: changes with a resize."""
    job_id: str = ""
    """Of ours, where a label can hold it."""

    @property
    def has_ended(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class KubeJob:
    """One Job that we made: a replica of `run`, which was last called `rank` and `epoch`."""

    name: str
    uid: str
    version: str
    run: Run
    rank: int
    epoch: Epoch
    node: str
    is_suspended: bool = False
    is_leaving: bool = False
    finalizers: tuple[str, ...] = ()
    succeeded: bool = False
    failed: bool = False
    reason: str = ""
    message: str = ""
    start_time: str = ""

    @property
    def has_ended(self) -> bool:
        return self.succeeded or self.failed

    @property
    def is_kept(self) -> bool:
        """Whether our finalizer is still on it."""
        return FINALIZER in self.finalizers


def amounts(quantities: Object, gpu: str = GPU, *, up: bool = False) -> Resources:
    """A ResourceList as integer amounts, rounded `up` or down; resources with a domain in front are extras."""
    rounded = math.ceil if up else math.floor
    found = {
        "cpu": max(0, rounded(amount(quantities.get("cpu", 0)) * 1000)),
        "memory": max(0, rounded(amount(quantities.get("memory", 0)))),
        "disk": max(0, rounded(amount(quantities.get("ephemeral-storage", 0)))),
        "gpu": max(0, rounded(amount(quantities.get(gpu, 0)))) * 1000,
    }
    for name, quantity in quantities.items():
        if "/" in name and name != gpu and is_resource_name(name):
            found[name] = max(0, rounded(amount(quantity)))
    return Resources.of(found)


def node_of(item: Object, gpu: str = GPU) -> KubeNode:
    """From a Node."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    ready = [each.get("status") for each in status.get("conditions") or () if each.get("type") == "Ready"]
    taints = (
        (each.get("key", ""), each.get("value", "") or "", each.get("effect", "")) for each in spec.get("taints") or ()
    )
    return KubeNode(
        item["metadata"]["name"],
        amounts(status.get("allocatable") or {}, gpu),
        tuple(sorted((item["metadata"].get("labels") or {}).items())),
        # the server itself puts node.kubernetes.io/* there for what `is_ready` and `is_cordoned` say
        tuple(sorted(each for each in taints if each[2] in _NO_ADMISSION and not _is_own(each[0]))),
        ready == ["True"],
        bool(spec.get("unschedulable")),
    )


def _is_own(taint: str) -> bool:
    return taint in {f"node.kubernetes.io/{what}" for what in ("not-ready", "unreachable", "unschedulable")}


def asked_by(spec: Object, gpu: str = GPU) -> Resources:
    """What the scheduler counts for a pod: all containers and lasting init containers together, or the largest moment
    of the start if that is more; and the overhead.
    """
    running, largest = dict[str, Fraction](), dict[str, Fraction]()
    for container in spec.get("initContainers") or ():
        asks = _requests(container)
        if container.get("restartPolicy") == "Always":
            running = _sum((running, asks))
            moment = running
        else:
            moment = _sum((running, asks))
        largest = _most(largest, moment)
    running = _sum((running, *(_requests(container) for container in spec.get("containers") or ())))
    found = _most(largest, running)
    found |= _requests(spec)  # of the pod as a whole, where it says so
    return amounts(_sum((found, _parsed(spec.get("overhead") or {}))), gpu, up=True)


def _requests(holder: Object) -> dict[str, Fraction]:
    """A limit without a request is one."""
    resources = holder.get("resources") or {}
    return _parsed({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _parsed(quantities: Object) -> dict[str, Fraction]:
    return {name: amount(quantity) for name, quantity in quantities.items()}


def _sum(parts: Iterable[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for part in parts:
        for name, more in part.items():
            found[name] = found.get(name, Fraction(0)) + more
    return found


def _most(one: Mapping[str, Fraction], other: Mapping[str, Fraction]) -> dict[str, Fraction]:
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in {*one, *other}}


def pod_of(item: Object, namespace: str, gpu: str = GPU) -> KubePod:
    """From a Pod; `namespace` is where our Jobs are."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    owners = [each.get("uid", "") for each in metadata.get("ownerReferences") or () if each.get("controller")]
    ours = metadata.get("namespace") == namespace and (metadata.get("labels") or {}).get(MANAGED_BY) == OURS
    state = _state_of(status) if ours else {}
    ended, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    refused = [
        f"{each.get('reason', '')}: {each.get('message', '')}"
        for each in status.get("conditions") or ()
        if each.get("type") == "PodScheduled" and each.get("status") == "False"
    ]
    why = f"{waiting.get('reason', '')}: {waiting.get('message', '')}" if waiting else "".join(refused)
    return KubePod(
        metadata.get("namespace", ""),
        metadata["name"],
        metadata.get("uid", ""),
        spec.get("nodeName", ""),
        status.get("phase", "Pending"),
        asked_by(spec, gpu),
        owners[0] if owners else "",
        ours,
        "deletionTimestamp" in metadata,
        any(
            each.get("type") == "DisruptionTarget" and each.get("status") == "True"
            for each in status.get("conditions") or ()
        ),
        metadata.get("creationTimestamp", ""),
        "running" in state or bool(ended),
        ended.get("exitCode"),
        status.get("reason") or ended.get("reason") or "",  # of the pod, where it was more than its container
        status.get("message") or ended.get("message") or "",
        why.strip(": ") if ours else "",
        _size_of(spec, gpu) if ours else NOTHING,
        (metadata.get("labels") or {}).get(JOB_ID, "") if ours else "",
    )


def _state_of(status: Object) -> Object:
    return next(
        (each.get("state") or {} for each in status.get("containerStatuses") or () if each.get("name") == CONTAINER), {}
    )


def _size_of(spec: Object, gpu: str) -> Resources:
    return next(
        (
            amounts((each.get("resources") or {}).get("requests") or {}, gpu, up=True)
            for each in spec.get("containers") or ()
            if each.get("name") == CONTAINER
        ),
        NOTHING,
    )


def job_of(item: Object) -> KubeJob | None:
    """From a Job; None where its annotations are not ours."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    said = metadata.get("annotations") or {}
    start, epoch = _epoch(said.get(START, "")), _epoch(said.get(EPOCH, ""))
    rank = said.get(RANK, "")
    if start is None or epoch is None or not rank.isdecimal() or not said.get(JOB_ID) or not said.get(NODE):
        return None
    ends = {each.get("type"): each for each in status.get("conditions") or () if each.get("status") == "True"}
    end = ends.get("Failed") or ends.get("Complete") or {}
    return KubeJob(
        metadata["name"],
        metadata.get("uid", ""),
        metadata.get("resourceVersion", ""),
        Run(said[JOB_ID], start),
        int(rank),
        epoch,
        said[NODE],
        bool(spec.get("suspend")),
        "deletionTimestamp" in metadata,
        tuple(metadata.get("finalizers") or ()),
        "Complete" in ends,
        "Failed" in ends,
        end.get("reason", ""),
        end.get("message", ""),
        status.get("startTime", ""),
    )


def _epoch(text: str) -> Epoch | None:
    found = _EPOCH.match(text)
    return None if found is None else Epoch(int(found[1]), int(found[2]))
