"""The Job of one replica, as the API server takes it. Pure.

One Job per replica: a Job has one pod template, so an indexed one could say at most "somewhere on these nodes", and the
scheduler would put two replicas where one belongs. A Job of its own pins each to its node (by the node's name, as
DaemonSets do; the scheduler still looks whether there is room), and has its own end, exit code and size.

Nothing of a job is ever read by a shell, and `$(NAME)`, which Kubernetes itself would put in, is quoted.
"""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.domain.placement import DesiredReplica
from allocator.domain.process import Process
from allocator.domain.resources import GPU_MILLIS, Resources
from allocator.engine.runs import Run, Wanted
from allocator.kubernetes.observed import (
    CONTAINER,
    EPOCH,
    FINALIZER,
    GPU,
    JOB_ID,
    MANAGED_BY,
    NODE,
    OURS,
    RANK,
    START,
)
from allocator.kubernetes.quantity import of_millis
from allocator.kubernetes.template import Template

IMAGE_VARIABLE = "CONTAINER_IMAGE"
"""Of a job's environment: the image it runs in."""
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._\-]{0,61}[A-Za-z0-9])?\Z")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_PLACEHOLDER = re.compile(r"%(.?)", re.DOTALL)
_INTO_FILES = {
    (True, False): 'output=$1; shift; exec "$@" >"$output" 2>&1',
    (False, True): 'errors=$1; shift; exec "$@" 2>"$errors"',
    (True, True): 'output=$1; errors=$2; shift 2; exec "$@" >"$output" 2>"$errors"',
}
"""By whether there is a file for output and one for errors. Names and command are arguments, no part of this text."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where Jobs are made. `subdomain`: of the headless Service by which replicas find one another."""

    namespace: str
    template: Template
    gpu: str = GPU
    subdomain: str = "allocator-jobs"


def image_of(process: Process, template: Template) -> str:
    """The job's own, or the site's; empty: there is none."""
    return dict(process.environment).get(IMAGE_VARIABLE, "").strip() or template.image


def unsuitable(replica: DesiredReplica, template: Template) -> str | None:
    """Why Kubernetes cannot run it as it was decided, for people; None if it can."""
    if replica.process is None:
        return "the job says nothing that could be run; give it a command"
    if replica.demand.gpu_millis % GPU_MILLIS:
        return f"asks for {replica.demand.gpu_millis / GPU_MILLIS:g} GPUs a replica; Kubernetes gives whole ones"
    if not image_of(replica.process, template):
        return f"names no container image: set {IMAGE_VARIABLE} in its environment, or give the bridge an --image"
    return None


def name_of(run: Run, node: str, number: int) -> str:
    """Of the `number`-th Job of a run on a node: the same whoever asks, so that it is never made twice. At most 57
    characters that a host may be called.
    """
    exact = "\0".join((run.job_id, str(run.start), node, str(number))).encode("utf-8", "surrogatepass")
    readable = _NOT_IN_NAMES.sub("-", run.job_id.lower())[:30].strip("-") or "job"
    return f"allocator-{readable}-{hashlib.sha256(exact).hexdigest()[:16]}"


def job_manifest(
    run: Run, wanted: Wanted, name: str, peers: Sequence[str], around: Surroundings, offered: Resources
) -> dict[str, Any]:
    """Suspended: nothing runs before it is released. `peers`: names of the gang's Jobs, by rank; `offered`: what its
    node has, so that what is no node's (licences) is not asked of it.
    """
    replica = wanted.replica
    assert replica.process is not None
    labels = {**around.template.labels, MANAGED_BY: OURS}
    if _LABEL.match(run.job_id):
        labels[JOB_ID] = run.job_id
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": around.namespace,
            "labels": {MANAGED_BY: OURS},
            "annotations": {
                JOB_ID: run.job_id,
                START: str(run.start),
                NODE: wanted.node,
                **called(replica),
            },
            "finalizers": [FINALIZER],
        },
        "spec": {
            "suspend": True,
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            # only what others do to a pod has it start again, and only once nothing of it is left
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [0]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": _annotations(replica, around.template)},
                "spec": _pod(wanted, name, peers, around, offered),
            },
        },
    }


def called(replica: DesiredReplica) -> dict[str, str]:
    """The annotations that a resize changes."""
    return {RANK: str(replica.replica), EPOCH: str(replica.epoch)}


def _annotations(replica: DesiredReplica, template: Template) -> dict[str, str]:
    """Bandwidth is told to network plugins that know how to shape it, in bits per second."""
    speed = replica.demand.bandwidth_bytes_per_second * 8
    return {**template.annotations} | ({"kubernetes.io/egress-bandwidth": str(speed)} if speed else {})


