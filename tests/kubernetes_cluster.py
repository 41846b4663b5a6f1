"""A small Kubernetes cluster around `kubernetes_api`: the controllers that make Jobs into pods, the scheduler, garbage
collection, and kubelets that run each container's command as a process of this machine.

Written after the documented behaviour of Kubernetes: suspended Jobs have no pods; a Job's policy judges failed pods; a
disrupted pod is replaced once it has ended; deletion waits for finalizers and for pods, pods for their grace.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

from tests.kubernetes_api import ApiServer, Object, now

_EXPANSION = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_UNITS = {"m": 0.001, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str) -> float:
    found = re.match(r"([0-9.]+)([A-Za-z]*)\Z", str(text))
    assert found is not None, text
    return float(found[1]) * _UNITS[found[2]]


def expanded(text: str, variables: dict[str, str]) -> str:
    """As kubelets do: $(NAME) where there is one, $$ as $."""
    return _EXPANSION.sub(lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), text)


class Process:
    """One container that runs, or has."""

    def __init__(self, running: subprocess.Popen[bytes]) -> None:
        self.running = running
        self.told_at: float | None = None
        self.before_stop: subprocess.Popen[bytes] | None = None
        self.was_told = self.out_of_memory = False


class Cluster(ApiServer):
    """`with Cluster(folder) as cluster:`; what containers print is in `folder/POD.log`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.started: list[str] = []
        """Names of pods, in the order in which their containers began."""
        self.frozen: set[str] = set()
        """Nodes whose kubelet does nothing any more."""
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()
        self._thread = threading.Thread(target=self._control, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)
        self.stop()
        for process in self.processes.values():
            if process.running.poll() is None:
                os.killpg(process.running.pid, signal.SIGKILL)
            process.running.wait()

    def write_kubeconfig(self, file: Path) -> None:
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        file.write_text(json.dumps(written))

    # --- what a test does to it

    def add_node(self, name: str, cpu: str = "4", memory: str = "8Gi", gpus: int = 0, **labels: str) -> None:
        allocatable = {"cpu": cpu, "memory": memory, "pods": "110"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
        self.put(
            "nodes",
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"host-{name}", **labels}},
                "spec": {},
                "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]},
            },
        )

    def change_node(self, name: str, **spec: Any) -> None:
        with self.changed:
            node = copy.deepcopy(self.objects["nodes"]["", name])
            node["spec"] |= spec
            self.put("nodes", node)

    def fail_node(self, name: str, ready: str = "Unknown") -> None:
        """Its kubelet is gone (or back, with "True"): nothing on it changes any more, and its processes go on."""
        with self.changed:
            (self.frozen.discard if ready == "True" else self.frozen.add)(name)
            node = copy.deepcopy(self.objects["nodes"]["", name])
            node["status"]["conditions"] = [{"type": "Ready", "status": ready}]
            taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
            node["spec"]["taints"] = [] if ready == "True" else [taint]
            self.put("nodes", node)

    def add_pod(self, name: str, cpu: str, node: str = "", namespace: str = "theirs", **metadata: Any) -> None:
        """Somebody else's, which the scheduler puts on `node` if it says one; it never ends by itself."""
        asks = {"requests": {"cpu": cpu}}
        spec: Object = {"containers": [{"name": "c", "image": "theirs", "resources": asks}], "nodeName": node}
        phase = "Running" if node else "Pending"
        metadata = {"name": name, "namespace": namespace, **metadata}
        self.put("pods", {"metadata": metadata, "spec": spec, "status": {"phase": phase}})

    def evict(self, pod: Object) -> None:
        """As a drain does."""
        with self.changed:
            self._set_condition(pod, "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")
            metadata = pod["metadata"]
            self.delete("pods", metadata["namespace"], metadata["name"], {})

    def ours(self, job_id: str = "") -> list[Object]:
        """Our pods, of one job or all."""
        return [
            pod
            for pod in self.all("pods")
            if (labels := pod["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by") == "allocator"
            and job_id in ("", labels.get("allocator/job-id"))
        ]

    def kill_for_memory(self, pod: Object) -> None:
        process = self.processes[pod["metadata"]["uid"]]
        process.out_of_memory = True
        os.killpg(process.running.pid, signal.SIGKILL)

    # --- control loops

    def _control(self) -> None:
        while not self._over.wait(0.02):
            with self.changed:
                for step in (self._make_pods, self._collect, self._schedule, self._run_pods):
                    step()

    def _owned(self, job: Object) -> list[Object]:
        return [
            pod
            for pod in self.objects["pods"].values()
            if any(each["uid"] == job["metadata"]["uid"] for each in pod["metadata"].get("ownerReferences") or ())
        ]

    def _set_condition(self, item: Object, kind: str, status: str, reason: str = "", message: str = "") -> None:
        which = "jobs" if item["kind"] == "Job" else "pods"
        item = copy.deepcopy(self.objects[which][item["metadata"]["namespace"], item["metadata"]["name"]])
        conditions = [each for each in item["status"].get("conditions") or () if each["type"] != kind]
        item["status"]["conditions"] = [
            *conditions, {"type": kind, "status": status, "reason": reason, "message": message}
        ]  # fmt: skip
        self.put(which, item)

    def _make_pods(self) -> None:
        """The Job controller."""
        for job in list(self.objects["jobs"].values()):
            ends = {each["type"] for each in job["status"].get("conditions") or () if each["status"] == "True"}
            pods = self._owned(job)
            uncounted = [pod for pod in pods if pod["status"]["phase"] in ("Succeeded", "Failed")]
            uncounted = [pod for pod in uncounted if pod["metadata"].get("finalizers")]
            if ends & {"Complete", "Failed"} or "deletionTimestamp" in job["metadata"] or job["spec"].get("suspend"):
                for pod in uncounted:
                    self._let_go(pod)
                continue
            if "startTime" not in job["status"]:
                self.put("jobs", {**job, "status": {**job["status"], "startTime": now()}})
                continue
            for pod in uncounted:
                end = self._judged(job, pod)
                if end:
                    self._set_condition(job, *end)
                self._let_go(pod)
            if not uncounted and all(pod["status"]["phase"] in ("Succeeded", "Failed") for pod in pods):
                self._make_pod(job)

    def _let_go(self, pod: Object) -> None:
        pod = copy.deepcopy(pod)
        pod["metadata"]["finalizers"] = []
        self.put("pods", pod)

    def _judged(self, job: Object, pod: Object) -> tuple[str, str, str, str] | None:
        """The condition that a pod's end brings about."""
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if pod["status"]["phase"] == "Succeeded":
            return ("Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
        conditions = {(each["type"], each["status"]) for each in pod["status"].get("conditions") or ()}
        states = {each["name"]: each["state"].get("terminated") for each in pod["status"].get("containerStatuses", ())}
        for index, rule in enumerate(job["spec"]["podFailurePolicy"]["rules"]):
            patterns = [(each["type"], each["status"]) for each in rule.get("onPodConditions", ())]
            if rule["action"] == "Ignore" and conditions & set(patterns):
                return None
            codes = rule.get("onExitCodes")
            ended = states.get(codes["containerName"]) if codes else None
            if codes and ended and (ended["exitCode"] in codes["values"]) == (codes["operator"] == "In"):
                said = f"Container {codes['containerName']} for pod {name} failed with exit code {ended['exitCode']}"
                return ("Failed", "True", "PodFailurePolicy", f"{said} matching FailJob rule at index {index}")
        return ("Failed", "True", "BackoffLimitExceeded", "Job has reached the specified backoff limit")

    def _make_pod(self, job: Object) -> None:
        template, metadata = job["spec"]["template"], job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        pod = {
            "metadata": {
                **copy.deepcopy(template.get("metadata", {})),
                "name": f"{metadata['name']}-{secrets.token_hex(3)[:5]}",
                "namespace": metadata["namespace"],
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                "finalizers": ["batch.kubernetes.io/job-tracking"],
            },
            "spec": copy.deepcopy(template["spec"]),
            "status": {"phase": "Pending"},
        }
        self.put("pods", pod)

    def _collect(self) -> None:
        """Garbage: what is deleted, what has lost its owner, and Jobs whose time after their end is over."""
        uids = {job["metadata"]["uid"] for job in self.objects["jobs"].values()}
        for job in list(self.objects["jobs"].values()):
            metadata = job["metadata"]
            ended = any(each["type"] in ("Complete", "Failed") for each in job["status"].get("conditions") or ())
            if ended and job["spec"].get("ttlSecondsAfterFinished") == 0 and "deletionTimestamp" not in metadata:
                self.delete("jobs", metadata["namespace"], metadata["name"], {})
                continue
            if "foregroundDeletion" in metadata.get("finalizers", ()):
                pods = self._owned(job)
                for pod in pods:
                    if "deletionTimestamp" not in pod["metadata"]:
                        self.delete("pods", metadata["namespace"], pod["metadata"]["name"], {})
                if not pods:
                    left = [name for name in metadata["finalizers"] if name != "foregroundDeletion"]
                    freed = self.put("jobs", {**job, "metadata": {**metadata, "finalizers": left}})
                    if not left:
                        self.remove("jobs", freed)
        for pod in list(self.objects["pods"].values()):
            owners = [each["uid"] for each in pod["metadata"].get("ownerReferences") or ()]
            if owners and not uids & set(owners) and "deletionTimestamp" not in pod["metadata"]:
                self.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], {})

    def _schedule(self) -> None:
        for pod in list(self.objects["pods"].values()):
            if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
                continue
            fitting = [node for node in self.objects["nodes"].values() if self._takes(node, pod)]
            if fitting:
                node = fitting[0]["metadata"]["name"]
                self.put("pods", {**pod, "spec": {**pod["spec"], "nodeName": node}})
            elif not pod["status"].get("conditions"):
                words = f"0/{len(self.objects['nodes'])} nodes are available"
                self._set_condition(pod, "PodScheduled", "False", "Unschedulable", words)

    def _takes(self, node: Object, pod: Object) -> bool:
        name = node["metadata"]["name"]
        required = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        terms = required.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [{}])
        named = [[field["values"] for field in term.get("matchFields", ())] for term in terms]
        tolerated = {each.get("key") for each in pod["spec"].get("tolerations") or ()}
        if not any(all(name in values for values in fields) for fields in named) or node["spec"].get("unschedulable"):
            return False
        if any(taint["key"] not in tolerated for taint in node["spec"].get("taints") or ()):
            return False
        there = [
            other["spec"]
            for other in self.objects["pods"].values()
            if other["spec"].get("nodeName") == name and other["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        held: dict[str, float] = {}
        for spec in (*there, pod["spec"]):
            for container in spec["containers"]:
                for resource, many in container.get("resources", {}).get("requests", {}).items():
                    held[resource] = held.get(resource, 0.0) + quantity(many)
        has = node["status"]["allocatable"]
        return all(many <= quantity(has.get(resource, "0")) + 1e-9 for resource, many in held.items())

    # --- kubelets

    def _run_pods(self) -> None:
        for pod in list(self.objects["pods"].values()):
            metadata, node = pod["metadata"], pod["spec"].get("nodeName", "")
            if node in self.frozen:
                continue
            uid, process = metadata["uid"], self.processes.get(metadata["uid"])
            leaving = "deletionTimestamp" in metadata
            over = pod["status"]["phase"] in ("Succeeded", "Failed")
            if leaving and (over or process is None):
                self._remove_pod(pod, over)
            elif process is None and node and not leaving and metadata.get("ownerReferences") and not over:
                self._begin(pod)
            elif process is not None and not over:
                if leaving:
                    self._end(pod, process)
                if process.running.poll() is not None:
                    self._note_end(uid, pod, process)

    def _remove_pod(self, pod: Object, over: bool) -> None:
        """What a Job still has to count stays for that long."""
        if not over and pod["metadata"].get("finalizers"):
            pod = self.put("pods", {**pod, "status": {**pod["status"], "phase": "Failed"}})
        if not pod["metadata"].get("finalizers"):
            self.remove("pods", pod)
        elif not any(self._owned(job) for job in self.objects["jobs"].values() if pod in self._owned(job)):
            self._let_go(pod)

    def _begin(self, pod: Object) -> None:
        (container,) = pod["spec"]["containers"]
        if container["image"].startswith("missing"):
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling "{container["image"]}"'}}
            if not pod["status"].get("containerStatuses"):
                self._set_state(pod, "Pending", waiting)
            return
        variables: dict[str, str] = {}
        for each in container.get("env", ()):
            variables[each["name"]] = expanded(each.get("value", ""), variables)
        command = [expanded(word, variables) for word in container["command"]]
        name = pod["metadata"]["name"]
        try:
            with (self.folder / f"{name}.log").open("wb") as log:
                running = subprocess.Popen(
                    command, env={"PATH": os.environ["PATH"], **variables},
                    cwd=container.get("workingDir", self.folder), stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            ended = {"exitCode": 128, "reason": "StartError", "message": f"exec: {error}"}
            self._set_state(pod, "Failed", {"terminated": ended})
            return
        self.processes[pod["metadata"]["uid"]] = Process(running)
        self.started.append(name)
        self._set_state(pod, "Running", {"running": {"startedAt": now()}})

    def _set_state(self, pod: Object, phase: str, state: Object) -> None:
        statuses = [{"name": pod["spec"]["containers"][0]["name"], "state": state}]
        self.put("pods", {**pod, "status": {**pod["status"], "phase": phase, "containerStatuses": statuses}})

    def _end(self, pod: Object, process: Process) -> None:
        """The hook, then SIGTERM, and SIGKILL when the grace is over."""
        if process.told_at is None:
            process.told_at = time.monotonic()
            hook = pod["spec"]["containers"][0].get("lifecycle", {}).get("preStop")
            if hook:  # process 1 of a container is another one of this machine
                told = [word.replace(" 1;", f" {process.running.pid};") for word in hook["exec"]["command"]]
                process.before_stop = subprocess.Popen(told)
        over = time.monotonic() - process.told_at > pod["metadata"]["deletionGracePeriodSeconds"]
        hooked = process.before_stop is not None and process.before_stop.poll() is None and not over
        if process.running.poll() is None and not hooked:
            if not process.was_told:
                process.was_told = True
                process.running.send_signal(signal.SIGTERM)
            if over:
                os.killpg(process.running.pid, signal.SIGKILL)

    def _note_end(self, uid: str, pod: Object, process: Process) -> None:
        if process.before_stop is not None:
            process.before_stop.kill()
            process.before_stop.wait()
        code = process.running.returncode
        code = 128 - code if code < 0 else code
        reason = "OOMKilled" if process.out_of_memory else "Error" if code else "Completed"
        self._set_state(pod, "Failed" if code else "Succeeded", {"terminated": {"exitCode": code, "reason": reason}})