def _pod(wanted: Wanted, name: str, peers: Sequence[str], around: Surroundings, offered: Resources) -> dict[str, Any]:
    process = wanted.replica.process
    assert process is not None
    pod = copy.deepcopy(around.template.pod)
    pod["affinity"] = _pinned(pod.get("affinity") or {}, wanted.node)
    pod |= {
        "hostname": name,
        "subdomain": around.subdomain,
        "restartPolicy": "Never",
        # 0 would mean that nobody waits until it has ended
        "terminationGracePeriodSeconds": max(1, math.ceil(process.grace_seconds)),
        "containers": [_container(wanted, peers, around, offered)],
    }
    return pod


def _pinned(affinity: dict[str, Any], node: str) -> dict[str, Any]:
    """Its terms are alternatives, so that every one of them has to name the node."""
    nodes = dict(affinity.get("nodeAffinity") or {})
    required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    here = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = [
        {**term, "matchFields": [*(term.get("matchFields") or ()), here]}
        for term in required.get("nodeSelectorTerms") or [{}]
    ]
    nodes["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    return {**affinity, "nodeAffinity": nodes}


def _container(wanted: Wanted, peers: Sequence[str], around: Surroundings, offered: Resources) -> dict[str, Any]:
    replica, process = wanted.replica, wanted.replica.process
    assert process is not None
    container = copy.deepcopy(around.template.container)
    given = {each["name"]: each for each in container.get("env") or () if "name" in each}
    given |= {
        key: {"name": key, "value": _literal(value)}
        for key, value in (*process.environment, *_told(replica, peers, around.subdomain).items())
    }
    amounts = resources_of(replica.demand, around.gpu, offered)
    container |= {
        "name": CONTAINER,
        "image": image_of(process, around.template),
        "command": [_literal(word) for word in _command(wanted, process)],
        "env": list(given.values()),
        "resources": {"requests": amounts, "limits": dict(amounts)} if amounts else {},
    }
    if process.directory:
        container["workingDir"] = process.directory
    if process.checkpoint.name != "SIGTERM":
        container["lifecycle"] = {"preStop": {"exec": {"command": _tell(process)}}}
    return container


def _tell(process: Process) -> list[str]:
    """Sends the checkpoint signal and waits, so that SIGTERM does not follow at once; ends with the container."""
    number = process.checkpoint.name.removeprefix("SIG")
    return ["/bin/sh", "-c", f"kill -s {number} 1; while :; do sleep 1; done"]


def _command(wanted: Wanted, process: Process) -> list[str]:
    """With its output in files, where it says so: then the image needs a shell."""
    files = [_expanded(path, wanted) for path in (process.output, process.errors) if path]
    if not files:
        return list(process.command)
    script = _INTO_FILES[bool(process.output), bool(process.errors)]
    return ["/bin/sh", "-c", script, "sh", *files, *process.command]


def _expanded(path: str, wanted: Wanted) -> str:
    replica = wanted.replica
    index = "" if replica.array_index is None else str(replica.array_index)
    values = {"j": replica.job_id, "r": str(replica.replica), "a": index, "n": wanted.node, "%": "%"}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], "").replace("/", "_"), path)


def _told(replica: DesiredReplica, peers: Sequence[str], subdomain: str) -> Mapping[str, str]:
    """As an agent tells it, but for peers, which are names that can be connected to, and devices, which are Kubernetes'
    to give.
    """
    return {
        "ALLOCATOR_JOB_ID": replica.job_id,
        "ALLOCATOR_QUEUE": replica.queue,
        "ALLOCATOR_RANK": str(replica.replica),
        "ALLOCATOR_REPLICAS": str(replica.replicas),
        "ALLOCATOR_PEERS": ",".join(f"{peer}.{subdomain}" for peer in peers),
        "ALLOCATOR_CORES": f"{replica.demand.cpu_millicores / 1000:g}",
        "ALLOCATOR_ARRAY_INDEX": "" if replica.array_index is None else str(replica.array_index),
        "ALLOCATOR_ATTEMPT": str(replica.failures + 1),
    }


def _literal(text: str) -> str:
    """So that it comes out as it is: Kubernetes reads $(NAME) as a variable, and $$ as $."""
    return text.replace("$", "$$")


def resources_of(demand: Resources, gpu: str, offered: Resources) -> dict[str, str]:
    """As quantities; requests and limits are the same, so that a replica has what it was given, and no more."""
    found = {}
    if demand.cpu_millicores:
        found["cpu"] = of_millis(demand.cpu_millicores)
    if demand.memory_bytes:
        found["memory"] = str(demand.memory_bytes)
    if demand.disk_bytes:
        found["ephemeral-storage"] = str(demand.disk_bytes)
    if demand.gpu_millis:
        found[gpu] = str(demand.gpu_millis // GPU_MILLIS)
    there = dict(offered.extra)
    found |= {name: str(many) for name, many in demand.extra if name in there}
    return found


def resize_patch(demand: Resources) -> dict[str, Any]:
    """For a pod's `resize`: requests and limits stay the same, which keeps its class of service."""
    cores = {"cpu": of_millis(demand.cpu_millicores)}
    return {"spec": {"containers": [{"name": CONTAINER, "resources": {"requests": cores, "limits": dict(cores)}}]}}
